"""A server whose steps take what a rule says, whatever attention does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sol.physics.serving.attention import Work
from sol.physics.serving.policy import Policy
from sol.physics.serving.requests import Load

NOTHING = Work((), (), (), 0)


class NoAttention:
    def chunk(self, new: int, past: int) -> Work:
        return NOTHING

    def decodes(self, past: np.ndarray, steps: int) -> Work:
        return NOTHING


class Costs:
    """`rule(tokens, sequences)` seconds a step."""

    def __init__(self, rule: Callable[[int, int], float] = lambda tokens, sequences: 1.0) -> None:
        self.rule, self.asked, self.attention = rule, 0, NoAttention()

    def seconds(self, tokens: int, sequences: int, logits: int, works: Sequence[Work]) -> float:
        self.asked += 1
        return self.rule(tokens, sequences)


def load(*rows: tuple[float, int, int] | tuple[float, int, int, int]) -> Load:
    arrival, prompt, output, cached = zip(*((*row, 0)[:4] for row in rows), strict=True)
    return Load(np.array(arrival, dtype=float), *(np.array(x, dtype=np.int64) for x in (prompt, output, cached)))


def policy(**fields: object) -> Policy:
    given = {"max_num_seqs": 64, "max_num_batched_tokens": 64, "block_tokens": 4, "kv_blocks": 1000}
    return Policy(**given | fields)  # type: ignore[arg-type]
