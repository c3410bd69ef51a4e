"""What is refused for its size: one point that needs more memory than its devices have."""

from __future__ import annotations

import math

import numpy as np

from sol.answers.floor.result import Floor
from sol.answers.question.ask import Question
from sol.errors import DoesNotFit
from sol.physics.network.sharding import device_resident_bytes


def fitting(f: Floor) -> Floor:
    """The floor itself. Raises `DoesNotFit` for one point that does not fit; a sweep says so in `fits`."""
    if f.is_point and f.fits is False:
        raise _does_not_fit(f.question)
    return f


def _does_not_fit(q: Question) -> DoesNotFit:
    held = device_resident_bytes(q.model, q.step, q.storage, q.split)
    need, capacity = float(np.max(held.total)), q.gpu.memory_bytes or 0.0
    weights, kv, activations = (float(np.max(part)) / 1e9 for part in held)
    parts, there = f"(weights {weights:.1f}, kv {kv:.1f}, activations {activations:.1f})", f"{capacity / 1e9:.1f} GB"
    if q.split.devices > 1:
        return DoesNotFit(
            f"does not fit: {need / 1e9:.1f} GB needed on each of {q.split.devices}×{q.gpu.id} {parts}, {there} there is; "
            "more devices, a narrower dtype or less ctx or batch (sol plan finds the splits that fit)"
        )
    return DoesNotFit(
        f"does not fit: {need / 1e9:.1f} GB needed {parts}, {there} on 1×{q.gpu.id}; it takes {math.ceil(need / capacity)} of them, "
        "a narrower dtype or less ctx or batch (sol table shows its floor all the same)"
    )
