"""A measured time compared with the floor: a verdict, the parts of the gap, and what to do.

Impossible only against the most optimistic reading of what was said, and nobody can tell where a last-level cache that no
source gives would decide; every other verdict by the ordinary floor over the measured time. Nothing here is a
prediction; where an engine's calibration is known its estimate says which parts of the gap are usual.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Unpack, get_args

import numpy as np

from sol.answers.compare.benchmark_commands import Action, remeasured
from sol.answers.compare.changes import variant
from sol.answers.compare.gap import EAGER_LAYER, GRAPH_LAUNCH, GapPart, explained
from sol.answers.compare.search import suspects
from sol.answers.compare.suspects import Case, Suspect, Told, percent
from sol.answers.estimate.estimate import Estimate, estimate_of, resolve_calibration
from sol.answers.estimate.stand_ins import can_estimate
from sol.answers.floor.floor import floor_of
from sol.answers.floor.optimistic import concessions, optimistic_s, unsure_s
from sol.answers.floor.result import Floor, per_second
from sol.answers.question.ask import Question, ask
from sol.answers.question.inputs import number, one_of
from sol.answers.question.options import StepOptions, check_names, spelled_out
from sol.answers.report.citations import Bibliography, cite_row
from sol.answers.report.shown import Shown
from sol.errors import InvalidInput, MissingSpec
from sol.frozen import Frozen
from sol.physics.network.sharding import pieces
from sol.sources.database.engine_calibrations import class_calibration, engine_class
from sol.specs.assumption import Assumption
from sol.specs.calibration import Calibration
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Number

Verdict = Literal["impossible", "cannot tell", "at the limit", "healthy", "slow", "broken"]
BANDS: tuple[tuple[float, Verdict], ...] = ((0.85, "at the limit"), (0.6, "healthy"), (0.3, "slow"), (0.0, "broken"))
"""The smallest fraction of light of each verdict [1]."""


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown, Frozen):
    """One measured step beside its floor.

    Fields [unit]: `measured_s`; `floor` the ordinary bound; `optimistic_s` the least time that the inputs
    allows, with what that `granted` [s]; `unsure_s` the least time [s] if the device's last-level cache, which no source gives,
    were the largest known of its kind, None where it is known or decides nothing; `verdict`; `estimate` of the engine, or None
    where nothing is known; `parts` of the gap, they sum to `gap_s`; `suspects` that could be true, likeliest first; `actions`,
    the commands that measure the same; `engine` as named; `ctx_known` whether a context was said; `usual` whether the estimate
    explains the measured time (nobody is suspected then); `told` what the measured time was made of; `mfu_from_batch` the batch
    from which a memory-bound decode step is compute-bound, in steps of 2^¼, None where there is none [1].
    """

    floor: Floor[float, bool, str]
    measured_s: float
    optimistic_s: float
    unsure_s: float | None
    granted: tuple[str, ...]
    verdict: Verdict
    estimate: Estimate[float, bool, str] | None
    parts: tuple[GapPart, ...]
    suspects: tuple[Suspect, ...]
    actions: tuple[Action, ...]
    engine: str | None
    notes: tuple[str, ...]
    ctx_known: bool
    usual: bool
    told: Told
    mfu_from_batch: float | None
    shown_by: ClassVar[str] = "sol.answers.compare.show"

    @property
    def question(self) -> Question:
        """What was asked."""
        return self.floor.question

    @property
    def floor_s(self) -> float:
        """The ordinary floor [s]."""
        return float(self.floor.latency_s)

    @property
    def fraction(self) -> float:
        """Floor over measured time [1]: 1 is light itself; above 1, faster than the floor's assumptions allow."""
        return self.floor_s / self.measured_s

    @property
    def gap_s(self) -> float:
        """Measured time − floor [s]; negative where the measurement is faster."""
        return self.measured_s - self.floor_s

    @property
    def gap(self) -> dict[str, float]:
        """Where the gap goes [s], by name; the values sum to `gap_s`."""
        return {p.name: p.seconds for p in self.parts}

    @property
    def unexplained_s(self) -> float:
        """The unexplained rest [s]; negative if the estimate is slower than the measurement."""
        return self.gap["unexplained_s"]

    @property
    def mbu(self) -> float:
        """Model bandwidth utilisation [1]: compulsory bytes over time · peak bandwidth, of the fullest device."""
        return float(self.floor.memory_s) / self.measured_s

    @property
    def mfu(self) -> float | None:
        """Model FLOP utilisation [1]: FLOPs over time · dense peak of the weights' compute format; None without a peak."""
        peak = self.question.rates.peak
        if peak is None:
            return None
        at_once = np.max(pieces(self.question.step, self.question.split))  # stages of a pipeline that work side by side
        return float(self.floor.flops / at_once) / (self.measured_s * peak["weights"])

    @property
    def matters(self) -> str:
        """Which fraction says how well this step runs: "mbu" or "mfu", or "network" where links bound it."""
        return {"memory": "mbu", "compute": "mfu"}.get(self.floor.bound, "network")

    @property
    def tokens_per_s(self) -> float:
        """Measured new tokens per second, all sequences together [token/s]; in prefill, prompt tokens."""
        return float(per_second(self.question, self.measured_s))

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What was assumed, one line each."""
        return self.floor.assumptions if self.estimate is None else self.estimate.assumptions

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before using the verdict."""
        return (*self.floor.warnings, *self.notes)

    def sources(self) -> Bibliography:
        """The bibliography: the floor's and the estimate's, and the published figures that stand in for one."""
        own = self.floor.sources() if self.estimate is None else self.estimate.sources()
        rows = []
        if self.estimate is None:
            used = {
                "launch_s": ("shortest launch in a graph alpha_s", GRAPH_LAUNCH),
                "host_s": ("shortest eager layer alpha_s", EAGER_LAYER),
            }
            rows = [cite_row(*used[name]) for name in self.gap if name in used]
        return Bibliography(columns=own.columns, rows=(*own.rows, *rows), title=own.title, footer=own.footer)

    def __repr__(self) -> str:
        return f"<Comparison {self.floor.heading()}: {self.verdict}, {percent(self.fraction)} of light>"


