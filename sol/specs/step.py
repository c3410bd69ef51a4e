"""One forward pass: how many sequences, new tokens and cached tokens, and which logits are wanted.

Prefill is (batch, prompt, 0), decode (batch, 1, ctx), a chunk (batch, chunk, cached), verifying
drafts (batch, 1 + drafts, ctx): one kind of step serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sol.specs.formats import NumberFormat

Array = NDArray[np.float64]
Logits = Literal["last", "all", "none"]
Routing = Literal["min", "expected", "max"]
Fusion = Literal["ideal", "kernel", "eager"]
Phase = Literal["decode", "prefill"]


@dataclass(frozen=True, eq=False)
class Step:
    """Sequences [1], new tokens per sequence [1] and cached tokens per sequence [1], arrays that broadcast."""

    batch: Array
    new_tokens: Array
    past_tokens: Array
    logits: Logits


@dataclass(frozen=True, eq=False)
class Storage:
    """How the tensors are stored: the weights' format, the 16-bit format of the rest, the KV cache's."""

    weights: NumberFormat
    base: NumberFormat
    cache: NumberFormat

    def of(self, tensor_class: str) -> NumberFormat:
        """The format a tensor class is stored in."""
        return self.weights if tensor_class in self.weights.covers else self.base

    def compute(self, tensor_class: str) -> str:
        """The format whose rate a tensor class's matrix products run at."""
        compute = self.of(tensor_class).compute
        return self.base.compute if compute == "16-bit" else compute
