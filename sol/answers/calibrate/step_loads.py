"""Steps as the arrays of a fit: their operators at the device's peaks, or as one operator at known rates.

Operators of one kind may have separate rates, one for each weight format. They then point at the figures of those rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from sol.answers.question.ask import Question
from sol.physics.fit.loads import FIGURES, INV_MBU, INV_MFU, LAUNCH
from sol.physics.operators.operator import Operator
from sol.physics.time.estimate import operator_kind, operator_times, rate_names, sent_s, time_parts
from sol.specs.calibration import Calibration, RateFigure
from sol.specs.libraries import Library
from sol.specs.quantities import Array
from sol.specs.step import Storage

OWN: dict[str, int] = {"mbu": INV_MBU, "mfu": INV_MFU, "launch_s": LAUNCH}
"""The figures of every form that stand for all kinds of operators."""


@dataclass(frozen=True)
class RateFigures:
    """The places of the rates of operator kinds among the figures of a fit: after the six of every form, followed by geometric means.

    `template` has those rates, with any values; `means` grows as operators are added.
    """

    template: Calibration
    names: tuple[str, ...]
    means: dict[tuple[int, ...], int] = field(default_factory=dict)

    def at(self, name: str) -> int:
        """The place of a figure, named as "gemm.fp8:mbu"."""
        return FIGURES + self.names.index(name)

    def of(self, op: Operator, storage: Storage) -> tuple[int, int, int]:
        """The places of an operator's 1/mbu, 1/mfu and seconds per kernel."""
        kind = operator_kind(op)
        formats = rate_names(storage.cache if kind == "attention" else storage.stored(op.role))
        found = []
        for figure, own in OWN.items():
            keys, _ = self.template.rates_of(cast(RateFigure, figure), kind, *formats)
            places = tuple(self.at(f"{key}:{figure}") for key in keys)
            if len(places) > 1:
                found.append(self.means.setdefault(places, FIGURES + len(self.names) + len(self.means)))
            else:
                found.append(places[0] if places else own)
        return found[0], found[1], found[2]


def step_loads(
    q: Question, n: int, known: Calibration | None = None, rates: RateFigures | None = None, library: Library | None = None
) -> dict[str, Any]:  # fmt: skip
    """The loads of n steps of a question, named as in `Loads`. With `known` rates: one operator, without a rate or launch to fit.

    `library`: whose collectives they send.
    """
    priced = q.operators()
    none = np.zeros(n)
    common = {"layers": np.full(n, float(q.model.layers)), "sequences": np.broadcast_to(q.step.sequences / q.split.dp, n)}
    if known is not None:
        busy = time_parts(operator_times(priced, q.rates, q.storage, known, library), known, q.model.layers, 0.0).latency_s
        return common | {"moved_s": np.broadcast_to(busy, n)[:, None], "peak_s": none[:, None], "wire_s": none, "kernels": none}
    local = [(op, t) for op, t in priced if op.wire is None]
    sent = [np.broadcast_to(sent_s(op, t, q.rates, library), n) for op, t in priced if op.wire is not None]
    moved = [np.broadcast_to(t.moved_s, n) for _, t in local]
    peak = [np.broadcast_to(t.peak_s, n) for _, t in local]
    kernels = np.sum([_kernels(op, n) for op, _ in local], axis=0)  # a collective's latency holds its launch
    if rates is not None:
        places = [rates.of(op, q.storage) for op, _ in local]
        own = [(_kernels(op, n), launch) for (op, _), (_, _, launch) in zip(local, places, strict=True) if launch != LAUNCH]
        kernels = kernels - sum(count for count, _ in own)
        moved += [count for count, _ in own]
        peak += [none for _ in own]
        of = [(mbu, mfu) for mbu, mfu, _ in places] + [(launch, INV_MFU) for _, launch in own]
        common |= {"mbu_of": np.tile([mbu for mbu, _ in of], (n, 1)), "mfu_of": np.tile([mfu for _, mfu in of], (n, 1))}
    return common | {
        "moved_s": np.stack(moved, axis=1), "peak_s": np.stack(peak, axis=1), "wire_s": np.add.reduce(sent) if sent else none,
        "kernels": kernels,
    }  # fmt: skip


def _kernels(op: Operator, n: int) -> Array:
    """Kernels of an operator in every step [1], none where a step has no tokens for it."""
    return np.broadcast_to(np.asarray(op.kernels, dtype=np.float64), n)


def joined_loads(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The steps of several questions in one set; steps with fewer operators get operators without work."""
    widest = max(p["moved_s"].shape[1] for p in pieces)
    return {name: np.concatenate([_padded(p[name], widest) if p[name].ndim == 2 else p[name] for p in pieces]) for name in pieces[0]}


def _padded(values: Array, columns: int) -> Array:
    return np.pad(values, ((0, 0), (0, columns - values.shape[1])))
