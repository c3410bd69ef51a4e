"""A device: its memory, its bandwidth, its compute rates.

`GPU` is the record in SI numbers that everything else computes with. `DeviceRecord` is the same device in a TOML
file, each number with its source. Rates are dense, with fp32 accumulation. Capacity is what the driver reports, if a
report was found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from sol.errors import InvalidInput
from sol.frozen import FrozenMap
from sol.specs.formula import arithmetic
from sol.specs.record import Cite, Cites, Evidence, HandMade, Positive, Quantity, Record, Source

ComputeFormat = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8", "int4"]
FlopRate = Annotated[float, Field(gt=0, lt=1e21, strict=True)]
Amount = Annotated[float, Field(gt=1e-3, lt=1e21, strict=True)]
"""A positive number in a sane range; whole numbers count as numbers, text and truth values do not."""


def _known(rates: Mapping[str, float]) -> Mapping[str, float]:
    for compute in rates:
        if compute not in get_args(ComputeFormat):
            raise ValueError(f"'{compute}' is not a compute format; known: {', '.join(get_args(ComputeFormat))}")
    return FrozenMap(rates)


FlopRates = Annotated[Mapping[str, FlopRate], AfterValidator(_known)]
DeviceKind = Literal["gpu", "soc", "cpu", "accelerator"]
DeviceId = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class Link(HandMade):
    """A link of one device, in one direction: how many devices it joins at that speed, and whether they reach each other's memory."""

    name: str
    per_direction_bytes_per_s: Positive
    domain: Annotated[int, Field(strict=True)] | None = None
    peer_access: bool | None = None


