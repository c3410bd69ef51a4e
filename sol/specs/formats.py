"""A number format: how a tensor is stored, which tensors it covers, and whose rate its GEMMs run at.

Storage and compute are different things: 4-bit weights multiplied in 16 bits move a quarter of the
bytes and gain nothing once compute-bound.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from sol.specs.record import Record, Source

TensorClass = Literal["linear", "experts", "router", "norm", "bias", "embedding", "lm_head"]


class NumberFormat(Record):
    """One storage format.

    `bits` per element, plus `scale_bits` and `zero_bits` for every `group` elements. `covers` are the
    tensor classes stored so; the others keep the model's 16-bit format. `compute` is the format whose
    rate its matrix products run at ("16-bit": the model's own 16-bit format). `cache` says whether a
    KV cache may be stored so.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    bits: PositiveFloat
    group: int | None = Field(default=None, gt=0)
    scale_bits: NonNegativeFloat = 0.0
    zero_bits: NonNegativeFloat = 0.0
    covers: tuple[TensorClass, ...]
    compute: str
    cache: bool = False
    source: Source
    note: str = ""

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per element, scales and zeros included [bit]."""
        if self.group is None:
            return self.bits
        return self.bits + (self.scale_bits + self.zero_bits) / self.group

    @property
    def bytes_per_weight(self) -> float:
        """Stored bytes per element, scales and zeros included [B]."""
        return self.bits_per_weight / 8

    def __repr__(self) -> str:
        return f"<NumberFormat {self.id}: {self.bits_per_weight:g} bits per weight>"
