"""Does it fit, how long a context, how many sequences: bytes of weights, cache and activations against capacity.

Three figures of the cache, never mixed: what is *needed*, what an engine *reserves*, what one step
*reads*. All per device, which holds one replica. Activations are those of the largest step; an
engine's own profiled figure differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, Generic, Unpack, overload

import numpy as np

from sol.answers.memory.held import held_by
from sol.answers.memory.pool import Pool, counted, engine_pool, outcome, reserving, resolve_engine
from sol.answers.question.formats import resolve_format, resolve_formats, stored_format
from sol.answers.question.inputs import common_shape, number
from sol.answers.question.options import MemoryOptions, check_names, spelled_out
from sol.answers.question.records import load_model, resolve_gpu
from sol.answers.question.splits import ONE, resolve_split, safe_splits, valid_splits, where_valid
from sol.answers.report.citations import COLUMNS, Bibliography, cite_row
from sol.answers.report.shown import Shown
from sol.errors import InvalidInput
from sol.frozen import Frozen
from sol.physics.memory import capacity as capacities
from sol.physics.memory.cache import kv_bytes, max_ctx, state_bytes
from sol.physics.memory.cache_traffic import kv_read_bytes
from sol.physics.network.sharding import device_model, device_weight_bytes, share
from sol.physics.operators.adapters import adapter_elements
from sol.specs.assumption import Assumption, assumed
from sol.specs.engines import Engine
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.model import Model, ModelPart
from sol.specs.parts import Count
from sol.specs.quantities import Amount, Array, Counts, Flag, Flags, Number, Numbers
from sol.specs.split import Split
from sol.specs.step import Storage
from sol.tabular import Table, joined
from sol.units import show_count, show_gib

ANYWHERE = GPU(id="any", name="a device without limits", memory_bytes_per_s=1.0, flops_per_s={"bf16": 1.0, "fp16": 1.0}, source="none")
"""What formats resolve against when no device is named: 16-bit compute, nothing lacking."""


@dataclass(frozen=True, eq=False, repr=False)
class Memory(Shown, Frozen, Generic[Amount, Flag]):
    """The bytes of one model in use, and whether a device holds them. Scalars in, plain numbers out; arrays read-only.

    Fields [unit]: `weight_bytes`, `adapter_bytes` (LoRA), `kv_bytes` and `state_bytes` (recurrent states) of
    all sequences, `activation_bytes`, `resident_bytes` their sum [B]; `kv_read_bytes` of cache and states
    that one decode step reads [B]; `capacity_bytes` [B] on
    `capacity_basis`; `fits`; `headroom_bytes` [B]; `max_batch` sequences of this ctx; `max_ctx` tokens at
    this batch (infinite without a limit); `min_devices` that could hold it, split without loss. Those of
    the device are None where no device, or no capacity, is known.

    `kv_next_token_bytes`: what one more token of one sequence adds at this ctx, over all devices [B].

    Of an engine, None without one, on the device with the least room: `kv_reserved_bytes` its pool for the cache [B],
    `kv_pool_tokens` in whole blocks [token]; `kv_budget_bytes` left for it, negative where nothing is left [B]; `starts`,
    whether the engine does; `engine_max_batch` sequences of this ctx that the pool holds at once, `state_blocks` those that a
    hybrid has states for; `kv_wasted_bytes` that the last blocks of this batch leave empty [B]; `memory_fraction` it takes of what
    its `budget` says. Before the pool it holds `engine_weight_bytes` as loaded, adapters with them, `engine_activation_bytes` of a step of
    `profiled_tokens` and `max_num_seqs`, and `engine_own_bytes` of its own and its graphs [B], all of
    `engine_memory_bytes` that runtimes count [B]; `reserved_bytes` is their sum with the pool [B].
    """

    model: Model
    gpu: GPU | None
    storage: Storage
    ctx: Array
    batch: Array
    step_tokens: Amount
    weight_bytes: Amount
    adapter_bytes: Amount
    kv_bytes: Amount
    state_bytes: Amount
    kv_bytes_as_mha: Amount
    kv_read_bytes: Amount
    activation_bytes: Amount
    resident_bytes: Amount
    capacity_bytes: float | None
    capacity_basis: str | None
    fits: Flag | None
    headroom_bytes: Amount | None
    max_batch: Amount | None
    max_ctx: Amount | None
    min_devices: Amount | None
    assumptions: tuple[Assumption, ...]
    kv_next_token_bytes: Amount | None = None
    engine: Engine | None = None
    memory_fraction: float | None = None
    starts: Flag | None = None
    reserved_bytes: Amount | None = None
    engine_memory_bytes: float | None = None
    engine_weight_bytes: Amount | None = None
    engine_activation_bytes: Amount | None = None
    engine_own_bytes: Amount | None = None
    kv_budget_bytes: Amount | None = None
    kv_reserved_bytes: Amount | None = None
    kv_pool_tokens: Amount | None = None
    kv_wasted_bytes: Amount | None = None
    engine_max_batch: Amount | None = None
    state_blocks: Amount | None = None
    profiled_tokens: Amount | None = None
    max_num_seqs: float | None = None
    split: Split = ONE
    valid: Flag | bool = True
    shown_by: ClassVar[str] = "sol.answers.memory.show"

    @property
    def devices(self) -> Count:
        """Devices of the replica; every figure is that of the fullest of them."""
        return self.split.devices

    @property
    def is_point(self) -> bool:
        """Whether this is one point rather than a sweep."""
        return not isinstance(self.resident_bytes, np.ndarray)

    def heading(self) -> str:
        """What was asked, on one line."""
        several = self.split.times
        where = f"{self.model.id} on {several}{self.gpu.id}" if self.gpu else self.model.id
        where = joined((where, str(self.split))) if several else where
        span = [show_count(v.min()) + ("" if v.min() == v.max() else f"…{show_count(v.max())}") for v in (self.batch, self.ctx)]
        engine = "" if self.engine is None else self.engine.id
        return joined((where, f"batch {span[0]}", f"ctx {span[1]}", self.storage.weights.id, f"kv {self.storage.cache.id}", engine))

    def table(self) -> Table:
        """One line per part for a point, one line per point for a sweep."""
        made: Table = self.drawn("memory_table")
        return made

    def sources(self) -> Bibliography:
        """The bibliography: the architecture, the capacity, and the engine's own figures."""
        rows = [cite_row(f"{self.model.id} {field}", c) for field, c in self.model.cites.items()]
        if self.gpu is not None:
            known = (f for f in ("memory_bytes", "marketed_memory_bytes") if f in self.gpu.cites)
            rows += [cite_row(f"{self.gpu.id} {field}", self.gpu.cites[field]) for field in list(known)[:1]]
        if self.engine is not None:
            own = self.memory_fraction == self.engine.memory_fraction  # else the fraction is the asker's
            cites = self.engine.cites.items()
            rows += [cite_row(f"{self.engine.id} {field}", c) for field, c in cites if own or field != "memory_fraction"]
            reported = counted(self.gpu)
            rows += [] if reported is None else [cite_row("memory that runtimes count", reported)]
        return Bibliography(columns=COLUMNS, rows=tuple(rows), title=self.heading())

    def __repr__(self) -> str:
        if not self.is_point:
            return f"<Memory {self.heading()}: {np.size(self.resident_bytes)} points>"
        verdict = "" if self.fits is None else ", fits" if self.fits else ", does not fit"
        return f"<Memory {self.heading()}: {show_gib(float(self.resident_bytes))} GiB{verdict}>"


