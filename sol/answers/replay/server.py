"""The server of a replay: an engine's scheduler and its limits on a device, with what was taken for granted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from sol.answers.memory.memory import memory
from sol.answers.memory.pool import counted
from sol.answers.question.ask import Question
from sol.answers.question.inputs import number, one_of
from sol.errors import DoesNotFit, InvalidInput, MissingSpec
from sol.frozen import Frozen
from sol.physics.memory.cache import kv_bytes
from sol.physics.memory.profiling import largest_step
from sol.physics.network.sharding import device_model
from sol.physics.serving.policy import Policy
from sol.physics.serving.requests import Load
from sol.sources.database.engines import engine_ids, load_engine
from sol.specs.engines import Engine
from sol.specs.quantities import Array, Number
from sol.specs.scheduler import Admission, Scheduler
from sol.units import show_count

DEFAULT = "vllm"
"""The engine whose scheduler is taken where none is named."""
ENDLESS = 1 << 50
"""Blocks of a pool that sets no limit: a model without a cache."""


@dataclass(frozen=True, eq=False)
class Server(Frozen):
    """An engine, the policy of its scheduler, and the lines that say where its limits come from."""

    engine: Engine
    scheduler: Scheduler
    policy: Policy
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Limits:
    """Limits of a server as they were asked; None for the engine's own."""

    max_batch: Number | None = None
    max_batch_tokens: Number | None = None
    kv_tokens: Number | None = None
    memory_fraction: Number | None = None
    admission: str | None = None


