"""What a replica trades: the rate of one user against the tokens of one device, over every split and batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sol.answers.plan.plan import Plan
from sol.answers.plan.show import MEANING
from sol.tabular import joined
from sol.units import show_count
from sol.views.plot.paper import COMPUTE, FAINT, INK, LINE_POINTS, MEMORY, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OFFSET, CHARACTER_POINTS = 16.0, 5.4  # from a point to its name, and the width of a letter in bold


def plot_frontier(plan: Plan, ax: Axes | None = None) -> Axes:
    """Tokens per second per user against tokens per second per device, log-log: what fits, the front, and the winner.

    A faint point is a candidate that fits (a cross where it takes longer than the plan allows), the line joins
    those that no other beats in both rates. Each split has its name where the front first takes it, from the
    fastest for one user on, and so have the front's ends and the winner.
    """
    ax = axes(ax)
    user, each = plan.tokens_per_s_per_user, plan.tokens_per_s_per_gpu
    slow = plan.fits & ~plan.meets
    ax.scatter(user[plan.meets], each[plan.meets], s=7, color=FAINT, alpha=0.35, lw=0, zorder=1)
    if slow.any():
        ax.scatter(user[slow], each[slow], s=8, marker="x", color=FAINT, alpha=0.35, lw=0.6, zorder=1)
    front = list(plan.front)
    ax.plot(user[front], each[front], color=MEMORY, lw=1.6, marker="o", ms=3.5, zorder=2)
    ax.scatter([user[plan.best]], [each[plan.best]], s=150, marker="*", color=COMPUTE, edgecolor="white", zorder=4)
    ax.set(xscale="log", yscale="log", ylabel="tok/s per device")
    ax.set_xlabel("tok/s per user" + (", × slower than asked" if slow.any() else ""))
    _plain_ticks(ax)
    _name_kinks(ax, plan)
    ax.grid(which="major", alpha=0.25)
    asked = (f"{plan.model.id} on {_counts(plan)} {plan.gpu.id}", "decode", f"ctx {show_count(plan.ctx)}")
    ax.set_title(f"{joined((*asked, plan.winner.question.storage.weights.id))}\nbest: {MEANING[plan.objective]}", fontsize=10)
    return ax


def _plain_ticks(ax: Axes) -> None:
    """Rates as people say them: 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _counts(plan: Plan) -> str:
    counts = np.unique(plan.devices)
    return ", ".join(f"{n:g}" for n in counts) if counts.size < 4 else f"{counts[0]:g}…{counts[-1]:g}"


def _kinks(plan: Plan) -> list[int]:
    """The ends of the front, where it first takes a split, and the winner, fewest tokens per device first."""
    seen, found = set(), {plan.front[-1], plan.best}
    for i in plan.front:
        if plan.splits[i] not in seen:
            seen.add(plan.splits[i])
            found.add(i)
    return sorted(found, key=lambda i: (plan.tokens_per_s_per_gpu[i], -plan.tokens_per_s_per_user[i]))


def _name_kinks(ax: Axes, plan: Plan) -> None:
    """Names to the right of their points, where the front leaves room; each at least one line above the one before."""
    kinks = _kinks(plan)
    names = [joined(("best" if i == plan.best else "", str(plan.splits[i]), f"batch {show_count(plan.batch[i])}")) for i in kinks]
    at = np.array([[plan.tokens_per_s_per_user[i], plan.tokens_per_s_per_gpu[i]] for i in kinks])
    heights, places = _roomy(ax, at, names)
    for i, name, xy, height, place in zip(kinks, names, at, heights, places, strict=True):
        style: dict[str, Any] = {"color": COMPUTE, "fontweight": "bold"} if i == plan.best else {"color": INK}
        tie = {"arrowstyle": "-", "color": style["color"], "lw": 0.5, "alpha": 0.6, "shrinkA": 1.0, "shrinkB": 2.0, "relpos": (0.0, 0.5)}
        ax.annotate(name, tuple(xy), xytext=(OFFSET, place - height + 4), textcoords="offset points", va="center", fontsize=8.5,
                    arrowprops=tie, **style)  # fmt: skip


def _roomy(ax: Axes, at: Any, names: list[str]) -> tuple[list[float], list[float]]:
    """Limits with room for names right of and above their points; the heights of points and of names [points of print]."""
    box, print_points = ax.get_window_extent(), 72.0 / ax.figure.dpi
    left, right = ax.get_xlim()
    width, longest = box.width * print_points, 0.7 * box.width * print_points
    for (x, _), name in zip(at, names, strict=True):
        needs = min(OFFSET + CHARACTER_POINTS * len(name), longest)
        right = max(right, left * (x / left) ** (width / (width - needs)))
    ax.set_xlim(left, right)
    bottom, top = ax.get_ylim()
    for room in np.linspace(0, 1, 11):  # a higher roof spreads the points less, so the names climb as far again
        ax.set_ylim(bottom, top * (top / bottom) ** room)
        heights = [float(y) * print_points for y in ax.transData.transform(at)[:, 1]]
        places: list[float] = []
        for height in heights:
            places.append(max(height, places[-1] + LINE_POINTS) if places else height)
        if places[-1] + LINE_POINTS < box.y1 * print_points:
            break
    return heights, places
