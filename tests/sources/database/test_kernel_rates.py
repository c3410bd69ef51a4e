"""Rates of kernels: the files are whole and sourced, others measured the same, and the derivation recovers what it was given."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sol import estimate, floor, load_format, load_gpu
from sol.sources.database.calibrations import read_calibrations
from sol.sources.database.tomlfiles import data_root
from tools import derive_kernels, kernel_tables
from tools.derive_kernels import OWN, fit, usual
from tools.exposed import exposed
from tools.kernel_tables import Rows

FILES = sorted((data_root() / "kernels").glob("*.toml"))
CLASSES = {"gemm", "attention", "mla", "experts", "stream", "kernel"}
FRACTIONS = ("mbu", "mfu", "serial_mfu")


def read(name: str) -> dict[str, Any]:
    return tomllib.loads((data_root() / "kernels" / name).read_text(encoding="utf-8"))


def entries(name: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Device, operator class, format (or kind of kernel), and the entry."""
    for device, classes in read(name).items():
        if device != "sources":
            for operator, formats in classes.items():
                for fmt, entry in formats.items():
                    yield device, operator, fmt, entry


@pytest.mark.contract
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_rate_is_sourced_and_a_rate(path: Path) -> None:
    sources = read(path.name)["sources"]
    for source in sources.values():
        assert source["title"]
        assert source["url"].startswith("https://")
        assert isinstance(source["checked"], date)
    used = set()
    for device, operator, fmt, entry in entries(path.name):
        used.add(entry["source"])
        assert load_gpu(device).id == device  # under its id, not an alias
        assert operator in CLASSES
        if operator not in ("stream", "kernel"):
            assert load_format(fmt).id == fmt
        constants = {k: v if isinstance(v, dict) else {"value": v} for k, v in entry.items() if k in (*FRACTIONS, "launch_s")}
        assert constants
        for key, constant in constants.items():
            value = constant["value"]
            assert constant.get("low", value) <= value <= constant.get("high", value)
            assert constant.get("spread", [value])[0] <= value <= constant.get("spread", [value])[-1]
            assert 0.5e-6 < value < 1e-4 if key == "launch_s" else 0 < value <= 1, (device, operator, fmt, key)
            assert constant.get("high", 1) <= 1
        assert entry.get("passes", 0) >= 0
    assert used == set(sources)


@pytest.mark.contract
def test_printed_numbers_make_the_rates_of_benchmarks() -> None:
    for device, operator, fmt, entry in entries("benchmarks.toml"):
        (key,) = set(entry) - {"source"}
        gpu, printed = load_gpu(device), float(entry[key]["printed"])
        rate = {
            "stream": lambda g=gpu, p=printed: p * 1e9 / g.memory_bytes_per_s,
            "kernel": lambda p=printed: 2 * 4096 * 8 / (p * 1e9),  # 4096 doubles read and written
            "gemm": lambda g=gpu, p=printed, f=fmt: p * 1e12 / g.peak(f),
        }[operator]()
        assert entry[key]["value"] == pytest.approx(rate, rel=5e-3)


@pytest.mark.truth
def test_what_whole_engines_reach_is_what_their_kernels_reach() -> None:
    """Published by others: vLLM decoding Qwen2.5 on an A100 (Qwen), torch's best matrix multiplication on an H100 (Bekman)."""
    tokens_per_s = {"0.5b": 311.55, "1.5b": 183.33, "3b": 127.61, "7b": 84.28, "14b": 46.30}  # bf16, one stream, 2048 tokens
    step_s = np.array([1 / rate for rate in tokens_per_s.values()])
    moved = np.array([floor(f"qwen2.5-{size}", "a100", ctx=1024).moved_bytes for size in tokens_per_s])
    (_, per_byte), *_ = np.linalg.lstsq(np.stack([1 / step_s, moved / step_s], axis=1), np.ones(5), rcond=None)
    rates = read("rates.toml")
    a100, h100 = load_gpu("a100"), load_gpu("h100")
    reached = rates[a100.id]["gemm"]["bf16"]["mbu"]["value"] * a100.memory_bytes_per_s
    assert reached == pytest.approx(1 / per_byte, rel=0.1)
    low, high = rates[h100.id]["gemm"]["bf16"]["mfu"]["spread"]
    assert low * h100.peak("bf16") < 794.5e12 < high * h100.peak("bf16")


