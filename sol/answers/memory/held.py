"""The sequences that memory must hold: all alike, or in the groups of a mixed step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sol.answers.question.groups import Group, resolve_groups
from sol.answers.question.inputs import numbers
from sol.errors import InvalidInput
from sol.physics.network.sharding import share
from sol.specs.quantities import Array
from sol.specs.split import Split


class Held(NamedTuple):
    """Sequences that hold `ctx` tokens each; a step reads `read` of them and computes `new` tokens in all. `one`: of several groups."""

    sequences: Array
    ctx: Array
    read: Array
    new: Array
    one: bool = False

    def on_one(self, split: Split) -> Array:
        """Those on the fullest of the copies; groups of a mixed step may balance each other, so that each is divided evenly."""
        return self.sequences / split.dp if self.one else share(self.sequences, split.dp)


def held_by(groups: Sequence[Group[Any]] | None, ctx: Any, batch: Any) -> tuple[list[Held], bool]:
    """Sequences with their caches, and whether that is one point. Raises `InvalidInput` for both or neither of ctx and groups."""
    if groups is None:
        if ctx is None:
            raise InvalidInput("no ctx", "was given", "give ctx=2048 (--ctx 2k), or the groups of a mixed step")
        c, b = numbers("ctx", ctx, at_least=0.0), numbers("batch", batch, above=0.0)
        return [Held(b, c, c, b)], np.ndim(ctx) == 0 and np.ndim(batch) == 0
    if ctx is not None or np.ndim(batch) or batch != 1:
        given = "ctx" if ctx is not None else "batch"
        raise InvalidInput(f"{given} and groups", "are both given", f"each group has tokens of its own, so leave {given} out")
    step, scalar = resolve_groups(groups, 1.0)
    several = bool(step.beside)
    return [Held(g.batch, g.past_tokens + g.new_tokens, g.past_tokens, g.batch * g.new_tokens, several) for g in step.groups], scalar
