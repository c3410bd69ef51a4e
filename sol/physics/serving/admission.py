"""The waiting requests of a server: who may be admitted, and who must give up its blocks."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from sol.physics.serving.policy import Policy
from sol.physics.serving.requests import Load, Loop
from sol.physics.serving.running import Running
from sol.specs.quantities import Array


class Waiting(NamedTuple):
    """One that waits: tokens to compute before its next output, outputs left and made, and what a preemption left in the pool.

    It `had` so many tokens in the cache [token], `freed` whole blocks of them, and `behind` blocks will be overwritten before those,
    counted from the start [1].
    """

    who: int
    goal: int
    left: int
    made: int
    since: float
    cached: int = 0
    had: int = 0
    freed: int = 0
    behind: int = 0


class Queue:
    """Requests that have not arrived, then those that wait, the preempted ones in front.

    With `loop` it is closed: so many of its users arrive at once, and the next request does when one has ended.
    """

    def __init__(self, load: Load, policy: Policy, running: Running, loop: Loop | None = None) -> None:
        self.load, self.policy, self.running, self.loop = load, policy, running, loop
        self.waiting: deque[Waiting] = deque()
        self._arrivals: list[float] = load.arrival_s.tolist() if loop is None else [0.0] * min(loop.concurrency, len(load))
        self._next = 0
        self.admitted_s = np.full(len(load), np.nan)
        self.preemptions = np.zeros(len(load), dtype=np.int64)
        self.recomputed = 0
        self._ratio = policy.ratio
        self._full = False
        """Where an estimate admits: nobody is asked again until a request ends."""
        self.disturbed = False
        """Whether the step just decided took blocks from a running request."""

    @property
    def left(self) -> bool:
        """Whether any request waits or has yet to arrive."""
        return bool(self.waiting) or self._next < len(self._arrivals)

    @property
    def next_arrival(self) -> float | None:
        """When the next request arrives [s]."""
        return self._arrivals[self._next] if self._next < len(self._arrivals) else None

    def arrive(self, until: float) -> None:
        """Those that arrive up to a time join the queue."""
        load = self.load
        while self._next < len(self._arrivals) and self._arrivals[self._next] <= until:
            i = self._next
            prompt, whole = int(load.prompt[i]), self.policy.block_tokens
            cached = min(int(load.cached[i]) // whole * whole, (prompt - 1) // whole * whole)
            self.waiting.append(Waiting(i, prompt, int(load.output[i]), 0, float("nan"), cached))
            self._next += 1

    def admit(self, new: np.ndarray, now: float) -> np.ndarray:
        """Admit from the front while tokens, sequences and blocks are left; `new` with the new tokens of the admitted."""
        policy, running = self.policy, self.running
        budget = policy.max_num_batched_tokens - int(new.sum())
        joined: list[int] = []
        if self.waiting and not self._full:
            reserved = self._reserved()
            while self.waiting and budget > 0 and running.seats > 0:
                first = self.waiting[0]
                have = self._found_again(first)
                rest = first.goal - have
                if rest > budget and not policy.chunked:
                    break
                chunk = min(rest, budget)
                blocks = policy.blocks(have + chunk)
                asked = blocks
                if policy.admission == "prompt":
                    asked = policy.blocks(first.goal)
                elif policy.admission == "whole":
                    asked = blocks = policy.blocks(first.goal + first.left)
                elif policy.admission == "estimate":
                    needs = rest + min(first.left, policy.clip_tokens) + policy.block_tokens
                    if needs >= running.free * policy.block_tokens - reserved:
                        self._full = True
                        break
                    reserved += min(first.left, policy.clip_tokens) if chunk == rest else 0.0
                if asked > running.free:
                    break
                self.waiting.popleft()
                running.add(first.who, have, first.goal, first.left, first.made, blocks, first.since)
                if np.isnan(self.admitted_s[first.who]):
                    self.admitted_s[first.who] = now
                self.recomputed += max(0, first.had - have)
                joined.append(chunk)
                budget -= chunk
        return np.concatenate((new, np.array(joined, dtype=np.int64))) if joined else new

    def _reserved(self) -> float:
        """Tokens that running requests are expected to add [token]; only an estimate asks."""
        if self.policy.admission != "estimate" or not self.running.count:
            return 0.0
        return float(np.minimum(self.running.left, self.policy.clip_tokens).sum()) * self._ratio

    def _found_again(self, w: Waiting) -> int:
        """Tokens of a waiting request that are in the cache: those given, or its own blocks that nothing has overwritten."""
        whole = self.policy.block_tokens
        if not self.policy.keeps_freed or not w.freed:
            return w.cached
        overwritten = max(0, self.running.allocated - w.behind)
        return max(w.cached, min(max(0, w.freed - overwritten), (w.goal - 1) // whole) * whole)

    def preempt(self, new: np.ndarray) -> bool:
        """Give the running requests their blocks, and where these are not enough, preempt the last of them; whether any was."""
        running = self.running
        more = running.needed(new)
        total, any_gone = int(more.sum()), False
        while total > running.free:
            last = running.count - 1
            total -= int(more[last])
            self._put_back(last)
            any_gone = True
        running.allocate(more[: running.count])
        self.disturbed = any_gone
        return any_gone

    def retract(self) -> None:
        """Blocks for one decode of each; where they are not enough, those with the fewest outputs and the longest prompts wait again."""
        running, policy = self.running, self.policy
        gone = False
        while True:
            more = running.needed(np.ones(running.count, dtype=np.int64))
            if int(more.sum()) <= running.free or running.count == 1:
                break
            prompts = self.load.prompt[running.who]
            self._put_back(int(np.lexsort((-prompts, running.made))[0]), front=False)
            gone = True
        running.allocate(more)
        self.disturbed = self.disturbed or gone
        if gone:
            self._full = False
            outputs = running.made + running.left
            estimate = (running.made.sum() + policy.retract_tokens * running.count) / (outputs.sum() + 1)
            self._ratio = min(1.0, float(estimate))

    def decoded(self, steps: int) -> None:
        """So many steps of decodes went by: the estimate of what is to come falls."""
        policy = self.policy
        if policy.admission == "estimate":
            fall = (policy.ratio - policy.least_ratio) / policy.ratio_steps
            self._ratio = max(policy.least_ratio, self._ratio - steps * fall)

    @property
    def arrival_s(self) -> Array:
        """When each request arrived [s]."""
        return np.array(self._arrivals)

    def idle(self) -> None:
        """Nothing runs and nothing waits."""
        self._ratio = self.policy.ratio

    def finished(self, at: Array) -> None:
        """Requests ended at these times: an estimate is asked again, and in a closed loop the next ones come."""
        if not at.size:
            return
        self._full = False
        if self.loop is not None:
            more = min(at.size, len(self.load) - len(self._arrivals))
            comes = np.sort(at + self.loop.between_s)[:more]
            self._arrivals += (np.nextafter(comes, np.inf) if self.loop.late else comes).tolist()

    def _put_back(self, i: int, *, front: bool = True) -> None:
        free = self.running.free
        who, have, goal, left, made, held, since = self.running.remove(i)
        self.preemptions[who] += 1
        given = min(int(self.load.cached[who]), have) // self.policy.block_tokens * self.policy.block_tokens
        freed = have // self.policy.block_tokens
        again = Waiting(who, goal, left, made, since, given, have, freed, self.running.allocated + free + max(0, held - freed))
        if front:
            self.waiting.appendleft(again)
        else:
            self.waiting.append(again)
