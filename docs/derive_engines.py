"""Derive what engines reach of devices from the published measurements: `python docs/derive_engines.py`. Needs SciPy.

Writes `hardware_db/calibrations/engines.toml`. Only rows marked `fit` are used; the others score the result
(`docs/accuracy.py`). Per device and engine:

- where the rates of kernels are known (`calibrations/kernels.toml`), two figures are fitted on top of them for an engine that
  replays graphs, its time per step and per sequence; for an eager one the host's time per layer;
- elsewhere the fractions of the peaks themselves, one per format of the weights, with a time per step (or layer, eager).

Least squares on log(estimate / measured), large errors in proportion. An interval comes from models left out, one after the
other. A class of engines on a device is fitted to the rows of all its engines there, and its interval holds an engine left out
too; where a device has no rows, the class has the times that it has over all devices, with the interval of devices left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w
from scipy.optimize import least_squares
from scipy.stats import t as student

from sol import load_format, load_model
from sol.answers.accuracy import questions
from sol.answers.question import Question, ask
from sol.physics.estimate import kind_of, names
from sol.physics.roofline import price
from sol.physics.sharding import split_operators
from sol.sources.calibrations import engine_classes, read_calibrations
from sol.sources.measured import MeasuredRow, measured_rows, measured_sources
from sol.specs.calibration import Calibration
from sol.specs.step import Array

DATA = Path(__file__).parent.parent / "hardware_db"
OUT = DATA / "calibrations" / "engines.toml"
FUSION = {"eager": "eager", "graph": "kernel", "fused": "kernel", "llama.cpp": "kernel"}
SOFT = 0.1  # errors up to about 10 % count squared
NODES = 6  # steps of a request that stand for all of them: a step's time is close to linear in its context
FEW_ROWS, FEW_MODELS, ENOUGH = 3, 2, 4  # ENOUGH models on one device speak for themselves, else the engine's on all devices do


@dataclass(frozen=True, eq=False)
class Load:
    """What one row asks of the device, at its peaks: steps (s) of operators (k), each step counted `times` (s).

    Seconds (s, k): `memory_s` of weights and cache, `spilled_s` of activations, `peak_s` of FLOPs, `wire_s` (s) of collectives;
    `kernels` (k), `keys` (k) which rate an operator reaches; `layers`, `sequences` (s).
    """

    row: MeasuredRow
    times: Array
    memory_s: Array
    spilled_s: Array
    peak_s: Array
    wire_s: Array
    kernels: Array
    keys: tuple[tuple[str, ...], ...]
    layers: float
    sequences: float
    tokens: float


@lru_cache(maxsize=8192)
def loads(row: MeasuredRow, fusion: str) -> tuple[Load, ...]:
    """The steps of a row: a request's prefill and its decode steps, at Gauss's nodes of their contexts."""
    found = []
    for asked in questions(row, fusion=fusion):
        q, times = asked, np.ones(asked.ctx.size)
        if asked.ctx.size > NODES:
            nodes, weights = np.polynomial.legendre.leggauss(NODES)
            q = question_at(row, asked.ctx[0] + (nodes + 1.0) / 2.0 * (asked.ctx[-1] - asked.ctx[0]), fusion)
            times = weights / 2.0 * asked.ctx.size
        shape = times.shape
        rows = split_operators(q.model, q.step, q.storage, q.routing, q.fusion, q.split)
        priced = [(op, price(op, q.rates)) for op in rows]
        own = [(op, p) for op, p in priced if op.wire is None]
        bandwidth = q.rates.memory_bytes_per_s
        found.append(Load(
            row, times, *(np.stack([np.broadcast_to(v, shape) for v in column], axis=-1) for column in (
                [p.memory_s for _, p in own], [op.activation_bytes / bandwidth for op, _ in own], [p.peak_s for _, p in own])),
            sum((np.broadcast_to(p.serial_s, shape) for op, p in priced if op.wire is not None), np.zeros(shape)),
            np.array([float(op.kernels) for op, _ in own]), tuple(_keys(op, q) for op, _ in own), float(q.model.layers),
            float(row.batch / q.split.dp), float(row.batch / q.split.dp * np.max(q.step.new_tokens)),
        ))  # fmt: skip
    return tuple(found)


def rated(row: MeasuredRow) -> bool:
    """Whether the device has a sourced rate for what the row computes in, and no prompt goes through a pipeline in pieces."""
    return not (row.pp > 1 and row.phase == "prefill") and all(q.rates.peak is not None for q in questions(row))


def question_at(row: MeasuredRow, ctx: Array, fusion: str) -> Question:
    """A request's decode steps at these contexts."""
    return ask(row.model, row.gpu, ctx=ctx, batch=row.batch, dtype=row.dtype, kv_dtype=row.kv_dtype, tp=row.tp, pp=row.pp, ep=row.ep,
               dp=row.dp, fusion=fusion)  # fmt: skip