class GPU(HandMade):
    """A device (a GPU, an accelerator, a system on a chip or a CPU socket).

    Make one by hand with six fields; `source` says where its numbers were read:

    >>> mine = GPU(id="my-npu", name="My NPU", memory_bytes=16e9, memory_bytes_per_s=200e9,
    ...            flops_per_s={"bf16": 50e12}, source="NPU data sheet, rev 3, page 2")
    >>> mine.peak("bf16")
    50000000000000.0

    Fields [unit]: `memory_bytes` [B] capacity on the basis `capacity_basis` says; `memory_bytes_per_s`
    [B/s] peak bandwidth; `flops_per_s` [FLOP/s by format] dense peaks, fp32 accumulation;
    `ceiling_flops_per_s` [FLOP/s by format] where a source shows the part exceeds its listed peak,
    at its maximum clock for one; `lacks` formats the hardware has no unit for;
    `last_level_cache_bytes` [B]; `clock_hz` [Hz] the clock the peaks assume; `max_clock_hz` [Hz] the
    highest the device reports; `tdp_w` [W]; `cites` the source of each number, by field.

    Raises `InvalidInput` for a number that is missing, not positive or not finite.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*(@[a-z0-9-]+)?$")]
    name: str
    memory_bytes_per_s: Amount
    memory_bytes: Amount | None = None
    capacity_basis: Literal["driver", "marketed", "stated"] | None = None
    marketed_memory_bytes: Amount | None = None
    flops_per_s: FlopRates = Field(default_factory=FrozenMap)
    ceiling_flops_per_s: FlopRates = Field(default_factory=FrozenMap)
    lacks: frozenset[str] = frozenset()
    last_level_cache_bytes: Amount | None = None
    sm_count: Amount | None = None
    clock_hz: Amount | None = None
    max_clock_hz: Amount | None = None
    tdp_w: Amount | None = None
    unified_memory: bool = False
    link: Link | None = None
    pcie: Link | None = None
    vendor: str = ""
    kind: DeviceKind = "gpu"
    architecture: str = ""
    year: int | None = None
    line: str = ""
    aliases: tuple[str, ...] = ()
    power_modes: tuple[str, ...] = ()
    note: str = ""
    cites: Cites = Field(default_factory=FrozenMap)

    def __init__(self, *, source: str | None = None, **fields: Any) -> None:  # any: as in `HandMade`
        if not fields.get("cites") and not (isinstance(source, str) and source.strip()):
            raise InvalidInput(f"gpu {fields.get('id')!r}", "has numbers without a source", "give source='where you read them'")
        if not fields.get("cites") and fields.get("memory_bytes") is not None:
            fields.setdefault("capacity_basis", "stated")
        super().__init__(**fields)
        if not self.cites:
            object.__setattr__(self, "cites", FrozenMap(self._cite_all(Source(title=str(source), kind="user"))))

    @model_validator(mode="after")
    def _lacks_what_it_lacks(self) -> GPU:
        both = self.lacks & set(self.flops_per_s)
        if both:
            raise ValueError(f"{', '.join(sorted(both))} cannot be lacking and have a rate")
        return self

    def _cite_all(self, source: Source) -> dict[str, Cite]:
        """The same source for every number of a record made by hand."""
        cites: dict[str, Cite] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, float):
                cites[name] = Cite(value=value, source=source)
            elif name in ("flops_per_s", "ceiling_flops_per_s"):
                cites.update({f"{name}.{c}": Cite(value=rate, source=source) for c, rate in value.items()})
            elif isinstance(value, Link):
                cites[f"{name}.per_direction_bytes_per_s"] = Cite(value=value.per_direction_bytes_per_s, source=source)
        return cites

    def peak(self, compute: str) -> float | None:
        """Dense datasheet rate of a compute format [FLOP/s], or None without a source."""
        return self.flops_per_s.get(compute)

    def ceiling(self, compute: str) -> float | None:
        """The fastest sourced rate of a compute format [FLOP/s]; the peak if no other is known."""
        peak, ceiling = self.flops_per_s.get(compute), self.ceiling_flops_per_s.get(compute)
        return ceiling if peak is None else max(peak, ceiling or 0.0)

    def __repr__(self) -> str:
        return f"<GPU {self.id}: {self.name}>"


class LinkRecord(Record):
    """A link as a TOML table."""

    name: str
    per_direction_bytes_per_s: Quantity
    domain: Quantity | None = None
    peer_access: bool | None = None
    note: str | None = None


class Lacks(Record):
    """The formats a device has no unit for: a fact, with its source."""

    formats: tuple[ComputeFormat, ...]
    source: str
    evidence: Evidence
    note: str | None = None


class ModeRecord(Record):
    """What changes in one power mode of a device."""

    memory_bytes_per_s: Quantity | None = None
    sm_count: Quantity | None = None
    clock_hz: Quantity | None = None
    tdp_w: Quantity | None = None
    flops_per_s: dict[ComputeFormat, Quantity] = Field(default_factory=dict)
    note: str | None = None


class DeviceRecord(Record):
    """A device as a TOML table of `hardware_db/gpus/`: every number a `Quantity` with its source."""

    name: str
    vendor: str
    kind: DeviceKind
    architecture: str = ""
    year: int | None = Field(default=None, ge=1990, le=2100, strict=True)
    line: DeviceId | None = None
    aliases: tuple[DeviceId, ...] = ()
    unified_memory: bool = False
    memory_bytes: Quantity | None = None
    marketed_memory_bytes: Quantity | None = None
    memory_bytes_per_s: Quantity
    last_level_cache_bytes: Quantity | None = None
    sm_count: Quantity | None = None
    clock_hz: Quantity | None = None
    max_clock_hz: Quantity | None = None
    tdp_w: Quantity | None = None
    flops_per_s: dict[ComputeFormat, Quantity] = Field(default_factory=dict)
    ceiling_flops_per_s: dict[ComputeFormat, Quantity] = Field(default_factory=dict)
    lacks: Lacks | None = None
    link: LinkRecord | None = None
    pcie: LinkRecord | None = None
    power_modes: dict[str, ModeRecord] = Field(default_factory=dict)
    note: str = ""

    @model_validator(mode="after")
    def _derivations_hold(self) -> DeviceRecord:
        for record in (self, *(self.in_mode(mode) for mode in self.power_modes)):
            found = record.quantities()
            values = {name: q.value for name, q in found.items()}
            for name, q in found.items():
                if q.formula is not None and not math.isclose(arithmetic(q.formula, values), q.value, rel_tol=1e-9):
                    raise ValueError(f"{name}: {q.formula} is {arithmetic(q.formula, values):g}, not {q.value:g}")
        return self

    def in_mode(self, mode: str) -> DeviceRecord:
        """This device with one power mode's numbers in place of its own (rates merge by format)."""
        changes = self.power_modes[mode]
        update: dict[str, Any] = {
            key: getattr(changes, key)
            for key in ("memory_bytes_per_s", "sm_count", "clock_hz", "tdp_w")
            if getattr(changes, key) is not None
        }
        update["flops_per_s"] = dict(changes.flops_per_s)
        update |= {"ceiling_flops_per_s": {}, "max_clock_hz": None}  # the mode caps the clock
        return self.model_copy(update=update)

    def quantities(self) -> dict[str, Quantity]:
        """Every number of this record by dotted field name."""
        found: dict[str, Quantity] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            if isinstance(value, Quantity):
                found[key] = value
            elif key in ("flops_per_s", "ceiling_flops_per_s"):
                found.update({f"{key}.{fmt}": q for fmt, q in value.items()})
            elif isinstance(value, LinkRecord):
                found[f"{key}.per_direction_bytes_per_s"] = value.per_direction_bytes_per_s
                if value.domain is not None:
                    found[f"{key}.domain"] = value.domain
        return found
