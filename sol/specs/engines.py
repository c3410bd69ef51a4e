"""The memory use of an inference engine: the share of a device it takes, and the blocks of its cache.

Numbers are the defaults of one version, read in its source.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sol.frozen import FrozenMap
from sol.specs.record import Cites, Positive, Quantity, Record

Budget = Literal["total", "static", "free", "asked"]
"""What the fraction is a fraction of: all the device's memory, activations inside (`total`) or outside
(`static`) that share; what weights and activations leave `free`; or no fraction, only what is `asked`."""


class Engine(Record):
    """An engine at one version, with the source of each number in `cites`.

    Fields [unit]: `memory_fraction` [0..1] of what `budget` says, None where there is no fixed default;
    `block_tokens` tokens of cache allocated at a time [token].
    """

    id: str
    name: str
    version: str
    budget: Budget
    block_tokens: Positive
    memory_fraction: Positive | None = None
    aliases: tuple[str, ...] = ()
    note: str = ""
    cites: Cites = Field(default_factory=FrozenMap)

    def __repr__(self) -> str:
        return f"<Engine {self.id}: {self.name} {self.version}>"


class EngineRecord(Record):
    """An engine as a TOML table of `hardware_db/engines/`: every number a `Quantity` with its source."""

    name: str
    version: str
    budget: Budget
    aliases: tuple[str, ...] = ()
    memory_fraction: Quantity | None = None
    block_tokens: Quantity
    note: str = ""

    def quantities(self) -> dict[str, Quantity]:
        """Every number of this record by field name."""
        return {k: v for k in type(self).model_fields if isinstance(v := getattr(self, k), Quantity)}
