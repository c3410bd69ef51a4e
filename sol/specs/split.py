"""How a replica is split over devices: tensor, pipeline, expert, data and context parallelism.

A replica has tp·pp·dp devices. `ep` says how many ways the experts are split over those same devices:
it divides tp·dp, and what remains, tp·dp/ep, splits each expert's width. `cp` says over how many of the
tensor-parallel devices that would hold the same keys and values the cached tokens are divided instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from sol.errors import InvalidPlan
from sol.specs.model import Model
from sol.specs.parts import Count


class Split(NamedTuple):
    """tp, pp, ep, dp, cp [1]; all 1 is one device. For many splits each is an int64 array; arrays broadcast."""

    tp: Count = 1
    pp: Count = 1
    ep: Count = 1
    dp: Count = 1
    cp: Count = 1

    @property
    def devices(self) -> Count:
        """Devices of one replica."""
        return self.tp * self.pp * self.dp

    @property
    def expert_width_ways(self) -> Count:
        """How many ways each expert's width is split."""
        return self.tp * self.dp // self.ep

    @property
    def is_sweep(self) -> bool:
        """Whether these are many splits."""
        return not type(self.tp) is type(self.pp) is type(self.ep) is type(self.dp) is type(self.cp) is int  # asked at every turn

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the arrays of many splits broadcast to; () for one split."""
        return np.broadcast_shapes(*map(np.shape, self))

    @property
    def times(self) -> str:
        """The prefix of a device's name: "8×", "1…8×" for many splits, empty for one device."""
        low, high = np.min(self.devices), np.max(self.devices)
        return "" if high == 1 else f"{low}×" if low == high else f"{low}…{high}×"

    def __str__(self) -> str:
        spans = ((name, np.min(n), np.max(n)) for name, n in zip(self._fields, self, strict=True))
        return " ".join(f"{name}={low}" + (f"…{high}" if high > low else "") for name, low, high in spans if high > 1) or "one device"


def tp_divisor(model: Model) -> int:
    """The number that every legal tp divides: the greatest common divisor of the heads of all layers."""
    sizes = [b.indivisible for b in model.blocks if b.indivisible > 1]
    return math.gcd(*sizes) if sizes else 1


def cache_copies(model: Model, tp: Count) -> Count:
    """How many of `tp` devices hold the same keys and values of every layer [1]: max(⌊tp/kv_heads⌋, 1), all of a latent."""
    found: Count = tp
    for heads in {b.cache_heads for g in model.groups for b in g.blocks if b.cache_spans}:
        found = np.minimum(found, np.maximum(tp // heads, 1)) if heads else 1
    return found


def experts_of(model: Model) -> int:
    """The experts of a layer that has them; 0 for a dense model."""
    return model.routed[0].experts if model.routed else 0


def illegal(model: Model, split: Split) -> InvalidPlan | None:
    """Why a model does not allow this split, with the legal values; None if it is legal."""
    return next((why() for holds, why in _rules(model, split) if not holds), None)


def legal(model: Model, splits: Split) -> Any:
    """A mask of the splits that a model allows."""
    return reduce(np.logical_and, (holds for holds, _ in _rules(model, splits)))


def _rules(model: Model, split: Split) -> Iterator[tuple[Any, Callable[[], InvalidPlan]]]:
    """Whether each rule holds, and the message for one split that breaks it."""
    tp, pp, ep, dp, cp = split
    divisor, experts = tp_divisor(model), experts_of(model)
    yield (
        divisor % tp == 0,
        lambda: InvalidPlan(
            f"tp={tp}", f"does not divide heads={divisor} of {model.id}", f"use {_those(divisor, lambda n: divisor % n == 0)}"
        ),
    )
    yield (
        pp <= model.layers,
        lambda: InvalidPlan(f"pp={pp}", f"is more stages than the {model.layers} layers of {model.id}", f"use 1 to {model.layers}"),
    )
    copies = cache_copies(model, tp)
    yield (
        copies % cp == 0,
        lambda: InvalidPlan(
            f"cp={cp}",
            f"divides the tokens that several devices would hold alike, and at tp={tp} {_hold(int(copies))} of {model.id}",
            f"use {_those(copies, lambda n: copies % n == 0)}",
        ),
    )
    if not experts:
        yield ep == 1, lambda: InvalidPlan(f"ep={ep}", f"splits experts, and {model.id} has none", "use ep=1")
        return
    ways = tp * dp
    yield (
        ways % ep == 0,
        lambda: InvalidPlan(f"ep={ep}", f"must divide tp·dp={ways} of {model.id}", f"use {_those(ways, lambda n: ways % n == 0)}"),
    )


def _hold(copies: int) -> str:
    return "no two hold the cache" if copies == 1 else f"{copies} hold the cache"


def _those(most: Count, allowed: Callable[[int], bool]) -> str:
    return ", ".join(str(n) for n in range(1, int(most) + 1) if allowed(n))
