"""Derive the rates that kernels reach from published timings: `python -m tools.derive_kernels UNPACKED_WHEEL`.

The wheel is `aiconfigurator-core` 0.12.0 (Apache-2.0; fetch it without dependencies and unpack it). Its
tables stay outside this repository; what is kept is `hardware_db/kernels/rates.toml`, a few
constants per device, operator class and number format. Two forms are fitted to the same rows, with
`stream`, `flops` and `moved` the seconds of `kernel_tables.Rows`:

    overlapped   launch_s + max((stream + moved) / mbu, flops / mfu)
    serial       launch_s + max(stream / mbu, flops / serial_mfu) + passes · moved

`passes` is how often the activations cross memory on top of the overlapped work: quantising an input,
sorting tokens by expert, a prefill's queries and outputs. One framework gives a class's constants, the
first of vLLM, SGLang and TensorRT-LLM that passes `usual`; the spread over all that pass stands beside.
The same values stand in `hardware_db/calibrations/kernels.toml` as calibrations of no engine: kernels
in a graph, and nothing lost between them. SGLang and TensorRT-LLM have records of their own there, with their
own values where they pass and the others' where not.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tools.exposed import Exposed, exposed
from tools.kernel_tables import Rows, tables

DATA = Path(__file__).parent.parent / "hardware_db"
OUT, CALIBRATIONS = DATA / "kernels" / "rates.toml", DATA / "calibrations" / "kernels.toml"
FEW = 4  # rows that a rate needs
EXPERT_KERNELS = 4  # that `sol` counts for grouped experts; a table's latency is of all together
QUANTISING = ("fp8", "fp8-block128", "int8", "nvfp4")  # formats whose matrix multiplications quantise their input first
FRAMEWORKS = {"sglang": "sglang", "tensorrt-llm": "trtllm"}  # engines with kernels of their own, and the tables' name of them
OWN = ("experts", "attention")
MANY = 64  # experts held by more than which a table must have rows to tell the time of each
TWO = 2  # rows of almost no work that a latency needs
HOST_BOUND_S = 20e-6  # a matrix multiplication of almost no work that takes longer waits for its host

HEADER = """\
#:schema ../schema/kernel.schema.json
# Rates that kernels reach, of the peaks in `gpus/`: written by `python -m tools.derive_kernels UNPACKED_WHEEL`, not by hand.
# Per device, operator class and number format (of weights; of the cache for attention and mla). One operator, with all its kernels:
#   overlapped  t = launch_s + max((stream + moved) / mbu, flops / mfu)
#   serial      t = launch_s + max(stream / mbu, flops / serial_mfu) + passes * moved
#   exposed     t = launch_s + max(..) + exposed * min((stream + moved) / mbu, flops / exposed_mfu)
# piece_s: time of each piece, of attention (decode) of sequences times KV heads, the least that an operator takes; of experts of each
#   held, on top of launch_s.
# stream: weights or cache read once, moved: 16-bit activations in and out, both at peak bandwidth; flops at the dense peak.
# low, high: 10th and 90th percentile over the n timed shapes; launch_s: of operators of almost no work, less their reading.
# spread: least and most over the frameworks that pass; error: median |log(measured / formula)| of either form
# over the shapes that compute.
# gemm: more than 128 tokens are charged in tiles of 128. attention: mbu from decode, mfu and passes from causal prefill.

[sources.aic-kernels]
title = "NVIDIA aiconfigurator-core 0.12.0: measured kernel latencies (Apache-2.0, Copyright NVIDIA CORPORATION & AFFILIATES)"
kind = "measured"
url = "https://pypi.org/project/aiconfigurator-core/0.12.0/"
checked = 2026-11-26
note = '''Constants derived from its tables; no table is kept here. Excluded: SGLang 0.5.6, A100 TensorRT-LLM 1.0.0 decode attention,
experts without a gate, expert shapes timed faster than the memory, L40S shapes that fit its cache, weights below three last-level
caches wherever a bandwidth is meant, matrix multiplications bound by their host (vLLM, fp8 in blocks), frameworks at less than half
the best bandwidth of a class and format (vLLM, fp8 experts on Hopper), MXFP4 experts in 16 bits on devices with fp4 units.'''
"""
CALIBRATIONS_HEADER = """\
#:schema ../schema/calibration.schema.json
# What kernels alone reach, as calibrations: written by `python -m tools.derive_kernels UNPACKED_WHEEL`, not by hand.
# The values of `kernels/rates.toml`, where their spread stands; a latency of experts is shared by the four kernels they count.
# exposed: of 16-bit products, the share of the shorter of bytes and FLOPs that the longer does not hide; mfu is then the one beside it.

