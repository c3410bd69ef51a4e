"""A benchmark's run: all users come at once, their prompts queue before anything decodes, and at the end users run out of requests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sol.answers.serve.server import Server
from sol.answers.serve.solve import Loaded, Solution
from sol.physics.serving import run, steady
from sol.specs.quantities import Array


def with_start(server: Server, found: Solution, concurrency: Array, requests: float, range_ratio: float | None) -> Solution:
    """The solution as the means of `requests` requests, of which `concurrency` start at once; `range_ratio` as in `serve`."""
    of = server.lengths
    users = np.minimum(concurrency, server.scheduling.slots)
    turns = requests / concurrency
    first = server.calibration.first_token_s.value + _first_prompts(server, users)
    down, up = server.calibration.interval()
    more = 0.0 * users if range_ratio is None else _in_step(server, found, users, turns, range_ratio)
    idle = 0.0 * users if range_ratio is None else run.width(of, turns, range_ratio) / 2.0
    decode_s = found.steps_s[0]

    def started(end: Loaded, factor: float) -> Loaded:
        times = end.times
        step = np.minimum(decode_s * factor, times.tpot_s)
        tpot = times.tpot_s - (times.tpot_s - step) / (2.0 * turns)
        waits = users / requests * (first * factor - times.ttft_s) + (1.0 - users / requests) * more * factor
        ttft = times.ttft_s + waits
        e2e = ttft + (of.output - 1.0) * tpot
        rate = requests / (turns * e2e + idle * step)
        return replace(end, times=replace(times, tpot_s=tpot, ttft_s=ttft, e2e_s=e2e), requests_per_s=rate)

    low = None if found.low is None else started(found.low, down)
    return replace(found, expected=started(found.expected, 1.0), low=low, high=None if found.high is None else started(found.high, up))


def _first_prompts(server: Server, users: Array) -> Array:
    """The mean time until the first prompts of all users are computed [s].

    S = C·n/room full steps compute them, first come first served; with k prompts a step the mean one is done after
    (S + max(k, 1)/k)/2 of them. Half of the users decode beside these steps in the mean.
    """
    of, by = server.lengths, server.scheduling
    beside = users / 2.0 if by.mixes else 0.0 * users
    room = np.maximum(by.budget - beside, 1.0) if by.mixes else np.full(users.shape, by.budget)
    steps = users * of.new / room
    single = steps <= 1.0
    whole = room >= of.new
    prompts = np.where(single, users, np.where(whole, room / of.new, 1.0))
    chunk = np.where(whole, of.new, room)
    past = np.where(whole, of.cached, of.cached + (of.new - chunk) / 2.0)
    each = server.seconds(server.asking(np.where(single, 0.0, beside), prompts, chunk, past))
    done: Array = np.where(single, 1.0, (steps + np.maximum(of.new / room, 1.0)) / 2.0) * each
    return done


def _in_step(server: Server, found: Solution, users: Array, turns: Array, range_ratio: float) -> Array:
    """How much later than in a steady state the first token is in the turns after the first, whose users are still in step [s]."""
    of = server.lengths
    most = float(turns.max()) - 1.0
    priced = run.priced_turns(of, most, range_ratio)
    shape = (priced.size, users.size)
    decoding = np.broadcast_to(found.work.decoding, shape)
    holds = found.work.together
    steps = np.maximum(run.width(of, priced, range_ratio)[:, None], users / holds)
    prompts = np.maximum(run.prompts_a_step(np.broadcast_to(users, shape), steps, holds), found.work.prompts)
    missed = (1.0 + server.scheduling.late_steps) * np.minimum((1.0 + server.scheduling.late_steps) / steps, 1.0)
    ttft = np.zeros((2, *shape))
    for i, begin in enumerate((prompts, np.broadcast_to(found.work.prompts, shape))):
        work = server.work(decoding.ravel(), begin.ravel())
        times = server.seconds(server.steps(work))
        ttft[i] = server.latencies(work, times, closed=True).ttft_s.reshape(shape)
        if i == 0:  # those that come first wait for steps without prompts
            ttft[i] -= missed * steady.prompts_in_a_step(work, server.scheduling, steady.StepTimes(*times)).reshape(shape)
    later = np.maximum(ttft[0] - ttft[1], 0.0)
    means = [run.mean_over_turns(priced, later[:, i : i + 1], max(float(turns[i]) - 1.0, 0.0))[0] for i in range(users.size)]
    return np.array(means)
