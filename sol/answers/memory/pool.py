"""The engine, the fraction of a device it takes, and the pool that its own memory and the step it measures leave for the cache."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sol.answers.question.inputs import number, numbers
from sol.errors import InvalidInput, MissingSpec
from sol.physics.memory import profiling
from sol.physics.memory.reservation import Reservation, Taken, reservation
from sol.physics.network.sharding import device_model
from sol.physics.network.stages import stages
from sol.physics.operators.operator import Amount
from sol.sources.database.device_names import least_total
from sol.sources.database.engines import load_engine
from sol.specs.engines import Engine, version_numbers
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Array, Number
from sol.specs.record import Cite
from sol.specs.split import Split
from sol.specs.step import Storage
from sol.units import show_count, show_gib

SHARE = {  # what the pool for the cache is, by budget
    "total": "{f} of the device's memory less weights, activations and the engine's own",
    "static": "{f} of the device's free memory less weights, activations outside it",
    "free": "{f} of what weights, activations and the engine's own leave free",
    "asked": "what the requested context takes, allocated at start",
}


class Pool(NamedTuple):
    """What an engine makes of a device: its `reservation`, the memory it counts there [B], and the step it measures."""

    engine: Engine
    reserved: Reservation
    memory_bytes: float
    reported: Cite | None
    step_tokens: Array
    step_seqs: float

    @property
    def total_bytes(self) -> Amount:
        """All that the engine holds on the device [B]."""
        r = self.reserved
        return r.taken.weights + r.taken.activations + r.taken.runtime + r.taken.graphs + r.kv_bytes


def resolve_engine(engine: str | Engine | None, memory_fraction: Number | None, gpu: GPU | None) -> tuple[Engine | None, float | None]:
    """The engine and its fraction [0..1]; None for an engine without a fraction.

    Raises `UnknownName`, `InvalidInput`, or `MissingSpec` for a default or a capacity that is not known.
    """
    if engine is None:
        if memory_fraction is not None:
            raise InvalidInput(
                f"memory_fraction={memory_fraction!r}", "is the fraction that an engine takes", "give engine='vllm' or another as well"
            )
        return None, None
    if not isinstance(engine, str | Engine):
        raise InvalidInput(f"engine {engine!r}", "is neither a name nor an Engine", "give engine='vllm', for instance")
    found = engine if isinstance(engine, Engine) else load_engine(engine)
    if gpu is None:
        raise InvalidInput(f"engine='{found.id}' reserves a share of a device", action="give the gpu as well")
    if gpu.memory_bytes is None:
        raise MissingSpec("no source", f"gives {gpu.id} a capacity, so what {found.id} reserves of it is unknown", "leave engine out")
    if found.budget == "asked":
        if memory_fraction is not None:
            raise InvalidInput(
                f"{found.id} has no memory fraction:", "it allocates the cache of the requested context", "leave memory_fraction out"
            )
        return found, None
    if memory_fraction is None:
        if found.memory_fraction is None:
            raise MissingSpec(
                f"{found.id} has no fixed memory fraction:",
                "it derives one at launch and writes it to its log",
                "give memory_fraction=0.88, for instance",
            )
        return found, found.memory_fraction
    asked = numbers("memory_fraction", memory_fraction, above=0.0)
    if asked.size > 1 or asked.flat[0] > 1.0:
        raise InvalidInput(f"memory_fraction={memory_fraction!r}", "has no meaning", "it must be one number above 0, at most 1")
    return found, asked.item()


def engine_pool(
    engine: Engine, fraction: float | None, gpu: GPU, model: Model, split: Split, storage: Storage, ctx: Array, batch: Array,
    adapter_bytes: Amount, step_tokens: Number | None, step_seqs: Number | None,
) -> Pool:  # fmt: skip
    """The pool of an engine on a device whose capacity is known; `batch` sequences of one copy, as in `memory`."""
    reported = counted(gpu)
    memory_bytes = gpu.memory_bytes or 0.0 if reported is None else float(reported.value)
    own = device_model(model, split)
    tokens, seqs = profiling.largest_step(engine, gpu.id, memory_bytes, ctx)
    if step_tokens is not None:
        tokens = 0.0 * ctx + number("max_step_tokens", step_tokens, above=0.0)
    if step_seqs is not None:
        seqs = number("max_num_seqs", step_seqs, at_least=1.0)
    if not np.any(tokens):  # an engine of one's own says nothing of its step: the same as what is needed
        tokens = np.maximum(2048.0, batch)
    sampled = np.minimum(seqs, tokens)
    forward, experts = profiling.forward_bytes(engine, own, storage, tokens)
    sampler = profiling.sampler_bytes(engine, model.vocab, model.hidden, tokens, sampled)
    runtime = profiling.runtime_bytes(engine, split.tp, split.pp)
    padding = profiling.padding_bytes(engine, own, storage)
    taken = tuple(
        Taken(
            stage.weights + adapter_bytes * stage.share,
            experts + (np.maximum(forward, sampler) if stage.samples else np.where(split.pp > 1, forward, np.maximum(forward, sampler))),
            runtime, profiling.graph_bytes(engine, model.layers * stage.share), stage.share,
        )
        for stage in stages(model, split, storage, padding, engine.host_table)
    )  # fmt: skip
    f = 1.0 if fraction is None else fraction
    found = reservation(engine, f, own, storage, ctx, batch, memory_bytes, taken, split, tokens, float(np.min(sampled)) if seqs else 0.0)
    return Pool(engine, found, memory_bytes, reported, tokens, seqs)


def counted(gpu: GPU | None) -> Cite | None:
    """The memory that engines count on a device [B]: the least that was reported of it; None where its capacity stands for it."""
    if gpu is None or gpu.capacity_basis == "stated":
        return None
    return least_total(gpu.id.partition("@")[0])


def outcome(pool: Pool, fraction: float | None, out: Any) -> dict[str, Any]:
    """The fields of an answer that speak of the engine; `out` gives each the shape of the answer."""
    r, states = pool.reserved, pool.reserved.state_blocks
    return {
        "engine": pool.engine, "memory_fraction": fraction, "starts": out(r.starts), "reserved_bytes": out(pool.total_bytes),
        "engine_memory_bytes": pool.memory_bytes, "engine_weight_bytes": out(r.taken.weights + 0.0 * r.kv_bytes),
        "engine_activation_bytes": out(r.taken.activations + 0.0 * r.kv_bytes),
        "engine_own_bytes": out(r.taken.runtime + r.taken.graphs + 0.0 * r.kv_bytes), "kv_budget_bytes": out(r.budget_bytes),
        "kv_reserved_bytes": out(r.kv_bytes), "kv_pool_tokens": out(r.kv_tokens), "kv_wasted_bytes": out(r.wasted_bytes),
        "engine_max_batch": out(r.max_batch), "state_blocks": None if states is None else out(states),
        "profiled_tokens": out(pool.step_tokens + 0.0 * r.kv_bytes), "max_num_seqs": pool.step_seqs or None,
    }  # fmt: skip


def reserving(pool: Pool | None, fraction: float | None) -> tuple[str, ...]:
    """The assumptions of a reservation, one line each."""
    if pool is None:
        return ()
    engine, base = pool.engine, pool.engine.id.partition("@")[0]
    share = SHARE[engine.budget].format(f="" if fraction is None else f"{fraction:g}")
    default = engine.memory_fraction is not None and fraction == engine.memory_fraction
    lines = [
        f"{base} {engine.version}{' by default' if default else ''}: its kv pool is {share}, in blocks of "
        f"{show_count(engine.block_tokens)} tokens"
    ]
    tokens = pool.step_tokens
    if engine.alive_ffn is not None:
        step = f"{tokens.min():,.0f}" if tokens.min() == tokens.max() else f"{tokens.min():,.0f} to {tokens.max():,.0f}"
        of = f" of {pool.step_seqs:,.0f} sequences" if pool.step_seqs else ""
        lines.append(f"it measures a step of {step} tokens{of}; its activations and own memory are fitted to what it logs")
    asked, newest = version_numbers(engine.version), engine.versions[-1:]
    if "@" in engine.id and newest and asked and asked > (version_numbers(newest[0]) or ()):
        lines.append(f"{engine.version} was not read: as {newest[0]}, the newest that was")
    if "@" in engine.id and len(engine.versions) == 1 and newest[0] != engine.version:
        lines.append(f"{engine.version} was not read apart: as {newest[0]}")
    if pool.reported is not None:
        lines.append(f"runtimes count {show_gib(pool.memory_bytes)} GiB on the device")
    return tuple(lines)
