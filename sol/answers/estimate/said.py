"""What an estimate says of its calibration: what stands in for figures that it lacks, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sol.answers.question.ask import Question
from sol.physics.time.estimate import OperatorTime, rate_names
from sol.sources.database.calibrations import engine_classes
from sol.specs.calibration import Calibration, OperatorKind
from sol.specs.formats import NumberFormat


def stand_ins(q: Question, c: Calibration, parts: Sequence[OperatorTime]) -> list[str]:
    """What a calibration does not know of the formats asked, and what is taken in its place."""
    said: list[str] = []
    if q.rates.peak is None:
        said.append(f"no source gives {q.gpu.id} a {q.rates.formats['weights']} rate: an estimate of bytes alone, which hide the products")
    for (op, _), part in zip(q.operators(), parts, strict=True):
        kind = part.kind
        fmt = q.storage.cache if kind == "attention" else q.storage.stored(op.role)
        if part.network or kind == "other":
            continue
        what = {"gemm": "products of {} weights", "experts": "experts of {} weights", "attention": "attention over a {} cache"}[
            kind
        ].format(fmt.id)
        others = c.stand_in(kind, *rate_names(fmt))
        near = "" if others else _nearest(c, kind, fmt)
        if near:
            said.append(f"this calibration has no rate for {what} by that name: those of {near} are used, the nearest kind")
        if others:
            said.append(f"this calibration has no rate for {what}: {others} are used, and the interval may not hold")
        if c.n and not np.all(part.memory_s >= part.compute_s) and not c.tells_mfu(kind, *rate_names(fmt)):
            said.append(
                f"this calibration does not say what fraction of the peak FLOPs {what} reach: the full peak is used, so the estimate is low"
            )
    return list(dict.fromkeys(said))


def _nearest(c: Calibration, kind: OperatorKind, fmt: NumberFormat) -> str:
    """The kind of format whose rates stand for one that a checkpoint names; empty where they are its own."""
    keys, _ = c.rates_of("mbu", kind, *rate_names(fmt))
    of = keys[0].partition(".")[2] if len(keys) == 1 else ""
    return of if of in ("fp8-block128", "nvfp4", "mxfp4") and of not in (fmt.id, fmt.id.partition("-")[0]) else ""


def calibration_lines(c: Calibration) -> tuple[str, ...]:
    """What an estimate assumes of its engine."""
    kind = engine_classes().get(c.engine.lower(), "")
    of = f", of the class {kind}" if kind and kind != c.engine else ""
    known = f"{c.n} rows of {len(c.models)} models" if c.n else "figures from elsewhere"
    lines = [f"{c.engine} on {c.gpu}{of}: {c.form}, {known}"]
    if c.note:
        lines.append(c.note)
    return tuple(lines)