"""


@dataclass(frozen=True)
class Constant:
    """A value with its 10th and 90th percentile over n rows."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class KernelRates:
    """What one framework's timings of one class and format come to; None where no row tells."""

    launch_s: Constant | None
    mbu: Constant | None
    mfu: Constant | None
    serial_mfu: float | None
    passes: float | None
    overlapped_error: float | None
    serial_error: float | None
    piece_s: float | None = None
    exposed: Exposed | None = None


def fit(operator: str, rows: Rows) -> KernelRates:
    """Latency and bandwidth from the rows that start and read, then the compute rate from those that compute; the time of pieces."""
    each = of_experts(rows) if operator == "experts" else 0.0
    if each:  # which takes the place of a part of the latency
        rows = replace(rows, latency_s=np.maximum(rows.latency_s - each * rows.pieces, 1e-9))
    found = of_rows(rows)
    if operator == "gemm" and found.launch_s and found.mbu and found.mfu:
        return replace(found, exposed=exposed(rows, found.launch_s.value, found.mbu.value, found.mfu.value))
    if operator == "attention" and found.launch_s and rows.pieced.sum() >= FEW:
        each = float(np.median((rows.latency_s[rows.pieced] - found.launch_s.value) / rows.pieces[rows.pieced]))
    return replace(found, piece_s=each) if each > 0 else found


def of_experts(rows: Rows) -> float:
    """Seconds of each expert held, by least relative squares on the rows of one token; 0 where they explain less than half."""
    one = rows.pieced & rows.starting
    if one.sum() < FEW or not np.any(rows.pieces[one] > MANY):
        return 0.0
    n, t = rows.pieces[one], rows.latency_s[one] - rows.stream_s[one]
    w = 1 / rows.latency_s[one]
    (launch, each), *_ = np.linalg.lstsq(np.stack([w, w * n], axis=1), w * t, rcond=None)
    alone = np.sum(w**2 * t) / np.sum(w**2)
    better = np.sum((w * (t - launch - each * n)) ** 2) < 0.5 * np.sum((w * (t - alone)) ** 2)
    return float(each) if better and each * np.max(n) > 0.01 * launch > 0 else 0.0


def of_rows(rows: Rows) -> KernelRates:
    """`fit` without the time of pieces."""
    start, read, compute = rows.starting, rows.reading & ~rows.starting, rows.computing
    enough = read.sum() >= FEW
    if not enough and start.sum() < TWO:
        return KernelRates(None, None, None, None, None, None, None)
    launch, inverse = intercept(rows, start, read) if enough else (float(np.median(rows.latency_s[start])), np.nan)
    seen = start if start.sum() >= TWO else read
    launch_s = spread_of(launch, rows.latency_s[seen] - (inverse * rows.stream_s[seen] if enough else 0.0))
    mbu = fraction(rows.stream_s[read], rows.latency_s[read] - launch) if enough else None
    if compute.sum() < FEW:
        return KernelRates(launch_s, mbu, None, None, None, *errors(rows, read, launch, mbu, None, None, None))
    mfu = fraction(rows.flops_s[compute], rows.latency_s[compute] - launch)
    serial_mfu, passes = serial(rows, compute, launch)
    return KernelRates(
        launch_s, mbu, mfu, serial_mfu, passes, *errors(rows, compute, launch, mbu, mfu.value if mfu else None, serial_mfu, passes)
    )


def intercept(rows: Rows, start: np.ndarray, read: np.ndarray) -> tuple[float, float]:
    """Latency [s] and 1/mbu ≥ 1 with the least relative squares; rows that start weigh as much as rows that read."""
    groups = [g for g in (start, read) if g.sum() >= TWO]
    s, t = (np.concatenate([v[g] for g in groups]) for v in (rows.stream_s, rows.latency_s))
    w = np.concatenate([np.full(g.sum(), g.sum() ** -0.5) for g in groups]) / t
    (launch, inverse), *_ = np.linalg.lstsq(np.stack([w, w * s], axis=1), w * t, rcond=None)
    if inverse < 1:
        inverse, launch = 1.0, np.sum(w**2 * (t - s)) / np.sum(w**2)
    return max(float(launch), 0.0), float(inverse)


