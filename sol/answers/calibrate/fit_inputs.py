"""Measured rows with names as arrays of a fit, group by group, and the check for impossible rows.

A group is what one calibration describes: an engine, with or without CUDA graphs, on a device, with weights in one
format (16-bit formats count as one). If a step is faster than its optimistic floor (a warm cache, tokens at the
same experts, ceilings), the row does not describe the step that was timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np

from sol.answers.calibrate.serving_rows import described, one_sequence, steps_of, tells_first_token, tells_steps
from sol.answers.calibrate.step_loads import joined_loads, step_loads
from sol.answers.floor.floor import floor_of
from sol.answers.floor.optimistic import optimistic_s
from sol.answers.question.ask import Question, ask
from sol.answers.question.formats import SIXTEEN
from sol.errors import BadMeasurement, InvalidInput, SolError
from sol.physics.fit.loads import Loads
from sol.sources.database.calibrations import kernel_rates
from sol.sources.database.engine_calibrations import engine_class
from sol.sources.database.libraries import library_of
from sol.specs.calibration import Calibration
from sol.specs.measurement import Aggregate, Measurement, Measurements
from sol.specs.quantities import Array
from sol.specs.step import Fusion
from sol.tabular import joined
from sol.units import show_count, show_seconds

UNNAMED = "unknown"
"""The engine of rows without one."""
NAMED = 3
SUSPECTS = "possible causes: wrong batch, ctx or dtype, speculative tokens counted as steps, another device"


Row = Measurement | Aggregate
NEEDED = "what is needed are times of single steps or of prompts, or times per output token at a concurrency and lengths that are known"


class Key(NamedTuple):
    """What a calibration describes."""

    gpu: str
    engine: str
    cuda_graphs: bool | None
    dtype: str

    def __str__(self) -> str:
        graphs = {True: "graphs", False: "no graphs", None: ""}[self.cuda_graphs]
        return joined((f"{self.engine} on {self.gpu}", graphs, self.dtype))


class Asked(NamedTuple):
    """Rows by number, one question of all their steps, whose step each is (steps), and how often it occurs (steps)."""

    rows: list[int]
    question: Question
    row: Any
    times: Array


@dataclass(frozen=True, eq=False)
class Group:
    """The rows of one calibration in the file's order, their loads, and their floors [s]; `models` names `loads.model`."""

    key: Key
    rows: tuple[Row, ...]
    models: tuple[str, ...]
    loads: Loads
    floor_s: Array
    fusion: Fusion
    kind: str


@dataclass(frozen=True, eq=False)
class FitGroup:
    """The rows of one calibration before pricing, among all `rows`, and their questions; `alone` times to the first token."""

    key: Key
    rows: Sequence[Row]
    asked: tuple[Asked, ...]
    kernels: Calibration | None = None
    alone: tuple[Aggregate, ...] = ()

    def priced(self) -> Group:
        """The loads of these rows. Raises `BadMeasurement` if the device has no rate for them."""
        kept = sorted(i for a in self.asked for i in a.rows)
        place, models = {i: k for k, i in enumerate(kept)}, tuple(dict.fromkeys(a.question.model.id for a in self.asked))
        whole = joined_loads([_priced(a, self) for a in self.asked])
        of_row = np.concatenate([np.array([place[i] for i in a.rows])[a.row] for a in self.asked])
        times = np.concatenate([a.times for a in self.asked])
        floors = np.concatenate([np.broadcast_to(floor_of(a.question).latency_s, len(a.row)) for a in self.asked])
        model = np.zeros(len(kept), dtype=np.int64)
        for a in self.asked:
            model[[place[i] for i in a.rows]] = models.index(a.question.model.id)
        rows = tuple(self.rows[i] for i in kept)
        if len(of_row) == len(kept):  # a row is a step
            whole, steps = {name: values[np.argsort(of_row)] for name, values in whole.items()}, {}
        else:
            steps = {"row": of_row, "times": times}
        loads = Loads(**whole, **steps, measured_s=np.array([r.measured_s for r in rows]), model=model)
        kind = engine_class(self.key.engine) or ""
        return Group(
            self.key, rows, models, loads, np.bincount(of_row, times * floors).astype(np.float64), self.asked[0].question.fusion, kind
        )


def parts(
    measurements: Measurements | Iterable[Row], fusion: Fusion | None = None, kernels: bool = False
) -> list[FitGroup]:  # fmt: skip
    """The rows of each calibration; with known kernel rates, all weight formats together.

    Raises `BadMeasurement` for no rows or impossible rows, `MissingSpec` for a device without kernel rates.
    """
    rows = fittable(measurements)
    alike: dict[tuple[Any, ...], list[int]] = {}
    alone: dict[tuple[str, str, bool | None], list[Aggregate]] = {}
    for i, m in enumerate(rows):
        if isinstance(m, Aggregate) and not tells_steps(m):
            alone.setdefault((m.gpu, (m.engine or UNNAMED).lower(), m.cuda_graphs), []).append(m)
            continue
        lengths = (m.prompt_tokens, m.output_tokens) if isinstance(m, Aggregate) else m.phase
        alike.setdefault((m.model, m.gpu, lengths, m.dtype, m.kv_dtype, m.tp, m.pp, m.ep, m.dp, m.engine, m.cuda_graphs), []).append(i)
    found: dict[Key, list[Asked]] = {}
    too_fast: list[tuple[int, float]] = []
    for at in alike.values():
        first = rows[at[0]]
        of, least = _question([rows[i] for i in at], at, fusion or style(first.engine))
        too_fast += [(i, float(s)) for i, s in zip(at, np.broadcast_to(least, len(at)), strict=True) if rows[i].measured_s < s]
        weights = of.question.storage.weights.id
        dtype = "" if kernels else "16-bit" if weights in SIXTEEN else weights
        key = Key(of.question.gpu.id, (first.engine or UNNAMED).lower(), first.cuda_graphs, dtype)
        found.setdefault(key, []).append(of)
    if too_fast:
        raise _impossible(rows, sorted(too_fast))
    if not found:
        _none(rows)
    return [
        FitGroup(key, rows, tuple(of), kernel_rates(key.gpu, key.engine) if kernels else None, tuple(alone.get(key[:3], ())))
        for key, of in found.items()
    ]  # fmt: skip


