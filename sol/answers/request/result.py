"""A request as a frozen result: bounds, expected times with their intervals, and where the time goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import numpy as np

from sol.answers.question.ask import Question
from sol.answers.report.citations import Bibliography, citations, cite_row
from sol.answers.report.shown import Shown
from sol.frozen import Frozen
from sol.specs.assumption import Assumption
from sol.specs.calibration import Calibration
from sol.specs.quantities import Amount, Flag
from sol.specs.record import Cite
from sol.tabular import Table, joined
from sol.units import show_count, show_seconds


@dataclass(frozen=True, eq=False)
class Expected(Frozen, Generic[Amount]):
    """The expected times of a request with an engine [s], each with its 95 % interval (None where the calibration has none).

    `max_batch_tokens` are those of its steps [token]; the first token includes what the engine spends outside any step.
    """

    calibration: Calibration
    question: Question
    max_batch_tokens: Amount
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    ttft_s: Amount
    low_ttft_s: Amount | None
    high_ttft_s: Amount | None
    tpot_s: Amount
    low_tpot_s: Amount | None
    high_tpot_s: Amount | None
    e2e_s: Amount
    low_e2e_s: Amount | None
    high_e2e_s: Amount | None


@dataclass(frozen=True, eq=False, repr=False)
class Request(Shown, Frozen, Generic[Amount, Flag]):
    """A request, or several alike that start together. Scalars in, floats out; arrays in, read-only arrays out.

    Fields [unit]: the bounds `ttft_s` to the first token, `tpot_s` per output token after it (None with one output token, NaN in a
    sweep), `e2e_s` of all [s]; `fits` the device at the last token; `expected` the same times with an engine, or None for the
    `expected_reason`; `phases` the shares of attention, feed-forward and the rest in prefill and decode.
    """

    question: Question
    prompt_tokens: Amount
    cached_tokens: Amount
    output_tokens: Amount
    batch: Amount
    max_batch_tokens: float | None
    ttft_s: Amount
    tpot_s: Amount | None
    e2e_s: Amount
    fits: Flag | None
    is_bound: Flag
    expected: Expected[Amount] | None
    expected_reason: str
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]
    shown_by: ClassVar[str] = "sol.answers.request.show"

    @property
    def is_point(self) -> bool:
        """Whether this is one point rather than a sweep."""
        return not isinstance(self.e2e_s, np.ndarray)

    @property
    def devices(self) -> int:
        """Devices that serve the request."""
        return int(self.question.split.devices)

    @property
    def tokens_per_s_per_user(self) -> Amount | None:
        """The most output tokens per second after the first, of one request [token/s]."""
        r: Request = self
        made: Amount | None = None if r.tpot_s is None else 1.0 / r.tpot_s
        return made

    @property
    def tokens_per_s_per_gpu(self) -> Amount:
        """The most output tokens per second of the whole request, prompt included, of all requests for each device [token/s]."""
        r: Request = self
        made: Amount = r.batch * r.output_tokens / r.e2e_s / self.devices
        return made

    @property
    def phases(self) -> Table:
        """Prefill and decode by part: seconds and share of the phase, of what is expected, or of the serial floor where nothing is."""
        made: Table = self.drawn("phases")
        return made

    def sources(self) -> Bibliography:
        """The bibliography: the bound's, and the calibration's."""
        own = citations(self.question)
        if self.expected is None:
            return own
        c = self.expected.calibration
        rows = [cite_row(f"calibration {c.id} {k}", Cite(value=c.engine, source=s)) for k, s in c.sources.items()]
        return Bibliography(columns=own.columns, rows=(*own.rows, *rows), title=self.heading(), footer=own.footer)

    def heading(self) -> str:
        """What was asked, on one line."""
        q, several = self.question, self.question.split.times
        batch, cached = np.max(self.batch), np.max(self.cached_tokens)
        return joined(
            (f"{q.model.id} on {several}{q.gpu.id}", str(q.split) if several else "", q.storage.weights.id,
             f"kv {q.storage.cache.id}" if q.storage.cache is not q.storage.base else "", f"{_span(self.prompt_tokens)} in",
             f"{_span(self.cached_tokens)} of them cached" if cached else "", f"{_span(self.output_tokens)} out",
             f"{_span(self.batch)} at once" if batch > 1 else "", "" if self.expected is None else self.expected.calibration.engine)
        )  # fmt: skip

    def __repr__(self) -> str:
        if not self.is_point:
            return f"<Request {self.heading()}: {np.size(self.e2e_s)} points>"
        each = "" if self.tpot_s is None else f", {show_seconds(float(self.tpot_s), 4)}/token"
        return f"<Request {self.heading()}: at least {show_seconds(float(self.ttft_s), 4)} to the first token{each}>"


def _span(values: Any) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return show_count(low) if low == high else f"{show_count(low)}…{show_count(high)}"
