"""The groups of a mixed step as they are asked for: sequences, new tokens and cached tokens of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np

from sol.answers.question.inputs import PLAIN, common_shape, numbers, one_of
from sol.errors import InvalidInput
from sol.specs.quantities import Array
from sol.specs.step import Logits, Step

N = TypeVar("N")
Group = tuple[N, N, N] | tuple[N, N, N, Logits]
"""Sequences [1], new tokens of each [token], cached tokens of each [token], and which logits are wanted, by default the last."""
FIELDS = ("sequences", "new_tokens", "past_tokens", "logits")
MOST = 64


class Groups(NamedTuple):
    """A mixed step, and whether it is one point."""

    step: Step
    scalar: bool


def resolve_groups(groups: Any, imbalance: float) -> Groups:
    """The step of these groups. Raises `InvalidInput` for what is no list of groups, naming the first that is wrong."""
    if isinstance(groups, str | bytes | Mapping) or not isinstance(groups, Sequence) or not 0 < len(groups) <= MOST:
        raise InvalidInput(
            "groups",
            f"is not a list of 1 to {MOST} groups",
            "give groups=[(64, 1, 2048), (1, 512, 0)]: sequences, new tokens, cached tokens",
        )
    scalar, steps = True, []
    shapes: dict[str, Array] = {}
    for n, group in enumerate(groups, 1):
        values = tuple(group[name] for name in FIELDS if name in group) if isinstance(group, Mapping) else group
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) not in (3, 4):
            raise InvalidInput(
                f"group {n}: {group!r}", "is not (sequences, new tokens, cached tokens), with 'last', 'all' or 'none' after them if need be"
            )
        names = [f"{name} of group {n}" for name in FIELDS]
        batch, new = (numbers(name, value, above=0.0) for name, value in zip(names[:2], values[:2], strict=True))
        past = numbers(names[2], values[2], at_least=0.0)
        logits: Logits = "last" if len(values) == 3 else one_of(names[3], values[3], get_args(Logits))
        scalar = scalar and all(type(v) in PLAIN or np.ndim(v) == 0 for v in values[:3])
        shapes |= dict(zip(names[:3], (batch, new, past), strict=True))
        steps.append(Step(batch, new, past, logits, imbalance=imbalance))
    common_shape(**shapes)
    first, *beside = steps
    return Groups(Step(first.batch, first.new_tokens, first.past_tokens, first.logits, imbalance=imbalance, beside=tuple(beside)), scalar)
