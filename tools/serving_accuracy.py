"""Score predictions of servers under load on the published figures: `python -m tools.serving_accuracy MODULE:FUNCTION`.

The function takes a `ServingRow` and returns its metric in the row's own unit, a `Prediction` with an interval and a bound,
or None where it has no answer. The report says, by device, engine, kind of model, load and metric, how far off it is,
how often its interval holds, and which figures are better than its bound: there a number or a formula is wrong.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sol import load_model
from sol.sources.database.serving import ServingRow, serving_rows, serving_sources
from tools.report_table import percent, table

HIGHER_IS_BETTER = ("output_tokens_per_s", "requests_per_s")
PROMPT_BANDS, CONCURRENCY_BANDS = (8, 32, 128, 512), (4, 16, 64, 256)
WORST = 15


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted metric in its unit, with the interval it is expected in and the value that no server can beat."""

    value: float
    low: float | None = None
    high: float | None = None
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """One published figure and its prediction; None without one."""

    row: ServingRow
    predicted: Prediction | None

    @property
    def error(self) -> float:
        """Prediction divided by measurement, minus 1 [1]; NaN without a prediction."""
        return math.nan if self.predicted is None else self.predicted.value / self.row.value - 1.0

    @property
    def held(self) -> bool | None:
        """Whether the measurement is in the interval; None without one."""
        p = self.predicted
        return None if p is None or p.low is None or p.high is None else p.low <= self.row.value <= p.high

    @property
    def beyond(self) -> bool | None:
        """Whether the measurement is better than the bound, a time below it or a rate above it; None without one."""
        if self.predicted is None or self.predicted.bound is None:
            return None
        better, worse = self.row.value, self.predicted.bound
        return better > worse if self.row.metric in HIGHER_IS_BETTER else better < worse


Predict = Callable[[ServingRow], float | Prediction | None]


def scored_rows(predict: Predict, rows: Iterable[ServingRow] | None = None) -> list[Scored]:
    """Every published figure with its prediction. Raises `ValueError` for one that is not a finite number above 0."""
    return [Scored(row, _checked(predict(row), row)) for row in (serving_rows() if rows is None else rows)]


def _checked(said: float | Prediction | None, row: ServingRow) -> Prediction | None:
    if said is None:
        return None
    found = said if isinstance(said, Prediction) else Prediction(float(said))
    if not 0 < found.value < math.inf:
        raise ValueError(f"{row.id}: the prediction {found.value!r} is not a finite number above 0; return None where there is none")
    return found


def band(value: float | None, edges: Sequence[int], otherwise: str) -> str:
    """The band of whole numbers that a value falls into, as text."""
    if value is None:
        return otherwise
    below = [0, *edges]
    for least, most in zip(below, edges, strict=False):
        if value <= most:
            return f"to {most}" if least == 0 else f"{least}–{most}"
    return f"above {edges[-1]}"


def load(row: ServingRow) -> str:
    """How requests came: a constant number (and whether many of them wait), arrivals at a rate, or all at once."""
    if row.overloaded:
        return "overloaded"
    if row.concurrency is None:
        return "offline" if row.offline else "arrivals"
    return "concurrency, requests wait" if row.waiting else "concurrency"


CUTS: Mapping[str, Callable[[ServingRow], str]] = {
    "metric": lambda r: f"{r.metric} {r.statistic}".strip(),
    "load": load,
    "source": lambda r: r.source,
    "device": lambda r: r.gpu,
    "engine": lambda r: f"{r.engine} {r.version or '(version not said)'}",
    "model": lambda r: "mixture of experts" if load_model(r.model).is_moe else "dense",
    "prompt tokens a decode step": lambda r: band(r.prompt_tokens_per_step, PROMPT_BANDS, load(r)),
    "concurrent requests": lambda r: band(r.concurrency, CONCURRENCY_BANDS, load(r)),
    "devices": lambda r: "one" if r.devices == 1 else "several",
}
"""What the rows are grouped by, and the name of a row's group."""


