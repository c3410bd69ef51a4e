"""How the intensity of a step grows with batch, and where it saturates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sol.answers.floor.result import Floor
from sol.errors import InvalidInput
from sol.views.plot.paper import INK, PALETTE, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_intensity(results: Floor | Sequence[Floor], ax: Axes | None = None) -> Axes:
    """Whole-step arithmetic intensity against batch, one line per result, with the device's ridge.

    Each result is a sweep over batch at one ctx. Weights are reused by every sequence, the KV cache
    is not, so the lines saturate; where one crosses the ridge the step turns compute-bound.

    Raises `InvalidInput` for a result that does not vary over batch alone.
    """
    ax = axes(ax)
    sweeps: list[Floor] = [results] if isinstance(results, Floor) else list(results)
    if not sweeps:
        raise InvalidInput("plot_intensity", "needs at least one floor swept over batch")
    for f, color in zip(sweeps, PALETTE * 8, strict=False):
        q = f.question
        if q.step.batch.size < 2 or np.size(f.latency_s) != q.step.batch.size:
            raise InvalidInput("plot_intensity draws sweeps over batch", action=f"this one is {f.heading()}")
        batch, intensity = q.step.batch.ravel(), np.asarray(f.intensity).ravel()
        ax.plot(batch, intensity, color=color, lw=1.8)
        label = f"{q.model.id}, ctx {q.ctx.flat[0]:,.0f}"
        ax.annotate(label, (batch[-1], intensity[-1]), xytext=(4, 0), textcoords="offset points", color=color, fontsize=8.5, va="center")
    ridges: dict[float, list[str]] = {}
    for f in sweeps:
        if f.ridge is not None:
            ridges.setdefault(f.ridge, []).append(f"{f.question.gpu.id} {f.question.rates.formats['weights']}")
    start = min(float(f.question.step.batch.min()) for f in sweeps)
    for ridge, names in ridges.items():
        ax.axhline(ridge, color=INK, lw=1.0, ls="--")
        text = f"ridge of {', '.join(dict.fromkeys(names))}: {ridge:.0f} FLOP/B"
        ax.annotate(text, (start, ridge), xytext=(2, 4), textcoords="offset points", fontsize=8.5, color=INK)
    ax.set(xscale="log", yscale="log", xlabel="batch [sequences]", ylabel="arithmetic intensity [FLOP/B]")
    ax.margins(x=0)
    ax.grid(which="major", alpha=0.25)
    ax.set_title(
        "arithmetic intensity of one decode step" if sweeps[0].question.phase == "decode" else "arithmetic intensity of prefill",
        fontsize=10,
    )
    return ax
