"""One step as a list of operator rows: what each must move and compute.

`step_operators` is the only place where a model turns into bytes and FLOPs; floor, serial floor,
breakdown and explanation all sum its rows. Layers alike are counted together. Norms, rotary
embedding and softmax are charged their bytes; their few FLOPs are left out (never a slower floor).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sol.physics import fusion as fused
from sol.physics.attention import cached_tokens_read, cached_tokens_written, causal_pairs
from sol.physics.experts import distinct_experts
from sol.specs.model import MLP, Attention, LayerGroup, Model, MoE
from sol.specs.step import Array, Fusion, Role, Routing, Step, Storage

Amount = Array | float
"""An array over the sweep, or a plain float where a row does not depend on it."""


@dataclass(frozen=True, eq=False)
class Operator:
    """One row: bytes [B] by kind, FLOPs [FLOP] and the format whose rate they run at, for `layers` layers.

    `weight_bytes` and `kv_bytes` are compulsory; `activation_bytes` are zero unless a fusion style
    makes the operator write its output to memory. `role` says at which of the step's rates it runs.
    `shape` tells its shape for a reader, `detail` the counts behind its bytes and FLOPs.
    """

    name: str
    layers: int
    role: Role
    weight_bytes: Amount
    kv_bytes: Amount
    activation_bytes: Amount
    flops: Amount
    kernels: int
    shape: str
    detail: tuple[tuple[str, Amount], ...] = ()


def step_operators(model: Model, step: Step, storage: Storage, routing: Routing, fusion: Fusion) -> list[Operator]:
    """The operator rows of one forward pass, in the order they run.

    Shapes: `step` arrays broadcast; each row keeps the smallest shape it needs. Weights are read
    once a step, past KV once, new KV written once; the input embedding only as gathered rows.
    """
    tokens = step.batch * step.new_tokens
    rows = [_embedding(model, step, tokens, storage, fusion)]
    for group in model.groups:
        rows.extend(_attention(model, group, step, tokens, storage, fusion))
        if isinstance(group.ffn, MoE):
            rows.extend(_experts(model, group, group.ffn, tokens, storage, routing, fusion))
        else:
            rows.extend(_mlp(model, group, group.ffn, tokens, storage, fusion))
        rows.append(_norms(model, group, tokens, storage, fusion))
    rows.append(_final_norm(model, tokens, storage, fusion))
    rows.append(_lm_head(model, step, tokens, storage, fusion))
    return rows


def _row(
    name: str, layers: int, role: Role, *, weight_bytes: Amount, flops: Amount, shape: str = "", kv_bytes: Amount = 0.0,
    cost: fused.Cost = fused.FREE, detail: tuple[tuple[str, Amount], ...] = (),
) -> Operator:  # fmt: skip
    spilled = layers * cost.activation_bytes
    return Operator(name, layers, role, weight_bytes, kv_bytes, spilled, flops, layers * cost.kernels, shape, detail)


def _embedding(model: Model, step: Step, tokens: Array, storage: Storage, fusion: Fusion) -> Operator:
    """Gathered rows of the input table; none when the head reads the same (tied) table whole."""
    head_reads_it = model.tied_embeddings and step.logits != "none"
    row_bytes = model.hidden * storage.bytes_per_weight("lm_head" if model.tied_embeddings else "embedding", model.hidden)
    gathered = 0.0 if head_reads_it else np.minimum(tokens, float(model.vocab)) * row_bytes
    shape = "read with the head (tied)" if head_reads_it else f"min(T, V={model.vocab})·d={model.hidden}"
    return _row(
        "embedding", 1, "rest", weight_bytes=gathered, flops=0.0, shape=shape,
        cost=fused.embedding(fusion, model.hidden, tokens),
    )  # fmt: skip


def _matrix(
    name: str, count: int, stored: float, weights: int, biases: int, tokens: Array, storage: Storage, shape: str, cost: fused.Cost
) -> Operator:
    """A linear layer: `stored` bytes of `weights` elements per layer, and its biases."""
    stored_biases = biases * storage.bytes_per_weight("bias", 1)
    return _row(
        name, count, storage.role("o_proj"), weight_bytes=count * (stored + stored_biases), flops=tokens * (2.0 * count * weights),
        shape=shape + (f" + {biases} biases" if biases else ""), cost=cost,
    )  # fmt: skip


def qkv_bytes(att: Attention, hidden: int, storage: Storage) -> float:
    """Stored bytes of one layer's query, key and value projections [B]."""
    k = att.k_weights(hidden)
    q = att.qkv_weights(hidden) - 2 * k
    per = storage.bytes_per_weight
    return q * per("q_proj", hidden) + k * per("k_proj", hidden) + k * per("v_proj", hidden)


def expert_bytes(moe: MoE, hidden: int, storage: Storage) -> float:
    """Stored bytes of one expert [B]."""
    up = moe.expert_up_weights(hidden)
    down = moe.expert_weights(hidden) - up
    return up * storage.bytes_per_weight("experts_up", hidden) + down * storage.bytes_per_weight("experts_down", moe.expert_ffn)


