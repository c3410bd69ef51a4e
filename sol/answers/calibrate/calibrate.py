"""What does an engine reach on a device? One calibration per engine and device, fitted to measured steps.

Only figures that the rows determine are fitted, in the smallest form they support. If the rows do not determine a
rate, the error names the measurement that would. No row is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from sol.answers.calibrate.fit_inputs import Group, parts, where
from sol.answers.calibrate.serving_rows import with_first_token
from sol.answers.question.inputs import number, one_of
from sol.answers.report.citations import COLUMNS, Bibliography, cite_row
from sol.answers.report.shown import Shown
from sol.errors import BadMeasurement, InvalidInput
from sol.physics.fit.fit import LEAST, SOFT
from sol.physics.fit.form_selection import Fit, best_fit, regimes
from sol.physics.fit.loads import HOST, INV_MBU, INV_MFU, LAUNCH, PER_SEQUENCE, STEP, of_rows, seconds
from sol.specs.calibration import Calibration, Figure, Residual
from sol.specs.measurement import Aggregate, Measurement, Measurements
from sol.specs.record import Cite, Source
from sol.specs.step import Fusion
from sol.units import show_count, show_seconds, significant

FIGURES = {"mbu": INV_MBU, "mfu": INV_MFU, "launch_s": LAUNCH, "host_s": HOST, "step_s": STEP, "sequence_s": PER_SEQUENCE}
ON_BOUND = 1e-9
PER_KERNEL = {"eager": True, "fused": True, "graph": False}
"""Whether a fixed time counts per kernel or, for serving engines, per step: by class of engine, if the rows do not decide."""
NAMED_SOURCES = 6
NO_STEP = 300.0
"""Beyond this multiple of the floor the unit of the times is doubtful [1]; only eager experts are known to be so slow."""
SPREAD = 50.0
"""From this difference in percent on, the rows' work differs enough, and the scatter about the fit is what hides the rate."""


@dataclass(frozen=True, eq=False, repr=False)
class Calibrations(Shown):
    """One calibration per engine and device of a file; `refused` gives the reason for each group without one."""

    calibrations: tuple[Calibration, ...]
    refused: tuple[tuple[str, str], ...] = ()
    shown_by: ClassVar[str] = "sol.answers.calibrate.show"

    def __len__(self) -> int:
        return len(self.calibrations)

    def __iter__(self) -> Iterator[Calibration]:
        return iter(self.calibrations)

    def __getitem__(self, index: int) -> Calibration:
        return self.calibrations[index]

    def sources(self) -> Bibliography:
        """The bibliography: the sources of the rows of each calibration, and of the rates it was given."""
        rows = (
            cite_row(f"calibration {c.id} {key}", Cite(value=c.engine, source=source))
            for c in self.calibrations
            for key, source in c.sources.items()
        )
        return Bibliography(columns=COLUMNS, rows=tuple(rows))

    def __repr__(self) -> str:
        refused = f", {len(self.refused)} refused" if self.refused else ""
        return f"<Calibrations: {', '.join(c.id for c in self.calibrations)}{refused}>"


def calibrate(
    measurements: Measurements | Iterable[Measurement | Aggregate], *, fusion: Fusion | None = None, mbu: float | None = None,
    mfu: float | None = None, kernels: bool = False,
) -> Calibration | Calibrations:  # fmt: skip
    """Fit what an engine reaches on a device to measured steps. Symbols: docs/notation.

        kernel = launch + max( bytes/(mbu·B) , flops/(mfu·P) )
        step   = max( Σ kernels , layers·host ) + step time + sequences·time of each

    Parameters
    ----------
    measurements : what `read_measurements` returns, or a list of `Measurement`s. Of a server's averages (`Aggregate`) times per output
        token at a known concurrency and lengths count as steps, and times to the first token of one request give `first_token_s`.
    fusion : the kernels the engine issues, "kernel" or "eager"; by default those of the engine's class.
    mbu, mfu : fractions of the peaks, if you know them from elsewhere [0..1]; by default fitted.
    kernels : take the rates of the device's kernels from the database and fit only the engine's times, for all weight formats
        together. The rows of one model determine these.

    Returns
    -------
    Calibration : or `Calibrations`, if rows are of several devices, engines, weight formats, or with and without CUDA graphs.

    Raises
    ------
    BadMeasurement : rows below their optimistic floor, or too few or too similar rows; the message names what to measure.
    InvalidInput : no measurements.
    MissingSpec : `kernels` for a device without kernel rates in the database.

    Ignores overlap, and different rates of kinds of operators.
    """
    rates = {k: _fraction(k, v) for k, v in (("mbu", mbu), ("mfu", mfu))}
    if kernels and (mbu is not None or mfu is not None):
        raise InvalidInput("kernels", "takes the rates of the database", "leave mbu and mfu out")
    if fusion is not None:
        one_of("fusion", fusion, get_args(Fusion))
    path = measurements.path if isinstance(measurements, Measurements) else ""
    found, refused = [], []
    apart = parts(measurements, fusion, kernels)
    for part in apart:
        try:
            group = part.priced()
            _not_too_slow(group, **rates)
            made = _calibration(group, path, **({"mbu": 1.0, "mfu": 1.0} if kernels else rates))
            found.append(with_first_token(made if part.kernels is None else _on(part.kernels, made), part.alone))
        except BadMeasurement as error:
            if len(apart) == 1:
                raise
            refused.append((str(part.key), str(error)))
    if not found:
        first, why = refused[0]
        raise BadMeasurement(f"none of {len(refused)} groups of rows can be fitted", action=f"{first}: {why}")
    return found[0] if len(apart) == 1 else Calibrations(tuple(found), tuple(refused))


