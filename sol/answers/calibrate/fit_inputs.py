"""Measured rows with names as arrays of a fit, group by group, and the check for impossible rows.

A group is what one calibration describes: an engine, with or without CUDA graphs, on a device, with weights in one
format (16-bit formats count as one). If a step is faster than its optimistic floor (a warm cache, tokens at the
same experts, ceilings), the row does not describe the step that was timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sol.answers.calibrate.step_loads import joined_loads, step_loads
from sol.answers.floor.floor import floor_of
from sol.answers.floor.optimistic import optimistic_s
from sol.answers.question.ask import Question, ask
from sol.answers.question.formats import SIXTEEN
from sol.errors import BadMeasurement, InvalidInput, SolError
from sol.physics.fit.loads import Loads
from sol.sources.database.calibrations import engine_classes, kernel_rates
from sol.sources.database.libraries import library_of
from sol.specs.calibration import Calibration
from sol.specs.measurement import Measurement, Measurements
from sol.specs.quantities import Array
from sol.specs.step import Fusion
from sol.tabular import joined
from sol.units import show_count, show_seconds

UNNAMED = "unknown"
"""The engine of rows without one."""
NAMED = 3
SUSPECTS = "possible causes: wrong batch, ctx or dtype, speculative tokens counted as steps, another device"


class Key(NamedTuple):
    """What a calibration describes."""

    gpu: str
    engine: str
    cuda_graphs: bool | None
    dtype: str

    def __str__(self) -> str:
        graphs = {True: "graphs", False: "no graphs", None: ""}[self.cuda_graphs]
        return joined((f"{self.engine} on {self.gpu}", graphs, self.dtype))


@dataclass(frozen=True, eq=False)
class Group:
    """The rows of one calibration in the file's order, their loads, and their floors [s]; `models` names `loads.model`."""

    key: Key
    rows: tuple[Measurement, ...]
    models: tuple[str, ...]
    loads: Loads
    floor_s: Array
    fusion: Fusion
    kind: str


@dataclass(frozen=True, eq=False)
class FitGroup:
    """The rows of one calibration before pricing: their places among all `rows`, and their questions."""

    key: Key
    rows: Sequence[Measurement]
    asked: tuple[tuple[list[int], Question], ...]
    kernels: Calibration | None = None

    def priced(self) -> Group:
        """The loads of these rows. Raises `BadMeasurement` if the device has no rate for them."""
        order = np.argsort([i for at, _ in self.asked for i in at], kind="stable")
        models = tuple(dict.fromkeys(q.model.id for _, q in self.asked))
        pieces = [_priced([self.rows[i] for i in at], q, models.index(q.model.id), self) for at, q in self.asked]
        whole = {name: values[order] for name, values in joined_loads(pieces).items()}
        floors = np.concatenate([np.broadcast_to(floor_of(q).latency_s, len(at)) for at, q in self.asked])[order]
        kept = tuple(self.rows[i] for i in sorted(i for at, _ in self.asked for i in at))
        kind = engine_classes().get(self.key.engine, "")
        return Group(self.key, kept, models, Loads(**whole), floors, self.asked[0][1].fusion, kind)


def parts(
    measurements: Measurements | Iterable[Measurement], fusion: Fusion | None = None, kernels: bool = False
) -> list[FitGroup]:  # fmt: skip
    """The rows of each calibration; with known kernel rates, all weight formats together.

    Raises `BadMeasurement` for no rows or impossible rows, `MissingSpec` for a device without kernel rates.
    """
    rows = checked(measurements)
    alike: dict[tuple[Any, ...], list[int]] = {}
    for i, m in enumerate(rows):
        alike.setdefault((m.model, m.gpu, m.phase, m.dtype, m.kv_dtype, m.tp, m.pp, m.ep, m.dp, m.engine, m.cuda_graphs), []).append(i)
    found: dict[Key, list[tuple[list[int], Question]]] = {}
    too_fast: list[tuple[int, float]] = []
    for at in alike.values():
        first = rows[at[0]]
        q = fit_question([rows[i] for i in at], fusion or style(first.engine))
        too_fast += [(i, float(s)) for i, s in zip(at, optimistic_s(q), strict=True) if rows[i].measured_s < s]
        weights = q.storage.weights.id
        dtype = "" if kernels else "16-bit" if weights in SIXTEEN else weights
        key = Key(q.gpu.id, (first.engine or UNNAMED).lower(), first.cuda_graphs, dtype)
        found.setdefault(key, []).append((at, q))
    if too_fast:
        raise _impossible(rows, sorted(too_fast))
    return [FitGroup(key, rows, tuple(of), kernel_rates(key.gpu, key.engine) if kernels else None) for key, of in found.items()]


def checked(measurements: Measurements | Iterable[Measurement]) -> list[Measurement]:
    """The given rows, at least one. Raises `InvalidInput` and `BadMeasurement`."""
    try:
        rows = list(measurements)
    except TypeError:
        raise InvalidInput(
            f"{measurements!r}", "are not measurements", "give what read_measurements returns, or a list of Measurement"
        ) from None
    wrong = next((r for r in rows if not isinstance(r, Measurement)), None)
    if wrong is not None:
        raise InvalidInput(f"{wrong!r}", "is not a Measurement", "give what read_measurements returns, or a list of Measurement")
    if not rows:
        left = ""
        if isinstance(measurements, Measurements):
            n = len(measurements.aggregates)
            left = f" of steps ({n:,} of averages)" if n else ""
        raise BadMeasurement(f"no rows{left}", action="what is needed are times of single steps or of prompts")
    return rows


def style(engine: str | None) -> Fusion:
    """The kernels that an engine issues: one per operation (eager), or one per operator (kernel)."""
    return "eager" if engine_classes().get((engine or "").lower()) == "eager" else "kernel"


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


def where(m: Measurement) -> str:
    """A row as text."""
    new = f"{show_count(m.new_tokens)} new" if m.phase == "decode" and m.new_tokens != 1 else ""
    split = " ".join(f"{n} {v}" for n in ("tp", "pp", "ep", "dp") if (v := getattr(m, n)) > 1)
    return joined((m.model, m.phase, f"batch {show_count(m.batch)}", f"ctx {show_count(m.ctx)}", new, split))


def _impossible(rows: Sequence[Measurement], found: list[tuple[int, float]]) -> BadMeasurement:
    named = "; ".join(f"{where(rows[i])}: {show_seconds(rows[i].measured_s)} against {show_seconds(s)}" for i, s in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    count = f"{len(found)} of {len(rows)} rows are" if len(found) > 1 else "a row is"
    return BadMeasurement(f"{count} faster than the optimistic floor:", f"{named}{more}", f"{SUSPECTS}; correct or leave out")


def _priced(rows: Sequence[Measurement], q: Question, model: int, of: FitGroup) -> dict[str, Any]:
    if q.rates.peak is None:
        raise BadMeasurement(q.gpu.id, f"has no sourced rate for {q.rates.formats['weights']}", "nothing can be fitted to its rows")
    n = len(rows)
    return step_loads(q, n, of.kernels, library=library_of(of.key.engine)) | {
        "measured_s": np.array([r.measured_s for r in rows]),
        "model": np.full(n, model),
    }
