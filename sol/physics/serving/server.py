"""A server step by step: which requests run, what each step computes, and when each token is there.

One round decides a step by the rules of `policy`. Where nothing can change but the lengths of sequences (no request arrives
or may be admitted, none ends, and blocks are left), the round takes all such steps at once. A request's `goal` is how many of
its tokens must be computed for its next output: its prompt at first, one more with each output. A preempted request keeps
its goal and loses what was computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Protocol

import numpy as np

from sol.errors import SolError
from sol.physics.operators.operator import Amount
from sol.physics.serving.admission import Queue
from sol.physics.serving.attention import Work
from sol.physics.serving.log import Log
from sol.physics.serving.policy import Policy
from sol.physics.serving.requests import Load, Loop, Served
from sol.physics.serving.running import Running

MOST_ELEMENTS = 1 << 18
"""A stretch of steps has at most so many, times the sequences in them: a few MB."""


class Costs(Protocol):
    """The seconds of a step: `sol.physics.serving.table.StepTable`, or a rule of one's own."""

    @property
    def attention(self) -> Attends:
        """What attention must do for each sequence."""

    def seconds(self, tokens: int, sequences: int, logits: int, works: Sequence[Work]) -> Amount:
        """The seconds of a step, or of several where the work is; `works`: of decodes and of prompts, where there are any."""


class Attends(Protocol):
    """The work of attention: `sol.physics.serving.attention.AttentionWork`, or none."""

    @property
    def chunk(self) -> Callable[[int, int], Work]:
        """The work of a prompt's chunk, by its new and its cached tokens."""

    def decodes(self, past: np.ndarray, steps: int) -> Work:
        """The work of sequences with so many cached tokens, in each of so many steps."""


def serve(load: Load, policy: Policy, costs: Costs, loop: Loop | None = None) -> Served:
    """The whole trace, at its own arrivals or in a closed loop.

    Raises `SolError` where a request can never be admitted, which the caller should have refused.
    """
    return _Server(load, policy, costs, loop).run()


class _Server:
    def __init__(self, load: Load, policy: Policy, costs: Costs, loop: Loop | None) -> None:
        self.load, self.policy, self.costs = load, policy, costs
        self.running = Running(policy, len(load))
        self.queue = Queue(load, policy, self.running, loop)
        self.log = Log(len(load))
        self.now = 0.0
        self.started: float | None = None
        """When the step before this one started, if the server was not idle since [s]."""
        self._pace_s = 0.0
        """The length of the last step of decodes alone [s]."""

    def run(self) -> Served:
        while self.queue.left or self.running.count:
            self._round()
        return self.log.served(self.queue)

    def _round(self) -> None:
        ahead = self.policy.ahead and self.started is not None
        decided = self.started if ahead and self.started is not None else self.now
        self.queue.arrive(decided)
        new = self._decide()
        released = self.running.release()
        if new is None:
            self.started = None
            if released or ahead:  # decided too early: once more when the step before has ended
                return
            following = self.queue.next_arrival
            if following is None or self.queue.waiting:
                raise SolError("a request", "can never be admitted", "its tokens are more than the pool holds")
            self.now = max(self.now, following)
            self.queue.idle()
            return
        if bool((new == 1).all()) and bool(self.running.decoding.all()):
            self._stretch(released)
        else:
            self._step(new)

    def _decide(self) -> np.ndarray | None:
        """New tokens of every running request; None where there is nothing to do. Admits and preempts."""
        running, policy = self.running, self.policy
        if policy.mixed:
            new = running.share_out(policy.max_num_batched_tokens)
            new = new[: running.count] if self.queue.preempt(new) else self.queue.admit(new, self.now)
        else:
            new = np.where(running.decoding, 0, np.minimum(running.todo, policy.max_num_batched_tokens))
            new = new[: running.count] if self.queue.preempt(new) else self.queue.admit(new, self.now)
            if not new.any() and running.count:
                self.queue.retract()
                new = np.ones(running.count, dtype=np.int64)
        return new if new.size and new.any() else None

    def _step(self, new: np.ndarray) -> None:
        """One step of any kind."""
        running, attends = self.running, self.costs.attention
        active = new > 0
        decoding = active & running.decoding
        prompts = np.flatnonzero(active & ~running.decoding)
        past = running.have[decoding]
        works = [attends.decodes(past, 1)] if past.size else []
        if prompts.size:
            chunks = [attends.chunk(int(new[i]), int(running.have[i])) for i in prompts.tolist()]
            works.append(reduce(Work.plus, chunks))
        outputs = active & (new == running.todo)
        tokens, made = int(new.sum()), int(np.count_nonzero(outputs))
        seconds = float(self.costs.seconds(tokens, int(np.count_nonzero(active)), made, works))
        running.compute(new)
        end = self.now + seconds
        self.log.step(self.now, seconds, int(past.size), tokens - int(past.size), running.cached)
        self.log.outputs(running, outputs, end)
        self._end(self.now, end)

    def _stretch(self, released: bool) -> None:
        """Steps in which every running request decodes, until something else may happen."""
        running, count = self.running, self.running.count
        again = self.queue.waiting and (released or self.queue.disturbed)  # what waits may be admitted in the next step
        steps = 1 if again else min(int(running.left.min()), max(1, MOST_ELEMENTS // count))
        if steps > 1 and not self.queue.waiting:
            steps = self._before_arrival(steps)
        steps = running.steps_with_blocks(steps)
        work = self.costs.attention.decodes(running.have, steps)
        seconds = np.full(steps, self.costs.seconds(count, count, count, [work]), dtype=np.float64)
        times = np.cumsum(np.concatenate(([self.now], seconds)))
        starts, ends = times[:-1], times[1:]
        following = self.queue.next_arrival
        if following is not None and not self.queue.waiting and steps > 1:  # the step decided at or after it is another round's
            decided = np.concatenate(([-np.inf], starts[:-1] if self.policy.ahead else starts[1:]))
            steps = int(np.searchsorted(decided, following, side="left"))
            seconds, ends, starts = seconds[:steps], ends[:steps], starts[:steps]
        self._pace_s = float(seconds[-1])
        cached = running.cached + count * np.arange(1, steps + 1)
        running.decode(steps)
        self.queue.decoded(steps)
        self.log.stretch(starts, seconds, count, cached)
        self.log.decoded(running, ends)
        self._end(float(starts[-1]), float(ends[-1]))

    def _before_arrival(self, steps: int) -> int:
        """About as many steps as may start before the next arrival, if they are no shorter than the last decode was; one at least.

        Where they are, the next round goes on: this sets how many are computed at once, and no result.
        """
        following = self.queue.next_arrival
        if following is None or self._pace_s <= 0.0:
            return steps if following is None else 1
        return max(1, min(steps, int(max(following - self.now, 0.0) / self._pace_s) + 3))

    def _end(self, started: float, ended: float) -> None:
        self.started, self.now = started, ended
        who, at = self.running.finish(late=self.policy.ahead)
        self.log.ended(who, at)
        self.queue.finished(at)
