"""A memory answer as text: one line per part with needed, reserved and read bytes, or one line per point."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.answers.memory.memory import Memory
from sol.answers.report.document import document, listed, one_row_a_point
from sol.answers.report.report import Report
from sol.physics.memory.cache import kv_bytes
from sol.tabular import Column, Table
from sol.units import show_bytes, show_count, show_gib

OUTPUTS = (
    "weight_bytes", "adapter_bytes", "kv_bytes", "state_bytes", "kv_bytes_as_mha",
    "kv_read_bytes", "activation_bytes", "resident_bytes", "capacity_bytes",
    "capacity_basis", "fits", "headroom_bytes", "max_batch", "max_ctx", "min_devices", "devices",
    "kv_next_token_bytes", "starts", "reserved_bytes", "kv_reserved_bytes", "kv_pool_tokens", "kv_wasted_bytes", "engine_max_batch",
    "kv_budget_bytes", "state_blocks", "engine_memory_bytes", "engine_weight_bytes", "engine_activation_bytes", "engine_own_bytes",
    "profiled_tokens",
)  # fmt: skip


def report(m: Memory) -> Report:
    """The parts of a point, or the points of a sweep."""
    return Report.of_table(memory_table(m))


def memory_table(m: Memory) -> Table:
    """One line per part for a point, one line per point for a sweep; every figure is per device."""
    return _parts(m) if m.is_point else _points(m)


def _parts(m: Memory) -> Table:
    capacity, engine = m.capacity_bytes, m.engine
    columns = (
        Column("part", "per device", left=True),
        Column("bytes", "needed GiB" if engine else "GiB", show_gib),
        Column("decimal", "", show_bytes),
        Column("of", "of capacity"),
        *([Column("reserved_bytes", f"{engine.id} GiB", show_gib)] if engine else []),
    )
    parts = (
        ("weights", m.weight_bytes, m.engine_weight_bytes),
        *([("lora adapters", m.adapter_bytes, None)] if m.adapter_bytes else []),
        ("kv cache", m.kv_bytes, m.kv_reserved_bytes),
        *([("states", m.state_bytes, None)] if m.state_bytes else []),
        ("activations", m.activation_bytes, m.engine_activation_bytes),
        *([("its own", None, m.engine_own_bytes)] if m.engine_own_bytes else []),
        ("total" if engine else "needed", m.resident_bytes, m.reserved_bytes),
    )
    *lines, total = [
        (
            name,
            needed,
            needed,
            None if capacity is None or needed is None else f"{100 * needed / capacity:.1f} %",
            *((reserved,) if engine else ()),
        )
        for name, needed, reserved in parts
    ]
    footer = (*_replica(m), *_verdict(m), *_pool(m), _cache(m), "assumes: " + " · ".join(m.assumptions))
    return Table(columns=columns, rows=tuple(lines), total=total, title=m.heading(), footer=footer)


def _replica(m: Memory) -> tuple[str, ...]:
    """The sum over all devices of a split replica, copies included."""
    if m.devices == 1:
        return ()
    weights, cache = m.weight_bytes * m.devices, (m.kv_bytes + m.state_bytes) * m.devices
    total = m.resident_bytes * m.devices
    return (
        f"all {m.devices} devices: weights {show_gib(weights)}, cache {show_gib(cache)}, in all {show_gib(total)} GiB, copies included",
    )


def _verdict(m: Memory) -> tuple[str, ...]:
    """Whether it fits, the most sequences, and the longest context."""
    if m.capacity_bytes is None or m.gpu is None or m.max_ctx is None:
        return ()
    one = "one" if m.devices == 1 else f"each of the {m.devices}"
    verdict = "fits" if m.fits else f"does not fit {one}; {m.min_devices:.0f} could hold it if it divided evenly"
    longest = "any length" if not np.isfinite(m.max_ctx) else f"{m.max_ctx:,.0f} tokens"
    return (
        f"{m.gpu.id}: {show_gib(m.capacity_bytes)} GiB ({show_bytes(m.capacity_bytes)}) ({m.capacity_basis}): {verdict}",
        f"at ctx {show_count(m.ctx[0])} up to {m.max_batch:,.0f} sequences · at batch {show_count(m.batch[0])} up to {longest}",
    )


def _pool(m: Memory) -> tuple[str, ...]:
    """The size of the engine's pool, and the bytes that its last blocks waste."""
    if m.engine is None or m.kv_wasted_bytes is None:
        return ()
    ctx, batch = show_count(m.ctx[0]), show_count(m.batch[0])
    if not m.starts:
        return (f"{m.engine.id}: does not start: {_missing(m, ctx, batch)}",)
    pool = f"a cache of {m.kv_pool_tokens:,.0f} tokens" + (f" for batch {batch}" if m.engine.budget == "asked" else "")
    return (
        f"{m.engine.id}: {pool}; room for {m.engine_max_batch:,.0f} × ctx {ctx} at once; "
        f"the last blocks of batch {batch} waste {show_bytes(m.kv_wasted_bytes)}",
    )


