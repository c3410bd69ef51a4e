"""How many sequences decode side by side at a load: read off a table, computed exactly there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sol.answers.estimate.stand_ins import warned
from sol.answers.question.ask import Question
from sol.answers.serve.server import Server
from sol.frozen import Frozen
from sol.physics.serving import steady
from sol.physics.serving.steady import Beside, Latencies, StepTimes
from sol.specs.quantities import Array

FEW = 1024
"""Up to so many loads the operators of all are looked at for what stands in; else those of the first."""


@dataclass(frozen=True, eq=False)
class Tabulated(Frozen):
    """A server at every number of sequences that decode beside a request: the latencies, and the loads that lead there.

    `load` is the concurrency of a closed loop, or the request rate of an open one [1/s]; it grows along the table.
    """

    closed: bool
    decoding: Array
    times: Latencies
    load: Array
    most_rate: float
    """The largest request rate that the server carries [1/s]."""
    recomputing: float
    """How many times as long a token takes where requests wait for the pool [1]."""

    def at(self, load: Array) -> Array:
        """How many decode beside a request at a load, no more than the table has."""
        found: Array = np.interp(load, self.load, self.decoding)
        return found

    def read(self, decoding: Array) -> Latencies:
        """The latencies between the points of the table [s]."""
        t = self.times
        return Latencies(*(np.interp(decoding, self.decoding, column) for column in (t.tpot_s, t.ttft_s, t.e2e_s)))


@dataclass(frozen=True, eq=False)
class Loaded(Frozen):
    """A server at loads: its latencies with the wait for a slot [s], requests per second [1/s], and how many wait for a slot [1].

    Past the largest rate it carries an open loop has no latencies (NaN).
    """

    times: Latencies
    requests_per_s: Array
    waiting: Array
    overloaded: Any


@dataclass(frozen=True, eq=False)
class Solution(Frozen):
    """A server at loads, as expected and at both ends of its interval; `work` and `steps` are those of the expected times."""

    table: Tabulated
    work: Beside
    steps: Question
    steps_s: Array
    said: tuple[str, ...]
    expected: Loaded
    low: Loaded | None
    high: Loaded | None


def table_of(server: Server, *, closed: bool) -> tuple[Tabulated, Beside, Array]:
    """The table of a server, its work and the seconds of its steps."""
    work = server.work(steady.grid(steady.most_beside(server.lengths, server.scheduling)))
    steps_s = server.seconds(server.steps(work))
    return _tabulated(server, work, steps_s, closed=closed), work, steps_s


def solve(server: Server, load: Array, *, closed: bool) -> Solution:
    """The server at every load of a flat array: concurrency in a closed loop, request rate in an open one [1/s]."""
    table, grid, steps_s = table_of(server, closed=closed)
    decoding = table.at(load)
    work = server.work(decoding)
    steps = server.steps(work)
    few = steps if load.size <= FEW else server.steps(server.work(decoding[:1]))
    operators = server.operators(few)
    exact_s = server.seconds(steps, operators if few is steps else ())
    exact = server.latencies(work, exact_s, closed=closed)
    said = warned(few, server.calibration, operators)
    down, up = server.calibration.interval()
    expected = _loaded(server, table, load, decoding, exact)
    if not np.isfinite(up):
        return Solution(table, work, steps, exact_s, said, expected, None, None)
    read = _loaded(server, table, load, decoding, table.read(decoding))
    ends = []
    for factor in (down, up):
        other = _tabulated(server, grid, np.maximum(steps_s * factor, 0.0), closed=closed)
        there = other.at(load)
        ends.append(_scaled(expected, read, _loaded(server, other, load, there, other.read(there))))
    return Solution(table, work, steps, exact_s, said, expected, *ends)


def _tabulated(server: Server, work: Beside, steps_s: Array, *, closed: bool) -> Tabulated:
    times = server.latencies(work, steps_s, closed=closed)
    busy = times if closed else server.latencies(work, steps_s, closed=True)  # the most: when nobody has to wait for an arrival
    again = float(steady.recomputing(work, server.lengths, server.scheduling, StepTimes(*steps_s), busy.tpot_s)[-1])
    most = float(steady.request_rate(work, server.lengths, busy).max()) / again
    load = steady.concurrency(work, server.lengths, times) if closed else steady.request_rate(work, server.lengths, times)
    if closed:  # what its requests at once carry (Little's law)
        most = float((load / times.e2e_s).max())
    return Tabulated(closed, work.decoding, times, np.maximum.accumulate(load), most, again)


def _loaded(server: Server, table: Tabulated, load: Array, decoding: Array, times: Latencies) -> Loaded:
    if not table.closed:
        over = load > table.most_rate
        rate = np.where(over, table.most_rate, load)
        lost = Latencies(*(np.where(over, np.nan, column) for column in (times.tpot_s, times.ttft_s, times.e2e_s)))
        return Loaded(lost, rate, np.where(over, np.inf, 0.0), over)
    held = np.minimum(load, table.load[-1])
    waiting = load - held
    again = np.where(waiting > 0.0, table.recomputing, 1.0)
    rate = held / (again * times.e2e_s)
    wait = waiting / rate
    return Loaded(
        Latencies(again * times.tpot_s, again * times.ttft_s + wait, again * times.e2e_s + wait),
        rate,
        waiting,
        np.zeros(load.shape, dtype=bool),
    )


def _scaled(expected: Loaded, read: Loaded, end: Loaded) -> Loaded:
    """One end of the interval: the expected figures times what the tables make of the factor."""

    def like(value: Array, of: Array, to: Array) -> Array:
        made: Array = np.where(np.isfinite(of), value * to / np.where(of == 0.0, 1.0, of), np.nan)
        return made

    times = Latencies(
        *(like(getattr(expected.times, n), getattr(read.times, n), getattr(end.times, n)) for n in ("tpot_s", "ttft_s", "e2e_s"))
    )
    return Loaded(times, like(expected.requests_per_s, read.requests_per_s, end.requests_per_s), end.waiting, end.overloaded)
