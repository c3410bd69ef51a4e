"""Does it fit, how long a context, how many users: bytes of weights, cache and activations against capacity.

What is *needed*, not what an engine reserves. Activations are those of the largest step; an engine's
own profiled figure differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sol.answers.question import load_model, numbers, resolve_gpu
from sol.answers.storage import decided, resolve_format, stored_format
from sol.errors import InvalidInput
from sol.physics import capacity as capacities
from sol.physics.cache import kv_bytes, max_ctx
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.step import Array, Storage
from sol.tabular import Column, Table, joined
from sol.units import show_bytes, show_count, show_gib

ANYWHERE = GPU(id="any", name="a device without limits", memory_bytes_per_s=1.0, flops_per_s={"bf16": 1.0, "fp16": 1.0}, source="none")
"""What formats resolve against when no device is named: 16-bit compute, nothing lacking."""


@dataclass(frozen=True, eq=False, repr=False)
class Memory:
    """The bytes of one model in use, and whether a device holds them. Scalars in, plain numbers out; arrays read-only.

    Fields [unit]: `weight_bytes`, `kv_bytes` (all sequences), `activation_bytes`, `resident_bytes` their
    sum [B]; `capacity_bytes` [B] on `capacity_basis`; `fits`; `headroom_bytes` [B]; `max_batch` sequences
    of this ctx; `max_ctx` tokens at this batch (None without a limit); `min_devices` that could hold it,
    split without loss. Those of the device are None where no device, or no capacity, is known.
    """

    model: Model
    gpu: GPU | None
    storage: Storage
    ctx: Array
    batch: Array
    step_tokens: Any
    weight_bytes: Any
    kv_bytes: Any
    kv_bytes_as_mha: Any
    activation_bytes: Any
    resident_bytes: Any
    capacity_bytes: float | None
    capacity_basis: str | None
    fits: Any
    headroom_bytes: Any
    max_batch: Any
    max_ctx: Any
    min_devices: Any
    assumptions: tuple[str, ...]

    @property
    def is_point(self) -> bool:
        """Whether this is one point rather than a sweep."""
        return not isinstance(self.resident_bytes, np.ndarray)

    def heading(self) -> str:
        """What was asked, on one line."""
        where = f"{self.model.id} on {self.gpu.id}" if self.gpu else self.model.id
        span = [show_count(v.min()) + ("" if v.min() == v.max() else f"…{show_count(v.max())}") for v in (self.batch, self.ctx)]
        return joined((where, f"batch {span[0]}", f"ctx {span[1]}", self.storage.weights.id, f"kv {self.storage.cache.id}"))

    def table(self) -> Table:
        """One line a part for a point, one line a point for a sweep."""
        return _parts(self) if self.is_point else _points(self)

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain JSON values, units in the keys."""
        from sol.answers.document import memory_document

        return memory_document(self)

    def __repr__(self) -> str:
        if not self.is_point:
            return f"<Memory {self.heading()}: {self.resident_bytes.size} points>"
        verdict = "" if self.fits is None else ", fits" if self.fits else ", does not fit"
        return f"<Memory {self.heading()}: {show_gib(self.resident_bytes)} GiB{verdict}>"

    def __str__(self) -> str:
        return self.table().to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def memory(
    model: str | Path | Model, gpu: str | GPU | None = None, *, ctx: Any, batch: Any = 1, dtype: str | NumberFormat | None = None,
    kv_dtype: str | NumberFormat | None = None, max_step_tokens: float | None = None,
) -> Memory:  # fmt: skip
    """Bytes needed by `batch` sequences of `ctx` tokens, and whether `gpu` holds them.

    Parameters
    ----------
    model, gpu, dtype, kv_dtype : as in `floor`; without a `gpu`, the bytes alone.
    ctx : tokens each sequence holds in the cache [token]; scalar or array.
    batch : sequences held at once [1]; scalar or array.
    max_step_tokens : tokens of the largest step [token]; by default the larger of batch and 2,048.

    Raises `UnknownName`, `InvalidInput`, `MissingSpec` or `BadFile`. What does not fit is an answer here, not an error.

    >>> memory("llama-3.1-70b", ctx=131072).kv_bytes / 2**30
    40.0
    """
    the_model = load_model(model)
    the_gpu = None if gpu is None else resolve_gpu(gpu)
    storage, _, assumptions, _ = decided(the_model, the_gpu or ANYWHERE, _stored(stored_format(the_model, dtype)), kv_dtype)
    c, b = numbers("ctx", ctx, at_least=0.0), numbers("batch", batch, above=0.0)
    try:
        shape = np.broadcast_shapes(c.shape, b.shape)
    except ValueError:
        raise InvalidInput(f"shapes do not broadcast: ctx {c.shape}, batch {b.shape}; use np.meshgrid or [:, None]") from None
    limit = capacities.CHUNK_TOKENS if max_step_tokens is None else numbers("max_step_tokens", max_step_tokens, above=0.0).item()
    step_tokens = np.maximum(b, limit)
    weights = capacities.resident_weight_bytes(the_model, storage)
    kv = b * kv_bytes(the_model, c, storage.cache)
    activations = step_tokens * capacities.activation_bytes_per_token(the_model) + b * capacities.logit_bytes_per_row(the_model)
    resident = weights + kv + activations
    room = None if the_gpu is None else the_gpu.memory_bytes
    scalar = np.ndim(ctx) == 0 and np.ndim(batch) == 0

    def out(value: Any) -> Any:
        if scalar:
            return value.item() if isinstance(value, np.ndarray) else value
        return np.broadcast_to(value, shape)

    longest = None if room is None else max_ctx(the_model, (room - weights - activations) / b, storage.cache)
    return Memory(
        model=the_model, gpu=the_gpu, storage=storage, ctx=c, batch=b, step_tokens=out(step_tokens), weight_bytes=out(weights),
        kv_bytes=out(kv), kv_bytes_as_mha=out(b * kv_bytes(the_model.as_mha(), c, storage.cache)), activation_bytes=out(activations),
        resident_bytes=out(resident), capacity_bytes=room, capacity_basis=None if the_gpu is None else the_gpu.capacity_basis,
        fits=None if room is None else out(resident <= room), headroom_bytes=None if room is None else out(room - resident),
        max_batch=None if room is None else out(capacities.max_batch(the_model, storage, c, room, limit)),
        max_ctx=None if longest is None else out(longest), min_devices=None if room is None else out(np.ceil(resident / room)),
        assumptions=(*(a for a in assumptions if not a.startswith(("cold cache", "no skipped work"))),
                     f"activations of a step of {_whole(step_tokens)} tokens; an engine's own figure differs"),
    )  # fmt: skip


