"""What a server wrote down: its steps, the first and the last token of each request, and the times between tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sol.physics.serving.requests import Gaps, Served, Steps
from sol.specs.quantities import Array

if TYPE_CHECKING:
    from sol.physics.serving.admission import Queue
    from sol.physics.serving.running import Running


class Log:
    """Grows with every round."""

    def __init__(self, requests: int) -> None:
        self.first_s, self.last_s = np.full(requests, np.nan), np.full(requests, np.nan)
        self._steps: list[tuple[Array, Array, int, int, np.ndarray]] = []
        self._gaps: list[tuple[Array, Array]] = []

    def step(self, start: float, seconds: float, decodes: int, prompt_tokens: int, cached: int) -> None:
        """One step."""
        self._steps.append((np.array([start]), np.array([seconds]), decodes, prompt_tokens, np.array([cached])))

    def stretch(self, starts: Array, seconds: Array, decodes: int, cached: np.ndarray) -> None:
        """Steps of decodes."""
        self._steps.append((starts, seconds, decodes, 0, cached))

    def outputs(self, running: Running, made: np.ndarray, end: float) -> None:
        """Those that have an output at the end of a step."""
        since = running.since
        later = made & (running.made > 1)
        self._gap(end - since[later])
        first = made & (running.made == 1)
        self.first_s[running.who[first]] = end
        since[made] = end

    def decoded(self, running: Running, ends: Array) -> None:
        """All have an output at the end of each of these steps."""
        self._gap(ends[0] - running.since)
        if ends.size > 1:
            self._gaps.append((np.diff(ends), np.full(ends.size - 1, float(running.count))))
        running.since[:] = ends[-1]

    def _gap(self, gaps: Array) -> None:
        if gaps.size:
            low = float(gaps.min())
            if low == float(gaps.max()):
                self._gaps.append((np.array([low]), np.array([float(gaps.size)])))
            else:
                self._gaps.append((gaps, np.ones(gaps.size)))

    def ended(self, who: np.ndarray, at: Array) -> None:
        """Those that made their last output."""
        self.last_s[who] = at

    def served(self, queue: Queue) -> Served:
        """All of it as arrays."""
        rows = self._steps
        lengths = [row[0].size for row in rows]
        steps = Steps(
            np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows]),
            np.repeat([row[2] for row in rows], lengths), np.repeat([row[3] for row in rows], lengths),
            np.concatenate([row[4] for row in rows]),
        )  # fmt: skip
        gaps = Gaps(*(np.concatenate([g[i] for g in self._gaps]) if self._gaps else np.zeros(0) for i in range(2)))
        return Served(
            queue.arrival_s, queue.admitted_s, self.first_s, self.last_s, queue.preemptions, steps, gaps, len(rows), queue.recomputed
        )  # fmt: skip
