"""What a step is expected to take: operators one after the other at the rates an engine reaches, and what is no operator's.

    kernel = launch + max( bytes/(mbu·B) , flops/(mfu·P) )      (activations after it, not beneath, where a rate has passes)
    step   = max( Σ kernels , layers·host ) + step time + sequences·time of each

An overlap ω mixes the sum with the largest of its resources, (1 − ω)·Σ + ω·max. With every rate whole and
every time nothing this is the serial floor to the last bit, and it is never below the floor: each term is
at least the floor's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sol.physics.linear import Amount, Operator
from sol.physics.roofline import Rates, price
from sol.specs.calibration import Calibration, Kind
from sol.specs.formats import NumberFormat
from sol.specs.step import Storage


@dataclass(frozen=True, eq=False)
class Part:
    """One operator: serial at the peaks, what the rates reached add to it, its launches [s], and which resource binds it."""

    name: str
    serial_s: Amount
    slack_s: Amount
    launch_s: Amount
    memory_bound: Amount | bool
    network: bool


@dataclass(frozen=True, eq=False)
class Spent:
    """Where a step's time goes [s]: `latency_s` = serial + slack + launch − overlapped + host + step.

    `serial_s` the serial floor of these kernels; `slack_s` rates not reached; `launch_s` kernels' own time;
    `overlapped_s` saved by overlapping; `host_s` the device waiting for the host; `step_s` the engine's, of step and sequences.
    """

    latency_s: Amount
    serial_s: Amount
    slack_s: Amount
    launch_s: Amount
    overlapped_s: Amount
    host_s: Amount
    step_s: Amount
    parts: tuple[Part, ...]


def spent(
    rows: Sequence[Operator], rates: Rates, storage: Storage, calibration: Calibration, layers: int, sequences: Amount
) -> Spent:  # fmt: skip
    """The step's expected time and where it goes; `layers` are issued one after the other, `sequences` scheduled together."""
    kernels: Amount = 0.0
    memory: Amount = 0.0
    compute: Amount = 0.0
    network: Amount = 0.0
    serial: Amount = 0.0
    slack: Amount = 0.0
    launches: Amount = 0.0
    parts = []
    for op in rows:
        times = price(op, rates)
        kind = kind_of(op)
        found = calibration.at(kind, *names(storage.cache if kind == "attention" else storage.stored(op.role)))
        beneath = times.moved_s if found.passes is None else times.memory_s
        at_memory, at_compute = beneath / found.mbu, times.peak_s / found.mfu
        reached = times.serial_s if op.wire is not None else np.maximum(at_memory, at_compute)
        if found.passes is not None and op.wire is None:
            reached = reached + found.passes * (op.activation_bytes / rates.memory_bytes_per_s)
        own = 0.0 if op.wire is not None else found.launch_s * op.kernels  # a collective's latency holds its launch
        kernels = kernels + (own + reached)
        memory, compute = memory + at_memory, compute + at_compute
        network = network + (times.serial_s if op.wire is not None else 0.0)
        serial, slack, launches = serial + times.serial_s, slack + (reached - times.serial_s), launches + own
        parts.append(
            Part(op.name, times.serial_s, reached - times.serial_s, own, np.greater_equal(at_memory, at_compute), op.wire is not None)
        )
    least = np.maximum(np.maximum(memory, compute), network)
    share = calibration.overlap.value
    device = kernels if share == 0.0 else (1.0 - share) * kernels + share * least
    issued = float(layers) * calibration.host_s.value
    busy = np.maximum(device, issued)
    step = calibration.step_s.value + calibration.sequence_s.value * sequences
    return Spent(busy + step, serial, slack, launches, kernels - device, busy - device, step, tuple(parts))


def kind_of(op: Operator) -> Kind:
    """Which rates an operator reaches: its experts', its attention's, those of matrix products, or of norms and the like."""
    if op.name == "experts":
        return "experts"
    if op.role in ("attention", "index"):
        return "attention"
    return "other" if isinstance(op.flops, float) and op.flops == 0.0 else "gemm"


@lru_cache(maxsize=256)
def names(fmt: NumberFormat) -> tuple[str, ...]:
    """What a calibration may call a format: its id, the id's first word, and the kind of products it makes.

    16-bit products of 16-bit weights are bf16, of narrower ones w8a16 or w4a16; others are called by their compute format.
    """
    compute, bits = fmt.compute.partition(",")[0], fmt.bits_per_weight
    kind = compute
    if compute in ("16-bit", "bf16", "fp16"):
        kind = "bf16" if bits > 12 else "w8a16" if bits > 6 else "w4a16"
    return tuple(dict.fromkeys((fmt.id, fmt.id.partition("-")[0], kind)))
