"""What makes a step over many devices slow: fewer of them, slow collectives, time that none of them shares."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from sol.answers.compare.changes import variant
from sol.answers.compare.suspects import Case, Finder, Suspect, at_light, percent
from sol.specs.hardware import Link
from sol.specs.record import Cite, Source
from sol.units import show_bytes, show_rate, show_seconds, significant

SLOW_ALL_REDUCE = Cite(
    value=500e-6,
    source=Source(
        title="meta-pytorch/gpt-fast issue 111: two V100, 29 tok/s on one and 17 on both, 500 µs an all-reduce in Nsight Systems",
        kind="measured",
        url="https://github.com/meta-pytorch/gpt-fast/issues/111",
        checked=date(2026, 11, 28),
    ),
)
"""What one slow all-reduce of a few kB was measured to take [s]. Its author had NVLink active, so the cause is open."""
HOST_STEP = Cite(
    value=11.8e-3,
    source=Source(
        title="vllm-project/vllm issue 16300: QwQ-32B on A100, 27.5, 19.6 and 15.8 ms a step at tp 2, 4 and 8",
        kind="measured",
        url="https://github.com/vllm-project/vllm/issues/16300",
        checked=date(2026, 11, 28),
    ),
    note="the measured step less its floor, 11.7 to 11.8 ms at every tp",
)
"""The most that an engine is known to spend on a step whatever the devices do [s]."""
LEAST_HOST_STEP_S = 0.67e-3
"""The least of the calibrated server engines, TensorRT-LLM and vLLM on a B200 [s]."""
LANES = (1.0, 0.5, 0.25, 0.125)
"""The shares of its link that a card on fewer lanes, or in a slot of an older generation, has to the host."""
TYPICAL = 0.8
"""The share of the measured time that a limit takes which may be anything in a known range [1]."""


def fewer_devices(case: Case) -> Sequence[Suspect]:
    """Devices that take turns instead of sharing the work (a split by layers), or fewer devices than given."""
    q = case.question
    if q.split.tp == 1:
        return ()
    for tp in [n for n in range(q.split.tp // 2, 0, -1) if q.split.tp % n == 0]:
        share = case.share(variant(q, tp=tp))
        if case.explains(share) and share > 1.25 * case.fraction:
            return (
                Suspect(
                    "split",
                    f"the work may be split over {tp}, not {q.split.tp}",
                    f"with tp={tp}: {percent(share)} of the floor",
                    f"tp={q.split.tp} as given: {at_light(case.floor.latency_s)}",
                    "check the engine's tensor-parallel size; a split by layers (llama.cpp -sm layer) takes turns and gains no speed",
                    0.7,
                    share * case.measured_s,
                    case.measured_s,
                    {"tp": tp},
                ),
            )
    return ()


def slow_collectives(case: Case) -> Sequence[Suspect]:
    """Slow collectives: long to start, as one was measured, and every byte up and down the host's link."""
    f = case.floor
    collectives = [(op.layers, op.wire) for op, _ in f.question.operators() if op.wire is not None and op.wire.op == "all_reduce"]
    count = float(sum(np.max(layers) for layers, _ in collectives))
    if not count:
        return ()
    sent = float(sum(np.max(layers) * np.max(wire.message_bytes) for layers, wire in collectives))
    each = float(SLOW_ALL_REDUCE.value)
    alone = max(float(f.memory_s), float(f.compute_s or 0.0))
    pcie = f.question.gpu.pcie
    slower = [(share, alone + count * each + (2.0 * sent / (share * pcie.per_direction_bytes_per_s) if pcie else 0.0)) for share in LANES]
    lanes, limit = next(((share, seconds) for share, seconds in slower if case.well(seconds / case.measured_s)), (0.0, 0.0))
    if not limit:
        return ()
    over = f" and twice over {_lanes(pcie, lanes)}" if pcie else ""
    spent = (case.measured_s - alone) / count
    return (
        Suspect(
            "collectives",
            "slow collectives: for instance through the host, without peer access between the devices",
            f"{count:,.0f} all-reduces of {show_bytes(sent / count)} would take up to {show_seconds(spent, 3)} each; "
            f"at {show_seconds(each, 3)} to start (gpt-fast issue 111){over} a step takes {show_seconds(limit, 4)}, "
            f"{percent(limit / case.measured_s)} of the measured time",
            f"collectives over the devices' links: {at_light(float(f.latency_s))}",
            "time one with nccl-tests (all_reduce_perf), see nvidia-smi topo -m and NCCL_DEBUG=INFO (P2P or SHM), "
            "or give each device layers of its own (--pp)",
            0.65,
            limit,
            case.measured_s,
        ),
    )


def _lanes(pcie: Link, share: float) -> str:
    rate = show_rate(share * pcie.per_direction_bytes_per_s, "B/s")
    return f"{pcie.name} ({rate})" if share == 1.0 else f"{rate}, {_SHARES[share]} of {pcie.name}"


_SHARES = {0.5: "half", 0.25: "a quarter", 0.125: "an eighth"}


def host_step(case: Case) -> Sequence[Suspect]:
    """Time of a step that is the same however many devices share its work: the host's, between one step and the next."""
    q, light = case.question, float(case.floor.latency_s)
    gap, spent = case.measured_s - light, TYPICAL * case.measured_s - light
    if q.phase != "decode" or q.gpu.kind != "gpu" or not LEAST_HOST_STEP_S <= spent <= float(HOST_STEP.value):
        return ()
    split = q.split.devices > 1
    most = f"{significant(float(HOST_STEP.value) * 1e3)} ms at tp 2, 4 and 8 alike (vllm issue 16300)"
    return (
        Suspect(
            "host",
            "host time per step, the same at every tp",
            f"{show_seconds(gap, 3)} a step above the floor; servers are known to spend 0.67 ms (calibrated) to {most}",
            "none: the floor has no host",
            "measure at another tp: where the gap stays, it is no device's (sol calibrate fits it); then fewer Python steps: a newer "
            "engine, CUDA graphs, several steps scheduled at once",
            0.6 if split else 0.35,
            TYPICAL * case.measured_s,
            case.measured_s,
        ),
    )


FINDERS: tuple[Finder, ...] = (fewer_devices, slow_collectives, host_step)
