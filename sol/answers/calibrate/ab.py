"""Two arms of the same steps, for instance with and without CUDA graphs, and the ratio of their times.

Each session gives each arm one time, the median. Times vary between sessions more than between rows, so the
interval resamples sessions. With CUDA graphs the seconds saved are launches and host time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sol.answers.calibrate.fit_inputs import checked, fit_question, style, where
from sol.answers.report.citations import COLUMNS as CITED
from sol.answers.report.citations import Bibliography, cite_row
from sol.answers.report.shown import Shown
from sol.errors import BadMeasurement, InvalidInput
from sol.frozen import Frozen
from sol.physics.network.sharding import split_operators
from sol.specs.measurement import Measurement, Measurements
from sol.specs.quantities import Array
from sol.specs.record import Cite, Source
from sol.tabular import joined
from sol.units import show_seconds, significant

COLUMNS = tuple(k for k in Measurement.model_fields if k not in ("measured_s", "source"))
"""Columns whose labels can be compared."""
REPLICATES = 10_000
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
"""Student's t, 97.5 %, by degrees of freedom."""
LABELS_NAMED = 6
GRAPHS = "cuda_graphs"
APART = ("gpu", "engine", GRAPHS, "kv_dtype")
"""Fields that name a step besides its work, shown if they differ between steps."""


@dataclass(frozen=True, eq=False)
class Compared(Frozen):
    """One step in both arms.

    Fields [unit]: `first_s`, `second_s` medians over sessions [s]; `ratio` = first/second with its 95 %
    interval `low` … `high`, None with one session; `saved_s` = first − second, per layer and per kernel
    [s] for CUDA graphs; `sessions` of each arm.
    """

    where: str
    first_s: float
    second_s: float
    ratio: float
    low: float | None
    high: float | None
    sessions: tuple[int, int]
    saved_s: float
    saved_s_per_layer: float | None = None
    saved_s_per_kernel: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class AB(Shown, Frozen):
    """Two arms compared: `labels` of the first and the second; the `steps` of both; `notes`; `origins` named by the rows."""

    by: str
    labels: tuple[str | float, str | float]
    steps: tuple[Compared, ...]
    notes: tuple[str, ...]
    origins: tuple[str, ...] = ()
    shown_by: ClassVar[str] = "sol.answers.calibrate.show_ab"

    @property
    def ratio(self) -> float:
        """First divided by second [1]: of the only step, or the geometric mean of several."""
        return float(np.exp(np.mean([np.log(s.ratio) for s in self.steps])))

    @property
    def low(self) -> float | None:
        """The lower end of the 95 % interval of the ratio of one step; None with several steps or one session."""
        return self.steps[0].low if len(self.steps) == 1 else None

    @property
    def high(self) -> float | None:
        """The upper end."""
        return self.steps[0].high if len(self.steps) == 1 else None

    def sources(self) -> Bibliography:
        """The bibliography: the sources named by the rows."""
        rows = (cite_row("measured_s", Cite(value="measured", source=Source(title=name, kind="user"))) for name in self.origins)
        return Bibliography(columns=CITED, rows=tuple(rows))

    def __repr__(self) -> str:
        between = "" if self.low is None or self.high is None else f" ({significant(self.low, 4)} … {significant(self.high, 4)})"
        return f"<AB {said(self.by, self.labels[0])} / {said(self.by, self.labels[1])}: {significant(self.ratio, 4)}×{between}>"


def ab(measurements: Measurements | Iterable[Measurement], by: str = GRAPHS) -> AB:
    """Compare the two labels of a column, step by step: the ratio of medians over sessions, with its 95 % interval.

        ratio = median over sessions of the first arm / of the second

    "No graphs" is the first arm, so the ratio is the gain of graphs. For other columns the first arm is the label that
    comes first in the rows. Sessions with both arms are resampled in pairs, others arm by arm. Rows without a session
    count as one session.

    Raises `BadMeasurement` (one arm only, more than two labels, no step that both arms have) and
    `InvalidInput` (no such column).

    Ignores drift between sessions, and rows without a label.
    """
    if by not in COLUMNS:
        raise InvalidInput(f"by={by!r}", "is not a column with labels", f"one of {', '.join(COLUMNS)}")
    rows = checked(measurements)
    labels = list(dict.fromkeys(v for m in rows if (v := getattr(m, by)) is not None))
    if by == GRAPHS:
        labels.sort()
    if len(labels) != 2:
        raise BadMeasurement(_no_pair(by, labels))
    told = [m for m in rows if getattr(m, by) is not None]
    steps: dict[tuple[Any, ...], dict[Any, list[Measurement]]] = {}
    for m in told:
        alike = tuple(getattr(m, k) for k in COLUMNS if k not in (by, "session"))
        steps.setdefault(alike, {}).setdefault(getattr(m, by), []).append(m)
    both = [arms for arms in steps.values() if len(arms) == 2]
    if not both:
        first, second = (said(by, label) for label in labels)
        raise BadMeasurement(f"no step has both {first} and {second}:", "other columns differ too", "measure the same steps in both")
    apart = [k for k in APART if k != by and len({getattr(arms[labels[0]][0], k) for arms in both}) > 1]
    compared = tuple(_compared(arms[labels[0]], arms[labels[1]], by, apart) for arms in both)
    origins = dict.fromkeys(m.source for arms in both for arm in arms.values() for m in arm if m.source)
    notes = _notes(by, rows, told, len(steps) - len(both), compared)
    return AB(by, (labels[0], labels[1]), compared, tuple(notes), tuple(origins))


