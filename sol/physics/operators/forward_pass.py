"""One step as a list of operator rows: what each must move and compute. Symbols: docs/notation.

`step_operators` is the only place where a model becomes bytes and FLOPs. Floor, serial floor, breakdown and
explanation all sum its rows. `ROWS` maps each kind of block to the function that makes its rows. Equal layers are
counted together. Norms, rotary embedding and softmax count with their bytes; their few FLOPs are left out, which
can only lower the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sol.errors import InvalidInput
from sol.physics.operators import fusion as fused
from sol.physics.operators.feedforward import experts_rows, mlp_rows
from sol.physics.operators.linear import linear_row, linears, small_bytes
from sol.physics.operators.mixers import attention_rows, latent_rows, state_rows
from sol.physics.operators.operator import Amount, Operator, Pass, larger, row, smaller
from sol.specs.blocks import Block, PerLayerInput, StateMixer
from sol.specs.feedforward import MLP, MoE
from sol.specs.mixers import Attention, LatentAttention
from sol.specs.model import LayerGroup, ModelPart
from sol.specs.parts import Parts
from sol.specs.quantities import Array
from sol.specs.step import Fusion, Routing, Step, Storage

__all__ = ["ROWS", "Amount", "Operator", "Pass", "step_operators"]


def step_operators(model: ModelPart, step: Step, storage: Storage, routing: Routing, fusion: Fusion) -> list[Operator]:
    """The operator rows of one forward pass, in the order they run.

    Shapes: `step` arrays broadcast; each row keeps the smallest shape it needs. Weights are read
    once a step, past KV once, new KV written once; the input tables only as gathered rows.
    """
    tokens = step.tokens
    one_pass = Pass(model.hidden, step, tokens, storage, routing, fusion)
    rows = [_embedding(model, step, tokens, storage, fusion)]
    for group in model.groups:
        for block in group.blocks:
            rows.extend(_maker(block)(block, group.count, one_pass))
        rows.append(_norms(model, group, tokens, storage, fusion))
    rows.append(_final_norm(model, tokens, storage, fusion))
    rows.append(_lm_head(model, step, storage, fusion))
    return rows


def matrix_rows(block: Block | Parts, layers: int, p: Pass) -> list[Operator]:
    """Rows of a block of plain matrices. Raises `InvalidInput` for a block with a cache or state, which the floor would miss."""
    if block.cache_spans or block.states:
        raise InvalidInput(
            f"{type(block).__name__} keeps a cache or a state",
            truth="and no function makes its rows",
            action="register one in sol.physics.operators.forward_pass.ROWS",
        )
    return [linear_row(x, layers, p.tokens, fused.linear(p.fusion, x, p.tokens)) for x in linears(block, p.hidden, p.storage)]


def per_layer_rows(block: PerLayerInput | Parts, layers: int, p: Pass) -> list[Operator]:
    """The matrices, and the gathered rows of the layer's own table."""
    each = block.width * p.storage.bytes_per_weight("embedding", block.width)
    shape = lambda: f"min(T, {block.vocab})·{block.width}"  # noqa: E731  # text for few
    gathered = row("per_layer_rows", layers, "rest", weight_bytes=smaller(p.tokens, float(block.vocab)) * (layers * each), shape=shape)
    return [*matrix_rows(block, layers, p), gathered]


ROWS: dict[type[Block], Callable[[Any, int, Pass], list[Operator]]] = {
    Attention: attention_rows,
    LatentAttention: latent_rows,
    MLP: mlp_rows,
    MoE: experts_rows,
    StateMixer: state_rows,
    PerLayerInput: per_layer_rows,
    Block: matrix_rows,
}
"""The function that makes the rows of each kind of block; a kind that is not listed uses that of its nearest base class."""


def _maker(block: Block | Parts) -> Callable[[Any, int, Pass], list[Operator]]:
    kind = block.kind if isinstance(block, Parts) else type(block)
    return next(ROWS[base] for base in kind.__mro__ if base in ROWS)


def _embedding(model: ModelPart, step: Step, tokens: Array, storage: Storage, fusion: Fusion) -> Operator:
    """Gathered rows of the input tables; not those of the vocabulary if the head reads the same (tied) table anyway."""
    head_reads_it = model.tied_embeddings and _wants_logits(step)
    row_bytes = model.hidden * storage.bytes_per_weight("lm_head" if model.tied_embeddings else "embedding", model.hidden)
    gathered = 0.0 if head_reads_it else smaller(tokens, model.vocab) * row_bytes
    if model.positions:  # sequences at one position share its row
        positions: Amount = step.new_tokens
        for group in step.beside:
            positions = larger(positions, group.new_tokens)
        gathered = gathered + positions * (model.hidden * storage.bytes_per_weight("embedding", model.hidden))
    shape = lambda: "read with the head (tied)" if head_reads_it else f"min(T, V={model.vocab})·d={model.hidden}"  # noqa: E731  # text for few
    return row("embedding", 1, "rest", weight_bytes=gathered, shape=shape, cost=fused.embedding(fusion, model.hidden, tokens))


def _norms(model: ModelPart, group: LayerGroup | Parts, tokens: Array, storage: Storage, fusion: Fusion) -> Operator:
    def shape() -> str:
        norms, vectors = group.norm_elements(model.hidden), group.scalars + sum(b.vector_elements for b in group.blocks)
        return f"{norms} elements" + (f", and {vectors} of vectors that belong to no matrix" if vectors else "")

    return row(
        "norms", group.count, "rest", weight_bytes=group.count * small_bytes(group, model.hidden, storage),
        shape=shape, cost=fused.norms(fusion, group, model.hidden, tokens),
    )  # fmt: skip


def _final_norm(model: ModelPart, tokens: Array, storage: Storage, fusion: Fusion) -> Operator:
    elements = model.outer_norm_elements + model.scalars
    return row(
        "final_norm", 1, "rest", weight_bytes=elements * storage.bytes_per_weight("norm", 1), shape=lambda: f"{elements} elements",
        cost=fused.final_norm(fusion, model.hidden, tokens),
    )  # fmt: skip


def _wants_logits(step: Step) -> bool:
    return any(group.logits != "none" for group in step.groups)


def _lm_head(model: ModelPart, step: Step, storage: Storage, fusion: Fusion) -> Operator:
    """The head, which reads its whole matrix once if any logits are computed."""
    wanted = step.logit_rows
    read = 0.0
    if _wants_logits(step):
        biases = model.vocab * storage.bytes_per_weight("bias", 1) if model.head_bias else 0.0
        read = model.lm_head_elements * storage.bytes_per_weight("lm_head", model.hidden) + biases
    return row(
        "lm_head", 1, storage.role("lm_head"), weight_bytes=read, flops=wanted * (2.0 * model.lm_head_elements),
        shape=lambda: f"V·d = {model.vocab}·{model.hidden}", cost=fused.lm_head(fusion, model.vocab, model.hidden, wanted),
    )  # fmt: skip