def resolve_server(name: str | Engine | None, q: Question, load: Load, limits: Limits, options: dict[str, Any]) -> Server:
    """The server that is meant. Raises `InvalidInput`, `MissingSpec`, `UnknownName`, or `DoesNotFit` for a request it can never hold."""
    engine = name if isinstance(name, Engine) else load_engine(name or DEFAULT)
    scheduler = engine.scheduler
    if scheduler is None:
        read = [e for e in engine_ids() if load_engine(e).scheduler is not None]
        raise MissingSpec(f"the scheduler of {engine.id} {engine.version}", "was not read", f"known are those of {', '.join(read)}")
    held = load.prompt + load.output - 1
    longest = int(held.max())
    most_ctx = q.model.max_ctx
    if most_ctx is not None and longest + 1 > most_ctx:
        where = int(np.argmax(held))
        raise InvalidInput(
            f"request {where + 1}:", f"has {longest + 1:,} tokens, and {q.model.id} supports {most_ctx:,}", "leave it out, or cut it"
        )
    seqs, tokens, pool, lines = _limits(engine, q, longest, limits, options)
    block = int(engine.block_tokens)
    if scheduler.tiers:
        chunk = scheduler.chunk_tokens(_memory(q)) or tokens
        own = min(chunk, scheduler.prefill_tokens or chunk)
        tokens = own if limits.max_batch_tokens is None else tokens
        lines.append(f"{show_count(tokens)} prompt tokens a step")
    if limits.max_batch is None and scheduler.seqs_per_context is not None:
        contexts = pool / (most_ctx or longest)
        seqs = min(max(contexts * scheduler.seqs_per_context, scheduler.least_seqs or 1.0), scheduler.most_seqs or np.inf)
    admission: Admission = scheduler.admission if limits.admission is None else one_of("admission", limits.admission, get_args(Admission))
    ratio, copies = scheduler.ratio or 1.0, int(q.split.dp)
    policy = Policy(
        max_num_seqs=int(min(seqs, ENDLESS)) * copies, max_num_batched_tokens=int(tokens) * copies, block_tokens=block,
        kv_blocks=(ENDLESS if np.isinf(pool) else int(pool // block)) * copies, mixed=scheduler.mixed, chunked=scheduler.chunked,
        ahead=scheduler.ahead, keeps_freed=scheduler.keeps_freed, admission=admission, ratio=ratio,
        least_ratio=min(1.0, ratio * (scheduler.least_ratio_factor or 1.0)), ratio_steps=scheduler.ratio_steps or 1.0,
        clip_tokens=scheduler.clip_tokens or np.inf, retract_tokens=scheduler.retract_tokens or 0.0, cost=_cost(q, longest, block),
    )  # fmt: skip
    _can_hold(policy, load, held, engine)
    return Server(engine, scheduler, policy, tuple(lines))


def _limits(
    engine: Engine, q: Question, longest: int, limits: Limits, options: dict[str, Any]
) -> tuple[float, float, float, list[str]]:  # fmt: skip
    """Sequences [1], tokens of a step [token] and tokens of the pool of one copy [token], and where they come from."""
    asked = {"max_batch": limits.max_batch, "max_batch_tokens": limits.max_batch_tokens, "kv_tokens": limits.kv_tokens}
    given = {k: float(np.floor(number(k, v, at_least=1.0))) for k, v in asked.items() if v is not None}
    steps, own_seqs = largest_step(engine, q.gpu.id, _memory(q), np.array([float(longest)]))
    tokens, seqs = given.get("max_batch_tokens", float(steps[0])), given.get("max_batch", own_seqs)
    if "kv_tokens" in given:
        if limits.memory_fraction is not None:
            raise InvalidInput("memory_fraction and kv_tokens", "are both given", "the pool follows from either of them")
        pool, lines = given["kv_tokens"], [f"a pool of {show_count(given['kv_tokens'])} tokens, as given"]
    else:
        m = memory(
            q.model, q.gpu, ctx=longest, engine=engine, memory_fraction=limits.memory_fraction, max_step_tokens=tokens or None,
            max_num_seqs=seqs or None, **{k: v for k, v in options.items() if k in ("dtype", "kv_dtype", "tp", "pp", "ep", "dp", "cp")},
        )  # fmt: skip
        pool, lines = float(m.kv_pool_tokens or 0.0), [str(line) for line in m.assumptions if line.kind == "engine"]
        if (m.kv_budget_bytes or 0.0) <= 0.0:
            raise DoesNotFit(
                f"{engine.id} on {q.gpu.id}", "has no memory left for a cache beside the weights", "use more devices or a narrower dtype"
            )
        if pool <= 0.0:  # a model without a cache: its states are what must fit
            pool, seqs = np.inf, min(seqs or np.inf, float(m.engine_max_batch or 1.0))
        elif m.state_blocks is not None:
            seqs = min(seqs or np.inf, float(m.state_blocks))
        lines.append(f"a pool of {show_count(pool)} tokens" if np.isfinite(pool) else "a pool of states, without a cache")
    lines += [
        f"at most {show_count(seqs)} sequences" if seqs else "",
        f"{show_count(tokens)} tokens a step" if not engine_tiers(engine) else "",
    ]
    return seqs or np.inf, tokens, pool, [line for line in lines if line]


def engine_tiers(engine: Engine) -> bool:
    """Whether an engine's chunks go by the device's memory."""
    return engine.scheduler is not None and bool(engine.scheduler.tiers)


def _memory(q: Question) -> float:
    """The memory that runtimes count on the device [B]."""
    reported = counted(q.gpu)
    return q.gpu.memory_bytes or 0.0 if reported is None else float(reported.value)


def _cost(q: Question, longest: int, block: int) -> Array | None:
    """Blocks of the pool that a sequence takes by its own blocks [1], where layers with windows keep less; None where none do."""
    tokens = np.arange(-(-longest // block) + 2, dtype=np.float64) * block
    own = device_model(q.model, q.split)
    taken = np.asarray(kv_bytes(own, tokens, q.storage.cache))
    whole = float(np.asarray(kv_bytes(own, np.array([1.0]), q.storage.cache))[0]) * tokens
    if not whole.any() or np.allclose(taken, whole):
        return None
    cost: Array = np.ceil(np.round(taken / whole[1], 9))
    return cost


def _can_hold(policy: Policy, load: Load, held: np.ndarray, engine: Engine) -> None:
    """Raises `DoesNotFit` for a request that the pool can never hold, `InvalidInput` for one that no step takes in one piece."""
    reserved = held + 1 if policy.admission == "whole" else held
    blocks = policy.blocks_each(reserved)
    if int(blocks.max()) > policy.kv_blocks:
        where = int(np.argmax(blocks > policy.kv_blocks))
        room = policy.kv_blocks * policy.block_tokens
        raise DoesNotFit(
            f"request {where + 1}:", f"needs {int(reserved[where]):,} tokens of cache, and the pool of {engine.id} holds {room:,}",
            "give a larger memory_fraction or kv_tokens, a narrower kv_dtype, more devices, or leave it out",
        )  # fmt: skip
    if policy.admission == "estimate":
        needs = load.prompt - load.cached + np.minimum(load.output, policy.clip_tokens) + policy.block_tokens
        if float(needs.max()) >= policy.kv_blocks * policy.block_tokens:
            where = int(np.argmax(needs))
            raise DoesNotFit(
                f"request {where + 1}:", f"is admitted with {int(needs[where]):,} free tokens, and {engine.id} has fewer",
                "give a larger memory_fraction or kv_tokens, a narrower kv_dtype, more devices, or leave it out",
            )  # fmt: skip
    rest = load.prompt - load.cached
    if not policy.chunked and int(rest.max()) > policy.max_num_batched_tokens:
        where = int(np.argmax(rest))
        raise InvalidInput(
            f"request {where + 1}:", f"has {int(rest[where]):,} prompt tokens, and a step takes {policy.max_num_batched_tokens:,}",
            f"give max_batch_tokens={int(rest.max())}; {engine.id} takes a prompt in one piece by default",
        )  # fmt: skip