@pytest.mark.law
def test_the_same_chip_computes_alike_behind_another_memory() -> None:
    rates = read("rates.toml")
    for one, other, operator in (("h100-sxm", "h200-sxm", "gemm"), ("h100-sxm", "h200-sxm", "attention"), ("b200-sxm", "gb200", "gemm")):
        pair = [rates[d][operator]["bf16"]["mfu"]["value"] for d in (one, other)]
        assert pair[0] == pytest.approx(pair[1], rel=0.05)


def simulated(launch: float, mbu: float, mfu: float, passes: float, noise: np.ndarray | None = None) -> Rows:
    """Rows of known constants: 20 that start, 40 that read, 60 that compute."""
    stream = np.concatenate([np.linspace(0, 1e-8, 20), np.geomspace(3e-5, 1e-3, 40), np.full(60, 1e-5)])
    flops = np.concatenate([np.zeros(60), np.geomspace(1e-4, 1e-2, 60)])
    moved = np.concatenate([np.zeros(60), np.resize([1e-5, 3e-4, 1e-4], 60)])
    latency = launch + np.maximum(stream / mbu, flops / mfu) + passes * moved
    role = np.repeat([0, 1, 2], [20, 40, 60])
    none = np.zeros(120)
    return Rows(stream, flops, moved, latency * (1 if noise is None else noise), role == 0, role == 1, role == 2, none, none > 0, none > 0)


@pytest.mark.law
@given(st.floats(1e-6, 6e-5), st.floats(0.3, 0.99), st.floats(0.05, 0.99), st.floats(0, 6))
def test_derivation_recovers_what_the_rows_were_made_of(launch: float, mbu: float, mfu: float, passes: float) -> None:
    rates = fit("gemm", simulated(launch, mbu, mfu, passes))
    assert rates.launch_s
    assert rates.mbu
    assert rates.mfu
    assert rates.launch_s.value == pytest.approx(launch, rel=1e-6)
    assert rates.mbu.value == pytest.approx(mbu, rel=1e-6)
    assert (rates.serial_mfu, rates.passes) == (pytest.approx(mfu, rel=1e-5), pytest.approx(passes, rel=1e-4, abs=1e-4))
    assert rates.serial_error == pytest.approx(0, abs=1e-6)
    assert rates.mfu.value <= mfu * (1 + 1e-9)  # what the activations add counts against the overlapped rate


@pytest.mark.law
def test_derivation_stands_noise_and_never_beats_the_peak() -> None:
    noise = np.random.default_rng(0).lognormal(0, 0.05, 120)
    rates = fit("gemm", simulated(4e-6, 0.85, 0.7, 2.0, noise))
    assert rates.launch_s
    assert rates.mbu
    assert rates.launch_s.value == pytest.approx(4e-6, rel=0.1)
    assert rates.mbu.value == pytest.approx(0.85, rel=0.05)
    assert (rates.serial_mfu, rates.passes) == (pytest.approx(0.7, rel=0.1), pytest.approx(2.0, rel=0.2))
    faster = fit("gemm", simulated(4e-6, 1.3, 1.2, 0.0))
    assert faster.mbu
    assert faster.mfu
    assert (faster.mbu.value, faster.mfu.value, faster.serial_mfu) == (1, 1, 1)


