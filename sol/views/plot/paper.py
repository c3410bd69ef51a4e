"""What the charts share: the Axes to draw on, their colours, and names beside what they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sol.answers.question.inputs import numbers
from sol.errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#222222", "#9a9a9a"
MEMORY, COMPUTE, NETWORK = "#1f5fa8", "#b5482a", "#3b8132"
PALETTE = ("#1f5fa8", "#b5482a", "#3b8132", "#7a4fa3", "#b08900", "#2a9d9d")
LINE_POINTS = 12.0  # from one line of labels to the next


def axes(ax: Axes | None) -> Axes:
    """The Axes given, or those of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(8.0, 5.0), layout="constrained")[1]


def one(field: str, value: Any) -> float:
    """A number above 0, for a chart that takes one. Raises `InvalidInput`."""
    array = numbers(field, value, above=0.0)
    if array.size != 1:
        raise InvalidInput(field, f"has {array.size} values", "this chart takes one")
    return array.item()


def name_ends(ax: Axes, x: float, ends: list[tuple[str, float, str]]) -> None:
    """Names at the right edge beside the ends of their lines; where two would touch they move apart, tied to their ends."""
    points = 72.0 / ax.figure.dpi
    ordered = sorted(ends, key=lambda e: e[1])
    heights = [float(ax.transData.transform((x, y))[1]) * points for _, y, _ in ordered]
    for (name, y, color), height, place in zip(ordered, heights, apart(heights, LINE_POINTS), strict=True):
        tie = {"arrowstyle": "-", "color": color, "lw": 0.6, "shrinkA": 1.0, "shrinkB": 0.0, "relpos": (0.0, 0.5)}
        ax.annotate(name, (x, y), xytext=(14, place - height), textcoords="offset points", color=color, fontsize=8.5, va="center",
                    arrowprops=tie)  # fmt: skip


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Rising heights moved as little as possible until neighbours are `gap` apart (least squares, by pooling)."""
    pools: list[tuple[float, int]] = []
    for i, height in enumerate(heights):
        mean, n = height - i * gap, 1
        while pools and pools[-1][0] > mean:
            before, m = pools.pop()
            mean, n = (before * m + mean * n) / (m + n), m + n
        pools.append((mean, n))
    return [mean + i * gap for i, mean in enumerate(mean for mean, n in pools for _ in range(n))]
