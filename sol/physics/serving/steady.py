"""A server in steady state: how many sequences decode side by side, and how long requests take. Symbols: docs/notation.

A request computes n prompt tokens and decodes o tokens; b other requests decode beside it on average. In one step

    x = b/(o − 1)   prompts begin, k = (budget − b)/n of them have room

Prompts that fit into a step share it if they come together: a share f = max(1 − e^−x, x/k) of the steps computes x/f of them.
Longer ones take ⌈1/k⌉ steps, one prompt after the other. Everything follows from the times of a few steps: of decoding alone D, with
others' prompts beside it M, and the one that computes the request's own prompt P. s = (1 − f)·D + f·M is the mean step.

    TPOT = s                               or D + x/k·P where an engine computes prompts in steps of their own, k at a time
    TTFT = c₀ + wait + steps·P
    C    = 1 + b·E2E/((o − 1)·TPOT)        closed loop: a request that ends is followed by the next
    λ    = b/((o − 1)·TPOT)                open loop: requests arrive at random (Little's law)

In a closed loop a request comes c₀ after a step's end, when the next was decided: it waits for what is left of that one, for one
more where an engine decides a step ahead, and for prompts before its own. In an open loop it comes in the middle of a step, a long one more
likely (E[s²]/2E[s] are left of it), and earlier prompts delay it as in M/G/1. More requests arrive while a step with a prompt runs,
so that they decode in bunches: a request sees I − 1 more of them than come evenly, I = (TPOT/D)² the dispersion of the counts of
bunches that each bring 1 − D/TPOT of the next.

With b = 0 this is a request alone. All arrays are over b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sol.frozen import Frozen
from sol.specs.quantities import Array

MOST_UTILIZATION = 0.9
"""Beyond this part of the largest rate a queue depends on how requests arrive, so that no formula gives its length."""
FULLEST = 0.999
"""How much of the room for prompts the last point of a table fills."""


@dataclass(frozen=True, eq=False)
class Lengths(Frozen):
    """The mean request: prompt tokens that are computed and that are in the cache already, and output tokens [token]."""

    new: float
    cached: float
    output: float

    @property
    def mean_ctx(self) -> float:
        """Cached tokens of a sequence in the mean of its decode steps [token]."""
        return self.cached + self.new + (self.output - 2.0) / 2.0


@dataclass(frozen=True, eq=False)
class Scheduling(Frozen):
    """How an engine fills its steps: `budget` tokens of a step [token], `slots` sequences at once [1].

    `mixes`: whether prompts share a step with decoding. `late_steps`: steps already scheduled when a request arrives, beyond
    the one that runs [1]. `preempts`: whether the pool ends the slots, and requests are admitted without room for their output;
    `keeps_freed`: whether a preempted request finds again what nothing has overwritten.
    """

    budget: float
    slots: float
    mixes: bool = True
    late_steps: float = 0.0
    preempts: bool = False
    keeps_freed: bool = False


@dataclass(frozen=True, eq=False)
class Beside(Frozen):
    """What runs beside a request, by the number of sequences that decode beside it.

    `prompts` begin in a step [1]; a `share` of the steps computes prompts [0..1], `merged` at once [1] with a standard deviation of
    `spread`; `own` with the request's own. A prompt takes `passes` steps of `chunk` tokens after `past` cached ones in the mean;
    `load` is the part of the room for prompts that is filled [0..1], `together` how many prompts the room holds [1].
    """

    decoding: Array
    prompts: Array
    share: Array
    merged: Array
    spread: Array
    own: Array
    passes: Array
    chunk: Array
    past: Array
    load: Array
    together: Array


def beside(decoding: Array, of: Lengths, by: Scheduling, prompts: Array | None = None) -> Beside:
    """The work beside a request where so many other sequences decode; so many `prompts` begin in a step, those that end at least."""
    room = np.maximum(by.budget - decoding, 1.0) if by.mixes else by.budget + 0.0 * decoding
    passes = np.maximum(np.ceil(of.new / room), 1.0)
    chunk, together = of.new / passes, room / of.new
    prompts = decoding / (of.output - 1.0) if prompts is None else prompts
    arrive = -np.expm1(-prompts)
    single = passes == 1.0
    share = np.where(single, np.maximum(arrive, prompts / np.maximum(together, 1.0)), prompts * passes)
    share = np.minimum(share, 1.0)
    come = np.where(prompts > 0.0, prompts / np.where(prompts > 0.0, share, 1.0), 1.0)
    come = np.minimum(come, np.maximum(together, 1.0))
    merged = np.where(single, come, 1.0)
    square = (prompts + prompts**2) / np.where(prompts > 0.0, share, 1.0)  # of a number that is random and not 0
    spread = np.where(single, np.sqrt(np.maximum(square - merged**2, 0.0)), 0.0)
    spread = np.minimum(spread, np.maximum(together, 1.0) - merged)
    own = np.where(single, np.minimum(1.0 + prompts, np.maximum(together, 1.0)), 1.0)
    past = of.cached + (passes - 1.0) / 2.0 * chunk
    return Beside(decoding, prompts, share, merged, np.maximum(spread, 0.0), own, passes, chunk, past, prompts * of.new / room, together)


@dataclass(frozen=True, eq=False)
class StepTimes(Frozen):
    """Seconds of the steps beside so many others [s]: decoding alone, the same with one sequence more, with few and with many prompts
    of others, and with the own prompt."""

    decode: Array
    more: Array
    few: Array
    many: Array
    own: Array

    @property
    def prompts(self) -> Array:
        """A step with prompts of others in the mean [s]."""
        made: Array = (self.few + self.many) / 2.0
        return made


@dataclass(frozen=True, eq=False)
class Latencies(Frozen):
    """Of a request beside so many others [s]: time per output token, to the first token, and of the whole."""

    tpot_s: Array
    ttft_s: Array
    e2e_s: Array


def latencies(work: Beside, of: Lengths, by: Scheduling, times: StepTimes, first_token_s: float, *, closed: bool) -> Latencies:
    """From the times of the steps to those of a request, whose prompt waits for the running step and for earlier prompts."""
    per_decode, with_prompts = _steps_with_prompts(work, by)
    tpot = (1.0 - work.share) * times.decode + work.share * times.prompts if by.mixes else times.decode + per_decode * times.prompts
    step = times.decode + prompts_in_a_step(work, by, times)
    company: Array
    if closed:
        wait, company = _at_an_end(work, of, by, times, with_prompts, step, tpot, first_token_s), 0.0 * tpot
    else:
        wait, company = _at_random(work, by, times, with_prompts, step, tpot)
        tpot = tpot + np.maximum(times.more - times.decode, 0.0) * ((tpot / times.decode) ** 2 - 1.0)
    alone = times.decode if by.mixes else 0.0 * tpot
    company = np.minimum(company, np.maximum(work.together, 1.0) - work.own)
    own = times.own + company * np.maximum(times.own - alone, 0.0) / work.own
    ttft = first_token_s + wait + work.passes * own
    return Latencies(tpot, ttft, ttft + (of.output - 1.0) * tpot)


def _steps_with_prompts(work: Beside, by: Scheduling) -> tuple[Array, Array]:
    """Steps with prompts for each of decoding, and their share of all steps [1]."""
    if by.mixes:
        return work.share, work.share
    per_decode = work.prompts * work.passes / work.merged
    return per_decode, per_decode / (1.0 + per_decode)


def prompts_in_a_step(work: Beside, by: Scheduling, times: StepTimes) -> Array:
    """How much longer the mean step is for its prompts [s]."""
    made: Array = _steps_with_prompts(work, by)[1] * (times.prompts - times.decode)
    return made


def _at_an_end(
    work: Beside, of: Lengths, by: Scheduling, times: StepTimes, with_prompts: Array, step: Array, tpot: Array, later_s: float
) -> Array:  # fmt: skip
    """The wait in a closed loop [s]: a request comes so much later than another has ended with a step, when the next was decided.

    A step less that time is left of the one that runs; after about half a step a request comes at any time, as in an open loop.
    """
    left = np.minimum(_left(work, times, with_prompts, step), step)
    behind = np.maximum(step - later_s, left) + by.late_steps * step
    free = np.maximum(1.0 - work.load, 1.0 - FULLEST)
    queue = np.minimum(work.load / free, work.decoding) / (2.0 * work.together) * times.prompts  # no more than all others' prompts
    decoding = (of.output - 1.0) * tpot
    others = work.decoding * (behind + work.passes * times.own + decoding) / decoding  # in the server, decoding or not
    return np.minimum(others, 1.0) * behind + queue


def _at_random(work: Beside, by: Scheduling, times: StepTimes, with_prompts: Array, step: Array, tpot: Array) -> tuple[Array, Array]:
    """The wait in an open loop, whose requests come at any time [s], and prompts beside the own one, less those that were priced [1].

    A long step is likelier to be met than a short one: what is left of it is E[s²]/2E[s] in the mean, and prompts that come
    in the same step are s²/E[s]² as many. Earlier prompts delay it as in M/G/1, those that a step holds at once.
    """
    rate = work.prompts / tpot
    decoding, prompts = _squares(times, with_prompts)
    left = _left(work, times, with_prompts, step)
    holds = np.maximum(work.together, 1.0)
    each = (times.prompts - times.decode) / work.merged + times.decode / holds if by.mixes else times.prompts / work.merged
    filled = np.minimum(rate * work.passes * np.maximum(each, 0.0), FULLEST)
    busy = -np.expm1(-(work.decoding + rate * work.passes * times.own))
    wait = busy * (left + by.late_steps * step) + left * filled / ((1.0 - filled) * holds)
    return wait, rate * (decoding + prompts) / step - (work.own - 1.0)


def _squares(times: StepTimes, with_prompts: Array) -> tuple[Array, Array]:
    """Of steps without and with prompts the mean square of their times, over all steps [s²]."""
    return (1.0 - with_prompts) * times.decode**2, with_prompts * (times.few**2 + times.many**2) / 2.0


def _left(work: Beside, times: StepTimes, with_prompts: Array, step: Array) -> Array:
    """What is left of the running step at any time [s]: E[s²]/2E[s], with the steps of one long prompt as one."""
    decoding, prompts = _squares(times, with_prompts)
    left: Array = (decoding + work.passes * prompts) / (2.0 * step)
    return left


def preemptions(of: Lengths, by: Scheduling) -> tuple[float, float]:
    """Of a request while others wait for the pool: how often it loses its blocks [1], and the part of a prompt that is lost each time.

    With N sequences the pool has less room than a prompt, anywhere between none and one. A step takes N tokens of it; each of
    the N/o requests that end in it gives back more than N. Where none does (e^−N/o of the steps), one is preempted in N/p of
    the cases: (o/p)·e^−N/o for each that ends. It is back when one has ended, and meanwhile others take N tokens a step.
    """
    if not by.preempts:
        return 0.0, 0.0
    prompt, ends = of.cached + of.new, by.slots / of.output
    often = of.output / prompt * np.exp(-ends)
    steps = 1.0 - 1.0 / np.expm1(-ends)
    lost = min(by.slots * steps / prompt, 1.0) if by.keeps_freed else 1.0
    return float(often), float(lost)


def recomputing(work: Beside, of: Lengths, by: Scheduling, times: StepTimes, tpot: Array) -> Array:
    """How many times as long a token takes where others wait for the pool, as preempted prompts are computed again [1]."""
    often, lost = preemptions(of, by)
    each = (times.prompts - times.decode if by.mixes else times.prompts) * work.passes / work.merged
    made: Array = 1.0 + often * lost * work.prompts * np.maximum(each, 0.0) / tpot
    return made


def concurrency(work: Beside, of: Lengths, times: Latencies) -> Array:
    """Requests in the closed loop that leave so many decoding beside each other [1]."""
    return 1.0 + work.decoding * times.e2e_s / ((of.output - 1.0) * times.tpot_s)


def request_rate(work: Beside, of: Lengths, times: Latencies) -> Array:
    """Requests per second of the open loop that leave so many decoding beside each other [1/s]."""
    return work.decoding / ((of.output - 1.0) * times.tpot_s)


def most_beside(of: Lengths, by: Scheduling) -> float:
    """The most sequences that can decode beside a request: those of the slots, and those whose successors' prompts find room [1]."""
    turns = of.output - 1.0
    by_prompts = by.budget * turns / (of.new + turns) if by.mixes else np.inf
    return max(min(by.slots - 1.0, FULLEST * by_prompts), 0.0)


def grid(most: float, points: int = 48) -> Array:
    """Numbers of sequences to tabulate: none, and from a twentieth to the most in equal ratios [1]."""
    if most <= 0.0:
        return np.zeros(1)
    low = min(0.05, most / 2.0)
    return np.concatenate((np.zeros(1), np.geomspace(low, most, points)))
