"""The expected time of a step: operators one after the other at the rates an engine reaches, and times outside operators.

    kernel = launch + max( bytes/(mbu·B) , flops/(mfu·P) )      (activations after it, not beneath, where a rate has passes;
                                                                 no shorter than its sequences' heads, and for each expert held,
                                                                 with what is exposed of the shorter of the two)
    step   = max( Σ kernels , layers·host ) + step time + sequences·time of each

An overlap ω mixes the sum with the largest of its resources, (1 − ω)·Σ + ω·max. With all rates at 100 % and all times
zero, this is the serial floor to the last bit. It is never below the floor, because no term is below the floor's.
Symbols: docs/notation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sol.frozen import Frozen
from sol.physics.operators.operator import Amount, Operator, larger, smaller
from sol.physics.time.roofline import OperatorTimes, Priced, Rates
from sol.specs.calibration import Calibration, OperatorKind, Reached
from sol.specs.formats import NumberFormat
from sol.specs.libraries import Library
from sol.specs.step import Storage


class OperatorTime(NamedTuple):
    """One operator [s]: serial at the peaks; bytes, FLOPs and the larger of them at the rates reached; launches.

    A collective is serial by the fastest algorithm; what its engine runs instead is reached, launches included.
    """

    name: str
    kind: OperatorKind
    network: bool
    serial_s: Amount
    memory_s: Amount
    compute_s: Amount
    reached_s: Amount
    launch_s: Amount

    @property
    def below_peak_s(self) -> Amount:
        """Time added by rates below the peaks [s]."""
        return self.reached_s - self.serial_s


@dataclass(frozen=True, eq=False)
class TimeParts(Frozen):
    """Where a step's time goes [s]: `latency_s` = serial + below + launch − overlapped + host + step.

    `serial_s` the serial floor of these kernels; `below_peak_s` kernels below the peak rates; `launch_s` launch and fixed time
    of the kernels; `overlapped_s` saved by overlap; `host_s` the device waits for the host; `step_s` the engine's own time.
    """

    latency_s: Amount
    serial_s: Amount
    below_peak_s: Amount
    launch_s: Amount
    overlapped_s: Amount
    host_s: Amount
    step_s: Amount


def operator_time(
    op: Operator, times: OperatorTimes, rates: Rates, storage: Storage, calibration: Calibration, library: Library | None = None
) -> OperatorTime:  # fmt: skip
    """The expected seconds of one operator, from its `times` at the peaks; collectives by `library`, else by the fastest algorithm."""
    kind = operator_kind(op)
    if op.wire is not None:
        return OperatorTime(op.name, kind, True, times.serial_s, 0.0, 0.0, sent_s(op, times, rates, library), 0.0)
    found = _reached(calibration, kind, storage.cache if kind == "attention" else storage.stored(op.role))
    memory_s = (times.moved_s if found.passes is None else times.memory_s) / found.mbu
    if kind == "experts":  # all devices wait for the one that reads most
        memory_s = memory_s * op.fullest
    compute_s = times.peak_s / found.mfu
    reached_s, launch_s = larger(memory_s, compute_s), found.launch_s * op.kernels
    if kind == "experts":
        spread = np.where(op.ways > 1.0, op.layers, 0.0) if isinstance(op.ways, np.ndarray) else float(op.layers) * (op.ways > 1.0)
        launch_s = launch_s + (found.piece_s * op.pieces + calibration.spread_s.value * spread)
    elif found.piece_s:
        reached_s = larger(reached_s, found.piece_s * op.pieces)
    if found.exposed:
        reached_s = reached_s + found.exposed * smaller(memory_s, compute_s)
    if found.passes is not None:
        reached_s = reached_s + found.passes * (op.activation_bytes / rates.memory_bytes_per_s)
    return OperatorTime(op.name, kind, False, times.serial_s, memory_s, compute_s, reached_s, launch_s)


def sent_s(op: Operator, times: OperatorTimes, rates: Rates, library: Library | None) -> Amount:
    """The seconds of a collective as an engine's library runs it, never below the fastest algorithm, which a None stands for."""
    if library is None or op.wire is None or rates.network is None:
        return times.serial_s
    return larger(op.layers * rates.network(op.wire, library=library).estimate_s, times.serial_s)


@lru_cache(maxsize=1024)
def _reached(calibration: Calibration, kind: OperatorKind, fmt: NumberFormat) -> Reached:
    return calibration.at(kind, *rate_names(fmt))


def operator_times(
    priced: Priced, rates: Rates, storage: Storage, calibration: Calibration, library: Library | None = None
) -> list[OperatorTime]:  # fmt: skip
    """The expected seconds of every operator."""
    return [operator_time(op, times, rates, storage, calibration, library) for op, times in priced]


def time_parts(operators: Sequence[OperatorTime], calibration: Calibration, layers: int, sequences: Amount) -> TimeParts:
    """The step's expected time and where it goes; `layers` are issued one after the other, `sequences` scheduled together."""
    kernels: Amount = 0.0
    memory: Amount = 0.0
    compute: Amount = 0.0
    network: Amount = 0.0
    serial: Amount = 0.0
    below: Amount = 0.0
    launches: Amount = 0.0
    for op in operators:
        kernels = kernels + (op.launch_s + op.reached_s)
        memory, compute = memory + op.memory_s, compute + op.compute_s
        serial, below, launches = serial + op.serial_s, below + op.below_peak_s, launches + op.launch_s
        if op.network:
            network = network + op.reached_s
    share = calibration.overlap.value
    device = kernels
    if share:
        device = (1.0 - share) * kernels + share * larger(larger(memory, compute), network)
    busy = larger(device, float(layers) * calibration.host_s.value)
    step = calibration.step_s.value + calibration.sequence_s.value * sequences
    return TimeParts(busy + step, serial, below, launches, kernels - device, busy - device, step)


def operator_kind(op: Operator) -> OperatorKind:
    """The kind of an operator, which determines its rates: experts, attention, matrix products, or norms and the like."""
    if op.name == "experts":
        return "experts"
    if op.role in ("attention", "index"):
        return "attention"
    return "gemm" if op.multiplies else "other"


@lru_cache(maxsize=256)
def rate_names(fmt: NumberFormat) -> tuple[str, ...]:
    """The names of a format in a calibration: its id, the id's first word, the kind of its products, and what is nearest to it.

    16-bit products of 16-bit weights are bf16, of narrower ones w8a16 or w4a16; others are called by their compute format. A
    checkpoint's own name says nothing of kernels: 8-bit floats with scales by block are nearest to fp8-block128, 4-bit floats to
    nvfp4 or mxfp4, the one of nearer size first.

    >>> from sol import load_format
    >>> rate_names(load_format("nvfp4").model_copy(update={"id": "modelopt-nvfp4"}))
    ('modelopt-nvfp4', 'modelopt', 'fp4', 'nvfp4', 'mxfp4')
    """
    compute, bits = fmt.compute.partition(",")[0], fmt.bits_per_weight
    kind = compute
    if compute in ("16-bit", "bf16", "fp16"):
        kind = "bf16" if bits > 12 else "w8a16" if bits > 6 else "w4a16"
    blocks = ("fp8-block128",) if compute == "fp8" and fmt.group is not None else ()
    narrow = ("nvfp4", "mxfp4") if bits > 4.375 else ("mxfp4", "nvfp4")  # half-way between the two
    return tuple(dict.fromkeys((fmt.id, *blocks, fmt.id.partition("-")[0], kind, *(narrow if compute == "fp4" else ()))))
