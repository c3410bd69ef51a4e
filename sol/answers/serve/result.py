"""A server in steady state as a frozen result that carries its inputs and shows itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic

import numpy as np

from sol.answers.report.citations import Bibliography, cite_row
from sol.answers.report.shown import Shown
from sol.answers.serve.bound import ServingBound
from sol.answers.serve.server import Server
from sol.frozen import Frozen
from sol.specs.assumption import Assumption
from sol.specs.calibration import Calibration
from sol.specs.quantities import Amount, Flag, Label
from sol.specs.record import Cite
from sol.tabular import joined
from sol.units import show_count, significant


@dataclass(frozen=True, eq=False, repr=False)
class Serving(Shown, Frozen, Generic[Amount, Flag, Label]):
    """A server in steady state at a load, as expected with its engine. Scalars in, floats out; arrays in, read-only arrays out.

    Fields [unit]: `tpot_s` time per output token after the first, `ttft_s` time to the first token at the client, `e2e_s` of a whole
    request [s], each with its 95 % interval `low_…`, `high_…` (None where the calibration has none); `requests_per_s` [1/s] with its
    own; `running` requests in the engine and `waiting` ones without a slot [1]; `kv_used_share` of the pool [0..1]; `utilization` of the
    largest rate that the server carries, `most_requests_per_s` [1/s]; `overloaded` where more arrive than it carries: its latencies
    are NaN. `limited_by` what a higher load meets first. `bound` what no server of these devices exceeds. Beyond 90 % utilization an open
    loop's `ttft_s` and `e2e_s` are NaN: they depend on the arrivals, which `replay` takes.

    `load` names what was asked: "concurrency", "request_rate" or "limits"; `meets`, whether the limits are kept.
    """

    server: Server
    load: str
    concurrency: Amount | None
    request_rate: Amount | None
    tpot_s: Amount
    ttft_s: Amount
    e2e_s: Amount
    low_tpot_s: Amount | None
    high_tpot_s: Amount | None
    low_ttft_s: Amount | None
    high_ttft_s: Amount | None
    low_e2e_s: Amount | None
    high_e2e_s: Amount | None
    requests_per_s: Amount
    low_requests_per_s: Amount | None
    high_requests_per_s: Amount | None
    most_requests_per_s: float
    running: Amount
    waiting: Amount
    kv_used_share: Amount
    utilization: Amount
    overloaded: Flag
    limited_by: Label
    meets: Flag | None
    limits: Mapping[str, float | None]
    bound: ServingBound[Amount]
    step_bound: Label
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]
    requests: float | None = None
    range_ratio: float | None = None
    shown_by: ClassVar[str] = "sol.answers.serve.show"

    @property
    def is_point(self) -> bool:
        """Whether this is one point rather than a sweep."""
        return not isinstance(self.tpot_s, np.ndarray)

    @property
    def calibration(self) -> Calibration:
        """What the engine reaches."""
        return self.server.calibration

    @property
    def devices(self) -> int:
        """Devices of the server."""
        return int(self.server.question.split.devices)

    @property
    def prompt_tokens(self) -> float:
        """Tokens of the mean prompt, cached ones included [token]."""
        return self.server.lengths.new + self.server.lengths.cached

    @property
    def output_tokens(self) -> float:
        """Tokens of the mean output [token]."""
        return self.server.lengths.output

    @property
    def output_tokens_per_s(self) -> Amount:
        """Output tokens per second of all users [token/s]."""
        s: Serving = self
        made: Amount = s.requests_per_s * self.output_tokens
        return made

    @property
    def output_tokens_per_s_per_gpu(self) -> Amount:
        """The same for each device [token/s]."""
        s: Serving = self
        made: Amount = s.output_tokens_per_s / self.devices
        return made

    @property
    def tokens_per_s_per_user(self) -> Amount:
        """Output tokens per second that one user sees [token/s]."""
        s: Serving = self
        made: Amount = 1.0 / s.tpot_s
        return made

    def sources(self) -> Bibliography:
        """The bibliography: model, device and formats, the engine's pool, and the calibration."""
        from sol.answers.report.citations import citations

        own, pool = citations(self.server.question), self.server.held.sources()
        known = {row[0] for row in own.rows}
        c = self.calibration
        rows = [cite_row(f"calibration {c.id} {k}", Cite(value=c.engine, source=s)) for k, s in c.sources.items()]
        return Bibliography(
            columns=own.columns, rows=(*own.rows, *(r for r in pool.rows if r[0] not in known), *rows), title=self.heading()
        )

    def heading(self) -> str:
        """What was asked, on one line."""
        q, several = self.server.question, self.server.question.split.times
        cached = self.server.lengths.cached
        return joined(
            (f"{q.model.id} on {several}{q.gpu.id}", str(q.split) if several else "", q.storage.weights.id,
             f"kv {q.storage.cache.id}" if q.storage.cache is not q.storage.base else "", f"{show_count(self.prompt_tokens)} in",
             f"{show_count(cached)} of them cached" if cached else "", f"{show_count(self.output_tokens)} out", self.calibration.engine)
        )  # fmt: skip

    def __repr__(self) -> str:
        if not self.is_point:
            return f"<Serving {self.heading()}: {np.size(self.tpot_s)} loads>"
        rate, tpot = significant(float(self.requests_per_s)), float(self.tpot_s)
        return f"<Serving {self.heading()}: {rate} requests/s, {1e3 * tpot:.4g} ms/token, {float(self.ttft_s):.3g} s to the first>"
