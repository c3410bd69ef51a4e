"""Derive what engines reach of devices from the published measurements: `python -m tools.derive_engines`.

Writes `hardware_db/calibrations/engines.toml`. Only rows marked `fit` are used; the others score the result
(`tools/accuracy.py`). Per device and engine:

- where the rates of kernels are known (`calibrations/kernels.toml`), two figures are fitted on top of them for an engine that
  replays graphs, its time per step and per sequence, and where rows tell it, its time per layer of experts that are spread over
  devices; for an eager one the host's time per layer;
- elsewhere the fractions of the peaks themselves, one per format of the weights, with a time per step (or layer, eager).

An interval comes from models left out, one after the other. A class of engines on a device is fitted to the rows of all its
engines there, and its interval holds an engine left out too; where a device has few or none, the class has the median of its times on
all devices, with the interval of devices left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from sol.answers.calibrate.published import EngineRows, applied
from sol.physics.fit.fit import Usual
from sol.physics.fit.fit_intervals import within_95_of_rows
from sol.sources.database.calibrations import engine_classes, read_calibrations, shipped
from sol.sources.database.engine_calibrations import age
from sol.sources.database.measured import MeasuredRow, measured_rows, measured_sources
from sol.specs.calibration import Calibration
from sol.specs.engines import engine_family, version_numbers
from sol.specs.quantities import Array
from tools.engine_fits import BASED, BESIDES, FEW_MODELS, free_figures, rated
from tools.spread_experts import Spread, at, errors

DATA = Path(__file__).parent.parent / "hardware_db"
OUT = DATA / "calibrations" / "engines.toml"
FUSION = {"eager": "eager", "graph": "kernel", "fused": "kernel", "llama.cpp": "kernel"}
FEW_ROWS, ENOUGH = 3, 4  # ENOUGH models on one device speak for themselves, else the engine's on all devices do
LEAST_MFU = 0.05


def kernels(engine: str = "") -> dict[str, Calibration]:
    """The rates of kernels by device: an engine's own kernels where those were timed, else the usual ones."""
    found = read_calibrations(DATA / "calibrations" / "kernels.toml").values()
    own = {c.gpu: c for c in found if c.engine == f"kernels-{engine_family(engine)}"}
    return own or {c.gpu: c for c in found if c.engine == "kernels"}


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
    classes = engine_classes()
    groups: dict[tuple[str, str], list[MeasuredRow]] = defaultdict(list)
    for r in measured_rows():
        if r.split == "fit" and r.engine in classes and rated(r):
            groups[r.gpu, r.engine].append(r)
    asked: dict[str, dict[str, EngineRows]] = defaultdict(dict)
    for (gpu, engine), rows in sorted(groups.items()):
        kind = classes[engine]
        base = kernels(engine).get(gpu) if kind in BASED else None
        if len(rows) < FEW_ROWS or (base is None and len({(r.model, r.dtype) for r in rows}) < FEW_MODELS):
            continue
        asked[engine][gpu] = EngineRows(tuple(rows), start(gpu, engine, kind, base), free_figures(rows, base, kind))
    fits: dict[tuple[str, str], tuple[Calibration, list[MeasuredRow], list[Array]]] = {}
    for engine, devices in asked.items():
        of = {on: Spread({g: r for g, r in devices.items() if (r.rates is None) is on}) for on in (True, False)}  # on kernels?
        for gpu, mine in devices.items():
            made = of[mine.rates is None].fitted(gpu)
            if told(made):
                fits[gpu, engine] = made, list(mine.rows), of[mine.rates is None].left_out(gpu)
    pooled = {e: [x for (_, other), (_, _, off) in fits.items() if other == e for x in off] for _, e in fits}
    found = []
    for (_, engine), (made, rows, off) in fits.items():
        spread = off if len(off) >= ENOUGH else pooled[engine]
        found.append(finished(made, rows, within_95_of_rows(spread) if len(spread) >= FEW_MODELS else None))
    return found


def told(made: Calibration) -> bool:
    """Whether the rows tell the rate of 16-bit products; a share of the peak as small as this stands for something else in them."""
    rate = made.rates.get("gemm.bf16")
    return rate is None or rate.mfu is None or rate.mfu.value >= LEAST_MFU


def of_classes(known: Mapping[str, Calibration]) -> list[Calibration]:
    """Graph and eager engines on every device whose kernels are known: from its own rows, or with the class's times elsewhere."""
    classes = engine_classes()
    found = []
    for kind in BASED:
        of_kind = [r for r in measured_rows() if r.split == "fit" and classes.get(r.engine) == kind and rated(r)]
        rows = {gpu: newest([r for r in of_kind if r.gpu == gpu]) for gpu in known}
        first = {gpu: start(gpu, kind, kind, base) for gpu, base in known.items()}
        asked = {gpu: EngineRows(tuple(mine), first[gpu], free_figures(mine, known[gpu], kind)) for gpu, mine in rows.items() if mine}
        of = Spread(asked)
        fits = {gpu: of.fitted(gpu) for gpu in asked}
        off = [  # of each device as one without rows would have it: with the times of the others
            errors(asked[g], applied(first[g], typical([c for other, c in fits.items() if other != g], kind))) for g in fits
        ]
        for gpu, own in rows.items():
            if len({r.model for r in own}) >= ENOUGH:
                spread = max(within_95_of_rows(of.left_out(gpu)), strange(own, first[gpu], asked[gpu].usual))
                found.append(finished(fits[gpu], own, spread))
                continue
            made = applied(first[gpu], typical(list(fits.values()), kind))
            found.append(finished(made, [], within_95_of_rows(off), note=f"times of {kind} engines on other devices; kernels of this one"))
    return found


