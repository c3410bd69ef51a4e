"""How long does one request take, from its prompt to its last token: exact sums of its steps, as a bound and as expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Unpack, overload

import numpy as np

from sol.answers.estimate.estimate import estimate_of, parts_of, resolve_calibration
from sol.answers.estimate.said import calibration_lines
from sol.answers.floor.floor import floor_of, times_of
from sol.answers.question.ask import Question, ask
from sol.answers.question.inputs import common_shape, first_bad, number, numbers
from sol.answers.question.options import ServerOptions, check_names, spelled_out
from sol.answers.question.records import load_model, resolve_gpu
from sol.answers.request.result import Expected, Request
from sol.answers.serve.server import scheduler_of, step_budget
from sol.errors import DoesNotFit, InvalidInput, MissingSpec
from sol.frozen import Frozen
from sol.physics.serving.request_steps import Steps, chunk_counts, chunks, decode_steps
from sol.specs.assumption import assumed
from sol.specs.calibration import Calibration
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Array, Flags, Number, Numbers
from sol.specs.step import Logits, Step
from sol.units import show_count, show_gib

MOST_STEPS = 4_000_000
"""Steps of all points together: more take longer than anybody waits."""


@dataclass(frozen=True, eq=False)
class Points(Frozen):
    """Flat arrays of all points: requests at once [1], prompt, cached and output tokens [token]."""

    batch: Array
    prompt: Array
    cached: Array
    output: Array


@overload
def request(  # type: ignore[overload-overlap]  # a point is a sweep's narrowest case, and has floats
    model: str | Path | Model, gpu: str | GPU, *, prompt_tokens: Number, output_tokens: Number, batch: Number = 1,
    cached_tokens: Number = 0, max_batch_tokens: Number | None = None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None, **options: Unpack[ServerOptions],
) -> Request[float, bool]: ...  # fmt: skip
@overload
def request(
    model: str | Path | Model, gpu: str | GPU, *, prompt_tokens: Numbers, output_tokens: Numbers, batch: Numbers = 1,
    cached_tokens: Numbers = 0, max_batch_tokens: Number | None = None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None, **options: Unpack[ServerOptions],
) -> Request[Array, Flags]: ...  # fmt: skip
@spelled_out(ServerOptions)
def request(
    model: str | Path | Model, gpu: str | GPU, *, prompt_tokens: Numbers, output_tokens: Numbers, batch: Numbers = 1,
    cached_tokens: Numbers = 0, max_batch_tokens: Number | None = None, engine: str | None = None,
    calibration: Calibration | str | Path | None = None, **options: Unpack[ServerOptions],
) -> Request:  # fmt: skip
    """The times of one request, or of several alike that start together: a bound, and what to expect of an engine.

    The first token comes after the prompt's steps, every further one after a step at the context it has by then; all are summed.

    Parameters
    ----------
    model, gpu, dtype, kv_dtype, tp, pp, ep, dp, cp, link, network, imbalance, routing : as in `floor`.
    prompt_tokens, output_tokens : lengths of the request [token]; with one output token there is no time per output token.
    batch : requests of these lengths that start at once, alone on the server [1].
    cached_tokens : tokens of the prompt that are in the cache already [token].
    max_batch_tokens : the most tokens of a step: a longer prompt is computed in chunks [token]. By default the bound has one step,
        and what is expected the engine's own.
    engine, calibration : as in `estimate`; without one known for the device, `expected` is None and `expected_reason` says why.

    Returns
    -------
    Request : times [s] and rates [token/s]; `expected` the same with intervals; `phases` where the time goes.

    Raises
    ------
    UnknownName, InvalidInput, InvalidPlan, MissingSpec, BadFile, and DoesNotFit for one point (a sweep has `fits`).

    >>> request("llama-3.1-8b", "h100", prompt_tokens=1024, output_tokens=256).tpot_s == request(
    ...     "llama-3.1-8b", "h100", prompt_tokens=1024, output_tokens=256, cached_tokens=512).tpot_s
    True
    """
    check_names(request, options, ServerOptions.__optional_keys__)
    the_model, the_gpu = load_model(model), resolve_gpu(gpu)
    given = {
        "batch": numbers("batch", batch, at_least=1.0), "prompt_tokens": numbers("prompt_tokens", prompt_tokens, at_least=1.0),
        "cached_tokens": numbers("cached_tokens", cached_tokens, at_least=0.0),
        "output_tokens": numbers("output_tokens", output_tokens, at_least=1.0),
    }  # fmt: skip
    shape = common_shape(**given)
    scalar = all(np.ndim(v) == 0 for v in (batch, prompt_tokens, output_tokens, cached_tokens))
    of = Points(*(np.broadcast_to(values, shape).ravel() for values in given.values()))
    _checked(of)
    budget = None if max_batch_tokens is None else number("max_batch_tokens", max_batch_tokens, at_least=1.0)
    q = ask(the_model, the_gpu, groups=[(1, 1, 0)], **options)
    bound = _totals(q, of, np.where(of.batch == 1.0, budget or np.inf, np.inf), lambda q: times_of(q).latency_s)
    last = floor_of(_at(q, of.batch, np.ones(of.batch.size), of.prompt + np.maximum(of.output - 2.0, 0.0), "all"))
    if scalar and last.fits is not None and not np.all(last.fits):
        raise _does_not_fit(q, float(np.max(last.resident_bytes)))

    def shaped(value: Any) -> Any:
        if scalar:
            return np.asarray(value).reshape(-1)[0].item()
        made = np.array(np.broadcast_to(value, of.batch.shape)).reshape(shape)
        made.flags.writeable = False
        return made

    expected, why = _expected(q, of, budget, engine, calibration, options, shaped)
    steps = np.where(of.output > 1.0, bound.tpot_s, np.nan)
    none = bool(np.all(of.output == 1.0))
    lines = (
        (f"of {show_count(np.max(of.batch))} requests that start at once the last first token counts",) if np.any(of.batch > 1.0) else ()
    )
    return Request(
        question=q, batch=shaped(of.batch),
        prompt_tokens=shaped(of.prompt), cached_tokens=shaped(of.cached), output_tokens=shaped(of.output),
        max_batch_tokens=budget, ttft_s=shaped(bound.ttft_s), tpot_s=None if none else shaped(steps), e2e_s=shaped(bound.e2e_s),
        fits=None if last.fits is None else shaped(last.fits), is_bound=shaped(last.is_bound), expected=expected, expected_reason=why,
        assumptions=(*q.assumptions, *assumed("split", lines)),
        warnings=tuple(dict.fromkeys((*q.warnings, *last.warnings, *(() if expected is None else expected.warnings)))),
    )  # fmt: skip


class Totals(NamedTuple):
    """Times of every point [s]."""

    ttft_s: Array
    tpot_s: Array
    e2e_s: Array


def _totals(q: Question, of: Points, budget: Array, seconds: Callable[[Question], Any], *, one_by_one: bool = False) -> Totals:
    """Sums of the steps' seconds. `one_by_one`: prompts longer than a step follow each other, shorter ones fill it."""
    new = of.prompt - of.cached
    budget = np.minimum(budget, 1e15)
    together = np.maximum(np.minimum(np.floor(budget / new), of.batch), 1.0) if one_by_one else of.batch
    turns = of.batch / together
    before, ends = (chunks(together, new, of.cached, np.minimum(budget, new), last=last) for last in (False, True))
    ttft = turns * (before.sums(_seconds(q, before, "none", seconds)) + ends.sums(_seconds(q, ends, "last", seconds)))
    decode = decode_steps(of.batch, of.prompt, of.output)
    rest = decode.sums(_seconds(q, decode, "all", seconds))
    return Totals(ttft, rest / np.maximum(of.output - 1.0, 1.0), ttft + rest)


