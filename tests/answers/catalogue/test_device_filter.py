"""Filters over the devices."""

from __future__ import annotations

import pytest

from sol import InvalidInput, gpus, load_gpu


def test_conditions_narrow_the_list() -> None:
    every = gpus()["id"]
    nvidia = gpus("vendor=nvidia")["id"]
    assert set(nvidia) < set(every)
    large = gpus(["vendor=NVIDIA", "memory>=80GiB"])["id"]
    assert set(large) < set(nvidia)
    assert "h200-sxm" in large
    assert "h100-sxm" not in large  # 81,559 MiB is 79.65 GiB
    assert gpus("memory>=85.5e9 B")["id"] == gpus("memory>=85.5GB")["id"]
    for name in gpus(["fp8", "bandwidth>2TB/s"])["id"]:
        gpu = load_gpu(name)
        assert gpu.peak("fp8")
        assert gpu.memory_bytes_per_s > 2e12
    assert set(gpus("bf16>=989TFLOPS")["id"]) & {"h100-sxm", "b200-sxm"} == {"h100-sxm", "b200-sxm"}
    assert gpus("year>2100")["id"] == []


@pytest.mark.law
@pytest.mark.parametrize("field", ["fp8", "int4", "memory", "tdp"])
def test_what_no_source_gives_meets_no_comparison(field: str) -> None:
    """A device without the number is neither above nor below any value, nor different from one."""
    known = set(gpus(field)["id"])
    assert known < set(gpus()["id"])
    assert set(gpus(f"{field}<1e20")["id"]) == known
    assert set(gpus(f"{field}!=1e20")["id"]) == known


@pytest.mark.parametrize(
    "condition", ["", "mem>1", "memory>big", "memory>80 parsecs", "vendor>nvidia", "vendor", "memory>=", "a=b", "bf16>1e999"]
)
def test_what_is_not_understood_is_one_line(condition: str) -> None:
    with pytest.raises(InvalidInput) as error:
        gpus(condition)
    assert "\n" not in str(error.value)