def serial(rows: Rows, compute: np.ndarray, launch: float) -> tuple[float, float]:
    """The compute rate and the passes of activations, by least relative squares with mfu ≤ 1 and passes ≥ 0."""
    flops, moved, rest = rows.flops_s[compute], rows.moved_s[compute], rows.latency_s[compute] - launch
    w = 1 / rows.latency_s[compute]
    if np.any(moved > 0):
        (inverse, passes), *_ = np.linalg.lstsq(np.stack([w * flops, w * moved], axis=1), w * rest, rcond=None)
        if inverse < 1:
            inverse, passes = 1.0, np.sum(w**2 * moved * (rest - flops)) / np.sum((w * moved) ** 2)
        if passes >= 0:
            return float(1 / inverse), float(passes)
    return min(1.0, float(np.median(flops / rest))), 0.0


def errors(
    rows: Rows, told: np.ndarray, launch: float, mbu: Constant | None, mfu: float | None, serial_mfu: float | None, passes: float | None
) -> tuple[float | None, float | None]:
    """Median |log(measured / formula)| of both forms over the rows that compute, or where none does, that read."""
    if mbu is None and mfu is None:
        return None, None
    r, b = rows.where(told), mbu.value if mbu else 1.0
    overlapped = launch + np.maximum((r.stream_s + r.moved_s) / b, r.flops_s / (mfu or 1.0))
    apart = launch + np.maximum(r.stream_s / b, r.flops_s / (serial_mfu or 1.0)) + (passes or 0.0) * r.moved_s
    return tuple(float(np.median(np.abs(np.log(r.latency_s / t)))) for t in (overlapped, apart))  # type: ignore[return-value]


def fraction(ideal_s: np.ndarray, measured_s: np.ndarray) -> Constant | None:
    """The share of a peak: median, 10th and 90th percentile, at most 1."""
    share = ideal_s[measured_s > 0] / measured_s[measured_s > 0]
    return spread_of(min(1.0, float(np.median(share))), np.minimum(share, 1.0)) if len(share) >= FEW else None


def spread_of(value: float, seen: np.ndarray) -> Constant:
    """A value and the percentiles of what was seen, widened to hold it."""
    low, high = (float(x) for x in np.percentile(seen, [10, 90]))
    return Constant(value, max(0.0, min(low, value)), max(high, value), len(seen))


def usual(operator: str, found: dict[str, KernelRates]) -> dict[str, KernelRates]:
    """The frameworks whose timings are the device's: not bound by their host, not below half the best bandwidth."""
    best = max((r.mbu.value for r in found.values() if r.mbu), default=0.0)
    return {
        name: r
        for name, r in found.items()
        if r.launch_s
        and not (operator == "gemm" and r.launch_s.value > HOST_BOUND_S)
        and not (r.mbu and r.mbu.value < best / 2)
        and (r.mbu or r.mfu)
    }


def entry(device: str, operator: str, fmt: str, found: dict[str, KernelRates]) -> str:
    """The TOML table of one device, class and format."""
    name, rates = next(iter(found.items()))
    lines = [f"\n[{device}.{operator}.{fmt}]", 'source = "aic-kernels"', f'framework = "{name}"']
    for key in ("launch_s", "mbu", "mfu"):
        constant = getattr(rates, key)
        if constant:
            all_of = [getattr(r, key).value for r in found.values() if getattr(r, key)]
            spread = f", spread = [{number(min(all_of))}, {number(max(all_of))}]" if len(all_of) > 1 else ""
            lines.append(f"{key} = {{ {inline(constant)}{spread} }}")
    if rates.serial_mfu is not None and rates.passes is not None:
        lines += [f"serial_mfu = {number(rates.serial_mfu)}", f"passes = {number(rates.passes)}"]
    if rates.exposed is not None:
        lines += [f"exposed_mfu = {number(rates.exposed.mfu)}", f"exposed = {number(rates.exposed.share)}"]
    if rates.piece_s is not None:
        lines.append(f"piece_s = {number(rates.piece_s)}")
    if rates.overlapped_error is not None and rates.serial_error is not None:
        lines.append(f"error = {{ overlapped = {number(rates.overlapped_error)}, serial = {number(rates.serial_error)} }}")
    return "\n".join(lines) + "\n"