def _fraction(field: str, value: float | None) -> float | None:
    if value is not None and number(field, value, above=0.0) > 1.0:
        raise InvalidInput(f"{field}={value!r}", "is not a fraction of a peak", "it must be above 0 and at most 1")
    return value


def _calibration(group: Group, path: str, mbu: float | None, mfu: float | None) -> Calibration:
    loads, key = group.loads, group.key
    _enough(group)
    per_kernel = False if not loads.kernels.any() else True if key.cuda_graphs is False else PER_KERNEL.get(group.kind)
    fit = best_fit(loads, per_kernel=per_kernel, mbu=mbu, mfu=mfu)
    if fit.interval is None:
        raise BadMeasurement(_unknown(group, fit))
    given = {k: v for k, v in (("mbu", mbu), ("mfu", mfu)) if v is not None}
    figures = {name: _figure(name, i, fit, given) for name, i in FIGURES.items()}
    left_out = [None] * len(group.rows) if fit.left_out_s is None else fit.left_out_s.tolist()
    residuals = tuple(
        Residual(where=where(m), model=group.models[int(loads.model[i])], measured_s=m.measured_s, estimated_s=float(fit.estimated_s[i]),
                 left_out_s=left_out[i], floor_s=float(group.floor_s[i]))
        for i, m in enumerate(group.rows)
    )  # fmt: skip
    graphs = {True: "graphs", False: "no-graphs", None: ""}[key.cuda_graphs]
    name = "-".join(re.sub(r"[^a-z0-9.]+", "-", p.lower()).strip("-") for p in (key.engine, key.gpu, graphs, key.dtype) if p)
    name = name.replace(".", "-")
    return Calibration(
        id=name, gpu=key.gpu, engine=key.engine, cuda_graphs=key.cuda_graphs, dtype=key.dtype,
        form=fit.chosen.form.name, fusion=group.fusion, **figures, within_95=fit.within_95, n=len(group.rows), models=group.models,
        residuals=residuals, sources={name: _source(group, path)}, source=name, note=_note(group, fit),
    )  # fmt: skip


def _on(kernels: Calibration, times: Calibration) -> Calibration:
    """A calibration of times fitted on top of known rates, with those rates."""
    figures = {k: getattr(kernels, k).model_copy(update={"source": kernels.source}) for k in ("mbu", "mfu", "launch_s")}
    rates = {**figures, "rates": kernels.rates}
    note = f"{times.note}; rates of {kernels.id}"
    return times.model_copy(update={**rates, "sources": {**kernels.sources, **times.sources}, "note": note})


def _enough(group: Group) -> None:
    """Refuses rows to which no form can be fitted, whatever their values."""
    n, loads = len(group.rows), group.loads
    if n == 1:
        raise BadMeasurement(
            f"one row ({where(group.rows[0])})",
            "cannot tell a rate from a fixed time",
            "measure models of other sizes or other batches as well",
        )
    asked = np.column_stack([loads.serial_s, *(of_rows(loads, work) for work in (loads.kernels, loads.layers, loads.sequences))])
    if (asked == asked[0]).all():
        raise BadMeasurement(
            f"all {n} rows ask the same step ({where(group.rows[0])}), so a rate and a fixed time",
            "cannot be told apart",
            "measure models of other sizes or other batches as well",
        )


def _not_too_slow(group: Group, mbu: float | None, mfu: float | None) -> None:
    """Refuses given rates at which every row would take clearly longer than it did: no time is left to fit."""
    if mbu is None and mfu is None:
        return
    theta = LEAST.copy()
    theta[[INV_MBU, INV_MFU]] = 1.0 / (mbu or 1.0), 1.0 / (mfu or mbu or 1.0)
    slower = float((seconds(group.loads, theta) / group.loads.measured_s).min())
    if slower > 1.0 + SOFT:
        given = " and ".join(f"{k}={v:g}" for k, v in (("mbu", mbu), ("mfu", mfu)) if v is not None)
        raise BadMeasurement(
            f"at {given} every row would take {significant(slower, 2)} times as long as it did, or longer",
            action="give a larger fraction, or leave it out",
        )


