"""Every legal split of a number of devices, all priced at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.question.ask import Question, ask
from sol.answers.question.inputs import number
from sol.answers.question.splits import ONE
from sol.errors import InvalidInput, InvalidPlan
from sol.physics.network.sharding import device_resident_bytes, device_weight_bytes
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Array, Number
from sol.specs.split import Split, cache_copies, experts_of, legal, tp_divisor

MOST_DEVICES = 4096
MICRO: Array = np.unique(np.round(np.geomspace(1, 4096, 76)))
"""Sequences per copy and stage that are tried if no batch is given: 64 numbers from 1 to 4,096."""

UNSAID: dict[str, Any] = {"dtype": None, "kv_dtype": None, "routing": "expected", "link": None, "network": None}
"""The options of a plan where they are not said."""


def latency_limits(ttft_s: Number | None, tpot_s: Number | None) -> dict[str, float | None]:
    """The limits on first token and step [s] by name, None without a limit. Raises `InvalidInput`."""
    return {
        name: None if limit is None else number(name, limit, above=0.0) for name, limit in (("ttft_s", ttft_s), ("tpot_s", tpot_s))
    }  # fmt: skip


def device_counts(devices: int | str | Sequence[int]) -> list[int]:
    """Numbers of devices from an int, a list, or text such as "1-16" or "1,2,8". Raises `InvalidInput`."""
    try:
        if isinstance(devices, str):
            found = [n for part in devices.split(",") for n in _span(part)]
        else:
            found = [devices] if isinstance(devices, int) else list(devices)
        if not found or not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n <= MOST_DEVICES for n in found):
            raise ValueError
    except (ValueError, TypeError):
        raise InvalidInput(
            f"devices={devices!r}", f"is not a number, a list or a range of devices such as '1-16', up to {MOST_DEVICES}"
        ) from None
    return sorted(set(found))


def _span(part: str) -> Iterable[int]:
    low, dash, high = part.strip().partition("-")
    last = int(high if dash else low)
    if last > MOST_DEVICES:
        raise ValueError(part)
    return range(int(low), last + 1)


def legal_splits(model: Model, devices: int) -> list[Split]:
    """Every legal split of a number of devices. Only models with experts use dp: copies of a dense model are replicas."""
    routed = experts_of(model) > 0
    found = []
    for tp in _divisors(devices):
        for pp in _divisors(devices // tp):
            dp = devices // tp // pp
            if dp == 1 or routed:
                ways = [n for n in _divisors(tp * dp) if experts_of(model) % n == 0] if routed else [1]
                found += [(tp, pp, ep, dp, cp) for ep in ways for cp in sorted({1, int(cache_copies(model, tp))})]
    return [Split(*ways) for ways, allowed in zip(found, legal(model, Split(*np.array(found).T)), strict=True) if allowed]


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def priced(
    model: Model, gpu: GPU, counts: Iterable[int], *, batch: Array | None = None, micro: Array = MICRO, **asked: Any
) -> tuple[list[Split], Floor]:
    """Every legal split of every number of devices, and one sweep over splits (rows) and batches (columns).

    Without a `batch`, `micro` sequences per copy and stage of a split, so that no stage idles.
    Raises `InvalidPlan` if no split is legal.
    """
    counts = list(counts)
    splits = [split for n in counts for split in legal_splits(model, n)]
    if not splits:
        raise InvalidPlan(f"no split of {', '.join(map(str, counts))} devices", f"is legal for {model.id}", _nearest(model))
    ways = _down(splits)
    return splits, floor_of(ask(model, gpu, batch=_sequences(ways, batch, micro), **ways._asdict(), **asked))


def _down(splits: list[Split]) -> Split:
    return Split(*np.array(splits, dtype=np.int64).T[:, :, None])


def _sequences(ways: Split, batch: Array | None, micro: Array) -> Any:
    return micro * (ways.pp * ways.dp) if batch is None else batch


def fewest_that_hold(model: Model, tried: Sequence[tuple[Question, Array | None]], known: int) -> int:
    """The least number of devices that holds the model by memory alone, tried or not, of those up to `known`, which hold it.

    `tried`: the questions that so many devices must hold, each at the least of its batches (None: one sequence for each copy
    and stage). No link is asked whether it joins them.
    """
    held = [(q, None if batch is None else batch.min(keepdims=True)) for q, batch in tried]
    if any(q.gpu.memory_bytes is None for q, _ in held):
        return known
    room = min(q.gpu.memory_bytes or 0.0 for q, _ in held)
    whole = max(float(device_weight_bytes(model, ONE, q.storage)) for q, _ in held)
    for n in range(max(1, int(whole // room)), known):  # devices divide the weights at best evenly
        ways = _down(legal_splits(model, n) or [Split(n)])
        fit: Any = legal(model, ways)
        for q, least in held:
            step = replace(q.step, batch=np.asarray(_sequences(ways, least, MICRO[:1]), dtype=np.float64))
            fit = fit & (device_resident_bytes(model, step, q.storage, ways).total <= room)
        if np.any(fit):
            return n
    return known


def _nearest(model: Model) -> str:
    divisor = tp_divisor(model)
    return f"tp divides {divisor}, pp is at most {model.layers}" + (f", ep divides {experts_of(model)}" if experts_of(model) else "")
