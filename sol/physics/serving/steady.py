"""A server in steady state: how many sequences decode side by side, and how long requests take. Symbols: docs/notation.

A request computes n prompt tokens and decodes o tokens; b other requests decode beside it on average. In one step

    x = b/(o − 1)   prompts begin, u = x·n/(budget − b) is the part of the room for prompts that they fill

Prompts that fit into a step share it if they come together: a share f = 1 − e^−x of the steps computes x/f of them. Longer ones
take ⌈n/room⌉ steps, one prompt after the other. Everything follows from the times of three steps: of decoding alone D, with
others' prompts beside it M, and the one that computes the request's own prompt P.

    TPOT = (1 − f)·D + f·M                 or D + x/k·P where an engine computes prompts in steps of their own, k at a time
    TTFT = c₀ + wait for the running step + queue of prompts + steps·P
    C    = 1 + b·E2E/((o − 1)·TPOT)        closed loop: a request that ends is followed by the next
    λ    = b/((o − 1)·TPOT)                open loop: requests arrive at random (Little's law)

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
    the one that runs [1].
    """

    budget: float
    slots: float
    mixes: bool = True
    late_steps: float = 0.0


@dataclass(frozen=True, eq=False)
class Beside(Frozen):
    """What runs beside a request, by the number of sequences that decode beside it.

    `prompts` begin in a step [1]; a `share` of the steps computes prompts [0..1], `merged` at once [1]; `own` with the request's
    own. A prompt takes `passes` steps of `chunk` tokens after `past` cached ones in the mean; `load` is the part of the room for
    prompts that is filled [0..1], `together` how many prompts the room holds [1].
    """

    decoding: Array
    prompts: Array
    share: Array
    merged: Array
    own: Array
    passes: Array
    chunk: Array
    past: Array
    load: Array
    together: Array


def beside(decoding: Array, of: Lengths, by: Scheduling) -> Beside:
    """The work beside a request where so many other sequences decode."""
    room = np.maximum(by.budget - decoding, 1.0) if by.mixes else by.budget + 0.0 * decoding
    passes = np.maximum(np.ceil(of.new / room), 1.0)
    chunk, together = of.new / passes, room / of.new
    prompts = decoding / (of.output - 1.0)
    arrive = -np.expm1(-prompts)
    single = passes == 1.0
    share = np.where(single, arrive, np.minimum(prompts * passes, 1.0))
    come = np.where(prompts > 0.0, prompts / np.where(prompts > 0.0, arrive, 1.0), 1.0)
    merged = np.where(single, np.minimum(come, np.maximum(together, 1.0)), 1.0)
    own = np.where(single, np.minimum(1.0 + prompts, np.maximum(together, 1.0)), 1.0)
    past = of.cached + (passes - 1.0) / 2.0 * chunk
    return Beside(decoding, prompts, share, merged, own, passes, chunk, past, prompts * of.new / room, together)


@dataclass(frozen=True, eq=False)
class Latencies(Frozen):
    """Of a request beside so many others [s]: time per output token, to the first token, and of the whole."""

    tpot_s: Array
    ttft_s: Array
    e2e_s: Array


def latencies(
    work: Beside, of: Lengths, by: Scheduling, decode_s: Array, prompt_s: Array, own_s: Array, first_token_s: float, *, closed: bool
) -> Latencies:  # fmt: skip
    """From the times of the three steps to those of a request.

    In a closed loop a request arrives as a step ends and waits for the next whole one, in an open one at any time: half a step.
    """
    if by.mixes:
        tpot = (1.0 - work.share) * decode_s + work.share * prompt_s
    else:
        tpot = decode_s + work.prompts * work.passes / work.merged * prompt_s
    running = -np.expm1(-work.decoding)
    wait = running * ((1.0 if closed else 0.5) + by.late_steps) * tpot
    free = np.maximum(1.0 - work.load, 1.0 - FULLEST)
    queue = prompt_s * work.load / (2.0 * work.together * free)
    ttft = first_token_s + wait + queue + work.passes * own_s
    return Latencies(tpot, ttft, ttft + (of.output - 1.0) * tpot)


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
