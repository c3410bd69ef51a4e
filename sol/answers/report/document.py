"""Results as one plain JSON document: schema version, inputs, outputs with units in the keys."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sol.answers.question.routing import routing_document
from sol.specs.assumption import Assumption
from sol.tabular import Table

if TYPE_CHECKING:
    from sol.answers.collective.collective import Collective
    from sol.answers.floor.result import Floor
    from sol.answers.memory.memory import Memory
    from sol.answers.memory.offload import Offload

SCHEMA_VERSION = 1


def document(
    kind: str, *, inputs: dict[str, Any], outputs: Any, assumptions: Any = (), sources: Any = (), warnings: Any = ()
) -> dict[str, Any]:
    """The envelope every `--json` answer has."""
    kinds = [a.kind if isinstance(a, Assumption) else None for a in assumptions]  # None: a note of the answer's own
    return {
        "schema_version": SCHEMA_VERSION, "kind": kind, "inputs": inputs, "outputs": outputs,
        "assumptions": [str(a) for a in assumptions], "assumption_kinds": kinds,
        "sources": list(sources), "warnings": list(warnings),
    }  # fmt: skip


OUTPUTS = (
    "latency_s", "serial_s", "memory_s", "compute_s", "network_s", "wire_bytes", "bound", "is_bound",
    "tokens_per_s", "tokens_per_s_per_user", "tokens_per_s_per_gpu", "moved_bytes",
    "moved_weight_bytes", "moved_kv_bytes", "flops", "intensity", "ridge",
    "resident_bytes", "fits", "devices",
)  # fmt: skip


def floor_document(f: Floor) -> dict[str, Any]:
    """A floor as plain JSON values; arrays as nested lists of the sweep's shape."""
    q = f.question
    inputs = {
        "model": q.model.id, "gpu": q.gpu.id, "phase": q.phase, "batch": plain(q.step.batch, f), "ctx": plain(q.ctx, f),
        "new_tokens": plain(q.step.new_tokens, f), "cached_tokens": plain(q.cached_tokens, f), "logits": q.step.logits,
        "dtype": q.storage.weights.id, "kv_dtype": q.storage.cache.id, "routing": routing_document(q.routing), "fusion": q.fusion,
        **{name: plain(n, f) for name, n in q.split._asdict().items()}, "imbalance": q.step.imbalance,
    }  # fmt: skip
    outputs: dict[str, Any] = {name: plain(getattr(f, name), f) for name in OUTPUTS}
    outputs |= {"valid": plain(f.valid, f)} if q.split.is_many else {}
    outputs["capacity_bytes"] = q.gpu.memory_bytes
    outputs["capacity_basis"] = q.gpu.capacity_basis
    if f.is_point:
        outputs["operators"] = f.operators.to_dicts()
    return document("floor", inputs=inputs, outputs=outputs, assumptions=f.assumptions, sources=f.sources().to_dicts(), warnings=f.warnings)


def plain(value: Any, f: Floor) -> Any:
    """Numbers and strings as they are; arrays as lists, and as plain numbers where the result is one point."""
    if not isinstance(value, np.ndarray):
        return value
    if f.is_point:
        return value.reshape(-1)[0].item()
    return _finite(value.tolist())


def table_document(kind: str, table: Table, inputs: dict[str, Any]) -> dict[str, Any]:
    """A table as a document: its rows are the outputs."""
    return document(
        kind, inputs=inputs, outputs=table.to_dicts(),
        assumptions=table.meta.get("assumptions", ()), sources=table.meta.get("sources", ()), warnings=table.meta.get("warnings", ()),
    )  # fmt: skip


MEMORY_OUTPUTS = (
    "weight_bytes", "adapter_bytes", "kv_bytes", "state_bytes", "kv_bytes_as_mha",
    "kv_read_bytes", "activation_bytes", "resident_bytes", "capacity_bytes",
    "capacity_basis", "fits", "headroom_bytes", "max_batch", "max_ctx", "min_devices", "devices",
    "reserved_bytes", "kv_reserved_bytes", "kv_pool_tokens", "kv_wasted_bytes", "engine_max_batch",
)  # fmt: skip


