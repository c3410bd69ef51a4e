"""What runtimes count on a device, and how far its clock goes: as logs print it, and never past what it is made of."""

from __future__ import annotations

import pytest

from sol import BadFile, load_gpu
from sol.sources.database import device_names
from sol.sources.database.database import gpu_ids
from sol.sources.database.device_names import reported_totals
from sol.sources.database.tomlfiles import data_root, read_toml

TOTALS = read_toml(data_root() / "reported" / "totals.toml")


@pytest.mark.contract
def test_totals_are_sourced_in_order_and_of_devices_we_have() -> None:
    sources = {key for key in TOTALS if key == "sources" for key in TOTALS[key]}
    records = {gpu_id: reported_totals(gpu_id) for gpu_id in TOTALS if gpu_id != "sources"}
    assert len(records) >= 30
    assert {q.source for totals in records.values() for q in totals} == sources, "a source that no reading names"
    for gpu_id, totals in records.items():
        assert load_gpu(gpu_id).id == gpu_id
        assert [q.value for q in totals] == sorted((q.value for q in totals), reverse=True)
    assert reported_totals("cerebras-wse3") == ()


@pytest.mark.contract
def test_a_runtime_counts_no_more_than_the_driver_and_little_less() -> None:
    """The driver keeps 0.2 to 0.9 GiB back (`Reserved` of nvidia-smi: 173 to 869 MiB), and 1/16 with ECC on GDDR6."""
    for gpu_id in TOTALS:
        gpu = load_gpu(gpu_id) if gpu_id != "sources" else None
        if gpu is None or gpu.unified_memory or gpu.capacity_basis != "driver":
            continue
        assert gpu.memory_bytes is not None
        for q in reported_totals(gpu_id):
            part = gpu.memory_bytes * 15 / 16 if "ECC on" in (q.note or "") else gpu.memory_bytes
            assert -0.01 * 2**30 < part - q.value < 0.9 * 2**30, f"{gpu_id}: {q.printed or q.formula}"


def test_a_reading_without_its_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = {"value": 1e9, "printed": "1 GB", "source": "nowhere", "evidence": "A"}
    monkeypatch.setattr(device_names, "read_toml", lambda _: {"sources": {}, "rtx-3090": {"totals": [reading]}})
    with pytest.raises(BadFile, match=r"totals.toml: \[rtx-3090\] no source 'nowhere'"):
        device_names._records("totals.toml")


@pytest.mark.contract
def test_a_maximum_clock_is_no_lower_than_the_clock_of_the_peaks_and_every_tensor_rate_follows_it() -> None:
    clocked = [gpu for gpu in map(load_gpu, gpu_ids()) if gpu.max_clock_hz is not None]
    assert len(clocked) >= 25
    for gpu in clocked:
        assert gpu.clock_hz is not None
        assert gpu.max_clock_hz is not None
        assert gpu.max_clock_hz >= gpu.clock_hz
        if gpu.id == "arc-b580":
            continue  # its matrix rates are printed at the maximum clock already, as its record says
        for compute, peak in gpu.flops_per_s.items():
            ceiling = gpu.ceiling(compute)
            assert ceiling is not None
            if compute in ("bf16", "fp16", "fp8", "fp4") and gpu.max_clock_hz > 1.01 * gpu.clock_hz:
                assert ceiling > peak * (gpu.max_clock_hz / gpu.clock_hz) * (1 - 5e-3), f"{gpu.id} {compute}"


@pytest.mark.truth
@pytest.mark.parametrize(
    ("gpu", "compute", "flops_per_clock", "mhz"),
    [  # of one SM, dense, with fp32 accumulation, as the vendor's tables of tensor cores give it
        ("h100-sxm", "bf16", 132 * 4096, 1980), ("h100-nvl", "bf16", 132 * 4096, 1785), ("h200-sxm", "fp8", 132 * 8192, 1980),
        ("b200-sxm", "bf16", 148 * 8192, 1965), ("b300-sxm", "fp4", 148 * 49152, 2032), ("l40", "bf16", 142 * 1024, 2520),
        ("rtx-3090", "bf16", 82 * 512, 2100), ("rtx-5090", "bf16", 170 * 512, 3090), ("rtx-a6000", "bf16", 84 * 1024, 2100),
        ("xeon-8480", "bf16", 56 * 1024, 3800),
    ],
)  # fmt: skip
def test_a_ceiling_is_units_times_rate_times_maximum_clock(gpu: str, compute: str, flops_per_clock: int, mhz: int) -> None:
    assert load_gpu(gpu).ceiling(compute) == pytest.approx(flops_per_clock * mhz * 1e6, rel=2e-3)


@pytest.mark.truth
def test_the_h200_reads_as_fast_as_its_memory_clock_and_bus_say() -> None:
    assert load_gpu("h200").memory_bytes_per_s == 2 * 3201e6 * 6144 / 8  # 4,917 GB/s; printed 4.8 TB/s
