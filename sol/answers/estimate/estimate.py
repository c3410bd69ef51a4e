"""The expected time of one step with an engine: the floor's operators at the rates of a calibration. Symbols: docs/notation.

It is never below the floor, carries its assumptions, and has an interval if the calibration has one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Unpack, overload

import numpy as np

from sol.answers.estimate.chunks import chunk_lines, chunked
from sol.answers.estimate.said import calibration_lines
from sol.answers.estimate.stand_ins import can_estimate, warned
from sol.answers.floor.fitting import fitting
from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor, per_second
from sol.answers.question.ask import Question, ask
from sol.answers.question.options import EstimateOptions, check_names, spelled_out
from sol.answers.question.records import resolve_gpu
from sol.answers.question.splits import safe_splits, where_valid
from sol.answers.report.citations import Bibliography, cite_row
from sol.answers.report.shown import Shown
from sol.errors import InvalidInput, MissingSpec
from sol.frozen import Frozen
from sol.physics.network.sharding import split_operators
from sol.physics.operators.operator import larger
from sol.physics.time.estimate import OperatorTime, TimeParts, operator_times, time_parts
from sol.physics.time.roofline import price_rows, sweep
from sol.sources.database.calibrations import read_calibrations
from sol.sources.database.engine_calibrations import default_calibration, shipped_calibration
from sol.sources.database.libraries import library_for
from sol.specs.assumption import Assumption, assumed
from sol.specs.calibration import Calibration
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Amount, Array, Counts, Flag, Flags, Label, Labels, Number, Numbers
from sol.specs.record import Cite
from sol.specs.split import Split
from sol.specs.step import Step, Storage
from sol.tabular import Table
from sol.units import show_seconds


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(Shown, Frozen, Generic[Amount, Flag, Label]):
    """The expected time of one step. Scalars in, floats out; arrays in, read-only arrays out.

    Fields [unit]: `latency_s` with its 95 % interval `low_s` … `high_s` (None where the calibration has
    none; never below the floor), `floor_s`, `serial_s` [s]; `spent` where the time goes, its parts sum to
    `latency_s`; `calibration`; `floor` the whole bound.
    """

    floor: Floor[Amount, Flag, Label]
    calibration: Calibration
    latency_s: Amount
    low_s: Amount | None
    high_s: Amount | None
    spent: TimeParts
    _operators: tuple[OperatorTime, ...] = ()
    shown_by: ClassVar[str] = "sol.answers.estimate.show"

    @property
    def question(self) -> Question:
        """What was asked."""
        return self.floor.question

    @property
    def is_point(self) -> bool:
        """Whether this is one point rather than a sweep."""
        return self.question.scalar

    @property
    def floor_s(self) -> Amount:
        """The bound [s]."""
        return self.floor.latency_s

    @property
    def serial_s(self) -> Amount:
        """The serial floor of the engine's own operators [s]: the activations its kernels move included."""
        return self.floor.serial_s

    @property
    def _interval_s(self) -> Any:
        """From one step's end to the next [s]: the step, and no less than the stages of a pipeline allow."""
        return larger(self.latency_s, self.floor.interval_s)

    @property
    def tokens_per_s(self) -> Amount:
        """New tokens per second, all sequences together [token/s]."""
        made: Amount = per_second(self.question, self._interval_s)
        return made

    @property
    def tokens_per_s_per_user(self) -> Amount:
        """New tokens per second for one sequence [token/s]."""
        made: Amount = per_second(self.question, self._interval_s, sequences=False)
        return made

    @property
    def tokens_per_s_per_gpu(self) -> Amount:
        """`tokens_per_s` divided by the devices [token/s]."""
        e: Estimate = self
        made: Amount = e.tokens_per_s / e.floor.devices
        return made

    @property
    def parts(self) -> dict[str, Amount]:
        """The parts of the time [s], by name. They sum to `latency_s`, with `overlapped_s` subtracted."""
        names = ("serial_s", "below_peak_s", "launch_s", "overlapped_s", "host_s", "step_s")
        return {name: shaped(getattr(self.spent, name), self.floor) for name in names}

    def operators_spent(self, storage: Storage | None = None) -> list[OperatorTime]:
        """Every operator's part [s]; with `storage` as if its weights were called by those formats."""
        q = self.question
        if storage is None and self._operators:
            return list(self._operators)
        return operator_times(q.operators(), q.rates, storage or q.storage, self.calibration, library_for(self.calibration))

    @property
    def operators(self) -> Table:
        """The operators with what each adds, as a table."""
        made: Table = self.drawn("operator_lines")
        return made

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What was assumed, one line each."""
        pipeline = assumed("pipeline", chunk_lines(self.question, self.calibration))
        return (*self.floor.assumptions, *assumed("calibration", calibration_lines(self.calibration)), *pipeline)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before using the number."""
        return (*self.floor.warnings, *warned(self.question, self.calibration, self.operators_spent()))

    def sources(self) -> Bibliography:
        """The bibliography: the floor's, and the calibration's."""
        own = self.floor.sources()
        rows = [cite_row(f"calibration {self.calibration.id} {k}", Cite(value=self.calibration.engine, source=s))
                for k, s in self.calibration.sources.items()]  # fmt: skip
        return Bibliography(columns=own.columns, rows=(*own.rows, *rows), title=own.title, footer=own.footer)

    def __repr__(self) -> str:
        heading = f"{self.floor.heading()} · {self.calibration.engine}"
        if not self.is_point:
            return f"<Estimate {heading}: {np.size(self.latency_s)} points>"
        return f"<Estimate {heading}: {show_seconds(float(self.latency_s), 4)}, floor {show_seconds(float(self.floor_s), 4)}>"


