"""A link between devices, or between boxes, as data: one direction per device, what it reaches, how long a message takes to start.

`LinkRecord` in `hardware` is a device's own link; this is the kind of link, with the abilities of its switch.
`Topology` holds the links between some ranks: a pair uses the innermost link that joins both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from sol.frozen import FrozenMap
from sol.specs.formula import arithmetic
from sol.specs.record import Cites, Positive, Quantity, Record

LinkKind = Literal["scale-up", "bridge", "host", "network"]
"""`bridge` joins a few cards that reach the others of their box over the host's link."""
Operation = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]
Latency = Literal[
    "ring_ll", "ring_ll_step", "ring", "ring_step", "tree_ll", "tree_ll_step", "tree", "tree_step", "nvls", "one_kernel", "hop",
    "barrier_kernel", "barrier_step", "multimem", "ring_piece", "nvls_piece",
]  # fmt: skip
"""`ring` once a collective, `ring_step` for each step of it; `_ll` of the low-latency protocol, half of whose bytes are flags;
`tree` alike, for each level of a tree; `nvls` a library's whole all-reduce in the switch; `one_kernel` one exchange of a kernel
that reads its peers' memory; `hop` one hop of a torus. `barrier_kernel` a kernel that reads its peers between two barriers, and
`barrier_step` what each rank adds to it where the result is exchanged too; `multimem` an engine's all-reduce in the switch; `ring_piece`
and `nvls_piece` one piece of a large message on its way through them."""
Reach = Literal["ring", "ring_pair", "nvls", "kernel", "pair", "multimem"]
"""What a library's ring and its all-reduce in the switch get of a link, `ring_pair` its ring of two ranks where that is not the same; a
kernel of an engine that reads its peers, and `pair` such a kernel of one peer where that is less; an engine's kernel in the switch."""


class LinkType(Record):
    """A kind of link in SI numbers, with the source of each in `cites`.

    Fields [unit]: `per_direction_bytes_per_s` one direction, one device, all its links [B/s];
    `pair_bytes_per_s` one direction between one pair of devices where that is less [B/s];
    `domain` devices joined at that speed; `switched` whether any pair has the full rate;
    `reduces_in_network` whether the switch adds, from `reduction_min_ranks` ranks on in the libraries read;
    `peer_access` whether devices reach each other's memory, where a source says so;
    `reached_bytes_per_s` what large collectives get of the rate [B/s], by class (estimates only);
    `low_latency_bytes_per_s` what all ports of a box together carry by the low-latency protocol [B/s] (estimates only);
    `alpha_s` latencies [s], by class (estimates only).
    """

    id: str
    name: str
    kind: LinkKind
    per_direction_bytes_per_s: Positive
    aliases: tuple[str, ...] = ()
    links_per_device: Positive | None = None
    pair_bytes_per_s: Positive | None = None
    domain: Positive | None = None
    switched: bool | None = None
    reduces_in_network: bool | None = None
    reduction_min_ranks: Positive | None = None
    peer_access: bool | None = None
    reached_bytes_per_s: Mapping[str, Positive] = Field(default_factory=FrozenMap)
    low_latency_bytes_per_s: Positive | None = None
    alpha_s: Mapping[str, Positive] = Field(default_factory=FrozenMap)
    note: str = ""
    cites: Cites = Field(default_factory=FrozenMap)

    @property
    def joins_pairs(self) -> bool:
        """Whether a pair of devices has a rate of its own below the device's: a mesh or a torus, known to join `domain` devices."""
        return self.pair_bytes_per_s is not None and self.domain is not None and not self.switched

    @property
    def is_full_mesh(self) -> bool:
        """Whether every pair of the domain is joined directly."""
        if self.pair_bytes_per_s is None or self.domain is None or self.switched:
            return False
        return self.pair_bytes_per_s * (self.domain - 1) <= self.per_direction_bytes_per_s * 1.001

    def __repr__(self) -> str:
        return f"<LinkType {self.id}: {self.per_direction_bytes_per_s / 1e9:g} GB/s in one direction>"


@dataclass(frozen=True, eq=False)
class Topology:
    """The links between ranks, innermost first; each joins `domain` devices, those inside the inner ones included.

    The outermost joins the rest; `joins` is the largest number of devices.
    """

    levels: tuple[LinkType, ...]

    @property
    def joins(self) -> float:
        """The most devices that these links join [1]; infinite across a network, or without a source."""
        return self.levels[-1].domain or math.inf

    def without_latency(self) -> Topology:
        """The same links for a floor: no latency, the full rate."""
        return Topology(tuple(link.model_copy(update=_ideal(link)) for link in self.levels))


def _ideal(link: LinkType) -> dict[str, Any]:
    return {"alpha_s": dict.fromkeys(link.alpha_s, 0.0), "reached_bytes_per_s": {}, "low_latency_bytes_per_s": None}


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
    peer_access: bool | None = None
    reached_bytes_per_s: dict[Reach, Quantity] = Field(default_factory=dict)
    low_latency_bytes_per_s: Quantity | None = None
    alpha_s: dict[Latency, Quantity] = Field(default_factory=dict)
    note: str = ""

    @model_validator(mode="after")
    def _numbers_hold_together(self) -> LinkTypeRecord:
        found = self.quantities()
        values = {name: q.value for name, q in found.items()}
        for name, q in found.items():
            if q.formula is not None and not math.isclose(arithmetic(q.formula, values), q.value, rel_tol=1e-9):
                raise ValueError(f"{name}: {q.formula} is {arithmetic(q.formula, values):g}, not {q.value:g}")
        for reach, q in self.reached_bytes_per_s.items():
            if q.value > self.per_direction_bytes_per_s.value:
                raise ValueError(f"reached_bytes_per_s.{reach}: more than the link's own rate")
        return self

    def quantities(self) -> dict[str, Quantity]:
        """Every number of this record by dotted field name."""
        found = {k: v for k in type(self).model_fields if isinstance(v := getattr(self, k), Quantity)}
        found |= {f"reached_bytes_per_s.{k}": q for k, q in self.reached_bytes_per_s.items()}
        return found | {f"alpha_s.{k}": q for k, q in self.alpha_s.items()}
