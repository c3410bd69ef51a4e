"""The server that is meant: its model on its devices, its engine's scheduler and pool, and its mean request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sol.answers.estimate.estimate import parts_of, resolve_calibration
from sol.answers.memory.memory import Memory, memory
from sol.answers.question.ask import Question, ask
from sol.answers.question.inputs import number
from sol.answers.question.records import load_model, resolve_gpu
from sol.errors import DoesNotFit, InvalidInput, MissingSpec
from sol.frozen import Frozen
from sol.physics.memory.profiling import largest_step
from sol.physics.serving import steady
from sol.physics.serving.steady import Beside, Latencies, Lengths, Scheduling, StepTimes, beside, latencies
from sol.physics.time.estimate import OperatorTime, operator_times
from sol.sources.database.engines import is_engine, load_engine
from sol.sources.database.libraries import library_for
from sol.specs.calibration import Calibration
from sol.specs.engines import Engine, engine_family
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Array, Number
from sol.specs.split import Split
from sol.specs.step import Step
from sol.units import show_count

STAND_IN = "vllm"
"""Whose scheduler and pool a server has where nobody wrote down its engine's."""
HELD = ("dtype", "kv_dtype", "tp", "pp", "ep", "dp", "cp")
"""The options that say what a device must hold."""


@dataclass(frozen=True, eq=False)
class Server(Frozen):
    """A server and its mean request.

    `question` has the formats, the split and the rates; its step is a placeholder. `held` is the memory of its pool at the mean
    length of a running sequence, `engine` the one whose scheduler it has. `notes` say what was assumed.
    """

    question: Question
    calibration: Calibration
    lengths: Lengths
    scheduling: Scheduling
    engine: Engine
    held: Memory[float, bool]
    notes: tuple[str, ...]

    @property
    def held_tokens(self) -> float:
        """Tokens that a running sequence holds in the mean [token]."""
        return self.held.ctx.item()

    @property
    def pool_sequences(self) -> float:
        """Sequences of the mean length that the pool holds [1]."""
        held = self.held
        return float(held.max_batch or np.inf) if held.engine_max_batch is None else float(held.engine_max_batch * self.question.split.dp)

    @property
    def most_held(self) -> float | None:
        """Sequences of the mean length that the devices hold without any reservation [1]; None where no source gives a capacity."""
        of, q = self.lengths, self.question
        return _most_held(q.model, q.gpu, of.cached + of.new + of.output / 2.0, q.storage.weights, q.storage.cache, q.split)

    @property
    def first_limit(self) -> str:
        """What a load that grows meets first: sequences of a step, the pool, or the room for prompts."""
        if steady.most_beside(self.lengths, self.scheduling) < self.scheduling.slots - 1.0:
            return "prompts"
        return "kv pool" if self.pool_sequences <= self.scheduling.slots else "max_batch"

    def work(self, decoding: Array, prompts: Array | None = None) -> Beside:
        """What runs beside a request where so many others decode, and so many prompts begin in a step."""
        return beside(decoding, self.lengths, self.scheduling, prompts)

    def steps(self, work: Beside) -> Question:
        """The question of the steps in the order of `StepTimes`. Shape (5, points)."""
        decoding, none = work.decoding, 0.0 * work.decoding
        mixes = self.scheduling.mixes
        beside = decoding + 1.0 if mixes else none
        sequences = np.stack((decoding + 1.0, decoding + 2.0, beside, beside, decoding if mixes else none))
        prompts = np.stack((none, none, work.merged - work.spread, work.merged + work.spread, work.own))
        return self.asking(sequences, prompts, work.chunk, work.past)

    def seconds(self, steps: Question, operators: Sequence[OperatorTime] = ()) -> Array:
        """The expected times of steps [s], from the times of their operators where these are known."""
        found: Array = np.asarray(parts_of(steps, self.calibration, operators).latency_s)
        return found

    def operators(self, steps: Question) -> list[OperatorTime]:
        """The expected times of the operators of steps."""
        return operator_times(steps.operators(), steps.rates, steps.storage, self.calibration, library_for(self.calibration))

    def asking(self, sequences: Array, prompts: Array, chunk: Array, past: Array) -> Question:
        """The question of mixed steps: so many sequences that decode, and a chunk of each of so many prompts."""
        q = self.question
        ones, ctx = np.ones(1), np.array([self.lengths.mean_ctx])
        others = Step(prompts, chunk, past, "last", imbalance=q.step.imbalance)
        step = Step(sequences, ones, ctx, "last", imbalance=q.step.imbalance, beside=(others,))
        return replace(q, step=step, ctx=ctx, scalar=False)

    def latencies(self, work: Beside, steps_s: Array, *, closed: bool) -> Latencies:
        """The latencies beside this work, from the seconds of its steps."""
        first = self.calibration.first_token_s.value
        return latencies(work, self.lengths, self.scheduling, StepTimes(*steps_s), first, closed=closed)