@overload
def estimate(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Number | None = None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None, **options: Unpack[EstimateOptions[Number, int]],
) -> Estimate[float, bool, str]: ...  # fmt: skip
@overload
def estimate(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Numbers | None = None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None, **options: Unpack[EstimateOptions[Numbers, Counts]],
) -> Estimate[Array, Flags, Labels]: ...  # fmt: skip
@spelled_out(EstimateOptions)
def estimate(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Numbers | None = None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None, **options: Unpack[EstimateOptions[Numbers, Counts]],
) -> Estimate:  # fmt: skip
    """The expected time of one decode or prefill step: the serial floor with what an engine reaches of the device.

        kernel = launch + max( bytes/(mbu·B) , flops/(mfu·P) )
        step   = max( Σ kernels , layers·host ) + step time + sequences·time of each

    Parameters
    ----------
    engine : an engine ("vllm", "llama.cpp") one at a version ("vllm@0.15"), or a class of them: "eager", "graph" or "fused"; by default
        the server whose calibration is the nearest to all servers' rows on the device, or the first engine with one there.
    calibration : a `Calibration`, or the path of one that was saved; instead of `engine`.
    The others are those of `floor`.

    Raises what `floor` raises, and `MissingSpec` if the engine has no calibration for the device.
    """
    check_names(estimate, options, EstimateOptions.__optional_keys__)
    the_gpu = resolve_gpu(gpu)
    used = resolve_calibration(the_gpu, engine, calibration)
    q = ask(model, the_gpu, ctx=ctx, fusion=used.fusion, **options)
    if not can_estimate(q):
        raise MissingSpec(
            the_gpu.id,
            f"has no sourced rate for {q.rates.formats['weights']}",
            "an estimate here needs one (the floor does not)",
        )
    result = estimate_of(q, used)
    fitting(result.floor)
    return result


def parts_of(q: Question, calibration: Calibration, kept: Sequence[OperatorTime] = ()) -> TimeParts:
    """The expected time of a resolved question and its parts, without its bound; `kept` are its operators where they are known."""
    split, library = safe_splits(q.split, q.valid), library_for(calibration)

    def whole(step: Step, split: Split) -> TimeParts:
        if not (step is q.step or step is q.computed_step):  # a block of it, or a chunk
            priced = price_rows(split_operators(q.model, step, q.storage, q.routing, q.fusion, split), q.rates)
            operators: Sequence[OperatorTime] = operator_times(priced, q.rates, q.storage, calibration, library)
        else:
            operators = kept or operator_times(q.operators(), q.rates, q.storage, calibration, library)
        return time_parts(operators, calibration, q.model.layers, step.sequences / split.dp)

    def at(step: Step, split: Split) -> TimeParts:
        return chunked(q, calibration, step, split, whole)

    return at(q.computed_step, split) if q.scalar else sweep(q.step, split, at)


def estimate_of(q: Question, calibration: Calibration) -> Estimate:
    """The estimate of a resolved question, fitting or not."""
    bound = floor_of(q)
    kept = tuple(operator_times(q.operators(), q.rates, q.storage, calibration, library_for(calibration))) if q.scalar else ()
    where = parts_of(q, calibration, kept)
    latency = shaped(where.latency_s, bound)
    down, up = calibration.interval()
    known = math.isfinite(up)
    low = shaped(np.maximum(latency * down, bound.latency_s), bound) if known else None
    high = shaped(latency * up, bound) if known else None
    return Estimate(bound, calibration, latency, low, high, where, kept)


def shaped(value: Any, f: Floor) -> Any:
    """A float for a point, a read-only array of the sweep's shape for a sweep."""
    if f.is_point:
        return float(np.asarray(value).reshape(-1)[0])
    return np.broadcast_to(where_valid(value, f.question.valid), np.shape(f.latency_s))


def resolve_calibration(gpu: GPU, engine: str | None, calibration: Calibration | str | Path | None) -> Calibration:
    """The calibration meant: one given, one saved, or the database's of this engine on this device.

    Raises `InvalidInput`, `BadFile`, or `MissingSpec` where nothing is known.
    """
    if engine is not None and calibration is not None:
        raise InvalidInput("engine and calibration", "are both given", "a calibration already names its engine, so give only one of them")
    if isinstance(calibration, Calibration):
        return calibration
    if isinstance(calibration, str | Path):
        return _saved(Path(calibration), gpu)
    if calibration is not None:
        raise InvalidInput(f"calibration {calibration!r}", "is neither a Calibration nor the path of a saved one")
    if engine is not None:
        if not isinstance(engine, str):
            raise InvalidInput(
                f"engine {engine!r}", "is not a name", "give engine='vllm' or a class of engines, 'eager', 'graph' or 'fused'"
            )
        return shipped_calibration(gpu.id, engine)
    return default_calibration(gpu.id)


def _saved(path: Path, gpu: GPU) -> Calibration:
    found = read_calibrations(path)
    mine = [c for c in found.values() if c.gpu == gpu.id] or list(found.values())
    if len(mine) != 1:
        raise InvalidInput(str(path), f"holds {len(mine)} calibrations of {gpu.id}", "keep one, or load them and pass the one you mean")
    return mine[0]
