"""What makes a step slow because it ran elsewhere than was said: on the host, another device, at lower clocks."""

from __future__ import annotations

from collections.abc import Sequence

from sol.answers.compare.changes import siblings, variant
from sol.answers.compare.gap import NARROW
from sol.answers.compare.suspects import Case, Finder, Suspect, at_light, percent
from sol.answers.memory.offload import offload
from sol.errors import SolError
from sol.sources.database.database import gpu_ids, load_gpu
from sol.units import show_bytes, show_rate

REACHED = 0.8
"""The share of the peak at its own clock that products reach where only the clock is low [1]."""
LEAST_CLOCK = 0.5
"""A rule: where this share of the clock [1] would not do, something else is looked for before a power cap."""


def does_not_fit(case: Case) -> Sequence[Suspect]:
    """More memory is needed than the device has, so part of the model streams from elsewhere."""
    f, q = case.floor, case.question
    if f.fits is not False:
        return ()
    there = q.gpu.memory_bytes or 0.0
    over = f"{show_bytes(f.resident_bytes)} needed, {show_bytes(there)} on {q.gpu.id}"
    try:
        streamed = offload(q.model, q.gpu, ctx=q.ctx.item(), batch=case.batch, dtype=q.storage.weights, kv_dtype=q.storage.cache)
    except SolError:
        streamed = None
    if streamed is None or f.devices > 1 or q.phase != "decode":
        return (
            Suspect(
                "memory",
                "it does not fit",
                over,
                "more memory",
                "sol plan finds the splits that fit",
                0.9,
                None,
                case.measured_s,
            ),
        )
    least = float(streamed.overlapped_s)
    if case.measured_s < least:
        seen = (
            f"{over}; what does not fit would take {at_light(least)} over {streamed.link.name}: another model, format or device was timed"
        )
    else:
        seen = (
            f"{over}; the rest over {streamed.link.name} takes {at_light(least)}, {percent(least / case.measured_s)} of the measured time"
        )
    return (
        Suspect(
            "offload" if case.measured_s >= least else "memory",
            "it does not fit" + (": part of it streams from the host" if case.measured_s >= least else ", and is faster than what streams"),
            seen,
            "all of it in the device's memory",
            "use a narrower dtype, a shorter context or more devices (sol plan, sol offload)",
            0.95,
            least if case.measured_s >= least else None,
            case.measured_s,
        ),
    )


def slower_sibling(case: Case) -> Sequence[Suspect]:
    """A variant of the device with the same model number, or one of its power modes."""
    found = []
    for gpu in siblings(case.question.gpu):
        share = case.share(variant(case.question, gpu=gpu))
        if case.explains(share) and share > 1.1 * case.fraction:
            found.append(
                Suspect(
                    "device",
                    f"the device may be {gpu.id}",
                    f"{percent(share)} of the floor of {gpu.id} ({show_rate(gpu.memory_bytes_per_s, 'B/s')})",
                    f"{case.question.gpu.id} as given",
                    "check the part, its power limit and its clocks with nvidia-smi -q or the vendor's tool",
                    0.55 * min(share, 1.0),
                    share * case.measured_s,
                    case.measured_s,
                    {"gpu": gpu.id},
                )
            )
    return sorted(found, key=lambda s: -s.weight)[:1]


def on_the_host(case: Case) -> Sequence[Suspect]:
    """All weights over the host's link, or a run on the CPU."""
    f, gpu = case.floor, case.question.gpu
    if case.fraction > 0.3 or gpu.unified_memory or gpu.kind == "cpu":
        return ()
    found = []
    if gpu.pcie is not None:
        streaming = f.moved_weight_bytes / gpu.pcie.per_direction_bytes_per_s
        if case.explains(streaming / case.measured_s):
            found.append(
                Suspect(
                    "offload",
                    "the weights may stream from the host every step",
                    f"{show_bytes(f.moved_weight_bytes)} over {gpu.pcie.name} take {at_light(streaming)}, "
                    f"{percent(streaming / case.measured_s)} of the measured time",
                    "the weights in the device's memory",
                    "load without offload: llama.cpp -ngl 99, vLLM without --cpu-offload-gb",
                    0.7,
                    streaming,
                    case.measured_s,
                )
            )
    for name in gpu_ids("cpu") if f.devices == 1 else ():
        cpu = load_gpu(name)
        share = case.share(variant(case.question, gpu=cpu))
        if case.explains(share):
            found.append(
                Suspect(
                    "cpu",
                    "it may have run on the CPU",
                    f"{percent(share)} of the floor of a {name} ({show_rate(cpu.memory_bytes_per_s, 'B/s')})",
                    f"the step on {gpu.id}",
                    "check the device in the engine's log at load",
                    0.5,
                    share * case.measured_s,
                    case.measured_s,
                    {"gpu": name},
                )
            )
    return found[:2]


def clocks(case: Case) -> Sequence[Suspect]:
    """A device below the clock of its peak: a power cap, or heat."""
    gpu, share = case.question.gpu, case.fraction / REACHED
    unpacked = case.question.storage.weights.bits_per_weight < NARROW  # another thing to look for first
    if case.floor.bound != "compute" or unpacked or gpu.clock_hz is None or not LEAST_CLOCK <= share < 1.0:
        return ()
    power = f" under its {gpu.tdp_w:.0f} W" if gpu.tdp_w else ""
    return (
        Suspect(
            "power",
            "a power cap, or clocks below the peak's",
            f"at {gpu.clock_hz * share / 1e6:,.0f} of {gpu.clock_hz / 1e6:,.0f} MHz{power} this would be {percent(REACHED)} of what the "
            "device computes",
            "the clock of the datasheet's peak",
            "watch nvidia-smi -q -d CLOCK,POWER,PERFORMANCE while it runs",
            0.3,
            REACHED * case.measured_s,
            case.measured_s,
        ),
    )


FINDERS: tuple[Finder, ...] = (does_not_fit, slower_sibling, on_the_host, clocks)
