"""The refusal of one point that needs more memory than its devices have."""

from __future__ import annotations

import math

import numpy as np

from sol.answers.floor.result import Floor
from sol.answers.question.ask import Question
from sol.errors import DoesNotFit
from sol.physics.network.sharding import device_resident_bytes


def fitting(f: Floor) -> Floor:
    """The floor itself. Raises `DoesNotFit` for one point that does not fit; a sweep has a mask, `fits`."""
    if f.is_point and f.fits is False:
        raise _does_not_fit(f.question)
    return f


def _does_not_fit(q: Question) -> DoesNotFit:
    held = device_resident_bytes(q.model, q.step, q.storage, q.split)
    need, capacity = float(np.max(held.total)), q.gpu.memory_bytes or 0.0
    by_part = {name: float(np.max(part)) for name, part in held._asdict().items()}
    parts = f"({', '.join(f'{name} {part / 1e9:.1f}' for name, part in by_part.items())})"
    if q.split.devices > 1:
        truth = f"{need / 1e9:.1f} GB needed on each of {q.split.devices}×{q.gpu.id} {parts}, but each has {capacity / 1e9:.1f} GB"
        devices, hint = "more devices", "sol plan finds the splits that fit"
    else:
        truth = f"{need / 1e9:.1f} GB needed {parts}, {capacity / 1e9:.1f} GB on 1×{q.gpu.id}"
        devices, hint = f"{math.ceil(need / capacity)} devices", "sol table shows the floor nevertheless"
    return DoesNotFit(
        "does not fit:", truth, f"use {devices}, a narrower dtype, a shorter context or a smaller batch ({hint})",
        needed_bytes=need, capacity_bytes=capacity, parts=by_part,
    )  # fmt: skip