def resolve_server(
    model: str | Path | Model, gpu: str | GPU, *, prompt_tokens: Number, output_tokens: Number, cached_share: Number = 0.0,
    engine: str | None = None, calibration: Calibration | str | Path | None = None, max_batch: Number | None = None,
    max_batch_tokens: Number | None = None, memory_fraction: Number | None = None, options: Mapping[str, Any],
) -> Server:  # fmt: skip
    """The server of these options. Raises `InvalidInput`, `MissingSpec`, `DoesNotFit` for a pool smaller than one request."""
    the_model, the_gpu = load_model(model), resolve_gpu(gpu)
    lengths = resolve_lengths(prompt_tokens, output_tokens, cached_share)
    used = resolve_calibration(the_gpu, engine, calibration)
    step = (1.0, max(lengths.new, 1.0), lengths.cached)
    last = lengths.cached + lengths.new + lengths.output - 2.0
    q = ask(the_model, the_gpu, groups=[(1.0, 1.0, last), step], fusion=used.fusion, **options)
    if q.rates.peak is None:
        raise MissingSpec(the_gpu.id, f"has no sourced rate for {q.rates.formats['weights']}", "an estimate needs one (the floor does not)")
    scheduler, notes = scheduler_of(engine, used)
    copies = int(q.split.dp)
    held, more = _pool(the_model, the_gpu, scheduler, _held_ctx(lengths, scheduler), _limits(max_batch, max_batch_tokens, memory_fraction),
                       tuple((name, options[name]) for name in HELD if name in options))  # fmt: skip
    tokens, own_sequences = step_limits(scheduler, the_gpu, held)
    budget = copies * (tokens if max_batch_tokens is None else number("max_batch_tokens", max_batch_tokens, at_least=1.0))
    most = copies * (own_sequences if max_batch is None else number("max_batch", max_batch, at_least=1.0))
    pool = float((held.max_batch if held.engine_max_batch is None else held.engine_max_batch * copies) or 0.0)
    if pool < 1.0:
        raise DoesNotFit(
            "a pool smaller than one request:",
            f"{lengths.new + lengths.cached + lengths.output / 2:,.0f} tokens of {the_model.id} do not fit beside its weights on "
            f"{q.split.times}{the_gpu.id}",
            "use more devices, a narrower dtype, a larger memory_fraction or shorter requests",
        )
    rules = scheduler.scheduler
    scheduling = Scheduling(budget, min(pool, most))
    if rules is not None:
        preempts = pool < most and rules.admission in ("chunk", "prompt")
        scheduling = Scheduling(budget, min(pool, most), rules.mixed, float(rules.ahead), preempts, rules.keeps_freed)
    return Server(q, used, lengths, scheduling, scheduler, held, (*notes, *more))


def resolve_lengths(prompt_tokens: Any, output_tokens: Any, cached_share: Any = 0.0) -> Lengths:
    """The mean request. Raises `InvalidInput` for lengths that are no lengths."""
    prompt, output = number("prompt_tokens", prompt_tokens, at_least=1.0), number("output_tokens", output_tokens, at_least=1.0)
    if output < 2.0:
        raise InvalidInput(
            f"output_tokens={show_count(output)}:", "a server that makes one token never decodes, so it has no time per output token",
            "give 2 or more, or ask for the prompt alone: floor(phase='prefill')",
        )  # fmt: skip
    share = number("cached_share", cached_share, at_least=0.0)
    if share >= 1.0:
        raise InvalidInput(f"cached_share={share:g}", "leaves no token to compute", "it must be below 1: the last token is always computed")
    cached = min(share * prompt, prompt - 1.0)
    return Lengths(prompt - cached, cached, output)


def scheduler_of(engine: str | None, used: Calibration) -> tuple[Engine, tuple[str, ...]]:
    """The engine whose scheduler and pool the server has: the one named, the calibration's, or a stand-in that is said."""
    for name in (engine, used.engine):
        if name is None:
            continue
        family, version = engine_family(name), name.partition("@")[2] or name.removeprefix(engine_family(name)).strip("-")
        if is_engine(family):
            return load_engine(f"{family}@{version}" if version else family), ()
    stand_in = load_engine(STAND_IN)
    return stand_in, (f"scheduler and pool of {STAND_IN}: none are known of {engine or used.engine}",)


