"""A floor as plain values for programs: one JSON document, or one row per point."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.answers.floor.best_measured import best_measured
from sol.answers.floor.result import Floor
from sol.answers.question.routing import routing_document
from sol.answers.report.document import document, listed, one_row_a_point
from sol.specs.step import Step
from sol.tabular import Table

OUTPUTS = (
    "latency_s", "interval_s", "serial_s", "memory_s", "compute_s", "network_s", "wire_bytes", "bound", "is_bound",
    "tokens_per_s", "tokens_per_s_per_user", "tokens_per_s_per_gpu", "moved_bytes",
    "moved_weight_bytes", "moved_kv_bytes", "flops", "intensity", "ridge",
    "resident_bytes", "fits", "devices",
)  # fmt: skip


def to_document(f: Floor) -> dict[str, Any]:
    """A floor as plain JSON values; arrays as nested lists of the sweep's shape."""
    outputs = listed(_outputs(f), f.is_point)
    outputs["loosened"] = [kind for kind, holds in f.loosened.items() if np.any(holds)]
    best = best_measured(f)
    if best is not None:
        outputs["best_measured_s"] = best.seconds
    if f.is_point:
        outputs["operators"] = f.operators.to_dicts()
    return document(
        "floor", inputs=floor_inputs(f), outputs=outputs, assumptions=f.assumptions, sources=f.sources().to_dicts(), warnings=f.warnings
    )


def floor_inputs(f: Floor) -> dict[str, Any]:
    """What was asked, as plain JSON values."""
    of_groups = {} if f.question.phase != "mixed" else {"groups": [listed(_group(g), f.is_point) for g in f.question.step.groups]}
    values = {name: value for name, value in asked(f).items() if not of_groups or " of group " not in name}
    return listed(values, f.is_point) | of_groups | {"routing": routing_document(f.question.routing)}


def _group(group: Step) -> dict[str, Any]:
    return {"sequences": group.batch, "new_tokens": group.new_tokens, "past_tokens": group.past_tokens, "logits": group.logits}


def to_table(f: Floor) -> Table:
    """One row per point: inputs and every figure."""
    return one_row_a_point(asked(f) | _outputs(f), np.shape(f.latency_s))


def asked(f: Floor) -> dict[str, Any]:
    """The question's values by name, arrays unchanged; the routing as the name of its rule, None for numbers."""
    q = f.question
    step: dict[str, Any] = {
        "batch": q.step.batch, "ctx": q.ctx, "new_tokens": q.step.new_tokens, "cached_tokens": q.cached_tokens, "logits": q.step.logits,
    }  # fmt: skip
    if q.phase == "mixed":
        step = {f"{name} of group {n}": value for n, g in enumerate(q.step.groups, 1) for name, value in _group(g).items()}
    return {
        "model": q.model.id, "gpu": q.gpu.id, "phase": q.phase, **step,
        "dtype": q.storage.weights.id, "kv_dtype": q.storage.cache.id, "routing": q.routing if isinstance(q.routing, str) else None,
        "fusion": q.fusion, **q.split._asdict(), "imbalance": q.step.imbalance,
    }  # fmt: skip


def _outputs(f: Floor) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(f, name) for name in OUTPUTS}
    found |= {"valid": f.valid} if f.question.split.is_sweep else {}
    return found | {"capacity_bytes": f.question.gpu.memory_bytes, "capacity_basis": f.question.gpu.capacity_basis}
