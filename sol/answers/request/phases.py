"""Where a request's time goes: attention, feed-forward, links and the rest, in prefill and in decode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sol.answers.question.ask import Question
from sol.answers.request.result import Request
from sol.errors import InvalidInput
from sol.physics.operators.operator import Operator
from sol.physics.time.estimate import operator_times
from sol.sources.database.libraries import library_for
from sol.specs.step import Logits, Step
from sol.tabular import Column, Table
from sol.units import show_seconds

FEED_FORWARD = ("gate_up_proj", "up_proj", "down_proj", "router", "experts", "shared", "latent_proj", "activation")
OUTSIDE = ("embedding", "norms", "final_norm", "lm_head", "per_layer")
COLUMNS = (
    Column("phase", "phase", left=True), Column("part", "part", left=True), Column("seconds", "time", lambda v: show_seconds(v, 3)),
    Column("share", "share", lambda v: f"{100 * v:.1f} %"),
)  # fmt: skip


def part_of(op: Operator) -> str:
    """The part of the model an operator belongs to: attention holds its projections, recurrent mixers count with it."""
    if op.wire is not None:
        return "links"
    if op.name.startswith(FEED_FORWARD):
        return "feed-forward"
    return "other" if op.name.startswith(OUTSIDE) else "attention"


def phases(r: Request) -> Table:
    """Seconds of each part in each phase, kernels with their launches, or at the device's peaks where no engine is known.

    Raises `InvalidInput` for a sweep.
    """
    if not r.is_point:
        raise InvalidInput("phases", "are those of one request", "ask for one point")
    q = r.question if r.expected is None else r.expected.question
    batch, prompt, cached, output = (float(v) for v in (r.batch, r.prompt_tokens, r.cached_tokens, r.output_tokens))
    found = {"prefill": _parts(r, q, np.array([prompt - cached]), np.array([cached]), batch, "last")}
    if output > 1.0:
        found["decode"] = _parts(r, q, np.ones(1), prompt + np.arange(output - 1.0), batch, "all")
    rows = []
    for phase, parts in found.items():
        whole = sum(parts.values())
        rows += [(phase, part, seconds, seconds / whole) for part, seconds in sorted(parts.items(), key=lambda item: -item[1]) if seconds]
    return Table(columns=COLUMNS, rows=tuple(rows))


def _parts(r: Request, q: Question, new: Any, past: Any, batch: float, logits: Logits) -> dict[str, float]:
    step = Step(np.array([batch]), new, past, logits, imbalance=q.step.imbalance)
    priced = replace(q, step=step, ctx=past + new, scalar=False).operators()
    if r.expected is None:
        seconds = [times.serial_s for _, times in priced]
    else:
        seconds = [
            t.launch_s + t.reached_s
            for t in operator_times(priced, q.rates, q.storage, r.expected.calibration, library_for(r.expected.calibration))
        ]
    found: dict[str, float] = {}
    for (op, _), of in zip(priced, seconds, strict=True):
        part = part_of(op)
        found[part] = found.get(part, 0.0) + float(np.sum(np.broadcast_to(of, past.shape)))
    return found
