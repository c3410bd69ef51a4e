"""How well a calibration explains the steps it was fitted to: estimated against measured, and what is left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sol.answers.calibrate.show import calibration_heading
from sol.errors import InvalidInput
from sol.specs.calibration import Calibration, Residual
from sol.views.plot.paper import FAINT, INK, PALETTE, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = "osD^vP"
NAMED_MODELS = 12
MILLI = 1e3
PANEL = "errors"
"""The label of the panel of errors below the chart."""


def plot_calibration(calibration: Calibration, ax: Axes | None = None) -> Axes:
    """Estimated against measured time of every fitted row, log-log, one colour per model; errors in a panel below.

    x: measured [ms]; y: estimated [ms], the solid line where both are the same, the band that holds 19
    of 20 rows of models left out; below, estimated/measured − 1 [%]. Rings are what a fit without the
    row's model gives. A dash below a point is the floor of its step.

    Raises `InvalidInput` for a calibration that was not fitted to rows.
    """
    if not isinstance(calibration, Calibration):
        raise InvalidInput(f"{calibration!r}", "is no Calibration", "of several, plot one after the other")
    rows = calibration.residuals
    if not rows:
        raise InvalidInput(f"{calibration.id or calibration.engine}", "was not fitted to rows", "there is nothing to plot")
    ax = axes(ax)
    below = _panel(ax)
    measured = np.array([r.measured_s for r in rows]) * MILLI
    ends = np.array([measured.min() / 1.3, measured.max() * 1.3])
    _band(ax, below, ends, calibration.within_95)
    ax.plot(ends, ends, color=INK, lw=1.0)
    _floors(ax, rows)
    models = list(dict.fromkeys(r.model for r in rows))
    for i, name in enumerate(models):
        mine = [r for r in rows if r.model == name]
        color, mark = PALETTE[i % len(PALETTE)], MARKS[(i // len(PALETTE)) % len(MARKS)]
        x = np.array([r.measured_s for r in mine]) * MILLI
        style: dict[str, Any] = {"color": color, "marker": mark, "ls": "", "ms": 4.5}
        ax.plot(x, [r.estimated_s * MILLI for r in mine], label=name if i < NAMED_MODELS else "", **style)
        below.plot(x, [100 * (r.estimated_s / r.measured_s - 1) for r in mine], **style)
        out = [(r.measured_s * MILLI, 100 * (r.left_out_s / r.measured_s - 1)) for r in mine if r.left_out_s is not None]
        if out:
            below.plot(*zip(*out, strict=True), color=color, marker=mark, ls="", ms=6.5, mfc="none", mew=0.7)
    _finish(ax, below, ends, calibration, len(models))
    return ax


def _panel(ax: Axes) -> Axes:
    """A panel for the errors in the lower part of where the chart stood, with the same x."""
    figure, cell = ax.figure, ax.get_subplotspec()
    if cell is not None:
        parts = cell.subgridspec(2, 1, height_ratios=(3, 1), hspace=0.05)
        ax.set_subplotspec(parts[0])
        return figure.add_subplot(parts[1], sharex=ax, label=PANEL)
    box = ax.get_position()
    ax.set_position((box.x0, box.y0 + 0.3 * box.height, box.width, 0.7 * box.height))
    return figure.add_axes((box.x0, box.y0, box.width, 0.26 * box.height), sharex=ax, label=PANEL)


def _band(ax: Axes, below: Axes, ends: Any, within: float | None) -> None:
    """The 95 % interval of estimates: measured lies within a factor of the estimate."""
    below.axhline(0.0, color=INK, lw=1.0)
    if within is None:
        return
    wide = math.exp(within)
    ax.fill_between(ends, ends / wide, ends * wide, color=FAINT, alpha=0.2, lw=0, label="95 % of models left out")
    below.axhspan(100 * (1 / wide - 1), 100 * (wide - 1), color=FAINT, alpha=0.2, lw=0)


def _floors(ax: Axes, rows: tuple[Residual, ...]) -> None:
    """The floor of every row, a dash below its estimate."""
    known = [(r.measured_s * MILLI, r.floor_s * MILLI) for r in rows if r.floor_s is not None]
    if known:
        ax.plot(*zip(*known, strict=True), color=FAINT, marker="_", ls="", ms=5, label="floor of each step", zorder=1)


def _finish(ax: Axes, below: Axes, ends: Any, c: Calibration, models: int) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set(xscale="log", yscale="log", xlim=tuple(ends), ylabel="estimated [ms]")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.tick_params(labelbottom=False, which="both")
    below.set_xlabel("measured [ms]")
    below.set_ylabel("error [%]" + ("\nrings: left out" if models > 1 else ""), fontsize=8.5)
    for panel in (ax, below):
        panel.grid(which="major", alpha=0.25)
    ax.legend(fontsize=8, frameon=False, loc="upper left", ncols=2 if models > 4 else 1)
    ax.set_title(calibration_heading(c), fontsize=10)