@spelled_out(StepOptions)
def compare(
    model: str | Path | Model, gpu: str | GPU, *, measured_s: Number, ctx: Number | None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None, told: Told = "time", **options: Unpack[StepOptions[Number, int]],
) -> Comparison:  # fmt: skip
    """What a measured time of one step is worth: impossible, cannot tell, at the limit, healthy, slow or broken.

        fraction = floor / measured        mbu = bytes / (time · bandwidth)        mfu = FLOPs / (time · peak)

    Parameters
    ----------
    measured_s : the time of one decode step, or of one pass over the prompts (prefill) [s].
    ctx : as in `floor`; None in decode where it is not known: the floor then takes an empty context.
    engine, calibration : as in `estimate`; its estimate gives the parts of the gap. An engine without a calibration for the
        device is not an error: published figures are used instead, and the answer says so.
    told : what `measured_s` was made of: a "time", a "rate" of all sequences, or the rate of one, "rate/user". The limits are the
        same; what a rate has counted is not suspected again.
    The others are those of `floor`, one number each.

    Raises what `floor` raises except `DoesNotFit` (a suspect here), and `InvalidInput` for a time that is not positive.

    >>> compare("qwen2.5-7b", "h100", measured_s=16.97e-3, ctx=2048)
    <Comparison qwen2.5-7b on h100-sxm · decode · batch 1 · ctx 2,048 · bf16: broken, 25 % of light>
    """
    check_names(compare, options, StepOptions.__optional_keys__)
    if options.get("groups") is not None:
        raise InvalidInput(
            "a mixed step", "is not compared: no tool times one apart", "divide floor(groups=…).latency_s by what was measured"
        )
    if ctx is None and options.get("phase") == "prefill":
        raise InvalidInput("ctx=None in prefill:", "the prompt is the work", "give its number of tokens")
    q = ask(model, gpu, ctx=0 if ctx is None else ctx, **options)
    return compare_of(q, measured_s, engine, calibration, ctx_known=ctx is not None, told=told)


