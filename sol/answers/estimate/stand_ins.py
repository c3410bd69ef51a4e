"""What an estimate takes in the place of what is not known: rates of other formats, bytes alone where no source has a rate of FLOPs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sol.answers.question.ask import Question
from sol.answers.question.formats import SIXTEEN
from sol.physics.time.estimate import OperatorTime, rate_names
from sol.specs.calibration import Calibration, OperatorKind
from sol.specs.formats import NumberFormat


def can_estimate(q: Question) -> bool:
    """Whether every product has a sourced rate, or takes no longer than its bytes at any plausible one.

    Narrow formats can be multiplied in 16 bits, so that no rate is below the device's of 16 bits: where a source has that, products that
    hide beneath their bytes at it hide at any. Without it one token of one sequence, 2 FLOPs a weight, hides on every device.
    """
    if q.rates.peak is not None:
        return True
    if q.step.beside or q.phase != "decode":
        return False
    if not np.any(np.asarray(q.step.batch) * np.asarray(q.step.new_tokens) > 1.0):
        return True
    sixteen = max((q.gpu.peak(name) or 0.0 for name in ("bf16", "fp16")), default=0.0)
    return sixteen > 0.0 and all(np.all(op.flops / sixteen <= times.moved_s) for op, times in q.operators() if op.wire is None)


def warned(q: Question, c: Calibration, operators: Sequence[OperatorTime]) -> tuple[str, ...]:
    """What a reader must know of an estimate: another device's or another format's calibration, and what stands in."""
    here, there = q.gpu.id, c.gpu
    of, asked = c.dtype, q.storage.weights.id
    said = [f"the calibration is of {there}, and {here} may differ"] if here != there else []
    if of and of != ("16-bit" if asked in SIXTEEN else asked):
        said.append(f"the calibration is of {of} weights, not {asked}, whose kernels may reach other rates")
    return (*said, *stand_ins(q, c, operators))


def stand_ins(q: Question, c: Calibration, operators: Sequence[OperatorTime]) -> list[str]:
    """What a calibration does not know of the formats asked, and what is taken in its place."""
    said: list[str] = []
    if q.rates.peak is None:
        said.append(f"no source gives {q.gpu.id} a {q.rates.formats['weights']} rate: an estimate of bytes alone, which hide the products")
    for (op, _), part in zip(q.operators(), operators, strict=True):
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
