"""What do users of a server see, and how many can it have: a server in steady state at a concurrency or a request rate.

Steps are estimates of mixed steps, put together by `sol.physics.serving.steady`; beside them stands a bound. Symbols: docs/notation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np

from sol.answers.estimate.said import calibration_lines
from sol.answers.floor.floor import times_of
from sol.answers.question.inputs import number, numbers
from sol.answers.question.options import ServerOptions, check_names, spelled_out
from sol.answers.serve.bound import bound
from sol.answers.serve.limits import kept, resolve_limits, resolve_range_ratio
from sol.answers.serve.result import Serving
from sol.answers.serve.server import Server, resolve_server
from sol.answers.serve.solve import Loaded, Solution, solve
from sol.answers.serve.start import with_start
from sol.errors import InvalidInput
from sol.physics.serving.steady import MOST_UTILIZATION
from sol.physics.time.roofline import Times
from sol.specs.assumption import Assumption, assumed
from sol.specs.calibration import Calibration
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Array, Flags, Labels, Number, Numbers
from sol.units import show_count


@overload
def serve(
    model: str | Path | Model, gpu: str | GPU, *, prompt_tokens: Number, output_tokens: Number, concurrency: Number | None = None,
    request_rate: Number | None = None, ttft_s: Number | None = None, tpot_s: Number | None = None, cached_share: Number = 0.0,
    requests: Number | None = None, range_ratio: Number | None = None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None,
    max_batch: Number | None = None, max_batch_tokens: Number | None = None, memory_fraction: Number | None = None,
    **options: Unpack[ServerOptions],
) -> Serving[float, bool, str]: ...  # fmt: skip
@overload
def serve(
    model: str | Path | Model, gpu: str | GPU, *, prompt_tokens: Number, output_tokens: Number, concurrency: Numbers | None = None,
    request_rate: Numbers | None = None, ttft_s: Number | None = None, tpot_s: Number | None = None, cached_share: Number = 0.0,
    requests: Number | None = None, range_ratio: Number | None = None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None,
    max_batch: Number | None = None, max_batch_tokens: Number | None = None, memory_fraction: Number | None = None,
    **options: Unpack[ServerOptions],
) -> Serving[Array, Flags, Labels]: ...  # fmt: skip
@spelled_out(ServerOptions)
def serve(
    model: str | Path | Model, gpu: str | GPU, *, prompt_tokens: Number, output_tokens: Number, concurrency: Numbers | None = None,
    request_rate: Numbers | None = None, ttft_s: Number | None = None, tpot_s: Number | None = None, cached_share: Number = 0.0,
    requests: Number | None = None, range_ratio: Number | None = None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None,
    max_batch: Number | None = None, max_batch_tokens: Number | None = None, memory_fraction: Number | None = None,
    **options: Unpack[ServerOptions],
) -> Serving:  # fmt: skip
    """A server in steady state: what its users see at a load, or the largest rate within limits.

    Parameters
    ----------
    model, gpu, dtype, kv_dtype, tp, pp, ep, dp, cp, link, network, imbalance, routing : as in `floor`.
    prompt_tokens, output_tokens : lengths of the mean request [token].
    concurrency : requests at once: each that ends is followed by the next [1]; a number or an array.
    request_rate : requests per second that arrive at random (Poisson) [1/s]; a number or an array, instead of `concurrency`.
    ttft_s, tpot_s : limits on the time to the first token and per output token [s]; without a load the answer is the largest rate
        that keeps them, with one whether it does.
    cached_share : part of the prompt tokens that are in the cache already (prefix hits) [0..1].
    requests : of a benchmark that starts with all its users at once and ends after so many requests [1]; the figures include the start
        and the end.
    range_ratio : of such a run: output lengths are uniform from this part of the longest to the longest [0..1], and prompt_tokens
        and output_tokens their means (InferenceX: 0.8); 1 where all are alike. Users who start at once get out of step only because
        lengths differ; without it they are taken to be out of step after their first request.
    engine, calibration : as in `estimate`; the engine also says how steps are filled, and how large its pool is.
    max_batch, max_batch_tokens : sequences and tokens of a step (vLLM's max_num_seqs and max_num_batched_tokens); by default the engine's.
    memory_fraction : of the device that the engine takes [0..1]; by default the engine's.

    Returns
    -------
    Serving : times [s], rates [1/s], how many run and wait, and the bound.

    Raises
    ------
    UnknownName, InvalidInput, InvalidPlan, MissingSpec, BadFile; DoesNotFit for a pool smaller than one request.

    >>> s = serve("llama-3.1-8b", "h100", prompt_tokens=1024, output_tokens=1024, concurrency=64, engine="vllm")
    >>> s.tpot_s > s.bound.tpot_s, s.requests_per_s < s.bound.requests_per_s
    (True, True)
    """
    check_names(serve, options, ServerOptions.__optional_keys__)
    if concurrency is not None and request_rate is not None:
        raise InvalidInput(
            "concurrency and request_rate", "are both given", "a server has either so many users or so many requests per second"
        )
    limits = resolve_limits(ttft_s, tpot_s)
    if concurrency is None and request_rate is None and not any(limits.values()):
        raise InvalidInput("no load", "was given", "give concurrency=, request_rate=, or limits: ttft_s= or tpot_s=")
    server = resolve_server(
        model, gpu, prompt_tokens=prompt_tokens, output_tokens=output_tokens, cached_share=cached_share, engine=engine,
        calibration=calibration, max_batch=max_batch, max_batch_tokens=max_batch_tokens, memory_fraction=memory_fraction, options=options,
    )  # fmt: skip
    if concurrency is not None:
        at_once = numbers("concurrency", concurrency, at_least=1.0)
        of = None if requests is None else number("requests", requests, at_least=1.0)
        if of is not None and of < at_once.max():
            raise InvalidInput(
                f"requests={show_count(of)}", f"are fewer than the {show_count(at_once.max())} at once", "give as many or more"
            )
        ratio = resolve_range_ratio(range_ratio, of)
        return served(server, "concurrency", at_once, np.ndim(concurrency) == 0, limits, of, range_ratio=ratio)
    resolve_range_ratio(range_ratio, None)
    if requests is not None:
        raise InvalidInput(f"requests={requests!r}", "start with all users at once", "give concurrency= with it, or replay a trace")
    if request_rate is not None:
        return served(server, "request_rate", numbers("request_rate", request_rate, above=0.0), np.ndim(request_rate) == 0, limits)
    rate, why = kept(server, limits)
    return served(server, "limits", np.array([rate]), True, limits, limited_by=why)


def served(
    server: Server, kind: str, load: Array, scalar: bool, limits: dict[str, float | None], requests: float | None = None,
    limited_by: str | None = None, range_ratio: float | None = None,
) -> Serving:  # fmt: skip
    """A resolved server at loads."""
    closed, flat = kind == "concurrency", load.ravel()

    def shaped(value: Any) -> Any:
        if scalar:
            return np.asarray(value).reshape(-1)[0].item()
        made = np.array(np.broadcast_to(value, flat.shape)).reshape(load.shape)
        made.flags.writeable = False
        return made

    found = solve(server, flat, closed=closed)
    if requests is not None:
        found = with_start(server, found, flat, requests, range_ratio)
    most, x = found.table.most_rate, found.expected
    offered = x.requests_per_s if closed else np.where(x.overloaded, flat, x.requests_per_s)
    used = offered / most if most > 0.0 else np.full(flat.shape, np.inf)  # 0: a pool of a single request
    used = np.minimum(used, 1.0) if closed else used
    queued = (used > MOST_UTILIZATION) & ~x.overloaded if not closed else np.zeros(flat.shape, dtype=bool)
    running = flat - x.waiting if closed else np.where(x.overloaded, server.scheduling.slots, x.requests_per_s * x.times.e2e_s)
    meets = None if not any(limits.values()) else _meets(x, limits) & ~queued
    pool = server.pool_sequences

    def times(name: str) -> dict[str, Any]:
        hidden = queued & (name != "tpot_s")

        def of(end: Loaded | None) -> Any:
            return None if end is None else shaped(np.where(hidden, np.nan, getattr(end.times, name)))

        return {name: of(x), f"low_{name}": of(found.low), f"high_{name}": of(found.high)}

    return Serving(
        server=server, load=kind, concurrency=shaped(flat) if closed else None, request_rate=None if closed else shaped(flat),
        **times("tpot_s"), **times("ttft_s"), **times("e2e_s"), requests_per_s=shaped(x.requests_per_s),
        low_requests_per_s=None if found.high is None else shaped(found.high.requests_per_s),
        high_requests_per_s=None if found.low is None else shaped(found.low.requests_per_s), most_requests_per_s=most,
        running=shaped(running), waiting=shaped(x.waiting), kv_used_share=shaped(np.minimum(running / pool, 1.0)),
        utilization=shaped(used), overloaded=shaped(x.overloaded),
        limited_by=limited_by or shaped(np.full(flat.shape, server.first_limit)), meets=None if meets is None else shaped(meets),
        limits=limits, bound=bound(server, load.shape, flat if closed else None, shaped), step_bound=shaped(_binds(times_of(found.steps))),
        assumptions=_assumptions(server, kind, requests, range_ratio), warnings=_warnings(server, found, queued, most), 
        requests=requests, range_ratio=range_ratio,
    )  # fmt: skip


def _binds(times: Times) -> Any:
    """What binds the decode step of every load: memory, compute or the network."""
    memory, compute, network = (
        np.broadcast_to(v, np.shape(times.latency_s))[0] for v in (times.memory_s, times.compute_s, times.network_s)
    )
    alone = np.where(memory >= compute, "memory", "compute")
    return np.where(network > np.maximum(memory, compute), "network", alone)


def _meets(x: Loaded, limits: dict[str, float | None]) -> Any:
    found: Any = np.ones(x.requests_per_s.shape, dtype=bool)
    for name, limit in limits.items():
        if limit is not None:
            found = found & (getattr(x.times, name) <= limit)
    return found


def _assumptions(
    server: Server, kind: str, requests: float | None, ratio: float | None
) -> tuple[Assumption, ...]:  # fmt: skip
    s, of = server.scheduling, server.lengths
    how = "prompts share steps with decoding" if s.mixes else "prompts are computed in steps of their own"
    limit = f"{show_count(s.budget)} tokens and " if np.isfinite(s.budget) else ""
    lines = [f"steps of at most {limit}{show_count(s.slots)} sequences; {how}", *server.notes]
    users = "every request that ends is followed by the next" if kind == "concurrency" else "requests arrive at random (Poisson)"
    lines.append(
        f"steady state: {users}; all have the mean lengths; a running one holds {show_count(server.held_tokens)} tokens in the mean"
    )
    if of.cached:
        lines.append(f"{show_count(of.cached)} tokens of every prompt are in the cache already")
    if requests is not None:
        lines.append(f"a run of {show_count(requests)} requests, of which all users' first ones start at once")
        apart = "out of step afterwards" if ratio is None else f"output lengths uniform from {ratio:g} of the longest"
        lines.append(f"users are {apart}" if ratio is None else apart)
    pool = [a for a in server.held.assumptions if a.kind == "engine"]
    rates = assumed("calibration", calibration_lines(server.calibration))
    return (*server.question.assumptions, *rates, *pool, *assumed("engine", tuple(lines)))


def _warnings(server: Server, found: Solution, queued: Any, most: float) -> tuple[str, ...]:
    said = [*server.question.warnings, *found.said]
    if np.any(found.expected.overloaded):
        said.append(f"overloaded: the server carries {most:.4g} requests/s")
    if np.any(queued):
        said.append(
            f"beyond {100 * MOST_UTILIZATION:.0f} % utilization the first token depends on the arrivals: sol replay takes a trace of them"
        )
    return tuple(said)
