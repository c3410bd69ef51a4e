"""What more devices buy: the step, where its time goes, and what is left of each device's rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sol.answers.floor.floor import floor
from sol.answers.plan.candidates import device_counts, legal_splits
from sol.answers.plan.plan import Plan, plan
from sol.answers.plan.show import best_by_devices
from sol.answers.question.links import resolve_link, resolve_network, topology
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.links import Topology
from sol.specs.model import Model
from sol.tabular import joined
from sol.units import show_count
from sol.views.plot.paper import COMPUTE, FAINT, INK, LINE_POINTS, MEMORY, NETWORK, axes, name_ends, one

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {"memory": ("memory", MEMORY), "compute": ("compute", COMPUTE), "network": ("communication", NETWORK)}
EFFICIENCY = "#7a4fa3"
STEPS, EFFICIENT = 0.66, (0.71, 0.9)  # of the height: bars and their splits below, efficiency from 0 to its highest above
TICK_POINTS, CHARACTER_POINTS = 18.0, 4.6


def plot_scaling(
    model: str | Path | Model, gpu: str | GPU, *, devices: int | str | Sequence[int], ctx: float, batch: float = 1,
    network: str | None = None, dtype: str | NumberFormat | None = None, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """The decode step of each number of devices at its fastest split, and the efficiency that leaves.

    x: devices, evenly spaced. Below, y: the serial floor [ms] as a bar, stacked by what binds its operators: memory,
    compute, communication with its latency. Above, on the right-hand axis: tokens per second per device, relative
    to the fewest that hold the model. A dashed line marks where the links of a box end. A number of devices
    without a step is a gap that says why.

    Raises as `plan` does: `DoesNotFit` where nothing fits, `InvalidPlan` where nothing is legal.
    """
    counts = device_counts(devices)
    p = plan(model, gpu, devices=counts, ctx=ctx, batch=one("batch", batch), network=network, dtype=dtype)
    chosen = best_by_devices(p)
    steps = [_parts(p, i) for i in chosen]
    boxes = _boxes(p, counts[-1])
    ax = axes(ax)
    at = np.array([counts.index(int(p.devices[i])) for i in chosen])
    bottom = np.zeros(len(chosen))
    ends = []
    for bound, (name, color) in PARTS.items():
        height = np.array([1e3 * parts.get(bound, 0.0) for parts in steps])
        if height.any():
            ax.bar(at, height, bottom=bottom, width=0.8, color=color, label=name)
            ends.append((name, float(bottom[-1] + height[-1] / 2), color))
        bottom = bottom + height
    ax.set(xlim=(-0.5, len(counts) - 0.5), xlabel=f"devices ({p.gpu.id})")
    _name_splits(ax, [str(p.splits[i]) for i in chosen], at, bottom)
    _gaps(ax, p, counts, [int(n) for n in at])
    _ends_of_boxes(ax, boxes, counts)
    every = math.ceil(len(counts) * TICK_POINTS / _width_points(ax))
    ax.set_xticks(range(0, len(counts), every), [f"{n}" for n in counts[::every]])
    name_ends(ax, len(counts) - 0.5, ends)
    _efficiency(ax, p, chosen, at)
    asked = ("decode", f"batch {show_count(p.batch[0])}", f"ctx {show_count(p.ctx)}", p.winner.question.storage.weights.id)
    ax.set_title(f"{p.model.id} on {p.gpu.id}\n{joined(asked)}", fontsize=10)
    return ax


def _parts(p: Plan, i: int) -> dict[str, float]:
    """Seconds of one candidate's step by what binds its operators [s]."""
    found: dict[str, float] = {}
    for row in floor(p.model, p.gpu, batch=float(p.batch[i]), **p.splits[i]._asdict(), **p.asked).operators.to_dicts():
        found[row["bound"]] = found.get(row["bound"], 0.0) + row["serial_s"]
    return found


def _links(p: Plan) -> Topology:
    return topology(p.gpu, resolve_network(p.asked["network"]), resolve_link(p.asked["link"]))


def _boxes(p: Plan, most: int) -> dict[float, str]:
    """How many devices each link joins before the next one is needed, and its name."""
    if most == 1:
        return {}
    return {link.domain: f"{link.id} joins {link.domain:g}" for link in _links(p).levels if link.domain is not None}


