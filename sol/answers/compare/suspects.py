"""What a suspect is, and what the searches for suspects share.

A suspect is one change to the inputs (another format, another device, a slow host) that would make the measured
which the measured time would be an ordinary one. Only those that could be true are listed: what they claim fits
in memory, changes the limit, and leaves the measured time at an ordinary share of the new one. Their order is a
the right one when its numbers fit. It is not a probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sol.answers.floor.result import Floor
from sol.answers.question.ask import Question
from sol.frozen import FrozenMap
from sol.specs.formats import NumberFormat
from sol.units import show_seconds, significant

MOST_REACHED = 0.92
"""No published step of the database is nearer to light than this [1]: calm's 91.7 % on an RTX 4090."""
ORDINARY = (0.6, MOST_REACHED)
"""A time that is this much of light is an ordinary one [1]: from healthy to the nearest to light that was published."""
POSSIBLE = (0.3, MOST_REACHED)
"""Where a time is faster than what was said allows, one at this share of what would allow it needs no further excuse [1]."""
ROUNDING = 1e-9
"""Two times this near are the same [1]."""
CHANGED = 0.01
"""How much a suspect must change the limit, or the measured time, to be one [natural log]."""
OUT_OF_MEMORY = ("memory", "offload")
"""What may be at fault although it does not fit; anything else must fit."""
SHOWN = 5
STRONG, WEAK = 0.8, 0.4
"""If a suspect of the first weight fits, suspects of the second weight are left out."""
Told = Literal["time", "rate", "rate/user"]
"""How the measured time was told: as a time, as a rate of all sequences, or as the rate of one."""


@dataclass(frozen=True)
class Suspect:
    """One possible cause: `kind` for programs, `title`, the `evidence` with its numbers, what it `takes`, and the `action`.

    `weight` [0..1] orders suspects. `limit_s` is the least time of a step [s] if it were so, None where what was said contradicts
    itself and nothing can be put in its place; `read_s` the measured time [s] as it is read then, another one only where its unit
    is suspected; `change` the options of `floor` that say so, where there are any.
    """

    kind: str
    title: str
    evidence: str
    takes: str
    action: str
    weight: float
    limit_s: float | None
    read_s: float
    change: Mapping[str, Any] = field(default_factory=FrozenMap)

    def __post_init__(self) -> None:
        object.__setattr__(self, "change", FrozenMap(self.change))

    @property
    def share(self) -> float | None:
        """The limit over the measured time, as the suspect has them [1]."""
        return None if self.limit_s is None else self.limit_s / self.read_s

    def to_dict(self) -> dict[str, Any]:
        """The suspect as plain JSON values."""
        plain = {k: getattr(self, k) for k in ("kind", "title", "evidence", "takes", "action", "weight", "limit_s", "read_s")}
        return plain | {"change": {k: v.id if isinstance(v, NumberFormat) else v for k, v in self.change.items()}}


@dataclass(frozen=True, eq=False)
class Case:
    """The input of the searches: the floor, the measured and the optimistic time [s], and what is known of the engine.

    `kind` of engine: "eager", "graph", "fused" or None where none was named. `unsure_s` is the least time [s] with the largest
    last-level cache known, None where the device's own is known or was not asked for.
    """

    floor: Floor
    measured_s: float
    optimistic_s: float
    kind: str | None
    ctx_known: bool
    told: Told = "time"
    unsure_s: float | None = None

    @property
    def question(self) -> Question:
        """What was asked."""
        return self.floor.question

    @property
    def fraction(self) -> float:
        """Floor over measured [1]."""
        return float(self.floor.latency_s) / self.measured_s

    @property
    def batch(self) -> float:
        """Sequences of the step [1]."""
        return self.question.step.batch.item()

    @property
    def layers(self) -> int:
        """Layers of the model [1]."""
        return self.question.model.layers

    @property
    def band(self) -> tuple[float, float]:
        """The shares of light at which a time needs no further excuse [1]."""
        return POSSIBLE if self.fraction > MOST_REACHED else ORDINARY

    def share(self, other: Floor | None) -> float:
        """Another floor over the measured time [1]; 0 where there is none, or where it does not fit in its memory."""
        return 0.0 if other is None or other.fits is False else float(other.latency_s) / self.measured_s

    def explains(self, share: float) -> bool:
        """Whether a limit at this share of the measured time explains it: not above it, and not far below."""
        return self.band[0] <= share <= 1.0 + ROUNDING

    def well(self, share: float) -> bool:
        """The same, with no time nearer to light than any that was published."""
        return self.band[0] <= share <= MOST_REACHED

    def plausible(self, seconds: float) -> bool:
        """Whether this would be a time somebody could have measured: no faster than light, and above 2 % of it."""
        return bool(self.floor.latency_s <= seconds <= self.floor.latency_s / 0.02)

    def astray(self, share: float) -> float:
        """How far a share of light lies outside the band [natural log]; 0 inside. Of a time that is too fast only the upper end counts."""
        over = max(math.log(share / self.band[1]), 0.0) if share > 0.0 else 0.0
        if self.fraction > MOST_REACHED:
            return over
        return max(over, math.log(self.band[0] / share)) if share > 0.0 else math.inf

    def weighed(self, s: Suspect) -> Suspect | None:
        """The suspect as it counts: less where it leaves the time as near to light as nobody came, None where it explains nothing."""
        if self.floor.fits is False and not s.change and s.kind not in OUT_OF_MEMORY:
            return None
        if s.share is None:
            return s
        same = abs(math.log(s.share / self.fraction)) < CHANGED if s.share > 0.0 else False
        if same or s.share > 1.0 + ROUNDING or self.astray(s.share) >= self.astray(self.fraction):
            return None
        return s if s.share <= MOST_REACHED else replace(s, weight=0.9 * WEAK * s.weight)


Finder = Callable[[Case], Sequence[Suspect]]


def unit_weight(share: float) -> float:
    """The weight of a wrong unit [0.8..1]: higher if the time in the right unit would be closer to the floor."""
    return 0.8 + 0.2 * min(1.0, share)


def percent(share: float) -> str:
    """A share as text: "25 %", "0.14 %", "4,000 %"."""
    return f"{100 * share:,.0f} %" if share >= 0.02 else f"{significant(100 * share, 2)} %"


def at_light(seconds: float) -> str:
    """A time at the floor, as text."""
    return f"{show_seconds(seconds, 4)} at the floor"
