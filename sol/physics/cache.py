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
