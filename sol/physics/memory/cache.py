"""Bytes of the KV cache, piecewise affine in the context, layer by layer, and of recurrent states.

This is the cache that is *needed*. What an engine reserves (`reservation`) and what a step reads (`cache_traffic`) differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sol.physics.operators.attention import tokens_held
from sol.physics.operators.mixers import span_bytes, state_bytes_per_sequence
from sol.physics.operators.operator import Amount, smaller
from sol.specs.formats import NumberFormat
from sol.specs.model import ModelPart
from sol.specs.parts import Count
from sol.specs.quantities import Array
from sol.specs.step import Storage


def _growing(model: ModelPart, cache: NumberFormat) -> Iterator[tuple[int | None, Amount]]:
    """The most tokens each kind of layer keeps (None for all), and the bytes that one token takes in all of them."""
    for group in model.groups:
        for block in group.blocks:
            for span in block.cache_spans:
                yield span.tokens, group.count * span_bytes(span, cache)


def kv_bytes(model: ModelPart, ctx: Array, cache: NumberFormat, cp: Count = 1) -> Array:
    """Bytes of KV cache of one sequence of `ctx` tokens [B]: Σ over layers of min(ctx, W)·k·(dk+dv)·bytes.

    If `cp` devices divide its tokens: the bytes of the most loaded device.

    A latent cache holds (r + rope) elements per token, and an index key where there is an indexer.
    Llama-3-70B at 16 bits holds 327,680 B per token, 40 GiB at 131,072 tokens.
    """
    total = 0.0 * ctx
    for span, each in _growing(model, cache):
        total = total + tokens_held(ctx if span is None else smaller(ctx, float(span)), cp) * each
    return total


def state_bytes(model: ModelPart, storage: Storage) -> Amount:
    """Bytes of the recurrent states and convolutions of one sequence, whatever its length [B]."""
    total: Amount = 0.0
    for group in model.groups:
        for block in group.blocks:
            if block.states:
                total = total + group.count * state_bytes_per_sequence(block, storage)
    return total


def max_ctx(model: ModelPart, budget_bytes: Array, cache: NumberFormat, cp: Count = 1) -> Array:
    """The longest context whose cache fits `budget_bytes` per sequence and device [token]: the inverse of `kv_bytes`.

    Whole tokens; infinite where no layer's cache grows without bound and all of it fits.
    """
    widths = list(_growing(model, cache))
    slope = sum(width for _, width in widths)
    tokens, left = 0.0 * budget_bytes, np.maximum(budget_bytes, 0.0)
    start: Amount = 0.0
    windows: list[Any] = sorted({w for w, _ in widths if w is not None})
    for span in [*windows, None]:
        if np.any(slope > 0):  # of many splits all or none: each device has some of every layer
            length = np.inf if span is None else tokens_held(float(span), cp) - start
            grown = np.minimum(left / slope, length)
            tokens, left = tokens + grown, np.where(grown < length, 0.0, left - grown * slope)
        elif span is None:
            tokens = np.where(left >= 0.0, np.where(tokens >= start, np.inf, tokens), tokens)
        if span is not None:
            slope = slope - sum(width for w, width in widths if w == span)
            start = tokens_held(float(span), cp)
    whole: Array = np.floor(tokens) * cp
    fits = kv_bytes(model, np.where(np.isfinite(whole), whole + cp, 0.0), cache, cp) <= budget_bytes  # a rounding may be one short
    return np.where(np.isfinite(whole) & fits, whole + cp, whole)