def _seconds(q: Question, steps: Steps, logits: Logits, seconds: Callable[[Question], Any]) -> Array:
    if not steps.sequences.size:
        return np.zeros(0)
    found: Array = np.broadcast_to(seconds(_at(q, steps.sequences, steps.new_tokens, steps.past_tokens, logits)), steps.sequences.shape)
    return found


def _at(q: Question, sequences: Array, new: Array, past: Array, logits: Logits) -> Question:
    """The question of steps of equal sequences."""
    step = Step(sequences, new, past, logits, imbalance=q.step.imbalance)
    return replace(q, step=step, ctx=past + new, scalar=False)


def _expected(
    q: Question, of: Points, budget: float | None, engine: str | None, calibration: Any, options: Any, shaped: Callable[[Any], Any]
) -> tuple[Expected[Any] | None, str]:  # fmt: skip
    try:
        used = resolve_calibration(q.gpu, engine, calibration)
        if q.rates.peak is None:
            raise MissingSpec(
                q.gpu.id, f"has no sourced rate for {q.rates.formats['weights']}", "an estimate needs one (the floor does not)"
            )
    except MissingSpec as missing:
        if engine is not None or calibration is not None:
            raise
        return None, str(missing)
    mine = ask(q.model, q.gpu, groups=[(1, 1, 0)], fusion=used.fusion, **options)
    scheduler, notes = scheduler_of(engine, used)
    step = step_budget(scheduler, q.gpu, of.prompt) if budget is None else np.full(of.prompt.size, budget)
    times = _totals(mine, of, step, lambda asked: parts_of(asked, used).latency_s, one_by_one=True)
    down, up = used.interval()
    c0 = used.first_token_s

    def ends(name: str, value: Array, fixed: float) -> dict[str, Any]:
        known = np.isfinite(up)
        low, high = (c0.value if v is None else v for v in (c0.low, c0.high))
        return {
            name: shaped(value + fixed * c0.value), f"low_{name}": shaped(value * down + fixed * low) if known else None,
            f"high_{name}": shaped(value * up + fixed * high) if known else None,
        }  # fmt: skip

    steps = np.where(of.output > 1.0, times.tpot_s, np.nan)
    counts = chunk_counts(of.prompt - of.cached, step)
    if np.any(counts > 1.0):
        notes = (*notes, f"prompts are computed in steps of at most {show_count(np.min(step))} tokens")
    notes = (*calibration_lines(used), *notes)
    values = {**ends("ttft_s", times.ttft_s, 1.0), **ends("tpot_s", steps, 0.0), **ends("e2e_s", times.e2e_s, 1.0)}
    said = estimate_of(mine, used).warnings
    return Expected(calibration=used, question=mine, max_batch_tokens=shaped(step), notes=notes, warnings=said, **values), ""


