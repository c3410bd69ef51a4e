"""From operator rows to times: the floor (a bound), the serial floor, and the resource that binds. Symbols: docs/notation.

    floor  = max( Σ bytes/B , Σ flops/ceiling , Σ wire bytes/β )   perfect overlap, perfect fusion, compulsory work only
    serial = Σ max( bytes/B , flops/peak ) + Σ collectives         the same operators one after the other

Sums run over the rows from first to last, elementwise, so a point of a sweep equals the scalar result to the last bit,
and floor ≤ serial holds in floating point too. Large sweeps are computed block by block, to stay in the CPU's cache.
There are no efficiency factors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from sol.frozen import Frozen
from sol.physics.network.pricing import Sent
from sol.physics.operators.operator import Amount, Operator, Wire, larger
from sol.specs.libraries import Library
from sol.specs.quantities import Array
from sol.specs.split import Split
from sol.specs.step import Role, Step

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

BLOCK_POINTS = 16_384
"""Points evaluated at a time: about a dozen live arrays of this length fit in a core's L2."""


class Network(Protocol):
    """Prices what devices send each other: by an engine's library, or by the fastest algorithm there is."""

    def __call__(self, wire: Wire, *, library: Library | None = None) -> Sent:
        """The price of one collective."""
        ...


@dataclass(frozen=True, eq=False)
class Rates(Frozen):
    """Bandwidth [B/s], and for each role the compute format, its dense peak and its ceiling [FLOP/s]; no peak: memory only.

    A ceiling is never below its peak, so that the floor is never above the serial floor. `network` prices
    what devices send each other.
    """

    memory_bytes_per_s: float
    formats: Mapping[Role, str]
    peak: Mapping[Role, float] | None = None
    ceiling: Mapping[Role, float] | None = None
    network: Network | None = None


@dataclass(frozen=True, eq=False)
class Times(Frozen):
    """Seconds and totals of one step; arrays of the sweep's shape or plain floats."""

    latency_s: Amount
    serial_s: Amount
    memory_s: Amount
    compute_s: Amount
    network_s: Amount
    moved_weight_bytes: Amount
    moved_kv_bytes: Amount
    wire_bytes: Amount
    flops: Amount
    communication_s: Amount
    """The collectives of the serial floor, latency included."""


Totals = TypeVar("Totals", bound="DataclassInstance")
"""Totals of a step by name, `Amount`s all."""


class OperatorTimes(NamedTuple):
    """One row priced [s]: compulsory bytes, FLOPs at the ceiling; all its bytes, FLOPs at the peak, and the larger of these two.

    A collective: `network_s` its floor, `serial_s` its estimate, `wire_bytes` what one device sends [B].
    """

    memory_s: Amount
    compute_s: Amount
    moved_s: Amount
    peak_s: Amount
    serial_s: Amount
    network_s: Amount = 0.0
    wire_bytes: Amount = 0.0


def price(op: Operator, rates: Rates) -> OperatorTimes:
    """Seconds of one operator: bytes/B, flops/ceiling, and max(all its bytes/B, flops/peak) for the serial floor."""
    if op.wire is not None:
        assert rates.network is not None  # only split replicas have such rows, and they have a topology
        sent = rates.network(op.wire)
        return OperatorTimes(0.0, 0.0, 0.0, 0.0, op.layers * sent.estimate_s, op.layers * sent.floor_s, op.layers * sent.wire_bytes)
    memory_s = (op.weight_bytes + op.kv_bytes) / rates.memory_bytes_per_s
    spilled = op.activation_bytes
    moved_s = memory_s if isinstance(spilled, float) and not spilled else memory_s + spilled / rates.memory_bytes_per_s
    if rates.peak is None or rates.ceiling is None:
        return OperatorTimes(memory_s, 0.0, moved_s, 0.0, moved_s)
    peak, ceiling = rates.peak[op.role], rates.ceiling[op.role]
    peak_s = op.flops / peak
    compute_s = peak_s if ceiling == peak else op.flops / ceiling
    return OperatorTimes(memory_s, compute_s, moved_s, peak_s, larger(moved_s, peak_s))


