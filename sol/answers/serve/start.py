"""A benchmark's start: all users come at once, and their prompts queue before anything decodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sol.answers.serve.server import Server
from sol.answers.serve.solve import Loaded, Solution
from sol.specs.quantities import Array


def with_start(server: Server, found: Solution, concurrency: Array, requests: float) -> Solution:
    """The solution with the mean time to the first token of `requests` requests, of which `concurrency` start at once.

    S = C·n/room full steps compute their prompts, first come first served; with k prompts a step the mean one is done after
    (S + max(k, 1)/k)/2 of them. Half of the users decode beside these steps in the mean.
    """
    of, by = server.lengths, server.scheduling
    users = np.minimum(concurrency, by.slots)
    beside = users / 2.0 if by.mixes else 0.0 * users
    room = np.maximum(by.budget - beside, 1.0) if by.mixes else np.full(users.shape, by.budget)
    steps = users * of.new / room
    single = steps <= 1.0
    whole = room >= of.new
    prompts = np.where(single, users, np.where(whole, room / of.new, 1.0))
    chunk = np.where(whole, of.new, room)
    past = np.where(whole, of.cached, of.cached + (of.new - chunk) / 2.0)
    each = server.seconds(server.asking(np.where(single, 0.0, beside), prompts, chunk, past))
    done = np.where(single, 1.0, (steps + np.maximum(of.new / room, 1.0)) / 2.0)
    first = server.calibration.first_token_s.value + done * each
    share = users / requests
    down, up = server.calibration.interval()

    def started(end: Loaded, factor: float) -> Loaded:
        times = end.times
        extra = share * (first * factor - times.ttft_s)
        return replace(end, times=replace(times, ttft_s=times.ttft_s + extra, e2e_s=times.e2e_s + extra))

    low = None if found.low is None else started(found.low, down)
    return replace(found, expected=started(found.expected, 1.0), low=low, high=None if found.high is None else started(found.high, up))