def _checked(of: Points) -> None:
    over = of.cached >= of.prompt
    if over.any():
        raise InvalidInput(
            f"cached_tokens={first_bad(of.cached, over)}", f"is not below prompt_tokens={first_bad(of.prompt, over)}",
            "the last token of a prompt is always computed",
        )  # fmt: skip
    for name, values in (("prompt_tokens", of.prompt), ("output_tokens", of.output), ("cached_tokens", of.cached)):
        parts = values != np.floor(values)
        if parts.any():
            raise InvalidInput(f"{name}={first_bad(values, parts)}", "is not a whole number of tokens")
    total = float((of.output - 1.0).sum())
    if total > MOST_STEPS:
        raise InvalidInput(f"{total:,.0f} steps", f"are more than {MOST_STEPS:,} for one answer", "ask for fewer points or shorter outputs")


def _does_not_fit(q: Question, need: float) -> DoesNotFit:
    room = q.gpu.memory_bytes or 0.0
    return DoesNotFit(
        "does not fit:", f"{show_gib(need)} GiB needed on each of {q.split.devices}×{q.gpu.id}, but each has {show_gib(room)} GiB",
        "use more devices, a narrower dtype, or shorter or fewer requests", needed_bytes=need, capacity_bytes=room,
    )  # fmt: skip