def memory_document(m: Memory) -> dict[str, Any]:
    """A memory answer as plain JSON values; an unlimited context is null."""
    inputs: dict[str, Any] = {"model": m.model.id, "gpu": None if m.gpu is None else m.gpu.id}
    inputs |= {name: _listed(getattr(m, name), m.is_point) for name in ("ctx", "batch", "step_tokens")}
    inputs |= {"dtype": m.storage.weights.id, "kv_dtype": m.storage.cache.id}
    inputs |= {name: _listed(n, m.is_point) for name, n in m.split._asdict().items()}
    inputs |= {"engine": None if m.engine is None else m.engine.id, "memory_fraction": m.memory_fraction}
    outputs = {name: _listed(getattr(m, name), m.is_point) for name in MEMORY_OUTPUTS}
    outputs |= {"valid": m.valid.tolist()} if m.split.is_many else {}
    cites = list(m.model.cites.values())
    fields = ("memory_bytes", "marketed_memory_bytes")
    cites += [m.gpu.cites[f] for f in fields if m.gpu is not None and f in m.gpu.cites][:1]
    if m.engine is not None:
        own = m.memory_fraction == m.engine.memory_fraction  # else the fraction is the asker's
        cites += [c for field, c in m.engine.cites.items() if own or field != "memory_fraction"]
    sources = [{"source": c.source.title, "where": c.source.url or c.source.document, "printed": c.printed} for c in cites]
    return document("memory", inputs=inputs, outputs=outputs, assumptions=m.assumptions, sources=sources)


def collective_document(c: Collective) -> dict[str, Any]:
    """A collective as plain JSON values; what has no source is null; beside the fastest stand all algorithms."""
    inputs = {
        "op": c.op, "gpu": c.gpu.id, "message_bytes": _listed(c.message_bytes, c.is_point), "ranks": _listed(c.ranks, c.is_point),
        "network": None if c.network is None else c.network.id,
    }  # fmt: skip
    outputs: dict[str, Any] = {name: _listed(getattr(c, name), c.is_point) for name in ("floor_s", "estimate_s", "algorithm", "wire_bytes")}
    outputs["wire_bytes_by_link"] = {name: _listed(sent, c.is_point) for name, sent in c.wire_bytes_by_link.items()}
    outputs["algorithms"] = c.algorithms.to_dicts()
    outputs["fastest"] = c.fastest.to_dicts()
    return document("collective", inputs=inputs, outputs=outputs, assumptions=c.assumptions, sources=c.sources().to_dicts())


def _listed(value: Any, point: bool) -> Any:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0].item() if point else value.tolist()
    return _finite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


OFFLOAD_OUTPUTS = (
    "overlapped_s", "serial_s", "device_s", "link_s", "bound", "tokens_per_s", "host_bytes", "host_weight_bytes", "host_kv_bytes",
    "device_bytes", "host_read_bytes", "device_read_bytes", "fits",
)  # fmt: skip


def offload_document(o: Offload) -> dict[str, Any]:
    """A step over two tiers as plain JSON values."""
    q = o.question
    inputs = {
        "model": q.model.id, "gpu": q.gpu.id, "batch": _listed(q.step.batch, o.is_point), "ctx": _listed(q.ctx, o.is_point),
        "dtype": q.storage.weights.id, "kv_dtype": q.storage.cache.id, "routing": routing_document(q.routing), "link": o.link.name,
        "link_bytes_per_s": o.link.per_direction_bytes_per_s,
    }  # fmt: skip
    outputs = {name: _listed(getattr(o, name), o.is_point) for name in OFFLOAD_OUTPUTS}
    outputs["capacity_bytes"] = q.gpu.memory_bytes
    return document(
        "offload", inputs=inputs, outputs=outputs, assumptions=o.assumptions, sources=o.sources().to_dicts(), warnings=o.warnings
    )
