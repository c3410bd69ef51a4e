# pyright: strict
"""A script as a user writes it, through most of what `sol` offers. Nothing here runs: `test_typing.py` has it checked."""

from __future__ import annotations

from typing import Unpack, assert_type

import numpy as np
from numpy.typing import NDArray

import sol
from sol import (
    AB,
    GPU,
    Bibliography,
    Calibration,
    Calibrations,
    Collective,
    Comparison,
    Deployment,
    DoesNotFit,
    Estimate,
    Explanation,
    Floor,
    InvalidInput,
    Measurement,
    Memory,
    Model,
    NumberFormat,
    Offload,
    Plan,
    Pools,
    Report,
    SolError,
    StepOptions,
    Table,
    collective,
    compare,
    estimate,
    floor,
    memory,
    offload,
    plan,
    pools,
    table,
)

Array = NDArray[np.float64]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


# One point: every figure is a float, every truth a bool, every word text.
point = floor("qwen2.5-7b", "h100", ctx=2048, batch=8, phase="decode", dtype="fp8", tp=2, fusion="kernel", routing="min", logits="last")
assert_type(point, Floor[float, bool, str])
assert_type(point.latency_s, float)
assert_type(point.bound, str)
assert_type(point.is_bound, bool)
assert_type(point.tokens_per_s_per_user, float)
assert_type(point.explain(), Explanation)
assert_type(point.sources(), Bibliography)
assert_type(point.report(), Report)
assert_type(point.operators, Table)
print(milliseconds(point.latency_s), point.latency_s * 1e3 < 5.0, max(point.memory_s, point.network_s), round(point.flops / 1e12, 1))
if point.fits and point.compute_s is not None and point.ridge is not None:
    print(f"{point.compute_s / point.latency_s:.0%} {point.intensity / point.ridge:.2f} {point.bound.upper()}")
print(point.to_text(100), str(point), point.to_json(), point.to_csv())

# A sweep: the same names, as arrays.
sweep = floor("qwen2.5-7b", "h100", ctx=np.array([512, 2048]), batch=[[1], [8], [64]])
assert_type(sweep, Floor[Array, NDArray[np.bool_], NDArray[np.str_]])
assert_type(sweep.latency_s, Array)
assert_type(sweep[0, 1], Floor[float, bool, str])
print(sweep.latency_s[0, 1] * 1e3, sweep.tokens_per_s / 1e3, np.argmin(sweep.latency_s), sweep.bound == "memory")
print(sweep.valid.tolist(), milliseconds(float(sweep.latency_s.min())), sweep.tokens_per_s_per_gpu.ravel())
floor("llama-3.1-70b", "h100", ctx=range(1024, 4096, 1024), tp=[2, 4, 8], imbalance=np.float32(1.2))
floor(
    "mixtral-8x7b", GPU(id="mine", name="mine", memory_bytes_per_s=1e12, flops_per_s={"bf16": 1e14}, source="me"), ctx=1, routing=[1.0] * 8
)


# Both, where the caller decides.
def twice(ctx: float, **options: Unpack[StepOptions[float, int]]) -> float:
    return 2 * floor("qwen2.5-7b", "h100", ctx=ctx, **options).latency_s


def either(result: Floor) -> None:
    print(result.latency_s * 1e3, result.heading())


either(point)
either(sweep)
print(twice(2048, batch=4, kv_dtype="fp8"))

expected = estimate("qwen2.5-7b", "h100", ctx=2048, engine="vllm", network="infiniband-ndr", dp=2, ep=2)
assert_type(expected, Estimate[float, bool, str])
assert_type(expected.calibration, Calibration)
assert_type(expected.floor.bound, str)
if expected.low_s is not None and expected.high_s is not None:
    print(milliseconds(expected.low_s), milliseconds(expected.high_s), sum(expected.parts.values()))
assert_type(estimate("qwen2.5-7b", "h100", ctx=[1.0, 2.0]).latency_s, Array)

