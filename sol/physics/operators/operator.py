"""One row of a forward pass: what an operator must move, compute and send."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sol.physics.operators.spread import Spread
from sol.specs.links import Operation
from sol.specs.parts import Count
from sol.specs.quantities import Array
from sol.specs.step import Fusion, Role, Routing, Step, Storage

Amount = Array | float
"""An array over the sweep, or a plain float for one point or for a row that does not vary."""


def larger(a: Amount, b: Amount) -> Amount:
    """`np.maximum`, but ten times as fast for two plain floats, with the same bits."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.maximum(a, b)
    return a if a >= b else b


def smaller(a: Amount, b: Amount) -> Amount:
    """`np.minimum`, but ten times as fast for two plain floats, with the same bits."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.minimum(a, b)
    return a if a <= b else b


ACT_BYTES = 2.0
"""Bytes per activation: 16 bits, whatever the weights are stored in."""


class Cost(NamedTuple):
    """Bytes beyond the compulsory ones [B] and launches [1] of one operator in one layer."""

    activation_bytes: Amount
    kernels: Amount


FREE = Cost(0.0, 0)


class Wire(NamedTuple):
    """A collective: which, the bytes of its larger buffer on one device [B], how many devices take part, and how far apart they are.

    Of an exchange between experts `spread` says where these are; its bytes are all tokens of one copy, each once.
    """

    op: Operation
    message_bytes: Amount
    ranks: Count
    stride: Count = 1
    spread: Spread | None = None


class Operator(NamedTuple):
    """One row: bytes [B] by kind, FLOPs [FLOP] and the format whose rate they run at, for `layers` layers.

    `weight_bytes` and `kv_bytes` (a cache's or a recurrent state's) are compulsory; `activation_bytes`
    are those an engine moves besides: activations a fusion style writes to memory, a state written back.
    `role` says at which of the step's rates it runs. `shape()` tells its shape for a reader, `detail` the
    counts behind its bytes and FLOPs. `wire`: what it sends, `layers` times. `multiplies`: whether it is counted
    in FLOPs at all; norms and gathered rows are not. `pieces`: of attention its sequences times KV heads, of experts those that the
    device holds [1]; kernels may take time for each, whatever its bytes. `fullest`: of experts spread over devices, how many times
    the bytes of the row the fullest device is expected to read [1], where the row has the mean; `ways`: over how many devices.
    """

    name: str
    layers: Count
    role: Role
    weight_bytes: Amount
    kv_bytes: Amount
    activation_bytes: Amount
    flops: Amount
    kernels: Amount
    shape: Callable[[], str]
    detail: tuple[tuple[str, Amount], ...] = ()
    wire: Wire | None = None
    multiplies: bool = False
    pieces: Amount = 0.0
    fullest: Amount = 1.0
    ways: Amount = 1.0

    def __reduce__(self) -> tuple[Any, ...]:  # `shape` is a closure, which no other process can have: its text goes there
        return Operator, tuple(self._replace(shape=partial(str, self.shape())))


class Pass(NamedTuple):
    """What all blocks of one forward pass share; `tokens` are the new tokens of all sequences [1]."""

    hidden: int
    step: Step
    tokens: Array
    storage: Storage
    routing: Routing
    fusion: Fusion


def row(
    name: str, layers: int, role: Role, *, weight_bytes: Amount = 0.0, flops: Amount | None = None, kv_bytes: Amount = 0.0,
    shape: Callable[[], str] = str, cost: Cost = FREE, detail: tuple[tuple[str, Amount], ...] = (), pieces: Amount = 0.0,
    fullest: Amount = 1.0, ways: Amount = 1.0,
) -> Operator:  # fmt: skip
    """One row; `cost` is that of one layer, everything else that of all `layers`. Without `flops` the row has no products."""
    spilled = layers * cost.activation_bytes
    multiplied = 0.0 if flops is None else flops
    return Operator(
        name, layers, role, weight_bytes, kv_bytes, spilled, multiplied, layers * cost.kernels, shape, detail,
        multiplies=flops is not None, pieces=layers * pieces, fullest=fullest, ways=ways,
    )  # fmt: skip