def _keys(op: Any, q: Any) -> tuple[str, ...]:
    kind = kind_of(op)
    return (kind, *names(q.storage.cache if kind == "attention" else q.storage.stored(op.role)))


def estimate_s(load: Load, c: Calibration) -> float:
    """The same sum as `sol.physics.estimate.spent`, of a load."""
    reached = [c.at(keys[0], *keys[1:]) for keys in load.keys]  # type: ignore[arg-type]  # the first is the kind
    mbu, mfu, launch = (np.array([getattr(r, f) for r in reached]) for f in ("mbu", "mfu", "launch_s"))
    passes = np.array([0.0 if r.passes is None else r.passes for r in reached])
    beneath = np.array([1.0 if r.passes is None else 0.0 for r in reached])
    moved = load.memory_s + beneath * load.spilled_s
    device = (np.maximum(moved / mbu, load.peak_s / mfu) + passes * load.spilled_s).sum(-1) + load.wire_s + float(launch @ load.kernels)
    busy = np.maximum(device, load.layers * c.host_s.value)
    return float(load.times @ (busy + c.step_s.value + c.sequence_s.value * load.sequences))


def errors(rows: Sequence[MeasuredRow], c: Calibration) -> Array:
    """log(estimate / measured) of every row."""
    return np.array([math.log(sum(estimate_s(x, c) for x in loads(r, c.fusion)) / r.measured_s) for r in rows])


# Fits


class Figure(NamedTuple):
    """One figure that is fitted: what is usual, how far it lies from that [log], and its bounds."""

    usual: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True)
class Free:
    """The figures that are fitted, by where each stands in a calibration.

    What the rows cannot tell apart stays near the usual: a figure its spread away from it counts as a row that is off by `SOFT`.
    """

    figures: Mapping[str, Figure]

    def applied(self, base: Calibration, x: Iterable[float]) -> Calibration:
        """The calibration with these values."""
        plain: dict[str, Any] = {}
        rates: dict[str, dict[str, float]] = {}
        for name, value in zip(self.figures, x, strict=True):
            if ":" in name:
                key, _, field = name.partition(":")
                rates.setdefault(key, {})[field] = float(value)
            else:
                plain[name] = {"value": float(value)}
        known = {k: r.model_dump(exclude_none=True) for k, r in base.rates.items()}
        fields = base.model_dump(exclude={"rates", "sources", "residuals"}, exclude_none=True)
        return Calibration(**{**fields, **plain, "rates": {**known, **rates}, "sources": dict(base.sources)})


TIMES = {
    "step_s": Figure(1e-3, 1.0, 1e-9, 1.0), "sequence_s": Figure(3e-5, 1.0, 1e-9, 1e-2), "host_s": Figure(6e-4, 0.5, 1e-9, 1.0),
    "launch_s": Figure(3e-6, 0.7, 1e-9, 1e-2),
}  # fmt: skip
"""Times per step, per sequence in it, per layer of the host, per kernel [s]."""
MBU, MFU = Figure(0.75, 0.3, 0.02, 1.0), Figure(0.5, 0.5, 0.005, 1.0)
ATTENTION = Figure(0.3, 1.0, 0.002, 1.0)
BESIDES = {"eager": ("host_s",), "graph": ("step_s", "sequence_s"), "fused": ("launch_s",), "llama.cpp": ("launch_s",)}
"""The times that each class of engines is known by."""
BASED = ("graph", "eager")
"""Classes whose kernels are those of `kernels.toml`, where the device is there."""


def free_figures(rows: Sequence[MeasuredRow], base: Calibration | None, kind: str) -> Free:
    """What these rows can tell: times on top of known rates, or the rates of every format they have too."""
    figures = {name: TIMES[name] for name in BESIDES[kind] if name != "sequence_s" or max(r.batch for r in rows) > 1}
    if base is None:
        for name in sorted({names_of(r)[0] for r in rows}):
            mine = [r for r in rows if names_of(r)[0] == name]
            figures[f"gemm.{name}:mbu"] = MBU
            if any(r.phase != "decode" or r.batch >= LARGE for r in mine):
                figures[f"gemm.{name}:mfu"] = MFU
        routed = [r for r in rows if load_model(r.model).is_moe]
        for name in sorted({names_of(r)[0] for r in routed}):
            figures[f"experts.{name}:mbu"] = MBU
        if routed:
            figures["experts:launch_s"] = TIMES["launch_s"]._replace(usual=1e-5)
        if any(r.phase != "decode" and (r.ctx or r.prompt_tokens or 0) >= LONG for r in rows):
            figures["attention:mfu"] = ATTENTION
    return Free(figures)


