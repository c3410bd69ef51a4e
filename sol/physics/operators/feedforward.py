"""Rows of the feed-forward blocks: dense ones, and routed experts with what is shared beside them."""

from __future__ import annotations

import numpy as np

from sol.physics.operators import fusion as fused
from sol.physics.operators.experts import distinct_experts, fullest, imbalance
from sol.physics.operators.linear import expert_bytes, linear_row, linears
from sol.physics.operators.operator import Amount, Operator, Pass, row
from sol.specs.feedforward import MLP, MoE
from sol.specs.parts import Parts
from sol.specs.quantities import Array
from sol.specs.step import Fusion, Shares


def mlp_rows(mlp: MLP | Parts, layers: int, p: Pass) -> list[Operator]:
    """Up, activation where it is not fused, and down."""
    tokens, fusion = p.tokens, p.fusion
    up, down = (linear_row(x, layers, tokens, fused.linear(fusion, x, tokens)) for x in linears(mlp, p.hidden, p.storage))
    return [up, down] if fusion == "ideal" else [up, _activation("activation", mlp, layers, tokens, fusion), down]


def _activation(name: str, mlp: MLP | Parts, layers: int, tokens: Array, fusion: Fusion) -> Operator:
    cost = fused.activation(fusion, mlp.ffn, mlp.gated, tokens)
    return row(name, layers, "rest", cost=cost, shape=lambda: "act(gate)·up" if mlp.gated else "elementwise")


def experts_rows(moe: MoE | Parts, layers: int, p: Pass) -> list[Operator]:
    """Router, shared experts, and the routed experts as one row: distinct experts are read, experts per token computed.

    With experts spread over devices, the row is that of the most loaded device: it holds some experts for the tokens of
    all copies, and gets `imbalance` times an even share of the tokens, on at most the experts it holds.
    """
    hidden, step, tokens, storage, routing, fusion = p
    rows = []
    for x in linears(moe, hidden, storage):
        cost = fused.router(fusion, moe, hidden, tokens) if x.operator == "router" else fused.linear(fusion, x, tokens)
        rows.append(linear_row(x, layers, tokens, cost))
    if moe.shared is not None and fusion != "ideal":
        rows.append(_activation("shared_activation", moe.shared, layers, tokens, fusion))
    matrices = moe.expert_matrices(hidden)
    met = tokens * step.copies
    here = None if moe.held is None else moe.held if isinstance(routing, Shares) else moe.share_held
    touched = distinct_experts(moe.experts, moe.experts_per_token, met, routing, here)
    each: Amount = float(moe.experts_per_token)
    if here is not None:
        skew = imbalance(moe.experts, moe.experts_per_token, here, routing, step.imbalance)
        each = moe.experts_per_token * (moe.share_held / moe.experts) * skew
        touched = touched if isinstance(routing, Shares) else np.minimum(touched * skew, here)
    ways: Amount = 1.0
    most: Amount = 1.0
    if here is not None:
        ways = moe.experts / here
        if routing == "expected" and step.imbalance == 1.0:
            most = np.maximum(fullest(ways, here, moe.experts_per_token / moe.experts, met) / np.maximum(touched, 1e-300), 1.0)
    one = sum(m.weights for m in matrices)

    def shape() -> str:
        return f"distinct experts of {moe.experts_held} · {len(matrices)}·d·f = {len(matrices)}·{matrices[0].columns}·{moe.expert_ffn}"

    rows.append(row(
        "experts", layers, storage.role("experts_up"), weight_bytes=touched * (layers * expert_bytes(moe, hidden, storage)),
        flops=met * (2.0 * layers * each * one),
        shape=shape, cost=fused.experts(fusion, moe, matrices[0].columns, met * (each / moe.experts_per_token)),
        detail=(("distinct experts per layer", touched), ("experts per token", each)), pieces=1.0 * moe.experts_held,
        fullest=most, ways=ways,
    ))  # fmt: skip
    return rows
