"""Which algorithm of an all-reduce an engine runs, as data: its library's own kernels by size and ranks, and a library for the rest.

`Library` is what estimates read; `LibraryRecord` is the same as a table of `hardware_db/collectives/`, each number with its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from sol.frozen import FrozenMap
from sol.specs.record import Cites, Positive, Quantity, Record

Exchange = Literal["", "one_kernel", "barrier_kernel"]
"""How kernels that read their peers' memory wait for them: by flags sent with the data, or at a barrier before and after it."""


class Library(Record):
    """How an engine chooses an all-reduce, with the source of each number in `cites`.

    Fields: `engines` that do so; `exchange` of its own kernels, "" for none; `fastest`: it takes its one-shot kernel or NCCL, whichever
    is faster; `ranks` its kernels are made for; by ranks, up to that many, `max_bytes` from which NCCL is taken and `one_shot_bytes`
    from which two-shot kernels are (one-shot at any size where nothing is said) [B]; by link and ranks `in_switch_bytes` and
    `in_switch_max_bytes`, between which the switch adds [B]; `pairs_over_host`: two devices without a link of their own use the
    kernels too, if they reach each other's memory.
    """

    id: str
    name: str
    engines: tuple[str, ...]
    exchange: Exchange = ""
    fastest: bool = False
    ranks: tuple[int, ...] = ()
    max_bytes: Mapping[str, Positive] = Field(default_factory=FrozenMap)
    one_shot_bytes: Mapping[str, Positive] = Field(default_factory=FrozenMap)
    in_switch_bytes: Mapping[str, Positive] = Field(default_factory=FrozenMap)
    in_switch_max_bytes: Mapping[str, Positive] = Field(default_factory=FrozenMap)
    pairs_over_host: bool = False
    note: str = ""
    cites: Cites = Field(default_factory=FrozenMap)


class LibraryRecord(Record):
    """A library as a TOML table of `hardware_db/collectives/`: every number a `Quantity` with its source; `source` says the rest."""

    name: str
    source: str
    engines: tuple[str, ...]
    exchange: Exchange = ""
    fastest: bool = False
    ranks: tuple[int, ...] = ()
    max_bytes: dict[str, Quantity] = Field(default_factory=dict)
    one_shot_bytes: dict[str, Quantity] = Field(default_factory=dict)
    in_switch_bytes: dict[str, Quantity] = Field(default_factory=dict)
    in_switch_max_bytes: dict[str, Quantity] = Field(default_factory=dict)
    pairs_over_host: bool = False
    note: str = ""

    def quantities(self) -> dict[str, Quantity]:
        """Every number of this record by dotted field name."""
        return {f"{field}.{k}": q for field in TABLES for k, q in getattr(self, field).items()}


TABLES = ("max_bytes", "one_shot_bytes", "in_switch_bytes", "in_switch_max_bytes")
