"""One thing of a question changed: the floor it would then have, and the devices it may have been asked of instead."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.question.ask import Question
from sol.answers.question.formats import resolve_formats
from sol.answers.question.splits import resolve_split, valid_splits, with_links
from sol.errors import SolError
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.step import Routing


def variant(
    q: Question, *, dtype: NumberFormat | None = None, cache: NumberFormat | None = None, gpu: GPU | None = None, batch: Any = None,
    past: Any = None, tp: int | None = None, new_tokens: Any = None, routing: Routing | None = None,
) -> Floor | None:  # fmt: skip
    """The floor of the same question with one change, whether or not it fits; None if the change is invalid."""
    try:
        device, storage, rates, split = gpu or q.gpu, q.storage, q.rates, q.split
        if dtype is not None or cache is not None or gpu is not None:
            storage, rates, _, _ = resolve_formats(q.model, device, dtype or storage.weights, cache or storage.cache)
        if tp is not None:
            split = resolve_split(tp, q.split.pp, 1, q.split.dp)
            valid_splits(q.model, split)
        if gpu is not None or tp is not None:
            rates, _ = with_links(device, split, None, rates)
        else:
            rates = replace(rates, network=q.rates.network)
    except SolError:
        return None
    step, ctx, scalar = q.step, q.ctx, q.scalar
    if batch is not None:
        step, scalar = replace(step, batch=np.atleast_1d(np.asarray(batch, dtype=np.float64))), np.ndim(batch) == 0
    if past is not None:
        array = np.atleast_1d(np.asarray(past, dtype=np.float64))
        new = step.new_tokens if q.phase == "decode" else ctx - array
        step, scalar = replace(step, past_tokens=array, new_tokens=new), np.ndim(past) == 0
        ctx = array if q.phase == "decode" else ctx
    if new_tokens is not None:
        step, scalar = replace(step, new_tokens=np.atleast_1d(np.asarray(new_tokens, dtype=np.float64))), np.ndim(new_tokens) == 0
    return floor_of(
        replace(q, gpu=device, storage=storage, rates=rates, split=split, step=step, ctx=ctx, scalar=scalar, routing=routing or q.routing)
    )


def siblings(gpu: GPU) -> list[GPU]:
    """Devices whose names share the model number (h100-pcie and h100-sxm), and the power modes of this one."""
    from sol.sources.database.database import gpu_ids, load_gpu

    stem = _stem(gpu.id)
    own = [f"{gpu.id}@{mode}" for mode in gpu.power_modes] if "@" not in gpu.id else [gpu.id.partition("@")[0]]
    ids = [i for i in gpu_ids() if _stem(i) == stem and i != gpu.id.partition("@")[0]] if stem else []
    known = set(gpu_ids())
    return [load_gpu(i) for i in (*own, *ids) if i.partition("@")[0] in known]


def _stem(gpu_id: str) -> str:
    match = re.match(r"[^\d@]*\d+", gpu_id)
    return match.group() if match else ""
