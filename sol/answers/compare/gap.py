"""Where the time above the floor goes: the parts that have a name, and the unexplained rest.

With a calibration of the engine, the parts are those of its estimate. Without one, only the parts that need no
calibration have a name: operators run one after the other, collectives with their latency, and the smallest
published cost of issuing the kernels. The parts and the rest sum to the gap.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from typing import NamedTuple

import numpy as np

from sol.answers.estimate.estimate import Estimate
from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.question.formats import SIXTEEN
from sol.physics.network.sharding import split_operators
from sol.specs.record import Cite, Source
from sol.specs.step import Fusion, Storage
from sol.units import show_seconds

GRAPH_LAUNCH = Cite(
    value=0.94e-6,
    source=Source(
        title="te42kyfo/gpu-benches, gpu-small-kernels: 4096 doubles scaled, in a captured graph",
        kind="measured",
        url="https://github.com/te42kyfo/gpu-benches/tree/1c36d509ee717dca9215c27135fa1e611bb03ed1/gpu-small-kernels",
        checked=date(2026, 11, 21),
    ),
    note="65,536 bytes at the 70 GB/s of l40_graph.txt, the shortest of four devices in a captured graph",
)
"""The shortest published time of one small kernel issued by a captured graph [s]."""
EAGER_LAYER = Cite(
    value=0.606e-3,
    source=Source(
        title="arXiv:2605.30571v1, batch-1 decode of 7B models on H100, A100, L40S and L4",
        kind="paper",
        url="https://arxiv.org/abs/2605.30571",
        checked=date(2026, 11, 20),
    ),
    note="16.97 ms over 28 layers, as quoted in third-party notes: the shortest of its steps that the host sets the pace of",
)
"""The shortest published time of one layer in eager transformers when the host is slower than the device [s]."""


CLASSES = {"eager": "an eager engine", "graph": "an engine with CUDA graphs", "fused": "a fused engine"}
ROUNDING = 1e-12
"""A part below this fraction of the measured time is rounding error [1]."""
NARROW = 12.0
"""Weights with fewer bits than this are unpacked before they are multiplied in 16 bits [bit]."""


class GapPart(NamedTuple):
    """A named part of the gap: `name` ends in `_s`; `seconds` [s] is negative if the part saves time; `meaning` describes it."""

    name: str
    seconds: float
    meaning: str


MEANINGS = {
    "serial_s": "operators run one after the other instead of overlapped",
    "communication_s": "collectives with their latency, which the floor overlaps",
    "activations_s": "activations that the engine's kernels move through memory",
    "bandwidth_s": "bandwidth below the peak",
    "compute_s": "matrix products below the peak rate",
    "dequantisation_s": "dequantisation: kernels for narrow weights run at lower rates",
    "attention_s": "attention below the peak rates",
    "launch_s": "launch and fixed time of the kernels",
    "overlap_s": "time saved by overlap",
    "host_s": "the device waits for the host",
    "step_s": "the engine's own time, per step and per sequence",
    "unexplained_s": "launches, host time, rates: without a calibration they cannot be told apart",
}


def explained(f: Floor, measured_s: float, e: Estimate | None, kind: str | None) -> tuple[GapPart, ...]:
    """The parts of `measured_s` − floor, the unexplained rest last; `kind` of engine: eager, graph, fused or None.

    A measurement faster than the floor has no parts.
    """
    gap = measured_s - f.latency_s
    if gap <= 0.0:
        parts = []
    elif e is not None:
        parts = _estimated(f, e)
    else:
        parts = _uncalibrated(f, gap, kind)
    parts = [p for p in parts if abs(p.seconds) > ROUNDING * measured_s]
    left = gap - math.fsum(p.seconds for p in parts)
    return (*parts, GapPart("unexplained_s", left, MEANINGS["unexplained_s"] if e is None else _rest(e, left)))


def _rest(e: Estimate, left: float) -> str:
    than = f"the {show_seconds(e.latency_s, 4)} expected of {called(e)}"
    return f"slower than {than}" if left > 0.0 else f"faster than {than}"


def called(e: Estimate) -> str:
    """The engine of an estimate, in words."""
    return CLASSES.get(e.calibration.engine, e.calibration.engine)


def _estimated(f: Floor, e: Estimate) -> list[GapPart]:
    """The parts of an estimate above the floor [s]. They sum to estimate − floor."""
    serial, hidden, wires = _one_after_the_other(f)
    bandwidth, compute, attention = _not_reached(e)
    dequantised = _dequantisation(e, bandwidth + compute)
    share = 1.0 - dequantised / (bandwidth + compute) if dequantised else 1.0
    s = e.spent
    named = {
        "serial_s": serial - wires - hidden, "communication_s": wires - (f.latency_s - hidden), "activations_s": _one(s.serial_s) - serial,
        "bandwidth_s": bandwidth * share, "compute_s": compute * share, "dequantisation_s": dequantised, "attention_s": attention,
        "launch_s": _one(s.launch_s), "overlap_s": -_one(s.overlapped_s), "host_s": _one(s.host_s), "step_s": _one(s.step_s),
    }  # fmt: skip
    return [GapPart(name, seconds, MEANINGS[name]) for name, seconds in named.items()]


def _one_after_the_other(f: Floor) -> tuple[float, float, float]:
    """The serial floor with perfect fusion, the larger of memory and compute, and the collectives of the serial floor [s]."""
    q = f.question
    ideal = f if q.fusion == "ideal" else floor_of(replace(q, fusion="ideal"))
    wires = math.fsum(_one(times.serial_s) for op, times in ideal.question.operators() if op.wire is not None)
    return ideal.serial_s, max(ideal.memory_s, ideal.compute_s or 0.0), wires


def _not_reached(e: Estimate, storage: Storage | None = None) -> tuple[float, float, float]:
    """Time added by rates below the peaks [s]: of memory-bound products, of compute-bound products, of attention."""
    bandwidth: list[float] = []
    compute: list[float] = []
    attention: list[float] = []
    for op in e.operators_spent(storage):
        where = attention if op.kind == "attention" else bandwidth if np.all(op.memory_s >= op.compute_s) else compute
        where.append(_one(op.below_peak_s))
    return math.fsum(bandwidth), math.fsum(compute), math.fsum(attention)


def _dequantisation(e: Estimate, slack: float) -> float:
    """Time that narrow weights multiplied in 16 bits take beyond the rates of 16-bit weights [s]; 0 if they are not slower."""
    q = e.question
    if q.storage.weights.bits_per_weight >= NARROW or q.rates.formats["weights"] not in SIXTEEN:
        return 0.0
    wide = replace(q.storage, weights=q.storage.base)  # the same bytes, called 16-bit
    return max(0.0, slack - math.fsum(_not_reached(e, wide)[:2]))


def _uncalibrated(f: Floor, gap: float, kind: str | None) -> list[GapPart]:
    """The parts that need no calibration [s], each at most the rest of the gap."""
    serial, hidden, wires = _one_after_the_other(f)
    wanted = [("serial_s", serial - wires - hidden, MEANINGS["serial_s"]),
              ("communication_s", wires - (f.latency_s - hidden), MEANINGS["communication_s"])]  # fmt: skip
    if kind == "eager":
        host = max(0.0, eager_host_s(f) - serial)
        wanted.append(("host_s", host, f"the host takes at least {float(EAGER_LAYER.value) * 1e3:g} ms to issue a layer"))
    elif kind != "fused" and f.question.gpu.kind == "gpu":
        n = kernels(f, "kernel")
        meaning = f"{n:,} kernels, each at least {float(GRAPH_LAUNCH.value) * 1e6:g} µs in a captured graph"
        wanted.append(("launch_s", n * float(GRAPH_LAUNCH.value), meaning))
    parts = []
    for name, seconds, meaning in wanted:
        parts.append(GapPart(name, min(seconds, gap), meaning))
        gap -= parts[-1].seconds
    return parts


def kernels(f: Floor, fusion: Fusion) -> int:
    """The number of kernels in a step of this fusion style."""
    q = f.question
    return sum(int(op.kernels) for op in split_operators(q.model, q.step, q.storage, q.routing, fusion, q.split))


def eager_host_s(f: Floor) -> float:
    """The shortest time in which an eager host issued this many layers, from published steps [s]."""
    return f.question.model.layers * float(EAGER_LAYER.value)


def _one(value: object) -> float:
    return float(np.max(np.asarray(value, dtype=np.float64)))