LARGE, LONG = 64, 4096
"""A batch whose products may be bound by FLOPs, and a prompt whose attention weighs [1, tokens]."""


def names_of(row: MeasuredRow) -> tuple[str, ...]:
    """The names of the format of a row's weights, its own first; 16 bits are one."""
    found = names(load_format(row.dtype))
    return ("bf16",) if found[-1] == "bf16" else found


def fitted(rows: Sequence[MeasuredRow], base: Calibration, free: Free) -> Calibration:
    """The calibration of least robust squares."""
    usual, spread, low, high = (np.array([f[i] for f in free.figures.values()]) for i in range(4))

    def off(x: Array) -> Array:
        return np.concatenate([errors(rows, free.applied(base, np.exp(x))), SOFT * (x - np.log(usual)) / spread])

    bounds = (np.log(low), np.log(high))
    found = least_squares(off, np.log(usual), bounds=bounds, loss="soft_l1", f_scale=SOFT, diff_step=1e-4)
    return free.applied(base, np.exp(found.x))


def left_out(rows: Sequence[MeasuredRow], base: Calibration, free: Free) -> list[Array]:
    """log(estimate / measured) of each model's rows, the figures fitted to the others'; none for a model alone."""
    models = sorted({r.model for r in rows})
    if len(models) < FEW_MODELS:
        return []
    return [errors([r for r in rows if r.model == m], fitted([r for r in rows if r.model != m], base, free)) for m in models]


def within(off: Sequence[Array]) -> float:
    """How far 19 of 20 rows of another model may lie [log]: Student's t on the models' mean squares, or the rows' own 95 % where wider."""
    spread = math.sqrt(float(np.mean([np.mean(e**2) for e in off]))) * float(student.ppf(0.975, len(off)))
    return max(spread, float(np.quantile(np.abs(np.concatenate(list(off))), 0.95)))


def kernels() -> dict[str, Calibration]:
    """The rates of kernels by device."""
    return {c.gpu: c for c in read_calibrations(DATA / "calibrations" / "kernels.toml").values()}


def start(gpu: str, engine: str, kind: str, base: Calibration | None) -> Calibration:
    """What a fit begins with: the device's kernel rates in the class's style of kernels, or nothing known."""
    if base is None:
        return Calibration(id=f"{gpu}-{engine}", gpu=gpu, engine=engine, form="given", fusion=FUSION[kind])
    known = {k: r.model_dump(exclude_none=True) for k, r in base.rates.items()}
    return Calibration(
        id=f"{gpu}-{engine}", gpu=gpu, engine=engine, form="given", fusion=FUSION[kind], mbu=base.mbu, mfu=base.mfu,
        launch_s=base.launch_s, rates=known,
    )  # fmt: skip


def derived() -> list[Calibration]:
    """Every calibration of an engine on a device that the rows to be fitted support."""
    known, classes = kernels(), engine_classes()
    groups: dict[tuple[str, str], list[MeasuredRow]] = defaultdict(list)
    for r in measured_rows():
        if r.split == "fit" and r.engine in classes and rated(r):
            groups[r.gpu, r.engine].append(r)
    fits: dict[tuple[str, str], tuple[Calibration, list[MeasuredRow], list[Array]]] = {}
    for (gpu, engine), rows in sorted(groups.items()):
        kind = classes[engine]
        base = known.get(gpu) if kind in BASED else None
        if len(rows) < FEW_ROWS or (base is None and len({(r.model, r.dtype) for r in rows}) < FEW_MODELS):
            continue
        free, first = free_figures(rows, base, kind), start(gpu, engine, kind, base)
        fits[gpu, engine] = fitted(rows, first, free), rows, left_out(rows, first, free)
    pooled = {e: [x for (_, other), (_, _, off) in fits.items() if other == e for x in off] for _, e in fits}
    found = []
    for (gpu, engine), (made, rows, off) in fits.items():
        spread = off if len(off) >= ENOUGH else pooled[engine]
        found.append(finished(made, rows, within(spread) if len(spread) >= FEW_MODELS else None))
        print(
            found[-1].id,
            found[-1].n,
            found[-1].within_95,
            np.round(np.median(np.abs(errors(rows, made))), 3),
            [
                (k, r.mbu and round(r.mbu.value, 3), r.mfu and round(r.mfu.value, 3))
                for k, r in made.rates.items()
                if k not in (known.get(gpu) or made).rates or gpu not in known
            ],
            flush=True,
        )
    return found