def write_gemm(root: Path, folder: str, engine: str, latency_ms: Any) -> None:
    """A table of matrix multiplications in bf16, each timed by `latency_ms(m, n, k)`."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    side = [512, 1024, 2048, 4096, 8192, 16384, 32768]
    m, n, k = (x.ravel() for x in np.meshgrid([1, 4, 16, 192, 1024, 4096], side, side, indexing="ij"))
    path = root / "aiconfigurator_core" / "systems" / "data" / folder / "gemm" / engine / "gemm_perf.parquet"
    path.parent.mkdir(parents=True)
    table = {"gemm_dtype": ["bfloat16"] * len(m), "m": m, "n": n, "k": k, "latency": latency_ms(m.astype(float), n.astype(float), k)}
    pq.write_table(pa.table(table), path)


@pytest.mark.law
def test_tables_are_read_in_milliseconds_with_two_bytes_a_weight(tmp_path: Path) -> None:
    h100 = load_gpu("h100")

    def latency(m: np.ndarray, n: np.ndarray, k: np.ndarray) -> np.ndarray:
        moved = 2 * n * k / (0.8 * h100.memory_bytes_per_s)
        return 1e3 * (5e-6 + np.maximum(moved, 2 * m * n * k / (0.6 * h100.peak("bf16"))))

    write_gemm(tmp_path, "h100_sxm", "vllm/0.24.0", latency)
    write_gemm(tmp_path, "h100_sxm", "vllm/0.1.0", lambda m, n, k: 1e3 * m)  # not a current version: never read
    ((device, operator, fmt, framework, rows),) = kernel_tables.tables(tmp_path)
    assert (device, operator, fmt, framework) == ("h100-sxm", "gemm", "bf16", "vllm 0.24.0")
    rates = fit("gemm", rows)
    assert rates.launch_s
    assert rates.mbu
    assert rates.mfu
    assert rates.launch_s.value == pytest.approx(5e-6, rel=1e-3)
    assert rates.mbu.value == pytest.approx(0.8, rel=1e-3)
    assert rates.mfu.value == pytest.approx(0.6, rel=1e-3)


@pytest.mark.law
def test_what_a_cache_holds_tells_no_bandwidth(tmp_path: Path) -> None:
    write_gemm(tmp_path, "l40s", "vllm/0.24.0", lambda m, n, k: 1e-12 * m * n * k + 0.01)
    ((*_, rows),) = kernel_tables.tables(tmp_path)
    l40s = load_gpu("l40s")
    held = (rows.stream_s + rows.moved_s) * l40s.memory_bytes_per_s <= 96 * 2**20
    assert held.any()
    assert not (held & ~rows.starting).any()
    assert (rows.stream_s[rows.reading] * l40s.memory_bytes_per_s > 3 * 96 * 2**20).all()


@pytest.mark.law
def test_the_usual_framework_is_neither_host_bound_nor_defective() -> None:
    waits, slow, good = (fit("gemm", simulated(launch, mbu, 0.5, 0.0)) for launch, mbu in ((6e-5, 0.9), (5e-6, 0.2), (5e-6, 0.8)))
    found = {"waits": waits, "slow": slow, "good": good}
    assert list(usual("gemm", found)) == ["good"]
    assert list(usual("experts", found)) == ["waits", "good"]  # experts are several kernels and a sort
    text = derive_kernels.entry("h100-sxm", "gemm", "bf16", usual("gemm", found))
    assert tomllib.loads(text)["h100-sxm"]["gemm"]["bf16"]["mbu"]["value"] == pytest.approx(0.8)


@pytest.mark.contract
def test_calibrations_hold_the_same_rates() -> None:
    """Each figure stands in `kernels/rates.toml`: launches whole, or a quarter where four kernels share one; and estimates take them."""
    rates = read("rates.toml")
    found = read_calibrations(data_root() / "calibrations" / "kernels.toml")
    assert {c.gpu for c in found.values()} == set(rates) - {"sources"}
    for c in (c for c in found.values() if c.engine == "kernels"):
        for name, rate in c.rates.items():
            operator, _, fmt = name.partition(".")
            entry = rates[c.gpu][operator][fmt or "bf16"]
            assert rate.launch_s
            shared = 4 if operator == "experts" else 1
            assert rate.launch_s.value * shared == pytest.approx(entry["launch_s"]["value"], rel=5e-3)
            if rate.mbu:
                assert rate.mbu.value == entry["mbu"]["value"]
            assert (rate.piece_s.value if rate.piece_s else None) == entry.get("piece_s")
            if rate.passes:
                assert (rate.mfu.value, rate.passes.value) == (entry["serial_mfu"], entry["passes"])
            elif rate.exposed:
                assert (rate.mfu.value, rate.exposed.value) == (entry["exposed_mfu"], entry["exposed"])
            else:
                assert rate.mfu.value == entry["mfu"]["value"]
    for c in (c for c in found.values() if c.engine != "kernels"):  # a framework's own kernels lie in the spread, or are the usual ones
        for name, rate in c.rates.items():
            operator, _, fmt = name.partition(".")
            entry = rates[c.gpu][operator][fmt or "bf16"]
            if rate.mbu:
                low, high = entry["mbu"].get("spread") or [entry["mbu"]["value"]] * 2
                assert low <= rate.mbu.value <= high
            assert operator in OWN or rate.model_dump() == found[f"{c.gpu}-kernels"].rates[name].model_dump()
    h100 = found["h100-sxm-kernels"]
    bound = floor("qwen2.5-7b", "h100", ctx=2048).latency_s
    assert bound < estimate("qwen2.5-7b", "h100", ctx=2048, calibration=h100).latency_s < bound / 0.6  # served at 0.6 or better with graphs


@pytest.mark.law
@given(st.floats(5e-6, 4e-5), st.floats(1e-7, 5e-7), st.floats(0.5, 0.95))
def test_experts_held_and_sequences_heads_have_a_time_each(launch: float, each: float, mbu: float) -> None:
    """Grouped products: on top, told by rows of one token and many experts. Attention: what hardly any bytes cannot explain."""
    held = np.resize([8.0, 32.0, 128.0, 256.0], 40)
    stream = np.concatenate([np.full(20, 1e-8), np.geomspace(3e-5, 1e-3, 20)])
    first, no = np.arange(40) < 20, np.zeros(40, dtype=bool)
    rows = Rows(stream, 0 * held, 0 * held, launch + stream / mbu + each * held, first, ~first, no, held, first, no)
    found = fit("experts", rows)
    assert found.piece_s == pytest.approx(each, rel=1e-3)
    assert found.launch_s is not None
    assert found.launch_s.value == pytest.approx(launch, rel=1e-2)
    assert fit("gemm", rows).piece_s is None
    alike = fit("experts", Rows(stream, 0 * held, 0 * held, launch + stream / mbu, first, ~first, no, held, first, no))
    assert alike.piece_s is None
    small = np.where(first, 1e-9, stream)
    busy = np.where(first, launch + each * 2048.0, launch + stream / mbu)
    starts = np.arange(40) % 2 == 0
    blocks = np.where(starts & first, 1.0, 2048.0)
    latency = np.where(starts & first, launch, busy)
    decode = fit("attention", Rows(small, 0 * held, 0 * held, latency, starts & first, ~first, no, blocks, first & ~starts, no))
    assert decode.piece_s == pytest.approx(each, rel=1e-3)


@pytest.mark.law
@given(st.floats(1e-6, 1e-5), st.floats(0.1, 0.5), st.floats(0.5, 0.95), st.floats(0.4, 0.9))
def test_what_the_longer_does_not_hide_is_found(launch: float, share: float, mbu: float, mfu: float) -> None:
    n = 60
    stream = np.geomspace(3e-5, 1e-3, n)
    first, third = np.arange(n) % 3 == 0, np.arange(n) % 3 == 2
    flops = stream * np.where(first, 0.01, np.where(third, 8.0, np.linspace(0.2, 2.0, n)))
    memory, busy = stream / mbu, flops / mfu
    latency = launch + np.maximum(memory, busy) + share * np.minimum(memory, busy)
    rows = Rows(stream, flops, 0 * stream, latency, first & (stream < 5e-5), first, third, 0 * stream, 0 * stream > 0, ~first & ~third)
    found = exposed(rows, launch, mbu, 0.8 * mfu)
    assert found is not None
    assert (found.share, found.mfu) == pytest.approx((share, mfu), rel=1e-3)
    hidden = replace(rows, latency_s=launch + np.maximum(memory, busy))
    assert exposed(hidden, launch, mbu, mfu) is None