def kv_bytes_per_token(model: str | Path | Model, kv_dtype: str | NumberFormat | None = None) -> float:
    """Bytes one token adds to the cache of one sequence, below every window [B].

    >>> kv_bytes_per_token("qwen2.5-7b")
    57344.0
    """
    cache = resolve_format("bf16" if kv_dtype is None else kv_dtype)
    if not cache.cache:
        raise InvalidInput(f"kv_dtype={cache.id} is a weight format; a cache is stored as bf16, fp16, fp8 or int8")
    return kv_bytes(load_model(model), np.array([1.0]), cache).item()


def _stored(dtype: str | NumberFormat | None) -> str | NumberFormat | None:
    """The weight format as far as its bytes go: what a device computes in says nothing of what it must hold."""
    if dtype is None:
        return None
    asked = resolve_format(dtype)
    return asked if asked.compute in ("16-bit", "bf16", "fp16") else asked.model_copy(update={"compute": "16-bit", "otherwise": None})


def _whole(values: Array) -> str:
    return f"{values.min():,.0f}" if values.min() == values.max() else f"{values.min():,.0f} to {values.max():,.0f}"


def _parts(m: Memory) -> Table:
    capacity = m.capacity_bytes
    rows: list[tuple[Any, ...]] = [
        ("weights", m.weight_bytes), ("kv cache", m.kv_bytes), ("activations", m.activation_bytes),
    ]  # fmt: skip
    columns = (
        Column("part", "part", left=True),
        Column("bytes", "GiB", show_gib),
        Column("decimal", "", show_bytes),
        Column("of", "of capacity"),
    )
    *lines, total = [
        (name, value, value, None if capacity is None else f"{100 * value / capacity:.1f} %")
        for name, value in (*rows, ("needed", m.resident_bytes))
    ]
    footer = []
    if capacity is not None and m.gpu is not None:
        verdict = "fits" if m.fits else f"does not fit one; {m.min_devices:.0f} could hold it, split without loss"
        footer.append(f"{m.gpu.id}: {show_gib(capacity)} GiB ({show_bytes(capacity)}) ({m.capacity_basis}): {verdict}")
        longest = "any length" if not np.isfinite(m.max_ctx) else f"{m.max_ctx:,.0f} tokens"
        footer.append(
            f"at ctx {show_count(m.ctx[0])} up to {m.max_batch:,.0f} sequences · at batch {show_count(m.batch[0])} up to {longest}"
        )
    per_token = kv_bytes_per_token(m.model, m.storage.cache)
    ratio = m.kv_bytes_as_mha / m.kv_bytes if m.kv_bytes else 1.0
    footer.append(f"kv {per_token:,.0f} B a token" + (f"; as MHA {ratio:.3g} times that" if ratio > 1 else ""))
    footer.append("assumes: " + " · ".join(m.assumptions))
    return Table(columns=columns, rows=tuple(lines), total=total, title=m.heading(), footer=tuple(footer))


def _points(m: Memory) -> Table:
    shape = m.resident_bytes.shape
    keys: list[tuple[str, str, Any]] = [
        ("batch", "batch", show_count), ("ctx", "ctx", show_count), ("kv_bytes", "kv GiB", show_gib),
        ("resident_bytes", "needs GiB", show_gib),
    ]  # fmt: skip
    if m.capacity_bytes is not None:
        keys.append(("fits", f"of {show_gib(m.capacity_bytes)}", lambda v: "fits" if v else "no"))
        keys.append(("max_batch", "max batch", lambda v: f"{v:,.0f}"))
        keys.append(("max_ctx", "max ctx", lambda v: f"{v:,.0f}" if np.isfinite(v) else "any"))
    columns = tuple(Column(key, title, show) for key, title, show in keys)
    rows = tuple(zip(*(np.broadcast_to(getattr(m, key), shape).ravel().tolist() for key, _, _ in keys), strict=True))
    return Table(columns=columns, rows=rows, title=m.heading(), footer=("assumes: " + " · ".join(m.assumptions),))