def strange(rows: Sequence[MeasuredRow], base: Calibration, free: Mapping[str, Usual]) -> float:
    """How far 95 % of the rows of an engine lie that none of the fitted rows is of [log]: a class is asked for engines without rows."""
    off = []
    for engine in sorted({r.engine for r in rows}):
        rest = tuple(r for r in rows if r.engine != engine)
        if len({r.model for r in rest}) >= FEW_MODELS:
            mine = EngineRows(tuple(r for r in rows if r.engine == engine), base, free)
            off.append(errors(mine, Spread({"": EngineRows(rest, base, free)}).fitted("")))
    return float(np.quantile(np.abs(np.concatenate(off)), 0.95)) if off else 0.0


def between_versions() -> float:
    """How far 95 % of the fitted rows of one version lie from the calibration of another on the same device [log]."""
    on, off = kernels(), []
    known = {(c.gpu, c.engine): c for c in shipped().values() if c.engine not in BASED and c.base}
    rows: dict[tuple[str, str], list[MeasuredRow]] = defaultdict(list)
    for r in measured_rows():
        if r.split == "fit" and (r.gpu, r.engine) in known and rated(r):
            rows[r.gpu, r.engine].append(r)
    for (gpu, engine), mine in rows.items():
        for (there, other), c in known.items():
            if there == gpu and other != engine and engine_family(other) == engine_family(engine):
                asked = EngineRows(tuple(mine), start(gpu, engine, "graph", kernels(other).get(gpu, on[gpu])), {})
                found = at(asked, c.spread_s.value).errors(c)
                off += [found[np.array([r.model == m for r in mine])] for m in {r.model for r in mine}]
    return within_95_of_rows(off)


def typical(found: Sequence[Calibration], kind: str) -> dict[str, float]:
    """The median over devices of each time a class is known by."""
    return {name: float(np.median([getattr(c, name).value for c in found])) for name in (*BESIDES[kind], "spread_s")}


def newest(rows: Sequence[MeasuredRow]) -> list[MeasuredRow]:
    """Of each engine the rows of its newest version that has any: others have calibrations of their own."""
    last = {engine_family(r.engine): r.engine for r in sorted(rows, key=lambda r: age(r.engine))}
    return [r for r in rows if r.engine == last[engine_family(r.engine)]]


def finished(made: Calibration, rows: Sequence[MeasuredRow], spread: float | None, note: str = "") -> Calibration:
    """The record with what it rests on."""
    cited = sorted({r.source for r in rows})
    if note and not rows:
        note = f"{note}, from {len(measured_sources())} sources of measurements"
    of = sorted({r.version for r in rows if version_numbers(r.version)}, key=lambda v: version_numbers(v) or ())
    one = len({r.engine for r in rows}) == 1 and made.engine not in BASED
    return made.model_copy(update={
        "versions": (of[0], of[-1]) if of and one else (), "n": len(rows), "models": tuple(sorted({r.model for r in rows})),
        "within_95": spread, "source": cited[0] if cited else None,
        "note": note or (f"fitted to rows of {', '.join(cited)}"),
    })  # fmt: skip


def written(found: Sequence[Calibration]) -> str:
    """The file: the sources that are named, then a table each; figures to three digits."""
    sources = {k: v.model_dump(exclude_none=True) for k, v in measured_sources().items() if any(k == c.source for c in found)}
    tables: dict[str, Any] = {"sources": dict(sorted(sources.items()))}
    for c in sorted(found, key=lambda c: c.id):
        based = based_on(c)
        inherited = {"mbu", "mfu", "launch_s"} if based else set()
        fields = c.model_dump(exclude={"id", "sources", "residuals", "rates"} | inherited, exclude_none=True, exclude_defaults=True)
        fields |= {k: _plain(v) for k, v in fields.items() if isinstance(v, dict)}
        if based:
            fields["base"] = based.id
        fields["models"] = list(c.models)
        if c.within_95 is not None:
            fields["within_95"] = _round(c.within_95)
        own = {} if based else c.rates
        rates = {k: {f: _round(v["value"]) for f, v in r.model_dump(exclude_none=True).items()} for k, r in own.items()}
        tables[c.id] = {**fields, "rates": rates} if rates else fields
    return HEADER + tomli_w.dumps(tables)


def based_on(c: Calibration) -> Calibration | None:
    """The rates of its device's kernels that a calibration adds times to; None if it has rates of its own."""
    return kernels(c.engine).get(c.gpu) if engine_classes()[c.engine] in BASED else None


def _plain(figure: Mapping[str, Any]) -> Any:
    return _round(figure["value"]) if set(figure) <= {"value", "note"} else figure


def _round(value: float) -> float:
    return float(f"{value:.3g}")


HEADER = """\
#:schema ../schema/calibration.schema.json
# What engines reach of devices: written by `python -m tools.derive_engines`, not by hand, from the rows of measured/ that are marked fit
# and from the rates of kernels in kernels.toml. Times in seconds; within_95 in natural logarithms.

"""


def main() -> None:
    """Write the file."""
    known = kernels()
    found = [*derived(), *of_classes(known)]
    OUT.write_text(written(found), encoding="utf-8")
    shipped.cache_clear()
    print(f"{OUT.name}: {len(found)} calibrations; between versions within_95 = {between_versions():.3g} (engine-classes.toml)")


if __name__ == "__main__":
    main()