def _attention(model: Model, group: LayerGroup, step: Step, tokens: Array, storage: Storage, fusion: Fusion) -> list[Operator]:
    att, d = group.attention, model.hidden
    qkv_biases, o_biases = att.bias_elements(d)
    costs = fused.attention(fusion, att, d, step, tokens)
    qkv = _matrix(
        "qkv_proj", group.count, qkv_bytes(att, d, storage), att.qkv_weights(d), qkv_biases, tokens, storage,
        f"d·(h·dk + k·(dk+dv)) = {d}·({att.heads}·{att.head_dim} + {att.kv_heads}·{2 * att.head_dim})", costs.qkv_proj,
    )  # fmt: skip
    token_bytes = att.kv_width * storage.cache.bytes_per_weight
    read, written = cached_tokens_read(step.past_tokens, att.window), cached_tokens_written(step.new_tokens, att.window)
    pairs = causal_pairs(step.new_tokens, step.past_tokens, att.window)
    core = _row(
        "attention", group.count, "attention", weight_bytes=0.0, kv_bytes=(step.batch * (group.count * token_bytes)) * (read + written),
        flops=(step.batch * (group.count * 4.0 * att.q_width)) * pairs, cost=costs.attention,
        shape=f"h·(dk+dv) = {att.heads}·{2 * att.head_dim}" + (f", window {att.window}" if att.window else ""),
        detail=(("cached tokens read per sequence", read), ("written", written), ("query-key pairs per sequence", pairs)),
    )  # fmt: skip
    o_bytes = att.o_weights(d) * storage.bytes_per_weight("o_proj", att.q_width)
    o = _matrix(
        "o_proj", group.count, o_bytes, att.o_weights(d), o_biases, tokens, storage,
        f"h·dv·d = {att.heads}·{att.head_dim}·{d}", costs.o_proj,
    )  # fmt: skip
    if fusion == "ideal":
        return [qkv, core, o]
    rope = _row("rope", group.count, "rest", weight_bytes=0.0, flops=0.0, cost=costs.rope, shape="rotary embedding, cache write")
    return [qkv, rope, core, o]


def _mlp(model: Model, group: LayerGroup, mlp: MLP, tokens: Array, storage: Storage, fusion: Fusion) -> list[Operator]:
    d, n = model.hidden, group.count
    up_biases, down_biases = mlp.bias_elements(d)
    costs = fused.mlp(fusion, mlp, d, tokens)
    two = "2·" if mlp.gated else ""
    name = "gate_up_proj" if mlp.gated else "up_proj"
    up_bytes = mlp.up_weights(d) * storage.bytes_per_weight("up_proj", d)
    down_bytes = mlp.down_weights(d) * storage.bytes_per_weight("down_proj", mlp.ffn)
    up = _matrix(name, n, up_bytes, mlp.up_weights(d), up_biases, tokens, storage, f"{two}d·f = {two}{d}·{mlp.ffn}", costs.up)
    down = _matrix("down_proj", n, down_bytes, mlp.down_weights(d), down_biases, tokens, storage, f"f·d = {mlp.ffn}·{d}", costs.down)
    if fusion == "ideal":
        return [up, down]
    activation = _row(
        "activation", n, "rest", weight_bytes=0.0, flops=0.0, cost=costs.activation,
        shape="silu(gate)·up" if mlp.gated else "elementwise",
    )  # fmt: skip
    return [up, activation, down]


def _experts(
    model: Model, group: LayerGroup, moe: MoE, tokens: Array, storage: Storage, routing: Routing, fusion: Fusion
) -> list[Operator]:
    d, n = model.hidden, group.count
    costs = fused.experts(fusion, moe, d, tokens)
    router_weights = moe.router_weights(d)
    router = _row(
        "router", n, storage.role("router"), weight_bytes=n * (router_weights * storage.bytes_per_weight("router", d)),
        flops=tokens * (2.0 * n * router_weights), shape=f"d·E = {d}·{moe.experts}", cost=costs.router,
    )  # fmt: skip
    touched = distinct_experts(moe.experts, moe.experts_per_token, tokens, routing)
    one_expert = moe.expert_weights(d)
    experts = _row(
        "experts", n, storage.role("experts_up"),
        weight_bytes=touched * (n * expert_bytes(moe, d, storage)),
        flops=tokens * (2.0 * n * moe.experts_per_token * one_expert),
        shape=f"distinct experts of {moe.experts} · 3·d·f = 3·{d}·{moe.expert_ffn}", cost=costs.experts,
        detail=((f"distinct of {moe.experts} experts per layer", touched), ("experts per token", float(moe.experts_per_token))),
    )  # fmt: skip
    return [router, experts]


def _norms(model: Model, group: LayerGroup, tokens: Array, storage: Storage, fusion: Fusion) -> Operator:
    elements = group.norm_elements(model.hidden)
    return _row(
        "norms", group.count, "rest", weight_bytes=group.count * elements * storage.bytes_per_weight("norm", 1),
        flops=0.0, shape=f"{elements} elements", cost=fused.norms(fusion, group.attention, model.hidden, tokens),
    )  # fmt: skip


def _final_norm(model: Model, tokens: Array, storage: Storage, fusion: Fusion) -> Operator:
    return _row(
        "final_norm", 1, "rest", weight_bytes=model.final_norm_elements * storage.bytes_per_weight("norm", 1),
        flops=0.0, shape=f"d = {model.hidden}", cost=fused.final_norm(fusion, model.hidden, tokens),
    )  # fmt: skip


def _lm_head(model: Model, step: Step, tokens: Array, storage: Storage, fusion: Fusion) -> Operator:
    """The head reads its whole matrix once when any logits are wanted."""
    wanted = {"last": step.batch, "all": tokens, "none": 0.0 * step.batch}[step.logits]
    read = 0.0 if step.logits == "none" else model.lm_head_elements * storage.bytes_per_weight("lm_head", model.hidden)
    return _row(
        "lm_head", 1, storage.role("lm_head"), weight_bytes=read, flops=wanted * (2.0 * model.lm_head_elements),
        shape=f"V·d = {model.vocab}·{model.hidden}", cost=fused.lm_head(fusion, model.vocab, model.hidden, wanted),
    )  # fmt: skip
