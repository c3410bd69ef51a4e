"""What a replay found: each request, their distribution, every step, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from sol.answers.estimate.estimate import Estimate
from sol.answers.floor.result import Floor
from sol.answers.question.ask import Question
from sol.answers.replay.load import Trace
from sol.answers.replay.server import Server
from sol.answers.report.citations import Bibliography, cite_row
from sol.answers.report.shown import Shown
from sol.frozen import Frozen
from sol.physics.serving.policy import Policy
from sol.physics.serving.requests import Served
from sol.specs.assumption import Assumption, assumed
from sol.specs.calibration import Calibration
from sol.specs.quantities import Array
from sol.tabular import Table, joined
from sol.units import show_count

ROUNDING = 1e-9
"""A smaller share of the time is what sums of many steps lose."""


@dataclass(frozen=True, eq=False, repr=False)
class Replay(Shown, Frozen):
    """A served trace. Times of requests are arrays in their order [s]; TPOT is NaN for a single output token.

    `requests`, `summary`, `steps` and `spent` are tables; `errors` those of the means, where the trace says what was measured.
    """

    trace: Trace
    question: Question
    server: Server
    calibration: Calibration | None
    served: Served
    step: Floor | Estimate
    stand_in: tuple[str, ...] = ()
    concurrency: int | None = None
    shown_by: ClassVar[str] = "sol.answers.replay.show"

    @property
    def on(self) -> str:
        """What the step times are: "estimate" or "floor"."""
        return "floor" if self.calibration is None else "estimate"

    @property
    def policy(self) -> Policy:
        """The scheduler's rules and limits."""
        return self.server.policy

    @property
    def first_token_constant_s(self) -> float:
        """Time outside the steps until a client has its first token [s]: a figure of the calibration; 0 on the floor."""
        return 0.0 if self.calibration is None else float(self.calibration.first_token_s.value)

    @cached_property
    def ttft_s(self) -> Array:
        """From arrival to the first token [s]."""
        made: Array = self.served.first_s - self.trace.load.arrival_s + self.first_token_constant_s
        return made

    @cached_property
    def e2e_s(self) -> Array:
        """From arrival to the last token [s]."""
        made: Array = self.served.last_s - self.trace.load.arrival_s + self.first_token_constant_s
        return made

    @cached_property
    def tpot_s(self) -> Array:
        """Mean time between two tokens of a request [s]; NaN for a single one."""
        outputs = self.trace.load.output
        made: Array = np.where(outputs > 1, (self.served.last_s - self.served.first_s) / np.maximum(outputs - 1, 1), np.nan)
        return made

    @cached_property
    def queue_s(self) -> Array:
        """From arrival until the request was first admitted [s]."""
        made: Array = self.served.admitted_s - self.trace.load.arrival_s
        return made

    @property
    def makespan_s(self) -> float:
        """From the first arrival to the last token [s]."""
        return float(self.served.last_s.max()) + self.first_token_constant_s

    @property
    def requests_per_s(self) -> float:
        """Requests over the makespan [1/s]."""
        return len(self.trace.load) / self.makespan_s

    @property
    def output_tokens_per_s(self) -> float:
        """Output tokens over the makespan [token/s]."""
        return float(self.trace.load.output.sum()) / self.makespan_s

    @property
    def preemptions(self) -> int:
        """How often a running request lost its blocks [1]."""
        return int(self.served.preemptions.sum())

    @property
    def shares(self) -> dict[str, float]:
        """Where the makespan went [1]: steps with prompts in them, steps of decodes alone, nothing to do."""
        steps = self.served.steps
        whole = float(self.served.last_s.max())
        prompts, decodes = (float(steps.seconds[chosen].sum()) for chosen in (steps.prompt_tokens > 0, steps.prompt_tokens == 0))
        idle = 1.0 - (prompts + decodes) / whole
        return {"with_prompts": prompts / whole, "decode_only": decodes / whole, "idle": idle if idle > ROUNDING else 0.0}

    @property
    def errors(self) -> Mapping[str, float] | None:
        """Mean of the replay over the mean measured, less 1, of "ttft_s", "tpot_s" and "e2e_s"; None where nothing was measured."""
        found = {}
        for name, values in self.trace.measured.items():
            both = np.isfinite(values) & np.isfinite(getattr(self, name))
            if both.any() and float(values[both].mean()) > 0.0:
                found[name] = float(getattr(self, name)[both].mean() / values[both].mean() - 1.0)
        return found or None

    @property
    def requests(self) -> Table:
        """One row a request: its lengths, TTFT, TPOT, E2E, time in the queue, preemptions, and what was measured."""
        made: Table = self.drawn("request_table")
        return made

    @property
    def summary(self) -> Table:
        """Mean, median and tails of TTFT, TPOT, ITL, E2E and the time in the queue, and what was measured."""
        made: Table = self.drawn("summary_table")
        return made

    @property
    def steps(self) -> Table:
        """One row a step: its start and length, sequences that decode, tokens of prompts, tokens in the cache."""
        made: Table = self.drawn("step_table")
        return made

    @property
    def spent(self) -> Table:
        """Where the time went."""
        made: Table = self.drawn("spent_table")
        return made

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What was assumed, one line each."""
        loop = "" if self.concurrency is None else f"a closed loop of {show_count(self.concurrency)} requests at once"
        own = [*self.server.lines, loop, "an engine that reserves output knows how long it will be" if self._reserves else ""]
        return (*self.step.assumptions, *assumed("engine", tuple(line for line in own if line)))

    @property
    def _reserves(self) -> bool:
        return self.policy.admission in ("whole", "estimate")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before using the numbers."""
        split = self.question.split
        said = [*self.stand_in, *self.step.warnings]
        if split.dp > 1:
            said.append(f"the {split.dp} copies of attention are one server with all their sequences and pools, evenly used")
        return tuple(dict.fromkeys(said))

    def sources(self) -> Bibliography:
        """The bibliography: that of the steps, and the rules of the scheduler."""
        own, engine = self.step.sources(), self.server.engine
        rows = [cite_row(f"{engine.id} {field}", cite) for field, cite in (*engine.cites.items(), *self.server.scheduler.cites.items())]
        return Bibliography(columns=own.columns, rows=(*own.rows, *rows), title=own.title, footer=own.footer)

    def heading(self) -> str:
        """What was asked, on one line."""
        q = self.question
        several = q.split.times
        times = self.on if self.calibration is None else f"times of {self.calibration.engine}"
        return joined(
            (f"{q.model.id} on {several}{q.gpu.id}", str(q.split) if several else "", q.storage.weights.id,
             f"kv {q.storage.cache.id}" if q.storage.cache is not q.storage.base else "", f"scheduler of {self.server.engine.id}", times)
        )  # fmt: skip

    def __repr__(self) -> str:
        count = len(self.trace.load)
        return f"<Replay {self.heading()}: {count:,} requests, {self.requests_per_s:.3g}/s>"