def of_classes(known: Mapping[str, Calibration]) -> list[Calibration]:
    """Graph and eager engines on every device whose kernels are known: from its own rows, or with the class's times elsewhere."""
    classes = engine_classes()
    found = []
    for kind in BASED:
        rows = {gpu: [r for r in measured_rows() if r.gpu == gpu and r.split == "fit" and classes.get(r.engine) == kind and usual(r)]
                for gpu in known}  # fmt: skip
        elsewhere = [r for mine in rows.values() for r in mine]
        for gpu, base in known.items():
            own = rows[gpu] if len({r.model for r in rows[gpu]}) >= ENOUGH else []
            free, first = free_figures(own or elsewhere, base, kind), start(gpu, kind, kind, base)
            if own:
                spread = max(within(left_out(own, first, free)), strange(own, first, free))
                found.append(finished(fitted(own, first, free), own, spread))
                continue
            times = {
                g: fitted(mine, start(g, kind, kind, known[g]), free_figures(mine, known[g], kind)) for g, mine in rows.items() if mine
            }
            made = free.applied(first, typical(times.values(), kind))
            off = []
            for g in times:  # as a device without rows would have it: from the others
                others = typical([c for other, c in times.items() if other != g], kind)
                off.append(errors(rows[g], free.applied(start(g, kind, kind, known[g]), others)))
            found.append(finished(made, [], within(off), note=f"times of {kind} engines on other devices; kernels of this one"))
    return found


def strange(rows: Sequence[MeasuredRow], base: Calibration, free: Free) -> float:
    """How far 95 % of the rows of an engine lie that none of the fitted rows is of [log]: a class is asked for engines without rows."""
    off = []
    for engine in {r.engine for r in rows}:
        rest = [r for r in rows if r.engine != engine]
        if len({r.model for r in rest}) >= FEW_MODELS:
            off.append(errors([r for r in rows if r.engine == engine], fitted(rest, base, free)))
    return float(np.quantile(np.abs(np.concatenate(off)), 0.95)) if off else 0.0


def typical(found: Iterable[Calibration], kind: str) -> list[float]:
    """The median over devices of each time a class is known by."""
    found = list(found)
    return [float(np.median([getattr(c, name).value for c in found])) for name in BESIDES[kind]]


def usual(row: MeasuredRow) -> bool:
    """Whether a row is of an engine as it is now: not of old versions, which have calibrations of their own."""
    return row.engine != "vllm-0.4" and rated(row)


def finished(made: Calibration, rows: Sequence[MeasuredRow], spread: float | None, note: str = "") -> Calibration:
    """The record with what it rests on."""
    cited = sorted({r.source for r in rows})
    if note and not rows:
        note = f"{note}, from {len(measured_sources())} sources of measurements"
    return made.model_copy(update={
        "n": len(rows), "models": tuple(sorted({r.model for r in rows})), "within_95": spread, "source": cited[0] if cited else None,
        "note": note or (f"fitted to rows of {', '.join(cited)}"),
    })  # fmt: skip


def written(found: Sequence[Calibration], known: Mapping[str, Calibration]) -> str:
    """The file: the sources that are named, then a table each; figures to three digits."""
    sources = {k: v.model_dump(exclude_none=True) for k, v in measured_sources().items() if any(k == c.source for c in found)}
    tables: dict[str, Any] = {"sources": dict(sorted(sources.items()))}
    for c in sorted(found, key=lambda c: c.id):
        based = based_on(c, known)
        inherited = {"mbu", "mfu", "launch_s"} if based else set()
        fields = c.model_dump(exclude={"id", "sources", "residuals", "rates"} | inherited, exclude_none=True, exclude_defaults=True)
        fields |= {k: _short(v) for k, v in fields.items() if isinstance(v, dict)}
        if based:
            fields["base"] = known[c.gpu].id
        fields["models"] = list(c.models)
        if c.within_95 is not None:
            fields["within_95"] = _round(c.within_95)
        own = {} if based else c.rates
        rates = {k: {f: _round(v["value"]) for f, v in r.model_dump(exclude_none=True).items()} for k, r in own.items()}
        tables[c.id] = {**fields, "rates": rates} if rates else fields
    return HEADER + tomli_w.dumps(tables)


def based_on(c: Calibration, known: Mapping[str, Calibration]) -> bool:
    """Whether a calibration adds times to the rates of its device's kernels."""
    return c.gpu in known and engine_classes()[c.engine] in BASED


def _short(figure: Mapping[str, Any]) -> Any:
    return _round(figure["value"]) if set(figure) <= {"value", "note"} else figure


def _round(value: float) -> float:
    return float(f"{value:.3g}")


HEADER = """\
# What engines reach of devices: written by `python docs/derive_engines.py`, not by hand, from the rows of measured/ that are marked fit
# and from the rates of kernels in kernels.toml. Times in seconds; within_95 in natural logarithms.

"""


def main() -> None:
    """Write the file."""
    known = kernels()
    OUT.write_text(written([*derived(), *of_classes(known)], known), encoding="utf-8")


if __name__ == "__main__":
    main()
