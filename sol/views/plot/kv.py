"""The cache against context, and the devices that could hold it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sol.answers.memory.memory import memory
from sol.answers.question.records import load_model, resolve_gpu
from sol.errors import InvalidInput, MissingSpec
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.tabular import joined
from sol.units import GIB, KIB, MIB, show_count, show_gib
from sol.views.plot.paper import INK, PALETTE, axes, name_ends, one

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_kv(
    models: str | Path | Model | Sequence[str | Path | Model], *, gpus: str | GPU | Sequence[str | GPU] = (),
    ctx_max: float | None = None, batch: float = 1, kv_dtype: str | NumberFormat | None = None, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """The KV cache of `batch` sequences against their context, one line per model, log-log; capacities as dashed lines.

    x: tokens of each sequence, from `ctx_max`/1,024 to `ctx_max` (by default the longest context one of
    the models was made for), dotted beyond a model's own; y: bytes of cache [B]. A window bends its line.
    The capacity is the whole device's: weights and activations take their part of it too.

    Raises `UnknownName`, `InvalidInput`, and `MissingSpec` for a device whose capacity has no source.
    """
    chosen = [load_model(m) for m in ([models] if isinstance(models, str | Path | Model) else models)]
    devices = [resolve_gpu(g) for g in ([gpus] if isinstance(gpus, str | GPU) else gpus)]
    if not chosen:
        raise InvalidInput("plot_kv", "needs at least one model")
    longest = max((m.max_ctx for m in chosen if m.max_ctx is not None), default=131_072) if ctx_max is None else ctx_max
    end, sequences = one("ctx_max", longest), one("batch", batch)
    limits = [min(float(m.max_ctx or end), end) for m in chosen]
    contexts = [np.unique([*np.geomspace(end / 1024, end, 400), limit]) for limit in limits]
    held = [memory(m, ctx=c, batch=sequences, dtype="bf16", kv_dtype=kv_dtype) for m, c in zip(chosen, contexts, strict=True)]
    ends = [(f"{', '.join(names)}: {show_gib(capacity)} GiB", capacity, INK) for capacity, names in _capacities(devices).items()]
    ax = axes(ax)
    for _, capacity, _ in ends:
        ax.axhline(capacity, color=INK, lw=0.9, ls="--")
    for x, y, limit, color, m in zip(contexts, (h.kv_bytes for h in held), limits, PALETTE * len(chosen), chosen, strict=False):
        ax.plot(x[x <= limit], y[x <= limit], color=color, lw=1.8)
        if limit < end:
            ax.plot(x[x >= limit], y[x >= limit], color=color, lw=1.2, ls=":")
        ends.append((m.id, y[-1].item(), color))
    ax.set(xscale="log", yscale="log", xlim=(end / 1024, end), ylabel="KV cache")
    ax.set_xlabel("context [token]" + (", dotted beyond what the model was made for" if min(limits) < end else ""))
    ax.set_title(joined(("KV cache", f"batch {show_count(sequences)}", held[0].storage.cache.id)), fontsize=10)
    ax.grid(which="major", alpha=0.25)
    _binary_ticks(ax)
    name_ends(ax, end, ends)
    return ax


def _capacities(devices: Iterable[GPU]) -> dict[float, list[str]]:
    """The devices of each capacity [B]."""
    held: dict[float, list[str]] = {}
    for gpu in devices:
        if gpu.memory_bytes is None:
            raise MissingSpec("no source", f"gives {gpu.id} a capacity to draw", "leave it out")
        held.setdefault(gpu.memory_bytes, []).append(gpu.id)
    return held


def _binary_ticks(ax: Axes) -> None:
    """Ticks at powers of two, the way people say contexts and memory."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis, show in ((ax.xaxis, _tokens), (ax.yaxis, _gib)):
        axis.set_major_locator(LogLocator(base=2, numticks=12))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(show))


def _tokens(value: float, _: Any) -> str:
    scale, unit = next(((s, u) for s, u in ((MIB, "M"), (KIB, "k")) if value >= s), (1.0, ""))
    return f"{value / scale:g}{unit}"


def _gib(value: float, _: Any) -> str:
    scale, unit = next(((s, u) for s, u in ((KIB * GIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")) if value >= s), (1.0, "B"))
    return f"{value / scale:g} {unit}"
