"""The running requests of a server, in the order in which they were admitted, and the blocks they hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.physics.serving.policy import Policy


class Running:
    """Arrays of the running requests, one value each: `who`, tokens they `have` in the cache, their `goal`, outputs `left`.

    `made` outputs so far [1]; `held` blocks [1]; `since` the time of the last output [s].
    """

    FIELDS = ("_who", "_have", "_goal", "_left", "_made", "_held", "_since")

    def __init__(self, policy: Policy, requests: int) -> None:
        self.policy = policy
        room = max(1, min(policy.max_num_seqs, requests))
        self._who, self._have, self._goal, self._left, self._made, self._held = (np.zeros(room, dtype=np.int64) for _ in range(6))
        self._since = np.zeros(room)
        self.count = 0
        self.free = policy.kv_blocks
        self._late_blocks = self._late_seats = 0
        self.ended = 0
        """Requests that ended with the last step [1]."""
        self.allocated = 0
        """Blocks allocated so far [1], by which others in the pool were overwritten."""
        self.cached = 0
        """Tokens in the cache, of all running requests [token]."""

    # One value for each running request

    @property
    def who(self) -> np.ndarray:
        """Their numbers in the trace."""
        return self._who[: self.count]

    @property
    def have(self) -> np.ndarray:
        """Tokens in the cache [token]."""
        return self._have[: self.count]

    @property
    def left(self) -> np.ndarray:
        """Outputs that are still to be made [1]."""
        return self._left[: self.count]

    @property
    def made(self) -> np.ndarray:
        """Outputs made so far [1]."""
        return self._made[: self.count]

    @property
    def held(self) -> np.ndarray:
        """Blocks held [1]."""
        return self._held[: self.count]

    @property
    def since(self) -> np.ndarray:
        """When the last output was there [s]."""
        return self._since[: self.count]

    @property
    def todo(self) -> np.ndarray:
        """Tokens to compute before the next output [token]."""
        left: np.ndarray = self._goal[: self.count] - self.have
        return left

    @property
    def decoding(self) -> np.ndarray:
        """Whether only one token is to be computed, and some output was made: a decode."""
        ready: np.ndarray = (self.todo == 1) & (self.made > 0)
        return ready

    @property
    def seats(self) -> int:
        """How many more may run [1]; those that ended are counted until the scheduler knows."""
        return self.policy.max_num_seqs - self.count - self._late_seats

    # What happens to them

    def add(self, who: int, have: int, goal: int, left: int, made: int, blocks: int, since: float) -> None:
        """Admit a request that has so many tokens in the cache."""
        i = self.count
        for name, value in zip(self.FIELDS, (who, have, goal, left, made, blocks, since), strict=True):
            getattr(self, name)[i] = value
        self.count += 1
        self.free -= blocks
        self.allocated += blocks
        self.cached += have

    def share_out(self, budget: int) -> np.ndarray:
        """New tokens of each, first come first served, of `budget` in all [token]."""
        todo = self.todo
        if int(todo.sum()) <= budget:
            return todo
        before = np.cumsum(todo) - todo
        shared: np.ndarray = np.clip(budget - before, 0, todo)
        return shared

    def needed(self, new: np.ndarray) -> np.ndarray:
        """More blocks that each needs for its new tokens [1]."""
        more: np.ndarray = np.where(new > 0, np.maximum(self.policy.blocks_each(self.have + new) - self.held, 0), 0)
        return more

    def allocate(self, more: np.ndarray) -> None:
        """Give each so many more blocks."""
        total = int(more.sum())
        if total:
            self._held[: self.count] += more
            self.free -= total
            self.allocated += total

    def compute(self, new: np.ndarray) -> None:
        """One step of so many new tokens each; who reaches its goal has an output."""
        self._have[: self.count] += new
        self.cached += int(new.sum())
        reached = (new > 0) & (self.have == self._goal[: self.count])
        for array, by in ((self._goal, 1), (self._left, -1), (self._made, 1)):
            array[: self.count] += by * reached

    def steps_with_blocks(self, steps: int) -> int:
        """The most of so many steps of decodes that the free blocks allow [1], at least the first, which has its blocks."""
        if self._blocks_for(steps) <= self.free:
            return steps
        low, high = 1, steps
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._blocks_for(middle) <= self.free else (low, middle)
        return low

    def _blocks_for(self, steps: int) -> int:
        """More blocks that so many steps of decodes need [1]."""
        return int(np.maximum(self.policy.blocks_each(self.have + steps) - self.held, 0).sum())

    def decode(self, steps: int) -> None:
        """So many steps in which each makes one output."""
        n = self.count
        self.allocate(np.maximum(self.policy.blocks_each(self.have + steps) - self.held, 0))
        for array, by in ((self._have, steps), (self._goal, steps), (self._left, -steps), (self._made, steps)):
            array[:n] += by
        self.cached += n * steps

    def remove(self, i: int) -> tuple[Any, ...]:  # any: in the order of the fields
        """Take one out; its blocks are free at once."""
        values: tuple[Any, ...] = tuple(getattr(self, name)[i].item() for name in self.FIELDS)
        self.free += values[5]
        self.cached -= values[1]
        for name in self.FIELDS:
            array = getattr(self, name)
            array[i : self.count - 1] = array[i + 1 : self.count]
        self.count -= 1
        return values

    def finish(self, *, late: bool) -> tuple[np.ndarray, np.ndarray]:
        """Take out those that have made all outputs: who, and when the last was there [s].

        `late`: the scheduler learns of it one step later.
        """
        done = self.left == 0
        self.ended = int(np.count_nonzero(done))
        found = (self.who[done], self.since[done])
        if not self.ended:
            return found
        blocks = int(self.held[done].sum())
        self.cached -= int(self.have[done].sum())
        keep = ~done
        kept = self.count - self.ended
        for name in self.FIELDS:
            array = getattr(self, name)
            array[:kept] = array[: self.count][keep]
        self.count = kept
        if late:
            self._late_blocks, self._late_seats = self._late_blocks + blocks, self._late_seats + self.ended
        else:
            self.free += blocks
        return found

    def release(self) -> bool:
        """Free the blocks and seats of those that ended late; whether there were any."""
        had = self._late_seats > 0
        self.free += self._late_blocks
        self._late_blocks = self._late_seats = 0
        return had
