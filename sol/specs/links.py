"""A link between devices, or between boxes, as data: one direction per device, latencies by collective.

`LinkRecord` in `hardware` is a device's own link; this is the kind of link itself, with what a switch
can do and how long a message takes to start.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field, PositiveFloat

from sol.specs.record import Cites, Quantity, Record

LinkKind = Literal["scale-up", "host", "network"]
Collective = Literal[
    "all_reduce", "all_reduce_ring", "all_reduce_tree", "all_reduce_nvls", "all_reduce_custom",
    "all_gather", "reduce_scatter", "all_to_all", "send",
]  # fmt: skip


class LinkType(Record):
    """A kind of link in SI numbers, with the source of each in `cites`.

    Fields [unit]: `per_direction_bytes_per_s` one direction, one device, all its links [B/s];
    `pair_bytes_per_s` one direction between one pair of devices where that is less [B/s];
    `domain` devices joined at that speed; `switched` whether any pair has the full rate;
    `reduces_in_network` whether the switch adds, from `reduction_min_ranks` ranks;
    `alpha_s` the latency of a collective [s], by class.
    """

    id: str
    name: str
    kind: LinkKind
    per_direction_bytes_per_s: PositiveFloat
    aliases: tuple[str, ...] = ()
    links_per_device: PositiveFloat | None = None
    pair_bytes_per_s: PositiveFloat | None = None
    domain: PositiveFloat | None = None
    switched: bool | None = None
    reduces_in_network: bool | None = None
    reduction_min_ranks: PositiveFloat | None = None
    alpha_s: Mapping[str, PositiveFloat] = Field(default_factory=lambda: MappingProxyType({}))
    note: str = ""
    cites: Cites = Field(default_factory=lambda: MappingProxyType({}))

    def __repr__(self) -> str:
        return f"<LinkType {self.id}: {self.per_direction_bytes_per_s / 1e9:g} GB/s in one direction>"


class LinkTypeRecord(Record):
    """A kind of link as a TOML table of `hardware_db/links/`: every number a `Quantity` with its source."""

    name: str
    kind: LinkKind
    aliases: tuple[str, ...] = ()
    per_direction_bytes_per_s: Quantity
    links_per_device: Quantity | None = None
    pair_bytes_per_s: Quantity | None = None
    domain: Quantity | None = None
    switched: bool | None = None
    reduces_in_network: bool | None = None
    reduction_min_ranks: Quantity | None = None
    alpha_s: dict[Collective, Quantity] = Field(default_factory=dict)
    note: str = ""

    def quantities(self) -> dict[str, Quantity]:
        """Every number of this record by dotted field name."""
        found = {k: v for k in type(self).model_fields if isinstance(v := getattr(self, k), Quantity)}
        return found | {f"alpha_s.{k}": q for k, q in self.alpha_s.items()}
