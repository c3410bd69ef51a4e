"""Bytes of cache that one decode step reads, which is neither what is needed nor what is reserved.

Taken from the operator rows, so that windows (at most W − 1 cached tokens are visible) and every other mechanism
read what the floor counts.
"""

from __future__ import annotations

import numpy as np

from sol.physics.operators.forward_pass import step_operators
from sol.physics.operators.operator import Amount
from sol.specs.model import ModelPart
from sol.specs.parts import Count
from sol.specs.quantities import Array
from sol.specs.step import Step, Storage


def kv_read_bytes(model: ModelPart, batch: Array, ctx: Array, storage: Storage, cp: Count = 1) -> Array:
    """Bytes of KV cache that one decode step of `batch` sequences at `ctx` cached tokens reads [B].

    Computed as a step without new tokens: it writes nothing, so all cache bytes of its rows are read.
    """
    rows = step_operators(model, Step(batch, np.array([0.0]), ctx, "none", cp=cp), storage, "min", "ideal")
    total: Amount = 0.0 * batch * ctx
    for op in rows:
        total = total + op.kv_bytes
    return np.asarray(total)