def calibration(device: str, operators: dict[tuple[str, str], KernelRates], framework: str = "") -> str:
    """The device's rates as a `Calibration` of no engine: its kernels in a graph, and no time but theirs. `framework`: whose kernels."""
    name = f"kernels-{framework}" if framework else "kernels"
    plain = {op: r for (op, fmt), r in operators.items() if fmt == "bf16" and op != "mla"}  # what a format of its own falls back to
    rates = plain | {f"{op}.{fmt}": r for (op, fmt), r in operators.items() if op != "mla"}
    lines = [f"\n[{device}-{name}]", f'gpu = "{device}"', f'engine = "{name}"', 'fusion = "kernel"', 'source = "aic-kernels"']
    lines += [*overlapped("gemm", plain["gemm"]), 'note = "kernels alone: no engine\'s time per step is in it"']
    lines += [f"\n[{device}-{name}.rates]", *(f'"{key}" = {{ {", ".join(figures(key, r))} }}' for key, r in rates.items())]
    return "\n".join(lines) + "\n"


def figures(name: str, r: KernelRates) -> list[str]:
    """A rate's figures as TOML, in the serial form where that is better by a tenth and something is quantised, sorted or attended."""
    operator, _, fmt = name.partition(".")
    if operator == "gemm" and fmt not in QUANTISING:
        of = r.exposed
        return [*overlapped(name, r)[:-1], f"mfu = {number(of.mfu)}", f"exposed = {number(of.share)}"] if of else overlapped(name, r)
    if r.passes and r.serial_mfu and r.serial_error and r.overlapped_error and r.serial_error < 0.9 * r.overlapped_error and r.passes >= 1:
        return [*overlapped(name, r)[:-1], f"mfu = {number(r.serial_mfu)}", f"passes = {number(r.passes)}"]
    return overlapped(name, r)


def overlapped(name: str, r: KernelRates) -> list[str]:
    """Latency of one kernel, bandwidth, compute, each where it is known."""
    kernels = EXPERT_KERNELS if name.startswith("experts") else 1
    found = {
        "launch_s": r.launch_s and r.launch_s.value / kernels,
        "piece_s": r.piece_s,
        "mbu": r.mbu and r.mbu.value,
        "mfu": r.mfu and r.mfu.value,
    }
    return [f"{key} = {number(value)}" for key, value in found.items() if value]


def inline(c: Constant) -> str:
    """The inside of an inline table."""
    return f"value = {number(c.value)}, low = {number(c.low)}, high = {number(c.high)}, n = {c.n}"


def number(x: float) -> str:
    """Three significant digits, as a TOML float."""
    text = f"{x:.3g}"
    return text if any(mark in text for mark in ".e") else f"{text}.0"


def main(root: Path) -> None:
    """Write the constants of every device, class and format that passes."""
    found: dict[tuple[str, str, str], dict[str, KernelRates]] = {}
    for device, operator, fmt, framework, rows in tables(root):
        found.setdefault((device, operator, fmt), {})[framework] = fit(operator, rows)
    kept = {key: usual(key[1], rates) for key, rates in found.items()}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(HEADER + "".join(entry(*key, rates) for key, rates in kept.items() if rates), encoding="utf-8")
    devices = dict.fromkeys(device for device, _, _ in kept)
    records = [calibration(device, of_framework(device, kept, name), name) for device in devices for name in ("", *FRAMEWORKS)]
    CALIBRATIONS.write_text(CALIBRATIONS_HEADER + HEADER[HEADER.index("[sources") :] + "".join(records), encoding="utf-8")
    print(f"{OUT.name}: {sum(map(bool, kept.values()))} entries; {CALIBRATIONS.name}: {len(devices)} devices")


def of_framework(
    device: str, kept: dict[tuple[str, str, str], dict[str, KernelRates]], framework: str = ""
) -> dict[tuple[str, str], KernelRates]:
    """A device's constants by class and format: the framework's own where its timings pass, else the first's."""
    found = {}
    for (of, operator, fmt), rates in kept.items():
        if of == device and rates:
            mine = [r for name, r in rates.items() if framework and operator in OWN and name.startswith(FRAMEWORKS[framework])]
            found[operator, fmt] = (mine or list(rates.values()))[0]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
