"""A number format: how a tensor is stored, which tensors it covers, and the format of its matrix products.

Storage and compute differ: 4-bit weights multiplied in 16 bits move a quarter of the bytes, but are no faster once
compute-bound. A mix (GGUF's Q4_K_M) stores different tensors, and different layers of one tensor, in different
formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sol.frozen import FrozenMap
from sol.specs.record import HandMade, Record, Source

TensorClass = Literal[
    "q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "experts_up", "experts_down",
    "router", "norm", "bias", "embedding", "lm_head",
]  # fmt: skip
StoredPart = Literal[TensorClass, "mtp", "tower"]
"""A tensor class, or what a step does not read: the layers for multi-token prediction, a vision or audio tower."""
Covered = Literal["linear", "experts", StoredPart]
LayerKind = Literal["default", "more_bits", "first_eighth", "eight_experts", "eighty_layers"]
FAMILY: Mapping[str, str] = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"), "linear"),
    **dict.fromkeys(("experts_up", "experts_down"), "experts"),
}
"""The family that covers a tensor class if the class itself is not named."""


Bits = Annotated[float, Field(gt=0, le=2**20, strict=True)]
"""Bits per weight, with scales if they are included; no format comes near the limit."""


class Choice(Record):
    """Which format one tensor class of a mix takes, layer by layer.

    `more_bits` in the first and last eighth of the layers and in every third between; `first_eighth`
    in the first eighth; `eight_experts` in a model of exactly eight experts; `eighty_layers` replaces
    the default in one of eighty layers.
    """

    default: Any
    more_bits: Any = None
    first_eighth: Any = None
    eight_experts: Any = None
    eighty_layers: Any = None

    def __repr__(self) -> str:
        named = {k: getattr(self, k) for k in ("default", "more_bits", "first_eighth", "eight_experts", "eighty_layers")}
        return ", ".join(f"{f.id}" + ("" if k == "default" else f" ({k.replace('_', ' ')})") for k, f in named.items() if f is not None)

    def formats(self) -> tuple[Any, ...]:
        """Every format it may choose."""
        return (self.default, self.more_bits, self.first_eighth, self.eight_experts, self.eighty_layers)

    def layers_of(self, layers: int, experts: int) -> list[NumberFormat]:
        """The format of each layer."""
        if self.eight_experts is not None and experts == 8:
            return [self.eight_experts] * layers
        default = self.eighty_layers if self.eighty_layers is not None and layers == 80 else self.default
        chosen = [default] * layers
        for i in range(layers):
            eighth = layers // 8
            if self.first_eighth is not None and i < eighth:
                chosen[i] = self.first_eighth
            if self.more_bits is not None and (i < eighth or i >= 7 * layers // 8 or (i - eighth) % 3 == 2):
                chosen[i] = self.more_bits
        return chosen


class NumberFormat(HandMade):
    """One storage format.

    `bits` per element, plus `scale_bits` and `zero_bits` for every `group` elements of a row. `covers`
    are the tensor classes (or the families "linear" and "experts") stored so; the others keep the
    model's 16-bit format. `compute` is the format whose rate its matrix products run at ("16-bit": the
    model's own), `otherwise` the one where the device has no unit for it. `cache`: a KV cache may be
    stored so. `fallback`: the format of rows that are not whole groups. `mix`: formats by tensor class.
    `class_bits`: bits per element of each part, scales included, as the headers of a checkpoint give
    them; where there are any they stand for the group, its scales and the mix.

    One of your own, passed as `dtype`:

    >>> NumberFormat(id="w5", name="5-bit weights", bits=5, group=64, scale_bits=16, covers=("linear",),
    ...              compute="16-bit", source="my kernel").bits_per_weight
    5.25
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    bits: Bits
    group: int | None = Field(default=None, gt=0, le=2**40, strict=True)
    scale_bits: float = Field(default=0.0, ge=0, le=2**20, strict=True)
    zero_bits: float = Field(default=0.0, ge=0, le=2**20, strict=True)
    covers: tuple[Covered, ...] = ("linear", "experts")
    compute: str
    otherwise: str | None = None
    cache: bool = False
    fallback: Any = None  # any: a `NumberFormat`, which is checked below
    mix: Mapping[Covered, Choice] = Field(default_factory=FrozenMap)
    class_bits: Mapping[StoredPart, Bits] = Field(default_factory=FrozenMap)
    source: Source
    note: str = ""

    def __init__(self, *, source: Source | str | None = None, **fields: Any) -> None:  # any: as in `HandMade`
        super().__init__(source=Source(title=source, kind="user") if isinstance(source, str) and source.strip() else source, **fields)

    @model_validator(mode="after")
    def _hangs_together(self) -> NumberFormat:
        for part in (self.fallback, *(f for choice in self.mix.values() for f in choice.formats())):
            if part is not None and not isinstance(part, NumberFormat):
                raise ValueError(f"fallback and mix hold NumberFormat records, not {part!r}")
        if (self.scale_bits or self.zero_bits) and self.group is None:
            raise ValueError("scale_bits and zero_bits need the group they are for")
        if self.class_bits and set(self.class_bits) != set(self.covers):
            raise ValueError(f"class_bits says the bits of {', '.join(self.class_bits)}, covers names {', '.join(self.covers)}")
        return self

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per element, scales and zeros included [bit]; for a mix those of its main part, for a checkpoint the average."""
        if self.group is None:
            return self.bits
        return self.bits + (self.scale_bits + self.zero_bits) / self.group

    @property
    def bytes_per_weight(self) -> float:
        """Stored bytes per element, scales and zeros included [B]."""
        return self.bits_per_weight / 8

    def covering(self, tensor: str) -> bool:
        """Whether a tensor class is stored in this format."""
        return tensor in self.covers or FAMILY.get(tensor, "") in self.covers

    def narrows(self, tensor: str) -> bool:
        """Whether the products of a tensor class run at this format's rate: it is covered, and not stored in 16 bits or more."""
        return self.covering(tensor) and (not self.class_bits or self.class_bits[tensor] < 16)  # type: ignore[index]  # as below

    def fitted(self, columns: int) -> NumberFormat:
        """This format, or its fallback if a row of `columns` elements is not a whole number of groups."""
        whole = self.fallback is None or self.group is None or columns % self.group == 0
        fallback: NumberFormat = self.fallback
        return self if whole else fallback

    @lru_cache(maxsize=4096)  # noqa: B019  # formats are few and live as long as the process
    def bytes_of(self, tensor: str, columns: int, layers: int, experts: int) -> float:
        """Stored bytes per element of a part with rows of `columns`, on average over the layers [B]."""
        if self.class_bits:
            return self.class_bits[tensor] / 8  # type: ignore[index]  # plain strings
        choice = self.mix.get(tensor) or self.mix.get(FAMILY.get(tensor, ""))  # type: ignore[call-overload]  # plain strings
        if choice is None:
            return self.fitted(columns).bytes_per_weight
        once = 1 if tensor in ("embedding", "lm_head") else layers
        total: float = sum(f.fitted(columns).bytes_per_weight for f in choice.layers_of(layers, experts)[:once])
        return total / once

    def __repr__(self) -> str:
        return f"<NumberFormat {self.id}: {self.bits_per_weight:g} bits per weight>"