verdict = compare("qwen2.5-7b", "h100", measured_s=16.97e-3, ctx=None, batch=1, engine="transformers")
assert_type(verdict, Comparison)
if verdict.verdict == "broken":
    print([suspect.to_dict() for suspect in verdict.suspects], verdict.fraction, verdict.gap["unexplained_s"])

held = memory("llama-3.1-70b", "h100", ctx=8192, batch=32, tp=4, engine="vllm", memory_fraction=0.9)
assert_type(held, Memory[float, bool])
assert_type(held.max_batch, float | None)
print(held.resident_bytes / 2**30, held.fits, held.split.devices)
assert_type(memory("llama-3.1-70b", ctx=[8192, 16384]).kv_bytes, Array)

away = offload("llama-3.1-70b", "h100", ctx=2048, link="pcie5-x16")
assert_type(away, Offload[float, bool, str])
print(milliseconds(away.overlapped_s), away.placement, away.computed_s is None)
there = offload("llama-3.1-70b", "h100", ctx=2048, host="epyc-9654", host_sockets=2)
print(milliseconds(there.bound_s), there.bound, there.is_bound)
assert_type(offload("qwen3-30b-a3b", "h100", ctx=2048, n_cpu_moe=[36, 48], host="epyc-9654").bound_s, Array)

best = plan("llama-3.1-70b", "h100", devices="1-8", ctx=4096, objective="cost", price_per_hour=2.5, tpot_s=0.05)
assert_type(best, Plan)
print(best.splits[best.best].tp, best.latency_s.min(), best.fits.all(), best.winner.latency_s, best.why())
carried = plan("llama-3.1-70b", "h100", devices="1-16", prompt_tokens=1024, output_tokens=1024, concurrency=64, tpot_s=0.05)
assert_type(carried, Deployment)
assert_type(carried.winner.tpot_s, float)
assert_type(
    plan("llama-3.1-8b", "h100", devices=[1, 2], prompt_tokens=1024, output_tokens=256, request_rate=8, objective="latency"), Deployment
)
print(carried.splits[carried.best].tp, carried.replicas.max(), carried.winner.bound.requests_per_s, carried.why(), carried.fails[0])
apart = pools("llama-3.1-8b", "h100", devices=[4, 8], prompt_tokens=2048, output_tokens=256)
assert_type(apart, Pools)
assert_type(apart.winner.latency_s, float)
assert_type(best.winner.bound, str)
assert_type(verdict.floor.latency_s, float)
print(apart.divisions[apart.best].requests_per_s)

around = collective("all_reduce", "h100", message_bytes=16e6, ranks=8)
assert_type(around, Collective[float, str])
print(milliseconds(around.floor_s), around.algorithm)
assert_type(collective("send", "h100", message_bytes=[1e3, 1e6], ranks=2).wire_bytes, Array)

side = table("qwen2.5-7b", ["h100", "l4"], ctx=2048, dtype=["bf16", "fp8"], phase="prefill")
assert_type(side, Table)
print(side["latency_s"], side.to_dicts()[0], len(side))

rows = sol.read_measurements("runs.csv")
fitted = sol.calibrate(rows, fusion="kernel")
if isinstance(fitted, Calibrations):
    print([c.mbu.value for c in fitted])
else:
    assert_type(fitted, Calibration)
    sol.save_calibration(fitted, "mine.toml")
assert_type(sol.ab(rows), AB)
assert_type(rows[0], Measurement)
assert_type(sol.load_model("qwen2.5-7b"), Model)
assert_type(sol.load_format("fp8"), NumberFormat)
assert_type(sol.kv_bytes_per_token("qwen2.5-7b"), float)
assert_type(sol.gpus("vendor=amd"), Table)
print(sol.plot_roofline(point).get_title())

try:
    floor("llama-3.1-70b", "l4", ctx=2048)
except DoesNotFit as error:
    print(error.needed_bytes, error.capacity_bytes, error.action)
except (InvalidInput, SolError) as error:
    print(error.to_dict())