def _missing(m: Memory, ctx: str, batch: str) -> str:
    """Why an engine does not start."""
    assert m.engine is not None
    if m.kv_budget_bytes is None or m.kv_budget_bytes <= 0:
        return f"{show_gib(-(m.kv_budget_bytes or 0.0))} GiB are missing before there is any cache"
    if m.engine_max_batch and m.state_blocks is not None:
        few = f"{m.state_blocks:,.0f}"
        return f"a step of {m.max_num_seqs:,.0f} sequences needs a block of states for each, and there are {few}; use --max-num-seqs {few}"
    wanted = f"batch {batch} of ctx {ctx}" if m.engine.needs == "every sequence" else f"one sequence of ctx {ctx}"
    return f"{show_gib(m.kv_budget_bytes)} GiB are left for the cache, {m.kv_pool_tokens:,.0f} tokens, too few for {wanted}"


def _cache(m: Memory) -> str:
    """Cache bytes per token, the saving of grouped attention, and the bytes that a step reads."""
    per_token = kv_bytes(m.model, np.array([1.0]), m.storage.cache).item()
    ratio = m.kv_bytes_as_mha / m.kv_bytes if m.kv_bytes else 1.0
    return (
        f"kv {per_token:,.0f} B per token{_marginal(m, per_token)}"
        + (f"; with MHA {ratio:.3g} times that" if ratio > 1 else "")
        + f"; a decode step reads {show_gib(m.kv_read_bytes)} GiB"
    )


def _marginal(m: Memory, first: float) -> str:
    """What one more token of a long sequence costs, where windows make that less than the first one."""
    ctx, more = m.ctx[0], m.kv_next_token_bytes
    if more is None or more >= first or ctx < 1:
        return ""
    average = (kv_bytes(m.model, np.array([ctx]), m.storage.cache) / ctx).item()
    return f" below every window; at ctx {show_count(ctx)} one more adds {more:,.0f} B, the average is {average:,.0f} B"


def _points(m: Memory) -> Table:
    shape = m.resident_bytes.shape
    whole = lambda v: f"{v:,.0f}"  # noqa: E731  # counts of sequences
    keys: list[tuple[str, str, Any]] = [
        *((name, name, show_count) for name, n in m.split._asdict().items() if np.size(n) > 1),
        ("batch", "batch", show_count), ("ctx", "ctx", show_count), ("kv_bytes", "kv GiB", show_gib), ("kv_read_bytes", "read", show_gib),
        ("resident_bytes", "needs GiB", show_gib),
    ]  # fmt: skip
    if m.capacity_bytes is not None:
        keys.append(("fits", f"of {show_gib(m.capacity_bytes)}", lambda v: "fits" if v else "no"))
        if m.engine is not None:
            keys += [("kv_pool_tokens", "pool tokens", whole), ("engine_max_batch", "holds", whole)]
            if not np.all(m.starts):
                keys.append(("starts", "starts", lambda v: "yes" if v else "no"))
        else:
            keys += [("max_batch", "max batch", whole), ("max_ctx", "max ctx", lambda v: f"{v:,.0f}" if np.isfinite(v) else "any")]
    columns = tuple(Column(key, title, show) for key, title, show in keys)
    split = m.split._asdict()
    values = [np.broadcast_to(split[key] if key in split else getattr(m, key), shape).ravel().tolist() for key, _, _ in keys]
    can_be = np.broadcast_to(m.valid, shape).ravel().tolist()
    asked = (*split, "batch", "ctx")
    rows = tuple(
        row if there else tuple(v if key in asked else None for v, (key, _, _) in zip(row, keys, strict=True))
        for row, there in zip(zip(*values, strict=True), can_be, strict=True)
    )
    meaning = "per device; read: GiB of cache that one decode step reads"
    if m.engine is not None:
        meaning += f"; pool tokens: what {m.engine.id} reserves; holds: sequences of ctx that fit in it"
    return Table(columns=columns, rows=rows, title=m.heading(), footer=(meaning, "assumes: " + " · ".join(m.assumptions)))


def to_document(m: Memory) -> dict[str, Any]:
    """A memory answer as plain JSON values; an unlimited context is null."""
    return document(
        "memory", inputs=listed(_asked(m), m.is_point), outputs=listed(_outputs(m), m.is_point), assumptions=m.assumptions,
        sources=m.sources().to_dicts(),
    )  # fmt: skip


def to_table(m: Memory) -> Table:
    """One row per point: inputs and every figure."""
    return one_row_a_point(_asked(m) | _outputs(m), np.shape(m.resident_bytes))


def _asked(m: Memory) -> dict[str, Any]:
    return {
        "model": m.model.id, "gpu": None if m.gpu is None else m.gpu.id, "ctx": m.ctx, "batch": m.batch, "step_tokens": m.step_tokens,
        "dtype": m.storage.weights.id, "kv_dtype": m.storage.cache.id, **m.split._asdict(),
        "engine": None if m.engine is None else m.engine.id, "memory_fraction": m.memory_fraction, "max_num_seqs": m.max_num_seqs,
    }  # fmt: skip


def _outputs(m: Memory) -> dict[str, Any]:
    return {name: getattr(m, name) for name in OUTPUTS} | ({"valid": m.valid} if m.split.is_sweep else {})