@overload
def memory(
    model: str | Path | Model, gpu: str | GPU | None = None, *, ctx: Number | None = None, max_step_tokens: Number | None = None,
    engine: str | Engine | None = None, memory_fraction: Number | None = None, max_num_seqs: Number | None = None,
    lora_rank: int | None = None, lora_adapters: int = 1,
    **options: Unpack[MemoryOptions[Number, int]],
) -> Memory[float, bool]: ...  # fmt: skip
@overload
def memory(
    model: str | Path | Model, gpu: str | GPU | None = None, *, ctx: Numbers | None = None, max_step_tokens: Number | None = None,
    engine: str | Engine | None = None, memory_fraction: Number | None = None, max_num_seqs: Number | None = None,
    lora_rank: int | None = None, lora_adapters: int = 1,
    **options: Unpack[MemoryOptions[Numbers, Counts]],
) -> Memory[Array, Flags]: ...  # fmt: skip
@spelled_out(MemoryOptions)
def memory(
    model: str | Path | Model, gpu: str | GPU | None = None, *, ctx: Numbers | None = None, max_step_tokens: Number | None = None,
    engine: str | Engine | None = None, memory_fraction: Number | None = None, max_num_seqs: Number | None = None,
    lora_rank: int | None = None, lora_adapters: int = 1,
    **options: Unpack[MemoryOptions[Numbers, Counts]],
) -> Memory:  # fmt: skip
    """Bytes needed by `batch` sequences of `ctx` tokens, whether `gpu` holds them, and what an engine makes of it.

    Parameters
    ----------
    model, gpu, dtype, kv_dtype : as in `floor`; without a `gpu`, the bytes alone.
    ctx : tokens each sequence holds in the cache [token]; scalar or array.
    batch : sequences held at once [1]; scalar or array.
    groups : a mixed step instead of ctx and batch, as in `floor`: what its groups hold after it.
    max_step_tokens : tokens of the largest step [token]; by default the larger of batch and 2,048, for an engine its own default.
    engine : "vllm", "sglang", "tensorrt-llm" or "llama.cpp": what it reserves on `gpu`, by its own defaults; "vllm@0.16" of that version.
    memory_fraction : the fraction the engine takes [0..1] (vLLM's gpu_memory_utilization, SGLang's
        mem_fraction_static, TensorRT-LLM's free_gpu_memory_fraction); by default the engine's.
    max_num_seqs : sequences of the step that the engine measures at start; by default the engine's.
    tp, pp, ep, dp : the split of a replica, as in `floor`; every figure is then the fullest device's, `batch` and
        `max_batch` the replica's.
    lora_rank, lora_adapters : so many LoRA adapters of this rank on every linear layer of attention and of
        dense feed-forward blocks, held beside the weights in 16 bits.

    Raises `UnknownName`, `InvalidInput`, `MissingSpec` or `BadFile`. What does not fit is an answer here, not an error.

    >>> memory("llama-3.1-70b", ctx=131072).kv_bytes / 2**30
    40.0
    >>> memory("llama-3.1-8b", "h100", ctx=8192, engine="vllm", memory_fraction=0.9).engine_max_batch
    53.0
    """
    check_names(memory, options, MemoryOptions.__optional_keys__)
    the_model = load_model(model)
    the_gpu = None if gpu is None else resolve_gpu(gpu)
    the_engine, fraction = resolve_engine(engine, memory_fraction, the_gpu)
    stored = _stored(stored_format(the_model, options.get("dtype")))
    storage, _, assumptions, _ = resolve_formats(the_model, the_gpu or ANYWHERE, stored, options.get("kv_dtype"))
    held, single = held_by(options.get("groups"), ctx, options.get("batch", 1))
    c, b = reduce(np.maximum, (group.ctx for group in held)), reduce(np.add, (group.sequences for group in held))
    asked = resolve_split(*(options.get(way, 1) for way in ("tp", "pp", "ep", "dp", "cp")))
    valid = valid_splits(the_model, asked)
    split, shape = safe_splits(asked, valid), common_shape(ctx=c, batch=b, **asked._asdict())
    limit = capacities.CHUNK_TOKENS if max_step_tokens is None else number("max_step_tokens", max_step_tokens, above=0.0)
    if max_num_seqs is not None and the_engine is None:
        raise InvalidInput(
            f"max_num_seqs={max_num_seqs!r}", "is what an engine measures at start", "give engine='vllm' or another as well, or batch="
        )
    own, layers_held = device_model(the_model, split), -(-the_model.layers // split.pp) / the_model.layers
    mine, pass_of = share(b, split.dp), share(b, split.dp * split.pp)
    step_tokens = np.maximum(reduce(np.add, (g.new / split.dp / split.pp for g in held)) if len(held) > 1 else pass_of, limit)
    weights = device_weight_bytes(the_model, split, storage)
    adapters = _adapters(own, lora_rank, lora_adapters) * layers_held * storage.base.bytes_per_weight
    kv = sum(g.on_one(split) * kv_bytes(own, g.ctx, storage.cache, split.cp) for g in held) * layers_held
    states = mine * state_bytes(own, storage) * layers_held
    read = sum(kv_read_bytes(own, g.on_one(split), g.read, storage, split.cp) for g in held) * layers_held
    as_mha = device_model(the_model.as_mha(), split)
    unshared = sum(g.on_one(split) * kv_bytes(as_mha, g.ctx, storage.cache) for g in held) * layers_held
    activations = step_tokens * capacities.activation_bytes_per_token(own) + pass_of * capacities.logit_bytes_per_row(own)
    held_whole = weights + adapters + states
    resident = held_whole + kv + activations
    room = None if the_gpu is None else the_gpu.memory_bytes
    scalar = single and not split.is_sweep

    def out(value: Any) -> Any:
        if scalar:
            return value.item() if isinstance(value, np.ndarray) else value
        return np.broadcast_to(where_valid(value, valid), shape)

    longest = None if room is None else max_ctx(own, (room - held_whole - activations) / mine / layers_held, storage.cache, split.cp)
    most = (
        0.0 if room is None else split.dp * capacities.max_batch(own, storage, c, room - weights - adapters, limit, layers_held, split.cp)
    )
    pool: Pool | None = None
    if the_engine is not None and the_gpu is not None:
        elements = _adapters(own, lora_rank, lora_adapters) * storage.base.bytes_per_weight
        pool = engine_pool(the_engine, fraction, the_gpu, the_model, split, storage, c, mine, elements, max_step_tokens, max_num_seqs)
    one_more = kv_bytes(the_model, c + 1.0, storage.cache) - kv_bytes(the_model, c, storage.cache)
    return Memory(
        model=the_model, gpu=the_gpu, storage=storage, ctx=c, batch=b, step_tokens=out(step_tokens), weight_bytes=out(weights),
        adapter_bytes=out(adapters), kv_bytes=out(kv), state_bytes=out(states),
        kv_bytes_as_mha=out(unshared), kv_read_bytes=out(read), activation_bytes=out(activations),
        resident_bytes=out(resident), capacity_bytes=room, capacity_basis=None if the_gpu is None else the_gpu.capacity_basis,
        fits=None if room is None else out(resident <= room), headroom_bytes=None if room is None else out(room - resident),
        max_batch=None if room is None else out(most),
        max_ctx=None if longest is None else out(longest),
        min_devices=None if room is None else out(np.ceil(resident * split.devices / room)), split=asked,
        valid=valid if scalar else np.broadcast_to(valid, shape),
        assumptions=(*(a for a in assumptions if a.kind not in ("cold_cache", "no_skipped_work")),
                     Assumption("activations", f"activations of a step of {_shown(step_tokens)} tokens; an engine's own figure differs"),
                     *assumed("engine", reserving(pool, fraction))), kv_next_token_bytes=out(one_more),
        **({} if pool is None else outcome(pool, fraction, out)),
    )  # fmt: skip


def _adapters(model: ModelPart, rank: int | None, adapters: int) -> int:
    """Elements of all adapters."""
    for name, value in (("lora_rank", rank), ("lora_adapters", adapters)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 2**20):
            raise InvalidInput(f"{name}={value!r}", "is not a whole number above 0")
    return 0 if rank is None else adapters * adapter_elements(model, rank)


def _stored(dtype: str | NumberFormat | None) -> str | NumberFormat | None:
    """The weight format as far as its bytes go: what a device computes in says nothing of what it must hold."""
    if dtype is None:
        return None
    asked = resolve_format(dtype)
    return asked if asked.compute in ("16-bit", "bf16", "fp16") else asked.model_copy(update={"compute": "16-bit", "otherwise": None})


def _shown(values: Array) -> str:
    return f"{values.min():,.0f}" if values.min() == values.max() else f"{values.min():,.0f} to {values.max():,.0f}"
