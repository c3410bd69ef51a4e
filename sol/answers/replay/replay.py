"""A trace of requests through the scheduler of an engine, in steps whose times are the estimate's, or the floor's.

The scheduler is that of the engine's own code (hardware_db/engines); nothing is fitted to a trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack, get_args

from sol.answers.estimate.estimate import Estimate, estimate_of, resolve_calibration
from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.question.ask import Question, ask
from sol.answers.question.inputs import number, one_of
from sol.answers.question.options import ServerOptions, check_names, spelled_out
from sol.answers.question.records import resolve_gpu
from sol.answers.replay.load import Trace, resolve_trace
from sol.answers.replay.result import Replay
from sol.answers.replay.server import DEFAULT, Limits, Server, resolve_server
from sol.errors import InvalidInput, MissingSpec
from sol.physics.serving.requests import Loop
from sol.physics.serving.server import serve
from sol.physics.serving.table import StepTable
from sol.sources.database.libraries import library_for, library_of, with_collectives
from sol.specs.calibration import Calibration
from sol.specs.engines import Engine
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Number, Numbers

Basis = Literal["estimate", "floor"]


@spelled_out(ServerOptions)
def replay(
    requests: str | Path | Mapping[str, Numbers], model: str | Path | Model, gpu: str | GPU, *, engine: str | Engine | None = None,
    calibration: Calibration | str | Path | None = None, on: Basis = "estimate", max_batch: Number | None = None,
    max_batch_tokens: Number | None = None, kv_tokens: Number | None = None, memory_fraction: Number | None = None,
    admission: str | None = None, concurrency: Number | None = None, **options: Unpack[ServerOptions],
) -> Replay:  # fmt: skip
    """When each request of a trace has its first and its last token, on a server of this model.

    Parameters
    ----------
    requests : a path (CSV, JSON lines, JSON, Parquet), or columns by name: arrival_s [s], prompt_tokens, output_tokens and
        perhaps cached_tokens [token]; with first_token_s and last_token_s, or ttft_s, tpot_s, e2e_s [s], the answer has the
        errors. Names of Azure's, Mooncake's, BurstGPT's and vLLM's traces are understood. `sol.arrivals` makes arrival times.
    engine : whose scheduler: "vllm" (the default), "sglang" or "tensorrt-llm", or one version, "vllm@0.19"; the times are its own
        on this device where it has a calibration, else those of the device's default.
    calibration : the step times, instead of the engine's.
    on : "estimate", or "floor": the same scheduler with every step at its bound.
    max_batch : sequences that run at once [1] (vLLM's max_num_seqs); by default the engine's.
    max_batch_tokens : tokens of one step [token] (vLLM's max_num_batched_tokens); by default the engine's.
    kv_tokens : tokens of the pool [token], as the engine logs them; by default what it makes of the device (`sol.memory`).
    memory_fraction : the fraction the engine takes [0..1], as in `memory`.
    admission : what must be free before a request is admitted, instead of the engine's rule: its first "chunk", its "prompt",
        the "whole" request, or an "estimate".
    concurrency : requests at once [1], instead of the trace's arrivals: so many start together, and each that ends is followed by the
        next of the trace (`vllm bench serve --max-concurrency`); arrival_s is then not needed.
    The others are those of `estimate`.

    Raises `UnknownName`, `InvalidInput`, `InvalidPlan`, `MissingSpec`, `BadFile`, or `DoesNotFit` for a request longer than the pool.

    >>> r = replay({"arrival_s": [0.0, 0.1], "prompt_tokens": 512, "output_tokens": 64}, "llama-3.1-8b", "h100")
    >>> len(r.requests), r.preemptions
    (2, 0)
    """
    check_names(replay, options, ServerOptions.__optional_keys__)
    basis: Basis = one_of("on", on, get_args(Basis))
    users = None if concurrency is None else _users(concurrency)
    trace = resolve_trace(requests, closed=users is not None)
    the_gpu = resolve_gpu(gpu)
    used, stand_in = (None, ()) if basis == "floor" else _times(the_gpu, engine, calibration)
    if basis == "floor" and calibration is not None:
        raise InvalidInput("calibration:", "is not asked of a floor", "leave it out, or use on='estimate'")
    longest = int((trace.load.prompt + trace.load.output).max()) - 1
    q = ask(model, the_gpu, ctx=longest, fusion="ideal" if used is None else used.fusion, **options)
    if used is not None and q.rates.peak is None:
        raise MissingSpec(
            the_gpu.id, f"has no sourced rate for {q.rates.formats['weights']}", "an estimate needs one (on='floor' does not)"
        )
    server = resolve_server(
        engine, q, trace.load, Limits(max_batch, max_batch_tokens, kv_tokens, memory_fraction, admission), dict(options)
    )
    return _replayed(trace, q, server, used, stand_in, users)


def _replayed(
    trace: Trace, q: Question, server: Server, used: Calibration | None, stand_in: tuple[str, ...], users: int | None
) -> Replay:  # fmt: skip
    policy, load = server.policy, trace.load
    longest = int((load.prompt + load.output).max())
    seqs = min(policy.max_num_seqs, len(load))
    server = replace(server, policy=replace(policy, max_num_seqs=seqs))
    most = max(seqs, min(policy.max_num_batched_tokens, int(load.prompt.sum()) + seqs))
    table = StepTable(
        q.model, q.storage, q.routing, q.fusion, q.split, q.rates, used, most, seqs, longest, imbalance=float(q.step.imbalance),
        library=None if used is None else library_for(used),
    )  # fmt: skip
    loop = None if users is None else Loop(users) if used is None else Loop(users, float(used.first_token_s.value), late=True)
    served = serve(load, server.policy, table, loop)
    if users is not None:
        trace = replace(trace, load=replace(load, arrival_s=served.arrival_s))
    step: Floor | Estimate = floor_of(q) if used is None else estimate_of(q, used)
    return Replay(trace=trace, question=q, server=server, calibration=used, served=served, step=step, stand_in=stand_in, concurrency=users)


def _users(concurrency: Number) -> int:
    found = number("concurrency", concurrency, at_least=1.0)
    if not found.is_integer():
        raise InvalidInput(f"concurrency={found:g}", "is not a number of requests", "give a whole number above 0")
    return int(found)


def _times(gpu: GPU, engine: str | Engine | None, calibration: Calibration | str | Path | None) -> tuple[Calibration, tuple[str, ...]]:
    """The calibration of the step times, and what is said where it is not the engine's own."""
    if calibration is not None:
        return resolve_calibration(gpu, None, calibration), ()
    name = engine.id if isinstance(engine, Engine) else engine or DEFAULT
    base = name.partition("@")[0]
    try:
        return _sending(resolve_calibration(gpu, name, None), name), ()
    except MissingSpec:
        found = _sending(resolve_calibration(gpu, None, None), name)
    return found, (f"no calibration of {base} on {gpu.id}: the step times are those of {found.engine}, and {base} may differ",)


def _sending(calibration: Calibration, engine: str) -> Calibration:
    """The calibration with the collectives of the engine that schedules, where its library is known."""
    base, _, version = engine.partition("@")
    return calibration if library_of(base, version) is None else with_collectives(calibration, engine)
