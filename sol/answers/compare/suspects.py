"""What a suspect is, and what the searches for suspects share.

A suspect is one change to the inputs (another format, another device, a slow host) that would make the measured
time normal. Only suspects whose numbers fit are listed. `weight` orders them by a rule: how often the cause is
the right one when its numbers fit. It is not a probability.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.question.ask import Question
from sol.answers.question.formats import resolve_formats
from sol.answers.question.splits import resolve_split, valid_splits, with_links
from sol.errors import SolError
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.units import show_seconds, significant

ORDINARY = (0.6, 1.02)
"""Fractions of light that are normal [1]: from healthy to the limit, with room for rounding of the measurement."""
SHOWN = 5
STRONG, WEAK = 0.8, 0.4
"""If a suspect of the first weight fits, suspects of the second weight are left out."""


@dataclass(frozen=True)
class Suspect:
    """One possible cause: `kind` for programs, `title`, the `evidence` with its numbers, what it `takes`, and the `action`.

    `weight` [0..1] orders suspects.
    """

    kind: str
    title: str
    evidence: str
    takes: str
    action: str
    weight: float

    def to_dict(self) -> dict[str, Any]:
        """The suspect as plain JSON values."""
        return {k: getattr(self, k) for k in ("kind", "title", "evidence", "takes", "action", "weight")}


@dataclass(frozen=True, eq=False)
class Case:
    """The input of the searches: the floor, the measured and the optimistic time [s], and what is known of the engine.

    `kind` of engine: "eager", "graph", "fused" or None where none was named.
    """

    floor: Floor
    measured_s: float
    optimistic_s: float
    kind: str | None
    ctx_known: bool

    @property
    def question(self) -> Question:
        """What was asked."""
        return self.floor.question

    @property
    def fraction(self) -> float:
        """Floor over measured [1]."""
        return float(self.floor.latency_s) / self.measured_s

    @property
    def batch(self) -> float:
        """Sequences of the step [1]."""
        return self.question.step.batch.item()

    @property
    def layers(self) -> int:
        """Layers of the model [1]."""
        return self.question.model.layers

    def share(self, other: Floor | None) -> float:
        """Another floor divided by the measured time [1]; 0 without one."""
        return 0.0 if other is None else float(other.latency_s) / self.measured_s

    def plausible(self, seconds: float) -> bool:
        """Whether somebody could have measured this time: it is possible, and above 2 % of light."""
        return bool(self.optimistic_s <= seconds <= self.floor.latency_s / 0.02)


Finder = Callable[[Case], Sequence[Suspect]]


def ordinary(share: float) -> bool:
    """Whether this fraction of light is normal."""
    return ORDINARY[0] <= share <= ORDINARY[1]


def unit_weight(share: float) -> float:
    """The weight of a wrong unit [0.8..1]: higher if the time in the right unit would be closer to the floor."""
    return 0.8 + 0.2 * min(1.0, share)


def percent(share: float) -> str:
    """A share as text: "25 %", "0.14 %", "4,000 %"."""
    return f"{100 * share:,.0f} %" if share >= 0.02 else f"{significant(100 * share, 2)} %"


def variant(
    q: Question, *, dtype: NumberFormat | None = None, cache: NumberFormat | None = None, gpu: GPU | None = None, batch: Any = None,
    past: Any = None, tp: int | None = None,
) -> Floor | None:  # fmt: skip
    """The floor of the same question with one change, whether or not it fits; None if the change is invalid."""
    try:
        device, storage, rates, split = gpu or q.gpu, q.storage, q.rates, q.split
        if dtype is not None or cache is not None or gpu is not None:
            storage, rates, _, _ = resolve_formats(q.model, device, dtype or storage.weights, cache or storage.cache)
        if tp is not None:
            split = resolve_split(tp, q.split.pp, 1, q.split.dp)
            valid_splits(q.model, split)
        if gpu is not None or tp is not None:
            rates, _ = with_links(device, split, None, rates)
        else:
            rates = replace(rates, network=q.rates.network)
    except SolError:
        return None
    step, ctx, scalar = q.step, q.ctx, q.scalar
    if batch is not None:
        step, scalar = replace(step, batch=np.atleast_1d(np.asarray(batch, dtype=np.float64))), np.ndim(batch) == 0
    if past is not None:
        array = np.atleast_1d(np.asarray(past, dtype=np.float64))
        new = step.new_tokens if q.phase == "decode" else ctx - array
        step, scalar = replace(step, past_tokens=array, new_tokens=new), np.ndim(past) == 0
        ctx = array if q.phase == "decode" else ctx
    return floor_of(replace(q, gpu=device, storage=storage, rates=rates, split=split, step=step, ctx=ctx, scalar=scalar))


def siblings(gpu: GPU) -> list[GPU]:
    """Devices whose names share the model number (h100-pcie and h100-sxm), and the power modes of this one."""
    from sol.sources.database.database import gpu_ids, load_gpu

    stem = _stem(gpu.id)
    own = [f"{gpu.id}@{mode}" for mode in gpu.power_modes] if "@" not in gpu.id else [gpu.id.partition("@")[0]]
    ids = [i for i in gpu_ids() if _stem(i) == stem and i != gpu.id.partition("@")[0]] if stem else []
    known = set(gpu_ids())
    return [load_gpu(i) for i in (*own, *ids) if i.partition("@")[0] in known]


def _stem(gpu_id: str) -> str:
    match = re.match(r"[^\d@]*\d+", gpu_id)
    return match.group() if match else ""


def at_light(seconds: float) -> str:
    """A time at the floor, as text."""
    return f"{show_seconds(seconds, 4)} at the floor"