Priced = Sequence[tuple[Operator, OperatorTimes]]
"""Operator rows with their seconds, in the order they run."""


def price_rows(rows: Sequence[Operator], rates: Rates) -> Priced:
    """Every row with its seconds."""
    return [(op, price(op, rates)) for op in rows]


def total(priced: Priced) -> Times:
    """The step's times and totals: the rows summed from first to last."""
    memory_s: Amount = 0.0
    compute_s: Amount = 0.0
    network_s: Amount = 0.0
    wire_bytes: Amount = 0.0
    serial_s: Amount = 0.0
    weight_bytes: Amount = 0.0
    kv_bytes: Amount = 0.0
    flops: Amount = 0.0
    communication_s: Amount = 0.0
    for op, times in priced:
        memory_s = memory_s + times.memory_s
        compute_s = compute_s + times.compute_s
        serial_s = serial_s + times.serial_s
        if op.wire is not None:
            network_s, wire_bytes = network_s + times.network_s, wire_bytes + times.wire_bytes
            communication_s = communication_s + times.serial_s
            continue
        weight_bytes = weight_bytes + op.weight_bytes
        kv_bytes = kv_bytes + op.kv_bytes
        flops = flops + op.flops
    latency_s = larger(memory_s, compute_s)
    if isinstance(network_s, np.ndarray) or network_s:
        latency_s = larger(latency_s, network_s)
    return Times(latency_s, serial_s, memory_s, compute_s, network_s, weight_bytes, kv_bytes, wire_bytes, flops, communication_s)


def pipelined(whole: Times, pieces: Amount, last: Times) -> Times:
    """The bound if stages work on pieces of a pass at the same time: the part of each stage, or the last token's way through all.

    Never longer than the pass in one piece, given as `whole`.
    """

    def bound(name: str) -> Amount:
        value: Amount = getattr(whole, name)
        cut: Amount = np.maximum(value / pieces, np.minimum(getattr(last, name), value))
        return np.where(np.asarray(pieces) > 1.0, cut, value)

    memory_s, compute_s, network_s = map(bound, ("memory_s", "compute_s", "network_s"))
    latency_s = np.maximum(np.maximum(memory_s, compute_s), network_s)
    return replace(whole, latency_s=latency_s, memory_s=memory_s, compute_s=compute_s, network_s=network_s)


def sweep(step: Step, split: Split, work: Callable[[Step, Split], Totals]) -> Totals:
    """`work(step, split)`, block by block along the longest axis when the sweep is large.

    Shapes: the arrays of the step and of the splits broadcast to the sweep's shape; every total broadcasts to it as well.
    """
    of_step = step.arrays
    asked = (*of_step, *split)
    shape = np.broadcast_shapes(*map(np.shape, asked))
    points = int(np.prod(shape))
    if points <= BLOCK_POINTS:
        return work(step, split)
    axis = int(np.argmax(shape))
    length = max(1, BLOCK_POINTS * shape[axis] // points)
    inputs: list[Any] = [a.reshape((1,) * (len(shape) - a.ndim) + a.shape) if isinstance(a, np.ndarray) else a for a in asked]
    results: dict[str, Amount] = {}
    for start in range(0, shape[axis], length):
        window = (slice(None),) * axis + (slice(start, start + length),)
        part = [a[window] if isinstance(a, np.ndarray) and a.shape[axis] > 1 else a for a in inputs]
        block = work(step.with_arrays(part[: len(of_step)]), Split(*part[len(of_step) :]))
        for field in fields(block):
            value = getattr(block, field.name)
            if isinstance(value, float):
                results[field.name] = value
                continue
            if start == 0:
                results[field.name] = np.empty((*value.shape[:axis], shape[axis], *value.shape[axis + 1 :]))
            whole: Array = results[field.name]  # type: ignore[assignment]  # an array here: the block's value is one
            whole[window] = value
    return type(block)(**results)