def _unknown(group: Group, fit: Fit) -> str:
    """Why these rows do not determine a rate, and what to measure."""
    loads, score = group.loads, fit.chosen
    n, models = len(group.rows), len(group.models)
    name = "mfu" if fit.unknown == (INV_MFU,) else "mbu"
    low, high = (1.0 / v for v in reversed(fit.rates.get(fit.unknown[0], (1.0, np.inf))))
    span = f"{name} {significant(low, 2)} to {significant(high, 2)} fits as well" if high < np.inf and low > 0 else "any rate fits as well"
    rows = f"{n} rows of {group.models[0] if models == 1 else f'{models} models'}"
    bound = regimes(loads, score)
    if bound["host"] == n:
        host = show_seconds(float(np.median(loads.measured_s / of_rows(loads, loads.layers))))
        return (
            f"{rows} all wait for the host ({host} a layer), so they do not determine mbu ({span}); "
            "measure larger batches or models, for which memory binds, or give mbu="
        )
    if name == "mbu" and bound["memory"] == 0:
        return f"{rows} are all compute-bound, so they do not determine mbu ({span}); measure decode steps of batch 1 as well, or give mbu="
    if name == "mfu":
        return f"{rows} do not determine mfu ({span}); measure prompts of several lengths as well, or give mfu="
    if n <= len(score.form.free):
        return f"{rows} do not determine {len(score.form.free)} figures; measure models of other sizes or other batches as well"
    serial = loads.serial_s
    more = 100 * (serial.max() / serial.min() - 1)
    off = 100 * float(np.median(np.abs(np.log(fit.estimated_s / loads.measured_s))))
    why = f"the work of a step differs by {significant(more, 2)} %" if more < SPREAD else f"rows lie {significant(off, 2)} % off the fit"
    other = "a model of another size, or batches from 1 to 64," if models == 1 else "larger batches, or models of more sizes,"
    return f"mbu and the fixed time cannot be told apart from {_span(group)}: {why} ({span}); measure {other} as well, or give mbu="


def _span(group: Group) -> str:
    """The rows as text: contexts, batches, models."""
    said = []
    for name, values in (
        ("ctx", [m.ctx if isinstance(m, Measurement) else m.prompt_tokens or 0.0 for m in group.rows]),
        ("batch", [m.batch if isinstance(m, Measurement) else m.concurrency or 1.0 for m in group.rows]),
    ):
        low, high = min(values), max(values)
        said.append(f"{name} {show_count(low)}" + (f"…{show_count(high)}" if high > low else ""))
    return f"{', '.join(said)} of {group.models[0] if len(group.models) == 1 else f'{len(group.models)} models'}"


def _figure(name: str, index: int, fit: Fit, given: dict[str, float]) -> Figure:
    """A fitted figure of the calibration, with its interval, and a note if it lies on its bound."""
    form, theta, interval = fit.chosen.form, fit.chosen.theta, fit.interval
    assert interval is not None
    value, low, high = float(theta[index]), float(interval.low[index]), float(interval.high[index])
    if index in (INV_MBU, INV_MFU):
        value, low, high = 1.0 / value, 1.0 / high, 1.0 / low
    if index == INV_MFU and form.tied:
        return Figure(value=value, low=low, high=high, note="set to mbu: no compute-bound rows determine it")
    if index not in form.free:
        note = "given" if name in given else "set to the given mbu" if index == INV_MFU else ""
        return Figure(value=value, note=note)
    bound = 1.0 if index in (INV_MBU, INV_MFU) else 0.0
    note = f"at its bound, {bound:g}" if abs(value - bound) <= ON_BOUND else ""
    return Figure(value=value, low=min(low, value), high=max(high, value), note=note)


def _note(group: Group, fit: Fit) -> str:
    """How the form was chosen and the intervals found, and what the rows do not determine."""
    form, models = fit.chosen.form, len(group.models)
    assert fit.interval is not None
    said = []
    slow = float(np.median(group.loads.measured_s / group.floor_s))
    if slow >= NO_STEP:
        said.append(
            f"rows take {significant(slow, 2)} times their floor: measured_s is in seconds; if these are milliseconds, divide by 1,000"
        )
    if models > 1:
        said.append(f"the smallest form within one standard error of the best of {len(fit.scores)}, each model left out in turn")
    else:
        where_to = "per kernel" if LAUNCH in form.free else "per step"
        said.append(f"rows of one model do not separate a time per step from a time per kernel: counted {where_to}")
    said.append(fit.interval.how)
    if fit.within_95 is None:
        said.append(f"no interval of estimates: three models are needed, and there {'is one' if models == 1 else 'are two'}")
    bound = regimes(group.loads, fit.chosen)
    if HOST in form.free and bound["memory"] + bound["compute"] == 0:
        said.append("every row waits for the host: only the interval of mbu is known")
    counts = [f"{n} by {what}" for n, what in ((bound["memory"], "bytes"), (bound["compute"], "FLOPs"), (bound["host"], "the host")) if n]
    said.append(f"rows bound: {', '.join(counts)}")
    return "; ".join(said)


def _source(group: Group, path: str) -> Source:
    named = list(dict.fromkeys(m.source for m in group.rows if m.source))
    more = f" and {len(named) - NAMED_SOURCES} more" if len(named) > NAMED_SOURCES else ""
    said = f": {', '.join(named[:NAMED_SOURCES])}{more}" if named else ""
    return Source(title=f"{len(group.rows)} rows{f' of {path}' if path else ''}{said}", kind="user")