def figures_of(rows: Sequence[Scored]) -> dict[str, Any]:
    """n figures with a prediction, none without; median and P90 of |error|; share in the interval; figures beyond the bound."""
    off = sorted(abs(s.error) for s in rows if s.predicted is not None)
    held = [s.held for s in rows if s.held is not None]
    judged = [s.beyond for s in rows if s.beyond is not None]
    return {
        "n": len(off), "none": len(rows) - len(off), "median_error": median(off) if off else None,
        "p90_error": off[math.ceil(0.9 * len(off)) - 1] if off else None, "held": sum(held) / len(held) if held else None,
        "beyond": sum(judged) if judged else None,
    }  # fmt: skip


def by(rows: Sequence[Scored], cut: str) -> dict[str, dict[str, Any]]:
    """The figures of every group of a cut, by its name."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for s in rows:
        groups[CUTS[cut](s.row)].append(s)
    return {name: figures_of(mine) for name, mine in groups.items()}


def report(rows: Sequence[Scored]) -> str:
    """The whole report as Markdown: held-out figures, then fitted ones, cut by cut, then the worst and those beyond the bound."""
    head = ("rows", "n", "no answer", "median error", "P90 error", "inside the interval", "beyond the bound")
    lines = ["# How accurate for servers", ""]
    for split, name in (("holdout", "Held out"), ("fit", "Fitted")):
        mine = [s for s in rows if s.row.split == split]
        lines += [f"## {name}", "", *table(head, [_line("all", figures_of(mine))]), ""]
        for cut in CUTS:
            lines += [
                f"By {cut}:",
                "",
                *table(head, [_line(k, f) for k, f in sorted(by(mine, cut).items(), key=lambda g: _order(g[0]))]),
                "",
            ]
    far = sorted((s for s in rows if s.predicted is not None), key=lambda s: -abs(math.log(1.0 + s.error)))
    lines += ["## Furthest off", "", *listed(far[:WORST]), "", "## Beyond the bound", "", *listed([s for s in rows if s.beyond]), ""]
    counts: dict[str, int] = defaultdict(int)
    for s in rows:
        counts[s.row.source] += 1
    return (
        "\n".join([*lines, "## Sources", "", *table(("source", "rows"), [(serving_sources()[k].title, n) for k, n in counts.items()])])
        + "\n"
    )


def in_order(names: Iterable[str]) -> list[str]:
    """Names of groups, bands in the order of their numbers."""
    return sorted(names, key=_order)


def _order(name: str) -> tuple[bool, float, str]:
    """Bands by their numbers, other groups by name."""
    first = name.removeprefix("to ").removeprefix("above ").partition("–")[0]
    return (
        not first.isdecimal(),
        float(first) + 0.5 * name.startswith("above") - 0.5 * name.startswith("to ") if first.isdecimal() else 0.0,
        name,
    )


def _line(name: str, f: Mapping[str, Any]) -> tuple[Any, ...]:
    shares = ["–" if f[k] is None else percent(f[k]) for k in ("median_error", "p90_error", "held")]
    return (name, f["n"], f["none"], *shares, "–" if f["beyond"] is None else f["beyond"])


def listed(rows: Sequence[Scored]) -> list[str]:
    """Rows one by one, as a table."""
    body = []
    for s in rows:
        r, p = s.row, s.predicted
        how = (r.request_rate_per_s and f"{r.request_rate_per_s:g}/s") or (r.concurrency and f"{r.concurrency:g} at once") or "offline"
        what = f"{r.metric} {r.statistic}".strip()
        said = "–" if p is None else f"{p.value:.4g}"
        limit = "–" if p is None or p.bound is None else f"{p.bound:.4g}"
        server = f"{r.gpu} ×{r.devices}, {r.engine} {r.version}".strip()
        body.append(
            (r.id, server, r.model, f"{how}, {r.prompt_tokens:g} + {r.output_tokens:g}", what, r.split, f"{r.value:.4g}", said, limit)
        )
    return table(("row", "server", "model", "load", "metric", "split", "measured", "predicted", "bound"), body)


def main() -> None:
    """Score the function that the command line names, and print the report."""
    module, _, name = sys.argv[1].partition(":") if len(sys.argv) == 2 else ("", "", "")
    if not module or not name:
        sys.exit("usage: python -m tools.serving_accuracy MODULE:FUNCTION, a function of a ServingRow")
    predict: Predict = getattr(importlib.import_module(module), name)
    here = importlib.import_module("tools.serving_accuracy")  # whose `Prediction` is the one that others import
    print(here.report(here.scored_rows(predict)))


if __name__ == "__main__":
    main()