def _ends_of_boxes(ax: Axes, boxes: dict[float, str], counts: list[int]) -> None:
    """A line where the last number stands that a link still joins, and its name on the side that has room."""
    width = _width_points(ax)
    for row, (joins, name) in enumerate(boxes.items()):
        edge = sum(n <= joins for n in counts) - 0.5
        if -0.5 < edge < len(counts) - 0.5:
            ax.axvline(edge, color=INK, lw=0.9, ls="--")
            inside = (edge + 0.5) / len(counts) * width > (len(name) + 2) * CHARACTER_POINTS
            ax.annotate(name, (edge, 1), xycoords=("data", "axes fraction"), xytext=(-4 if inside else 4, -4 - LINE_POINTS * row),
                        textcoords="offset points", ha="right" if inside else "left", va="top", fontsize=8.5, color=INK)  # fmt: skip


def _width_points(ax: Axes) -> float:
    return float(ax.get_window_extent().width) * 72.0 / ax.figure.dpi


def _name_splits(ax: Axes, splits: list[str], at: Any, tops: Any) -> None:
    """The split over each bar: line by line where bars are wide, upright where they are not, the fastest where too narrow for all."""
    room = _width_points(ax) / (ax.get_xlim()[1] - ax.get_xlim()[0])
    wide = max(len(word) for s in splits for word in s.split()) * CHARACTER_POINTS < room
    tall = max((s.count(" ") + 1) * LINE_POINTS if wide else len(s) * CHARACTER_POINTS for s in splits) + 4.0
    height = float(ax.get_window_extent().height) * 72.0 / ax.figure.dpi
    ax.set_ylim(0, tops.max() / max(STEPS - tall / height, 0.2))
    named: list[float] = []
    for i in np.argsort(tops, kind="stable"):
        if all(abs(at[i] - other) * room >= LINE_POINTS for other in named):
            named.append(at[i])
            below = tops[abs(at - at[i]) * room < LINE_POINTS / 2 + 0.4 * room].max()  # what the name would cover
            ax.annotate(splits[i].replace(" ", "\n") if wide else splits[i], (at[i], below), xytext=(0, 3), textcoords="offset points",
                        ha="center", va="bottom", rotation=0 if wide else 90, fontsize=8, color=INK, linespacing=1.0)  # fmt: skip
    ax.set_yticks([t for t in ax.get_yticks() if 0 <= t <= tops.max() * 1.02])
    ax.set_ylabel("step, serial floor [ms]", y=STEPS / 2)


def _gaps(ax: Axes, p: Plan, counts: list[int], drawn: list[int]) -> None:
    """Where no bar stands, why; neighbours that lack one for the same reason share the words, and the narrow ones the axis's name."""
    missing = [(x, _why(p, n)) for x, n in enumerate(counts) if x not in drawn]
    room, unsaid = _width_points(ax) / len(counts), []
    for (_, why), run in groupby(enumerate(missing), key=lambda e: (e[1][0] - e[0], e[1][1])):
        xs = [x for _, (x, _) in run]
        ax.axvspan(xs[0] - 0.5, xs[-1] + 0.5, ymax=STEPS, color=FAINT, alpha=0.15, lw=0)
        if len(xs) * room < LINE_POINTS:
            unsaid.append(why)
            continue
        ax.annotate(why, ((xs[0] + xs[-1]) / 2, 0), xytext=(0, 6), textcoords="offset points", ha="center", va="bottom", rotation=90,
                    fontsize=8.5, color=INK)  # fmt: skip
    if unsaid:
        ax.set_xlabel(f"{ax.get_xlabel()}, no bar: {', '.join(dict.fromkeys(unsaid))}")


def _why(p: Plan, devices: int) -> str:
    if devices in p.devices:
        return "does not fit"
    return "needs a network" if legal_splits(p.model, devices) else "no legal split"


def _efficiency(ax: Axes, p: Plan, chosen: list[int], at: Any) -> None:
    """Tokens per second per device against those of the fewest, on an axis of its own above the bars."""
    each = p.tokens_per_s_per_gpu[chosen]
    efficiency = each / each[0]
    low, high = EFFICIENT
    scale = float(efficiency.max()) / (high - low)
    right = ax.twinx()
    broken = np.flatnonzero(np.diff(at) > 1) + 1
    right.plot(
        np.insert(at.astype(float), broken, np.nan), np.insert(efficiency, broken, np.nan), color=EFFICIENCY, lw=1.8, marker="o", ms=4
    )
    right.set_ylim(-low * scale, (1 - low) * scale)
    right.axhline(0, color=FAINT, lw=0.8)
    right.axhline(1, color=EFFICIENCY, lw=0.8, ls=":")
    right.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"], color=EFFICIENCY)
    first = p.devices[chosen[0]]
    right.set_ylabel(f"tok/s per device\nagainst {first:g}", color=EFFICIENCY, y=(low + high) / 2, fontsize=9)
