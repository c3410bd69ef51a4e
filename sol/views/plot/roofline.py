"""The roofline of one step: where its operators stand under the device's roofs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sol.answers.floor.result import Floor
from sol.errors import InvalidInput
from sol.units import show_rate
from sol.views.plot.paper import COMPUTE, INK, MEMORY, PALETTE, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAME = 1.12  # points closer than this ratio in both directions share one label


def plot_roofline(result: Floor, ax: Axes | None = None) -> Axes:
    """The operators of one step as points under the device's roofs, log-log, the ridge marked.

    x: arithmetic intensity [FLOP/B]; y: rate [FLOP/s]. A point's area is its share of the serial
    floor. Operators without FLOPs (norms, the gathered embedding) have no place here.

    Raises `InvalidInput` for a sweep, or for a device without a sourced 16-bit rate.
    """
    q = result.question
    if not result.is_point:
        raise InvalidInput("plot_roofline draws one point", action="index the sweep first, for instance plot_roofline(f[0])")
    if q.rates.peak is None:
        raise InvalidInput("no roof can be drawn:", f"no source gives {q.gpu.id} a {q.storage.base.compute} rate")
    ax = axes(ax)
    bandwidth = q.rates.memory_bytes_per_s
    roofs = _roofs(result)
    points = [(r["operator"], r["flops"] / (r["moved_weight_bytes"] + r["moved_kv_bytes"]), r["flops"] / r["serial_s"], r["share"])
              for r in result.operators.to_dicts() if r["flops"]]  # fmt: skip
    top, lowest = max(roofs.values()), min(x for _, x, _, _ in points)
    left, right = min(0.1, lowest / 12), max(top / bandwidth * 8, max(x for _, x, _, _ in points) * 4)
    bottom = left * bandwidth
    for (name, rate), color in zip(roofs.items(), PALETTE, strict=False):
        ridge, highest = rate / bandwidth, rate == top
        ax.plot([ridge, right], [rate, rate], color=color, lw=1.8)
        ax.annotate(f"{name}  {show_rate(rate, 'FLOP/s')}", (right, rate), xytext=(-4, 4), textcoords="offset points",
                    ha="right", va="bottom", color=color, fontsize=9)  # fmt: skip
        ax.plot([ridge, ridge], [bottom, rate], color=color, lw=0.8, ls=":")
        ax.annotate(f"ridge {ridge:.0f}", (ridge, bottom), xytext=(3 if highest else -3, 3), textcoords="offset points",
                    ha="left" if highest else "right", color=color, fontsize=8)  # fmt: skip
    ax.plot([left, top / bandwidth], [bottom, top], color=INK, lw=1.8)
    ax.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top * 2.5))
    ax.annotate(show_rate(bandwidth, "B/s"), (left * 6, left * 6 * bandwidth), xytext=(-6, 6), textcoords="offset points",
                ha="right", color=INK, fontsize=9)  # fmt: skip
    _name_points(ax, _gathered(points), bandwidth)
    ax.set_xlabel("arithmetic intensity [FLOP/B]")
    ax.set_ylabel("rate [FLOP/s]")
    ax.set_title(result.heading(), fontsize=10)
    ax.grid(which="major", alpha=0.25)
    return ax


def _name_points(ax: Axes, points: list[tuple[list[str], float, float, float]], bandwidth: float) -> None:
    """Points with their names. Where two stand close, one name goes above the slope, or hangs lower under the roof."""
    ordered = sorted(points, key=lambda p: p[1])
    depth = 0
    for i, (names, x, y, share) in enumerate(ordered):
        on_slope = x < y / bandwidth * 1.000001
        ax.scatter([x], [y], s=30 + 500 * share, color=MEMORY if on_slope else COMPUTE, alpha=0.75, zorder=3, edgecolor="white")
        crowded = i + 1 < len(ordered) and ordered[i + 1][1] < 8 * x and ordered[i + 1][2] < 8 * y
        label: dict[str, Any] = {"xytext": (10, -6 - 13 * depth), "va": "top", "ha": "left"}
        if on_slope and crowded:
            label = {"xytext": (-10, 5), "va": "bottom", "ha": "right"}
        if depth:
            label["arrowprops"] = {"arrowstyle": "-", "color": INK, "lw": 0.5, "alpha": 0.5}
        ax.annotate("\n".join(names), (x, y), textcoords="offset points", fontsize=8.5, color=INK, **label)
        depth = depth + len(names) if crowded and not on_slope else 0


def _roofs(result: Floor) -> dict[str, float]:
    """The compute roofs this step runs under: dense peaks, and ceilings where a source shows one."""
    rates = result.question.rates
    assert rates.peak is not None
    assert rates.ceiling is not None
    named = {rates.formats[role]: peak for role, peak in rates.peak.items()}
    roofs = dict(sorted(named.items(), key=lambda item: item[1]))
    for role, ceiling in rates.ceiling.items():
        if ceiling > max(roofs.values()):
            roofs[f"{rates.formats[role]} ceiling"] = ceiling
    return roofs


def _gathered(points: list[tuple[str, float, float, float]]) -> list[tuple[list[str], float, float, float]]:
    """Points that fall together share one label; their shares add up."""
    gathered: list[tuple[list[str], float, float, float]] = []
    for name, x, y, share in sorted(points, key=lambda p: -p[3]):
        for i, (names, px, py, pshare) in enumerate(gathered):
            if max(x / px, px / x) < SAME and max(y / py, py / y) < SAME:
                gathered[i] = ([*names, name], px, py, pshare + share)
                break
        else:
            gathered.append(([name], x, y, share))
    return [(_in_rows(names), x, y, share) for names, x, y, share in gathered]


def _in_rows(names: list[str], width: int = 2) -> list[str]:
    return [", ".join(names[i : i + width]) for i in range(0, len(names), width)]