def compare_of(
    q: Question, measured_s: Number, engine: str | None = None, calibration: Calibration | str | Path | None = None,
    ctx_known: bool = True, told: Told = "time",
) -> Comparison:  # fmt: skip
    """The comparison of a resolved question with one measured time [s]."""
    if not q.scalar or np.ndim(measured_s):
        raise InvalidInput("a comparison", "is of one measured time with one step", "call it once a row")
    measured, as_told = number("measured_s", measured_s, above=0.0), one_of("told", told, get_args(Told))
    if measured < 1e-12:
        raise InvalidInput(f"measured_s={measured:g}", "is not a time that a step can take", "it is in seconds")
    f = floor_of(q)
    best = min(optimistic_s(q), f.latency_s)  # equal where nothing is granted: rounding may not decide
    unsure = unsure_s(q) if measured < best else None
    e, kind, missing = _expected(q, engine, calibration)
    parts = explained(f, measured, e, kind)
    notes = () if ctx_known else ("no context was given: the floor assumes an empty one, so the true fraction is at least this",)
    if missing and measured > f.latency_s:
        stand_in = (
            "the smallest published figures are used instead"
            if {"launch_s", "host_s"} & {p.name for p in parts}
            else "no published figures are used"
        )
        notes = (*notes, f"{missing}: {stand_in}")
    usual = e is not None and _usual(e, measured)
    case = Case(f, measured, best, kind, ctx_known, as_told, unsure)
    known = e is not None and ctx_known and calibration is None
    return Comparison(
        floor=f, measured_s=measured, optimistic_s=best, unsure_s=unsure, granted=concessions(q, ctx_known),
        verdict=verdict(f.latency_s, measured, best, unsure),
        estimate=e, parts=parts, suspects=() if usual else suspects(case), actions=remeasured(q, engine, known),
        engine=engine, notes=notes, ctx_known=ctx_known, usual=usual, told=as_told, mfu_from_batch=_mfu_from_batch(f),
    )  # fmt: skip


def _mfu_from_batch(f: Floor) -> float | None:
    q = f.question
    if f.bound != "memory" or f.compute_s is None or q.phase == "prefill":
        return None
    grid = np.unique(np.ceil(q.step.batch.item() * 2.0 ** np.arange(0, 16.25, 0.25)))
    wider = variant(q, batch=grid)
    over = np.flatnonzero(wider.bound == "compute") if wider is not None else np.array([])
    return float(grid[over[0]]) if over.size else None


USUAL = 1.25
"""A time up to so many times an estimate without an interval is usual for it [1]."""


def _usual(e: Estimate, measured_s: float) -> bool:
    most = float(e.latency_s) * USUAL if e.high_s is None else float(e.high_s)
    return bool(e.floor_s <= measured_s <= most) and e.floor.fits is not False


def verdict(floor_s: float, measured_s: float, least_s: float, unsure_s: float | None = None) -> Verdict:
    """The verdict on a measured time, by the floor, the optimistic floor, and that with the largest cache known [s].

    >>> [verdict(1.0, t, 0.9) for t in (0.8, 0.95, 1.2, 2.0, 4.0)]
    ['impossible', 'at the limit', 'healthy', 'slow', 'broken']
    >>> [verdict(1.0, t, 0.9, 0.7) for t in (0.6, 0.8)]
    ['impossible', 'cannot tell']
    """
    if measured_s < least_s:
        return "impossible" if unsure_s is None or measured_s < unsure_s else "cannot tell"
    return next(word for least, word in BANDS if floor_s / measured_s >= least)


def _expected(q: Question, engine: str | None, calibration: Calibration | str | Path | None) -> tuple[Estimate | None, str | None, str]:
    """The estimate of the engine meant, the class of that engine, and what is not known of it."""
    kind = None
    if isinstance(engine, str):
        kind = engine_class(engine)
        if kind is None:
            resolve_calibration(q.gpu, engine, calibration)  # raises, and says which are known
    try:
        nobody = engine is None and calibration is None  # a time is judged against a whole class, whose interval holds all its engines
        used = class_calibration(q.gpu.id) if nobody else resolve_calibration(q.gpu, engine, calibration)
    except MissingSpec as error:
        return None, kind, str(error).partition("; ")[0]
    kind = (engine_class(used.engine) or kind) if engine is not None or calibration is not None else None
    if not can_estimate(q):
        return None, kind, f"no source gives {q.gpu.id} a {q.rates.formats['weights']} rate, which an estimate needs"
    return estimate_of(replace(q, fusion=used.fusion), used), kind, ""
