"""What the devices of a split replica send each other in one step, as operator rows. Symbols: docs/notation.

Tensor parallelism: an all-reduce of T·d for every sum a layer adds to its input. Experts spread over
data-parallel copies: each token goes once to every device that holds one of its experts, and comes
back; those of the copy's own tensor-parallel group are then gathered. A pipeline: T·d at every
boundary. Gathering the logits is not compulsory and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np

from sol.physics.operators.operator import ACT_BYTES, Amount, Operator, Wire
from sol.specs.feedforward import MoE
from sol.specs.model import Model
from sol.specs.parts import Count
from sol.specs.split import Split
from sol.specs.step import Routing, Step, Storage

NARROW = {"fp8": 1.0, "int8": 1.0, "fp4": 0.5}
"""Bytes per activation sent to experts that compute in these formats; scales are not counted."""


def wire_rows(model: Model, split: Split, step: Step, storage: Storage, routing: Routing = "expected") -> list[Operator]:
    """The wire rows of one device's pass: `model` is the whole one, `step` the device's own. Nothing is sent within one device."""
    tokens = step.batch * step.new_tokens
    sums = sum(g.count * (g.residual_adds - (g.moe is not None) * (split.dp > 1)) for g in model.groups)
    hidden = Wire("all_reduce", tokens * (model.hidden * ACT_BYTES), split.tp)
    rows = [_row("all_reduce", sums * (split.tp > 1), hidden, lambda: f"T·d = T·{model.hidden}")]
    for group in model.groups:
        if group.moe is not None:
            rows += _expert_rows(model, group.count, group.moe, split, tokens, storage, routing)
    each, boundaries = tokens * (model.hidden * ACT_BYTES / split.tp), split.pp - 1
    rows.append(_row("send", boundaries, Wire("send", each, 2, split.tp * split.dp), lambda: f"T·d/tp at {boundaries} boundaries"))
    return [op for op in rows if isinstance(op.layers, np.ndarray) or op.layers]


def _expert_rows(
    model: Model, layers: int, moe: MoE, split: Split, tokens: Amount, storage: Storage, routing: Routing
) -> list[Operator]:  # fmt: skip
    """Dispatch and combine: each token once per device, however many of its experts are there; then the copy's own group gathers."""
    reached = fewest_copies if routing == "min" else remote_copies
    copies = reached(moe.experts, moe.experts_per_token, split)
    narrow = NARROW.get(storage.computed("experts_up"), ACT_BYTES)
    ranks, spread = split.tp * split.dp, layers * (split.dp > 1)
    one_way = tokens * (model.hidden * copies * ranks / np.maximum(ranks - 1, 1))  # a buffer holds its own device's part too
    gathered = Wire("all_gather", tokens * (model.hidden * ACT_BYTES), split.tp)

    def shape() -> str:
        return f"T·d·{copies:.4g} devices a token"

    return [
        _row("dispatch", spread, Wire("all_to_all", one_way * narrow, ranks), shape),
        _row("combine", spread, Wire("all_to_all", one_way * ACT_BYTES, ranks), shape),
        _row("all_gather", spread * (split.tp > 1), gathered, lambda: f"T·d = T·{model.hidden}"),
    ]


def remote_copies(experts: int, experts_per_token: int, split: Split) -> Amount:
    """Devices outside its own copy that a token must reach, divided by the tp devices that share the sending [1].

        (dp − 1)·(1 − C(E − E/ep, k) / C(E, k))

    experts chosen uniformly and spread evenly. 256 experts, 8 a token, ep = dp: 4.633 of 8, 7.040 of 32.

    >>> round(remote_copies(256, 8, Split(dp=8, ep=8)), 3)
    4.633
    """
    reached: Amount = (split.dp - 1) * (1.0 - _missed(experts, experts_per_token, split.ep))
    return reached


def fewest_copies(experts: int, experts_per_token: int, split: Split) -> Amount:
    """The same if a token's experts are as near as possible [1]: in the token's own part, if that holds them all.

        max( 0 , ⌈k·ep/E⌉·dp/ep − 1 )

    A router that prefers near experts reaches fewer devices than the uniform choice, so the uniform choice is not a bound.
    """
    parts = -(-experts_per_token * split.ep // experts)  # each is tp·dp/ep devices that split the width, of which tp may be its own
    least: Amount = np.maximum(parts * split.dp / split.ep - 1.0, 0.0)
    return least


def _missed(experts: int, experts_per_token: int, ep: Count) -> Amount:
    """The chance that a token chooses none of one device's experts."""
    if isinstance(ep, np.ndarray):
        ways, which = np.unique(ep, return_inverse=True)
        return np.array([_missed(experts, experts_per_token, n) for n in ways.tolist()])[which].reshape(ep.shape)
    return comb(experts - experts // ep, experts_per_token) / comb(experts, experts_per_token)


def _row(name: str, times: Count, wire: Wire, shape: Callable[[], str]) -> Operator:
    return Operator(name, times, "rest", 0.0, 0.0, 0.0, 0.0, times, shape, wire=wire)
