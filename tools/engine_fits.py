"""Figures of an engine fitted to published rows: what is asked, what is free, least squares, and models left out.

A row is its steps, as operators at the device's peaks, and its estimate is the product's own sum over them. Least squares on
log(estimate / measured), large errors in proportion; a figure that the rows cannot tell stays near what is usual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import t as student

from sol import load_format, load_model
from sol.answers.calibrate.accuracy import questions
from sol.answers.question.ask import Question
from sol.physics.network.sharding import split_operators
from sol.physics.operators.operator import Operator
from sol.physics.time.estimate import names, time_parts
from sol.sources.database.measured import MeasuredRow
from sol.specs.calibration import Calibration
from sol.specs.step import Array

SOFT = 0.1  # errors up to about 10 % count squared
NODES = 6  # steps of a request that stand for all of them: a step's time is close to linear in its context
FEW_MODELS = 2


class Steps(NamedTuple):
    """Steps of one row, each counted so many `times` (s), and the operators of one."""

    asked: Question
    operators: list[Operator]
    times: Array


@lru_cache(maxsize=8192)
def steps(row: MeasuredRow, fusion: str) -> tuple[Steps, ...]:
    """The steps of a row: a request's prefill and its decode steps, at Gauss's nodes of their contexts."""
    found = []
    for asked in questions(row, fusion=fusion):
        q, ctx, times = asked, asked.ctx, np.ones(asked.ctx.size)
        if ctx.size > NODES:
            nodes, weights = np.polynomial.legendre.leggauss(NODES)
            times = weights / 2.0 * ctx.size
            ctx = ctx[0] + (nodes + 1.0) / 2.0 * (ctx[-1] - ctx[0])
            q = replace(asked, ctx=ctx, step=replace(asked.step, past_tokens=ctx))
        found.append(Steps(q, split_operators(q.model, q.step, q.storage, q.routing, q.fusion, q.split), times))
    return tuple(found)


def rated(row: MeasuredRow) -> bool:
    """Whether the device has a sourced rate for what the row computes in, and no prompt goes through a pipeline in pieces."""
    return not (row.pp > 1 and row.phase == "prefill") and all(q.rates.peak is not None for q in questions(row))


def estimate_s(row: MeasuredRow, c: Calibration) -> float:
    """What a calibration makes of a row [s]."""
    total = 0.0
    for q, operators, times in steps(row, c.fusion):
        found = time_parts(operators, q.rates, q.storage, c, q.model.layers, q.step.batch / q.split.dp)
        total += float(np.sum(times * found.latency_s))
    return total


def errors(rows: Sequence[MeasuredRow], c: Calibration) -> Array:
    """log(estimate / measured) of every row."""
    return np.array([math.log(estimate_s(r, c) / r.measured_s) for r in rows])


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
        for name in sorted({format_of(r) for r in rows}):
            mine = [r for r in rows if format_of(r) == name]
            figures[f"gemm.{name}:mbu"] = MBU
            if any(r.phase != "decode" or r.batch >= LARGE for r in mine):
                figures[f"gemm.{name}:mfu"] = MFU
        routed = [r for r in rows if load_model(r.model).is_moe]
        for name in sorted({format_of(r) for r in routed}):
            figures[f"experts.{name}:mbu"] = MBU
        if routed:
            figures["experts:launch_s"] = TIMES["launch_s"]._replace(usual=1e-5)
        if any(r.phase != "decode" and (r.ctx or r.prompt_tokens or 0) >= LONG for r in rows):
            figures["attention:mfu"] = ATTENTION
    return Free(figures)


LARGE, LONG = 64, 4096
"""A batch whose products may be bound by FLOPs, and a prompt whose attention weighs [1, tokens]."""


def format_of(row: MeasuredRow) -> str:
    """The format of a row's weights, as rates name it; 16 bits are one."""
    found = names(load_format(row.dtype))
    return "bf16" if found[-1] == "bf16" else found[0]


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