def step_budget(engine: Engine, gpu: GPU, ctx: Array) -> Array:
    """Tokens of the largest step of an engine on a device, by its own defaults [token]; without bound where it has none."""
    memory_bytes = gpu.memory_bytes or np.inf
    tokens, _ = largest_step(engine, gpu.id, memory_bytes, ctx)
    rules = engine.scheduler
    if rules is not None and rules.tiers:  # prompts have steps of their own, whose chunks go by the device's memory
        chunk = rules.chunk_tokens(memory_bytes)
        tokens = 0.0 * ctx + min(chunk or np.inf, rules.prefill_tokens or np.inf)
    return np.where(tokens > 0.0, tokens, np.inf)


def step_limits(engine: Engine, gpu: GPU, held: Memory[float, bool]) -> tuple[float, float]:
    """Tokens and sequences of the largest step of an engine, by its own defaults [token], [1]; infinite where it has none."""
    tokens = float(step_budget(engine, gpu, held.ctx)[0])
    _, sequences = largest_step(engine, gpu.id, gpu.memory_bytes or np.inf, held.ctx)
    rules = engine.scheduler
    if rules is not None and rules.seqs_per_context is not None:
        contexts = (held.kv_pool_tokens or 0.0) / (held.model.max_ctx or held.ctx.item())
        sequences = min(max(contexts * rules.seqs_per_context, rules.least_seqs or 1.0), rules.most_seqs or np.inf)
    return tokens, float(sequences or np.inf)


def _held_ctx(lengths: Lengths, engine: Engine) -> float:
    """Tokens that a running sequence holds in the mean: half of its output, or all where the engine reserves it [token]."""
    rules = engine.scheduler
    reserved = 1.0 if rules is not None and rules.admission == "whole" else 0.5
    return lengths.cached + lengths.new + reserved * lengths.output


@lru_cache(maxsize=1024)
def _most_held(model: Model, gpu: GPU, ctx: float, weights: NumberFormat, cache: NumberFormat, split: Split) -> float | None:
    of: dict[str, Any] = {"dtype": weights, "kv_dtype": cache, **split._asdict()}
    found: Memory[float, bool] = memory(model, gpu, ctx=ctx, **of)
    return found.max_batch


class _Limits(NamedTuple):
    """What was asked of the engine; None for its own."""

    max_batch: float | None
    max_batch_tokens: float | None
    memory_fraction: float | None


def _limits(max_batch: Any, max_batch_tokens: Any, memory_fraction: Any) -> _Limits:
    return _Limits(
        None if max_batch is None else number("max_batch", max_batch, at_least=1.0),
        None if max_batch_tokens is None else number("max_batch_tokens", max_batch_tokens, at_least=1.0),
        None if memory_fraction is None else number("memory_fraction", memory_fraction, above=0.0),
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _pool(
    model: Model, gpu: GPU, engine: Engine, ctx: float, limits: _Limits, options: tuple[tuple[str, Any], ...]
) -> tuple[Memory[float, bool], tuple[str, ...]]:  # fmt: skip
    """The memory of the pool at the mean length of a running sequence, and what was assumed of it."""
    of: dict[str, Any] = dict(options)
    max_batch, max_batch_tokens, memory_fraction = limits
    found: Memory[float, bool]
    if memory_fraction is None and engine.memory_fraction is None and engine.budget != "asked":
        found = memory(model, gpu, ctx=ctx, **of)
        return found, (
            f"{engine.id} has no fixed memory fraction: its pool is all that weights and activations leave (memory_fraction says)",
        )
    asked: dict[str, Any] = {"max_step_tokens": max_batch_tokens, "max_num_seqs": max_batch, "engine": engine.id}
    found = memory(model, gpu, ctx=ctx, memory_fraction=memory_fraction, **asked, **of)
    if found.starts is False:
        states, sequences = found.state_blocks, found.max_num_seqs or 0.0
        if states is not None and 0 < states < sequences:
            truth, instead = (
                f"its pool has states for {states:,.0f} sequences, and a step has {sequences:,.0f}",
                f"give max_batch={states:.0f}",
            )
        else:
            truth, instead = (
                f"{model.id} leaves its pool on {gpu.id} no room",
                "use more devices, a narrower dtype or a larger memory_fraction",
            )
        raise DoesNotFit(f"{engine.id} does not start:", truth, f"{instead} (sol memory --engine shows the parts)")
    return found, ()