def said(by: str, label: Any) -> str:
    """A label as text."""
    if by == GRAPHS:
        return "graphs" if label else "no graphs"
    return f"{by} {label:g}" if isinstance(label, float) else str(label)


def _no_pair(by: str, labels: Sequence[Any]) -> str:
    if not labels:
        return f"no row has {by}; two labels are needed, so add the column or choose another with by="
    if len(labels) == 1:
        return f"every row has {by} {labels[0]}; two labels are needed, so measure the other arm as well"
    named = ", ".join(str(v) for v in labels[:LABELS_NAMED]) + (", …" if len(labels) > LABELS_NAMED else "")
    return f"{by} has {len(labels)} labels ({named}); a comparison takes two, so keep the rows of two labels"


def _compared(first: list[Measurement], second: list[Measurement], by: str, apart: Sequence[str]) -> Compared:
    a, b = (_by_session(arm, by) for arm in (first, second))
    x, y = (float(np.median(list(s.values()))) for s in (a, b))
    low, high = _interval(a, b)
    m, saved = first[0], x - y
    each = _launched(m) if by == GRAPHS else None
    name = joined((where(m), m.dtype or "", *(said(k, v) for k in apart if (v := getattr(m, k)) is not None)))
    return Compared(
        name, x, y, x / y, low, high, (len(a), len(b)), saved,
        None if each is None else saved / each[0], None if each is None else saved / each[1],
    )  # fmt: skip


def _by_session(arm: list[Measurement], by: str) -> dict[Any, float]:
    """The median of every session; if sessions are compared, every row is one."""
    if by == "session":
        return {i: m.measured_s for i, m in enumerate(arm)}
    times: dict[Any, list[float]] = {}
    for m in arm:
        times.setdefault(m.session, []).append(m.measured_s)
    return {k: float(np.median(v)) for k, v in times.items()}


def _interval(a: dict[Any, float], b: dict[Any, float]) -> tuple[float | None, float | None]:
    """95 % bounds of the ratio of medians, with sessions resampled: in pairs if both arms have the same sessions.

    Resamples of few sessions vary too little. Below six sessions in an arm the bounds are Student's t of the logarithms, if wider.
    """
    if min(len(a), len(b)) < 2:
        return None, None
    draw, pairs = np.random.default_rng(0), set(a) == set(b)
    x, y = np.array(list(a.values())), np.array([b[k] for k in a] if pairs else list(b.values()))
    i = draw.integers(len(x), size=(REPLICATES, len(x)))
    j = i if pairs else draw.integers(len(y), size=(REPLICATES, len(y)))
    ratios: Array = np.median(x[i], axis=1) / np.median(y[j], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975]).tolist()
    fewest = min(len(x), len(y))
    if fewest - 1 not in STUDENT:
        return low, high
    u, v = np.log(x), np.log(y)
    spread = np.var(u - v, ddof=1) / fewest if pairs else np.var(u, ddof=1) / len(u) + np.var(v, ddof=1) / len(v)
    ratio, away = float(np.exp(u.mean() - v.mean())), float(np.exp(STUDENT[fewest - 1] * np.sqrt(spread)))
    return min(low, ratio / away), max(high, ratio * away)


def _launched(m: Measurement) -> tuple[float, float]:
    """Layers of a step, and kernels that its engine issues [1]."""
    q = fit_question([m], style(m.engine))
    rows = split_operators(q.model, q.step, q.storage, q.routing, q.fusion, q.split)
    return float(q.model.layers), float(sum(op.kernels for op in rows if op.wire is None))


def _notes(
    by: str, rows: Sequence[Measurement], told: Sequence[Measurement], alone: int, compared: Sequence[Compared]
) -> list[str]:  # fmt: skip
    notes = []
    if any(c.low is None for c in compared):
        notes.append("no interval with one session: measure each arm in several processes, with a session label each")
    if by == GRAPHS:
        gains = [c.saved_s_per_layer for c in compared if c.saved_s_per_layer is not None]
        some, most = show_seconds(min(gains)), show_seconds(max(gains))
        each = some if some == most else f"{some} to {most}"
        notes.append(f"graphs save {each} per layer of host time and launches; kernels as counted for the engine")
    if len(told) < len(rows):
        notes.append(f"{len(rows) - len(told)} rows have no {by}")
    if alone:
        notes.append(f"{alone} step{'s'[: alone - 1]} in one arm only")
    return notes