def _question(rows: Sequence[Row], at: list[int], fusion: Fusion) -> tuple[Asked, Array]:
    """What rows alike ask, and the times that none of them can be below [s]."""
    served = [r for r in rows if isinstance(r, Aggregate)]
    if served:
        q, row, times = steps_of(served, fusion)
        return Asked(at, q, row, times), optimistic_s(one_sequence(served[0], fusion))
    q = fit_question([r for r in rows if isinstance(r, Measurement)], fusion)
    return Asked(at, q, np.arange(len(at)), np.ones(len(at))), optimistic_s(q)


def checked(measurements: Measurements | Iterable[Row]) -> list[Measurement]:
    """The given steps and prompts, at least one. Raises `InvalidInput` and `BadMeasurement`."""
    rows = _given(measurements)
    steps = [r for r in rows if isinstance(r, Measurement)]
    return steps or _none(rows)


def fittable(measurements: Measurements | Iterable[Row]) -> list[Row]:
    """The same, and those of a server's averages that tell steps, or the time to a first token."""
    rows = _given(measurements)
    told: list[Row] = [r for r in rows if isinstance(r, Measurement) or tells_steps(r) or tells_first_token(r)]
    return told or list(_none(rows))


def _given(measurements: Measurements | Iterable[Row]) -> list[Row]:
    try:
        rows: list[Row] = list(measurements)
    except TypeError:
        raise InvalidInput(
            f"{measurements!r}", "are not measurements", "give what read_measurements returns, or a list of Measurement"
        ) from None
    wrong = next((r for r in rows if not isinstance(r, Measurement | Aggregate)), None)
    if wrong is not None:
        raise InvalidInput(f"{wrong!r}", "is not a Measurement", "give what read_measurements returns, or a list of Measurement")
    return [*rows, *measurements.aggregates] if isinstance(measurements, Measurements) else rows


def _none(rows: Sequence[Row]) -> NoReturn:
    raise BadMeasurement(f"no rows{f' of steps ({len(rows):,} of averages)' if rows else ''}", action=NEEDED)


def style(engine: str | None) -> Fusion:
    """The kernels that an engine issues: one per operation (eager), or one per operator (kernel)."""
    return "eager" if engine_class(engine or "") == "eager" else "kernel"


def fit_question(rows: Sequence[Measurement], fusion: Fusion) -> Question:
    """The question of rows that differ only in batch, context and new tokens; shape (rows)."""
    m = rows[0]
    batch, ctx, new, cached = (np.array([getattr(r, name) for r in rows]) for name in ("batch", "ctx", "new_tokens", "cached_tokens"))
    try:
        return ask(
            m.model, m.gpu, batch=batch, ctx=ctx, phase=m.phase, new_tokens=1.0 if m.phase == "prefill" else new, cached_tokens=cached,
            dtype=m.dtype, kv_dtype=m.kv_dtype, tp=m.tp, pp=m.pp, ep=m.ep, dp=m.dp, fusion=fusion,
        )  # fmt: skip
    except SolError as error:
        raise type(error)(f"{where(m)}: {error}") from None


def where(m: Row) -> str:
    """A row as text."""
    if isinstance(m, Aggregate):
        return described(m)
    new = f"{show_count(m.new_tokens)} new" if m.phase == "decode" and m.new_tokens != 1 else ""
    split = " ".join(f"{n} {v}" for n in ("tp", "pp", "ep", "dp") if (v := getattr(m, n)) > 1)
    return joined((m.model, m.phase, f"batch {show_count(m.batch)}", f"ctx {show_count(m.ctx)}", new, split))


def _impossible(rows: Sequence[Row], found: list[tuple[int, float]]) -> BadMeasurement:
    named = "; ".join(f"{where(rows[i])}: {show_seconds(rows[i].measured_s)} against {show_seconds(s)}" for i, s in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    count = f"{len(found)} of {len(rows)} rows are" if len(found) > 1 else "a row is"
    return BadMeasurement(f"{count} faster than the optimistic floor:", f"{named}{more}", f"{SUSPECTS}; correct or leave out")


def _priced(asked: Asked, of: FitGroup) -> dict[str, Any]:
    q = asked.question
    if q.rates.peak is None:
        raise BadMeasurement(q.gpu.id, f"has no sourced rate for {q.rates.formats['weights']}", "nothing can be fitted to its rows")
    return step_loads(q, len(asked.row), of.kernels, library=library_of(of.key.engine))
