"""How many bytes the KV cache needs: piecewise affine in the context, layer by layer.

This is the cache that is *needed*; what an engine reserves, and what one step reads, differ.
"""

from __future__ import annotations

import numpy as np

from sol.specs.formats import NumberFormat
from sol.specs.model import Model
from sol.specs.step import Array


def kv_bytes(model: Model, ctx: Array, cache: NumberFormat) -> Array:
    """Bytes of KV cache of one sequence of `ctx` tokens [B]: Σ over layers of min(ctx, W)·k·(dk+dv)·bytes.

    Llama-3-70B at 16 bits holds 327,680 B per token, 40 GiB at 131,072 tokens.
    """
    total = 0.0 * ctx
    for group in model.groups:
        att = group.attention
        kept = ctx if att.window is None else np.minimum(ctx, float(att.window))
        total = total + kept * (group.count * att.kv_width * cache.bytes_per_weight)
    return total


def max_ctx(model: Model, budget_bytes: Array, cache: NumberFormat) -> Array:
    """The longest context whose cache fits `budget_bytes` per sequence [token]: the inverse of `kv_bytes`.

    Whole tokens; infinite where every layer has a window and all of them fit.
    """
    widths = [(g.attention.window, g.count * g.attention.kv_width * cache.bytes_per_weight) for g in model.groups]
    slope = sum(width for _, width in widths)
    tokens, left, start = 0.0 * budget_bytes, np.maximum(budget_bytes, 0.0), 0.0
    for window in [*sorted({w for w, _ in widths if w is not None}), None]:
        if slope > 0:
            length = np.inf if window is None else window - start
            grown = np.minimum(left / slope, length)
            tokens, left = tokens + grown, np.where(grown < length, 0.0, left - grown * slope)
        elif window is None:
            tokens = np.where(left >= 0.0, np.where(tokens >= start, np.inf, tokens), tokens)
        if window is not None:
            slope -= sum(width for w, width in widths if w == window)
            start = float(window)
    whole: Array = np.floor(tokens)
    fits = kv_bytes(model, np.where(np.isfinite(whole), whole + 1.0, 0.0), cache) <= budget_bytes  # a rounding may be one short
    return np.where(np.isfinite(whole) & fits, whole + 1.0, whole)
