"""What one token takes of a cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sol.answers.question.formats import CACHES, resolve_format
from sol.answers.question.records import load_model
from sol.errors import InvalidInput
from sol.physics.memory.cache import kv_bytes
from sol.specs.formats import NumberFormat
from sol.specs.model import Model


def kv_bytes_per_token(model: str | Path | Model, kv_dtype: str | NumberFormat | None = None) -> float:
    """Bytes one token adds to the cache of one sequence, below every window [B].

    >>> kv_bytes_per_token("qwen2.5-7b")
    57344.0
    """
    cache = resolve_format("bf16" if kv_dtype is None else kv_dtype)
    if not cache.cache:
        raise InvalidInput(f"kv_dtype={cache.id}", "is a weight format", CACHES)
    return kv_bytes(load_model(model), np.array([1.0]), cache).item()
