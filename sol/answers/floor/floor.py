"""How fast can one step be, on one device, from arithmetic alone?

`floor` is a bound: compulsory bytes at peak bandwidth, compulsory FLOPs at the fastest sourced rate,
perfectly overlapped. There is no efficiency factor. Symbols: docs/notation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np

from sol.answers.floor.fitting import fitting
from sol.answers.floor.result import Floor
from sol.answers.floor.rows import operator_table
from sol.answers.floor.strictness import is_strict, loosened
from sol.answers.question.ask import Question, ask
from sol.answers.question.options import StepOptions, check_names, spelled_out
from sol.answers.question.splits import safe_splits, where_valid
from sol.errors import InvalidPlan
from sol.physics.network.sharding import device_resident_bytes, last_token, pieces, split_operators
from sol.physics.time.interval import Interval, interval, is_uneven
from sol.physics.time.roofline import Times, pipelined, price_rows, sweep, total
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Array, Counts, Flags, Labels, Number, Numbers
from sol.specs.split import Split
from sol.specs.step import Step
from sol.tabular import Table


@overload
def floor(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Number | None = None, **options: Unpack[StepOptions[Number, int]]
) -> Floor[float, bool, str]: ...  # fmt: skip
@overload
def floor(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Numbers | None = None, **options: Unpack[StepOptions[Numbers, Counts]]
) -> Floor[Array, Flags, Labels]: ...  # fmt: skip
@spelled_out(StepOptions)
def floor(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Numbers | None = None, **options: Unpack[StepOptions[Numbers, Counts]]
) -> Floor:
    """The floor of one decode or prefill step: the time no implementation can beat.

        floor = max( Σ bytes / bandwidth , Σ flops / ceiling )

    Every number may be a scalar or an array; arrays broadcast, and a cell of a sweep equals its scalar.

    Parameters
    ----------
    model : id ("qwen2.5-7b"), Hugging Face id, path (a config.json, a folder, a GGUF file), or a `Model`.
    gpu : id or alias ("h100"), or a `GPU`.
    ctx : tokens in the KV cache (decode), or tokens of the prompt (prefill) [token].
    batch : sequences in the step [1]; an average may be fractional.
    phase : "decode" or "prefill".
    new_tokens : tokens computed per sequence in decode [token]; more than one verifies drafts.
    cached_tokens : tokens of the prompt that are already in the cache, in prefill [token].
    logits : "last", "all" or "none"; by default all in decode, last in prefill.
    dtype, kv_dtype : formats of the weights and of the cache; by default what the config says, and 16 bits.
    tp, pp, ep, dp, cp : the split of a replica of tp·pp·dp devices [1]: tensor, pipeline, expert and data
        parallelism; `ep` divides the experts over the same devices, `cp` the cached tokens over tensor-parallel devices
        that would hold the same keys and values. `batch` is the whole replica's. Arrays make
        a sweep, in which splits that cannot be are not `valid` and have NaN for figures.
    imbalance : how many times an even share of the tokens the experts of the fullest device get [1], 1 or more.
    link : id of the link that joins the devices of a box (sol links), where they are wired otherwise than the database says
        ("pcie4-x8"), or of the bridge that joins cards, which otherwise have none.
    network : id of the link between boxes, read beyond what the links inside one join (sol links).
    routing : "expected", "min" (the only bound) or "max" distinct experts; a measured number of them per
        layer; or the share of the choices each expert of a layer gets, from which the imbalance follows too.
    fusion : "ideal", "kernel" or "eager"; changes the serial floor and the rows, never the floor.
    groups : a mixed step, instead of ctx, batch, phase and tokens: (sequences, new tokens, cached tokens) of every group that goes
        through the model in the same pass, with "last", "all" or "none" after them for its logits; [(64, 1, 2048), (1, 512, 0)] are
        64 sequences that decode beside 512 tokens of a prompt. Weights are read once for all groups.

    Returns
    -------
    Floor : latencies [s], bytes [B], FLOPs [FLOP], the operators, assumptions and sources.

    Raises
    ------
    UnknownName, InvalidInput, InvalidPlan, MissingSpec, BadFile, and DoesNotFit for one point (a sweep has `fits`).

    Ignores launches, host time, achievable bandwidth: those belong to an estimate.

    >>> floor("qwen2.5-7b", "h100", ctx=2048)
    <Floor qwen2.5-7b on h100-sxm · decode · batch 1 · ctx 2,048 · bf16: 4.256 ms, memory-bound>
    """
    check_names(floor, options, StepOptions.__optional_keys__)
    return fitting(floor_of(ask(model, gpu, ctx=ctx, **options)))


def times_of(q: Question) -> Times:
    """The times and totals of a resolved question, without what a `Floor` says besides."""
    split = safe_splits(q.split, q.valid)

    def staged(whole: Times, of: Callable[[Step], Times]) -> Times:
        in_stages = np.any(split.pp > 1) if split.is_sweep else split.pp > 1
        if not (in_stages and np.any(q.step.new_tokens > 1.0)) or q.step.beside:
            return whole
        return pipelined(whole, pieces(q.step, split), of(last_token(q.step)))

    at = partial(_times_at, q)
    if q.scalar:
        return staged(at(q.step, split), lambda step: at(step, split))
    return staged(sweep(q.step, split, at), lambda step: sweep(step, split, at))


def _times_at(q: Question, step: Step, split: Split) -> Times:
    if step is q.step:  # the whole of it, not a block nor a part: its rows are kept
        return total(q.operators())
    return total(price_rows(split_operators(q.model, step, q.storage, q.routing, q.fusion, split), q.rates))


def floor_of(q: Question) -> Floor:
    """The floor of a resolved question, fitting or not."""
    split, times = safe_splits(q.split, q.valid), times_of(q)
    resident = device_resident_bytes(q.model, q.computed_step, q.storage, split).total
    capacity = q.gpu.memory_bytes
    show = _item if q.scalar else partial(_spread, _shape(q), q.valid)
    loose = loosened(q, times)
    apart = times.latency_s
    if is_uneven(q.model, q.step, split):

        def stages(step: Step, split: Split) -> Interval:
            passes = lambda step, split: _times_at(q, step, split).latency_s  # noqa: E731
            return interval(q.model, step, q.storage, q.routing, q.fusion, split, q.rates, passes)

        apart = np.maximum(apart, (stages(q.step, split) if q.scalar else sweep(q.step, split, stages)).interval_s)
    return Floor(
        question=q, latency_s=show(times.latency_s), interval_s=show(apart), serial_s=show(times.serial_s), memory_s=show(times.memory_s),
        compute_s=None if q.rates.peak is None else show(times.compute_s), network_s=show(times.network_s),
        wire_bytes=show(times.wire_bytes), devices=show(q.split.devices) if q.split.is_sweep else q.split.devices,
        moved_weight_bytes=show(times.moved_weight_bytes), moved_kv_bytes=show(times.moved_kv_bytes), flops=show(times.flops),
        resident_bytes=show(resident), fits=None if capacity is None else show(resident <= capacity), is_bound=show(is_strict(loose)),
        communication_s=show(times.communication_s), _rows=partial(_table, q, times), _at=partial(_at, q, times), loosened=loose,
    )  # fmt: skip


def _table(q: Question, times: Times) -> Table:
    return operator_table(q.operators(), times)


def _at(q: Question, times: Times, index: Any) -> Floor:
    return floor_of(_point(q, times, index))


def _item(value: Any) -> Any:
    return value if type(value) is float or not hasattr(value, "item") else value.item()


def _spread(shape: tuple[int, ...], valid: Any, value: Any) -> Any:
    """A read-only array of the sweep's shape; smaller ones are views, not copies. Invalid splits are NaN."""
    return np.broadcast_to(where_valid(value, valid), shape)


def _shape(q: Question) -> tuple[int, ...]:
    return np.broadcast_shapes(*(array.shape for array in q.step.arrays), q.split.shape)


def _point(q: Question, times: Times, index: Any) -> Question:
    shape = _shape(q)

    def pick(array: Any) -> Any:
        return np.array([np.broadcast_to(array, shape)[index].item()])

    if not np.broadcast_to(q.valid, shape)[index]:
        raise InvalidPlan(f"the split at {index}", "is not one that this model and these links allow", "see `valid`")

    step = q.step.with_arrays(tuple(map(pick, q.step.arrays)))
    split = Split(*(pick(n).item() for n in q.split))
    return replace(q, step=step, ctx=pick(q.ctx), cached_tokens=pick(q.cached_tokens), split=split, scalar=True, valid=True)
