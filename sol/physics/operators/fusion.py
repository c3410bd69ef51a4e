"""Costs of an operator beyond its compulsory bytes: activations through memory, and kernel launches.

Three styles. `ideal`: everything between operators stays on chip (nothing here is charged).
`kernel`: one fused kernel per operator reads its input and writes its output, attention keeps its
scores on chip. `eager`: every elementwise operation is a pass of its own and attention writes its
scores, as eager PyTorch runs a Hugging Face decoder: 48 kernels per layer (64 with query and key
norms) and 23 outside the layers. Activations are 16-bit; eager norms and softmax run in fp32.

The floor does not use these costs; the serial floor and the rows do.
"""

from __future__ import annotations

from typing import NamedTuple

from sol.physics.operators.linear import Linear
from sol.physics.operators.operator import ACT_BYTES, FREE, Cost
from sol.specs.feedforward import MoE
from sol.specs.model import LayerGroup
from sol.specs.parts import Count, Parts
from sol.specs.quantities import Array
from sol.specs.step import Fusion, Step

# A Hugging Face RMSNorm, pass by pass (read + written bytes per element): to fp32 2+4, square 4+4, mean 4, rsqrt –,
# scale 4+4, to 16 bits 4+2, times weight 2+2. Eight launches.
EAGER_NORM_BYTES, EAGER_NORM_KERNELS = 36.0, 8
EAGER_ADD_BYTES = 3 * ACT_BYTES  # a residual add reads two and writes one
# Scores, pass by pass: written 2, scaled 2+2, masked 2+2, softmax in fp32 2+4, back to 16 bits 4+2, read 2.
EAGER_SCORE_BYTES = 24.0
# Rotary, elements moved per rotated element: x·cos 2, negate half 1, concatenate 2, ·sin 2, add 3.
EAGER_ROPE_PASSES = 10


class AttentionCosts(NamedTuple):
    """Costs of rotary embedding with the cache write, and of the attention itself."""

    rope: Cost
    attention: Cost


def embedding(style: Fusion, hidden: int, tokens: Array) -> Cost:
    """The looked-up rows written; eager also prepares positions, rotary tables and the mask."""
    if style == "ideal":
        return FREE
    return Cost(tokens * (hidden * ACT_BYTES), 1 if style == "kernel" else 14)


def linear(style: Fusion, x: Linear, tokens: Array) -> Cost:
    """Matrices read their input and write their output: once for all of an operator, or in eager each on its own."""
    if style == "ideal":
        return FREE
    if style == "kernel":
        return Cost(tokens * ((x.inputs + x.outputs) * ACT_BYTES), 1)
    return Cost(tokens * (x.unfused_width * ACT_BYTES), len(x.matrices))


def attention(
    style: Fusion, heads: Count, q: Count, kv: Count, out: Count, grouped: Count, step: Step, tokens: Array
) -> AttentionCosts:  # fmt: skip
    """Attention of widths q, kv (cached) and out [1]; eager splits q, k and v, copies the cache and spells out the scores."""
    if style == "ideal":
        return AttentionCosts(FREE, FREE)
    if style == "kernel":
        return AttentionCosts(rope=Cost(tokens * ((2 * q + kv) * ACT_BYTES), 1), attention=Cost(tokens * ((q + out + kv) * ACT_BYTES), 1))
    held = step.past_tokens + step.new_tokens
    grown = (step.batch * (2 * kv * ACT_BYTES)) * held  # the cache is concatenated anew: read and written whole
    # K and V are repeated for every query head and read back; the cache's own read is compulsory and counted elsewhere.
    repeated = (step.batch * (2 * (q + out) * ACT_BYTES * grouped)) * held
    scores = (step.batch * (heads * EAGER_SCORE_BYTES)) * (step.new_tokens * held)
    rotated = tokens * ((q + kv * 0.5) * EAGER_ROPE_PASSES * ACT_BYTES)
    return AttentionCosts(rope=Cost(rotated + grown, 12), attention=Cost(repeated + scores + tokens * (2 * (q + out) * ACT_BYTES), 9))


def state(style: Fusion, width: Count, tokens: Array) -> Cost:
    """A recurrent mixer reads and writes what its projections made, in a kernel for the convolution and one for the scan.

    Eager counts the same two kernels; nobody runs eager's loop over tokens.
    """
    return FREE if style == "ideal" else Cost(tokens * (2 * width * ACT_BYTES), 2)


def activation(style: Fusion, ffn: Count, gated: bool, tokens: Array) -> Cost:
    """The activation of a feed-forward block; eager runs the product with the other branch after it."""
    if style == "ideal":
        return FREE
    if style == "kernel":
        return Cost(tokens * (((3 if gated else 2) * ffn) * ACT_BYTES), 1)
    passes = 5 if gated else 2  # silu reads and writes f; the product reads two and writes one
    return Cost(tokens * (passes * ffn * ACT_BYTES), 2 if gated else 1)


def router(style: Fusion, block: MoE | Parts, hidden: int, tokens: Array) -> Cost:
    """Router logits; eager adds softmax, choice and normalisation as passes of their own."""
    if style == "ideal":
        return FREE
    passes = 1 if style == "kernel" else 4
    return Cost(tokens * ((hidden + passes * block.experts) * ACT_BYTES), passes)


def experts(style: Fusion, block: MoE | Parts, width: Count, tokens: Array) -> Cost:
    """The tokens' copies through the matrices and the activation of their experts; `width` is what experts read and write."""
    if style == "ideal":
        return FREE
    k, f, wide = block.experts_per_token, block.expert_ffn, block.wide
    through = width + k * (wide + (wide + f) + f) + k * width + k * width + width  # gemm, activation, gemm, combine
    if style == "kernel":
        return Cost(tokens * (through * ACT_BYTES), 4)
    # Eager loops over the experts: gather, the matrices, activation, product, weighting, scatter for each of the E.
    spread = through + k * (3 * width + 2 * f)
    return Cost(tokens * (spread * ACT_BYTES), (8 if block.gated else 6) * block.experts)


def norms(style: Fusion, group: LayerGroup | Parts, hidden: int, tokens: Array) -> Cost:
    """A layer's norms with their residual adds; query and key norms where the model has them."""
    if style == "ideal":
        return FREE
    count, adds = group.norm_count, len(group.blocks)
    normed = [b.normed_width for b in group.blocks if b.normed_width is not None]
    width = sum(normed)
    if style == "kernel":
        return Cost(tokens * ((count * 4 * hidden + 2 * width) * ACT_BYTES), count + len(normed))
    elements = count * hidden + width
    launches = (count + 2 * len(normed)) * EAGER_NORM_KERNELS + adds
    return Cost(tokens * (elements * EAGER_NORM_BYTES + adds * hidden * EAGER_ADD_BYTES), launches)


def final_norm(style: Fusion, hidden: int, tokens: Array) -> Cost:
    """The norm before the head."""
    if style == "ideal":
        return FREE
    if style == "kernel":
        return Cost(tokens * (2 * hidden * ACT_BYTES), 1)
    return Cost(tokens * (hidden * EAGER_NORM_BYTES), EAGER_NORM_KERNELS)


def lm_head(style: Fusion, vocab: Count, hidden: int, rows: Array) -> Cost:
    """Hidden rows read, logits written."""
    return FREE if style == "ideal" else Cost(rows * ((hidden + vocab) * ACT_BYTES), 1)
