"""What the prompts of an engine's servers take on a device, as their times to the first token say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from sol.frozen import FrozenMap
from sol.specs.calibration import Calibration, Figure, Rate
from sol.specs.record import Record, Source


class PromptTimes(Record):
    """Figures added to a calibration of steps: `first_token_s` until the client has its first token, outside any step [s], and the
    fractions of the peak FLOPs that experts reach in prompts, `mfu` by their rate's name [0..1]; `n` rows of `models`.
    """

    first_token_s: Figure
    mfu: Mapping[str, Figure] = Field(default_factory=FrozenMap)
    n: Annotated[int, Field(ge=0, strict=True)] = 0
    models: tuple[str, ...] = ()
    source: str | None = None
    note: str = ""

    def added_to(self, c: Calibration, sources: Mapping[str, Source]) -> Calibration:
        """The calibration with these figures."""
        rates = {**c.rates, **{name: c.rates.get(name, Rate()).model_copy(update={"mfu": figure}) for name, figure in self.mfu.items()}}
        cited = {} if self.source is None else {self.source: sources[self.source]}
        return c.model_copy(update={"first_token_s": self.first_token_s, "rates": rates, "sources": {**c.sources, **cited}})
