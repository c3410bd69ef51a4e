"""How a server decides what is in its next step: limits of a step, and the rules of its scheduler.

The defaults of each engine are in hardware_db/engines with their sources; this record holds the numbers of one server.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sol.frozen import Frozen
from sol.specs.quantities import Array
from sol.specs.scheduler import Admission


@dataclass(frozen=True, eq=False)
class Policy(Frozen):
    """The scheduler of one server.

    Fields [unit]: `max_num_seqs` sequences that run at once [1]; `max_num_batched_tokens` tokens of one step [token], of a
    prompts' step where they are not `mixed`; `block_tokens` [token] and `kv_blocks` [1] of the pool.
    `mixed`: prompts and decodes share a step; otherwise prompts go first and decodes wait. `chunked`: a prompt may be taken in
    pieces. `ahead`: a step is decided when the one before it starts. `keeps_freed`: a preempted request finds again those of its
    blocks that nothing has overwritten. `admission`: what must be free before a request is admitted, its first "chunk", its whole
    "prompt", the "whole" request with its output, or an "estimate" of it: the prompt, all its output, and of every running
    request the remaining output (at most `clip_tokens` each) times a ratio. The ratio starts at `ratio`, falls to
    `least_ratio` in `ratio_steps` decode steps, and is set anew where a request is preempted, with `retract_tokens` more each.
    `cost` blocks of the pool that a sequence of so many blocks takes, where layers with windows give some back; None: each takes one.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    block_tokens: int
    kv_blocks: int
    mixed: bool = True
    chunked: bool = True
    ahead: bool = False
    keeps_freed: bool = False
    admission: Admission = "chunk"
    ratio: float = 1.0
    least_ratio: float = 1.0
    ratio_steps: float = 1.0
    clip_tokens: float = np.inf
    retract_tokens: float = 0.0
    cost: Array | None = None

    def blocks(self, tokens: int) -> int:
        """Blocks of the pool that a sequence of so many tokens takes [1]."""
        whole = -(-tokens // self.block_tokens)
        return whole if self.cost is None else int(self.cost[whole])

    def blocks_each(self, tokens: np.ndarray) -> np.ndarray:
        """The same of many sequences, an array of whole numbers [1]."""
        whole = -(-tokens // self.block_tokens)
        return whole if self.cost is None else self.cost[whole].astype(np.int64)
