"""The device record: sources are required, words must give the value, derivations are recomputed."""

from __future__ import annotations

import pytest

from sol import GPU, BadFile, InvalidInput
from sol.specs.formula import arithmetic
from sol.specs.hardware import DeviceRecord
from sol.specs.record import Quantity, validated
from sol.units import parse_printed

NUMBERS = {"memory_bytes": 16e9, "memory_bytes_per_s": 200e9, "flops_per_s": {"bf16": 50e12}}


def test_a_gpu_by_hand_cites_its_source() -> None:
    mine = GPU(id="my-npu", name="My NPU", source="data sheet, page 2", **NUMBERS)
    assert mine.cites["flops_per_s.bf16"].source.title == "data sheet, page 2"
    assert mine.peak("bf16") == mine.ceiling("bf16") == 50e12
    assert mine.peak("fp8") is None
    assert mine.capacity_basis == "stated"


@pytest.mark.law
def test_a_ceiling_is_never_below_its_peak() -> None:
    """A bound takes the faster of two sourced rates, and a format with one has that."""
    for ceiling, bound in ((40e12, 50e12), (60e12, 60e12)):
        assert GPU(id="my-npu", name="My NPU", source="x", ceiling_flops_per_s={"bf16": ceiling}, **NUMBERS).ceiling("bf16") == bound


def test_a_number_without_a_source_cannot_be_made() -> None:
    with pytest.raises(InvalidInput, match="source"):
        GPU(id="my-npu", name="My NPU", **NUMBERS)


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "fast", None])
def test_a_bad_bandwidth_is_one_line(bad: object) -> None:
    with pytest.raises(InvalidInput, match="memory_bytes_per_s") as error:
        GPU(id="my-npu", name="My NPU", source="x", **{**NUMBERS, "memory_bytes_per_s": bad})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"flops_per_s": {"bfloat16": 1e14}}, {"flops_per_s": {"bf16": True}}, {"memory_bytes_per_s": True}, {"memory_bytes_per_s": "80e9"},
        {"memory_bytes": 1e-320}, {"id": ""}, {"id": "a\nb"}, {"cites": {"a": 1}}, {"source": " "}, {"source": 5},
        {"lacks": frozenset({"bf16"})}, {"memory_bytes_per_s": 1e40},
    ],
)  # fmt: skip
def test_what_is_no_device_is_one_line(bad: dict) -> None:
    with pytest.raises(InvalidInput) as error:
        GPU(**{"id": "my-npu", "name": "My NPU", "source": "x", **NUMBERS, **bad})
    assert "\n" not in str(error.value)


def test_every_number_of_a_hand_made_device_is_cited() -> None:
    mine = GPU(id="my-npu", name="My NPU", source="x", tdp_w=100, **NUMBERS)
    assert set(mine.cites) == {"memory_bytes", "memory_bytes_per_s", "flops_per_s.bf16", "tdp_w"}


def test_records_are_read_only() -> None:
    mine = GPU(id="my-npu", name="My NPU", source="x", **NUMBERS)
    with pytest.raises(Exception, match="frozen"):
        mine.memory_bytes = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        mine.flops_per_s["bf16"] = 1.0  # type: ignore[index]


@pytest.mark.truth
@pytest.mark.parametrize(
    ("printed", "unit", "value"),
    [
        ("3.35TB/s", "", 3.35e12),
        ("81559MiB", "", 81559 * 2**20),
        ("1,979 teraFLOPS*", "", 1979e12),
        ("989.4 / 1978.9", "TFLOPS", 989.4e12),
        ("1008 GB/sec", "", 1008e9),
        ("76-core GPU", "", 76.0),
        ("85 Sparse FP16 TFLOPS", "TFLOPS", 85e12),
        ("Up to 700W", "", 700.0),
        ("1830 MHz", "", 1.83e9),
    ],
)
def test_printed_words_read_as_a_person_reads_them(printed: str, unit: str, value: float) -> None:
    assert parse_printed(printed, unit) == value


def test_words_that_do_not_give_the_value_are_refused() -> None:
    good = {"value": 3.35e12, "printed": "3.35TB/s", "source": "s", "evidence": "A"}
    assert validated(Quantity, good, "x").value == 3.35e12
    for change in (
        {"value": 3.35e12 * 1.024},
        {"printed": "3.35TiB/s"},
        {"factor": 2.0},
        {"printed": None},
        {"evidence": "D"},
        {"value": 0.0},
    ):
        with pytest.raises(BadFile):
            validated(Quantity, {**good, **change}, "x")


def test_derived_numbers_are_recomputed() -> None:
    sms = {"value": 16, "printed": "16", "source": "s", "evidence": "A"}
    base = {
        "name": "n",
        "vendor": "v",
        "kind": "gpu",
        "memory_bytes_per_s": {"value": 1e9, "printed": "1GB/s", "source": "s", "evidence": "A"},
        "sm_count": sms,
    }
    right = {"value": 4096, "formula": "sm_count * 256", "source": "s", "evidence": "D"}
    assert validated(DeviceRecord, {**base, "flops_per_s": {"fp32": right}}, "x").flops_per_s["fp32"].value == 4096
    for wrong in ({**right, "value": 4097}, {**right, "formula": "cores * 256"}, {**right, "formula": "__import__('os')"}):
        with pytest.raises(BadFile):
            validated(DeviceRecord, {**base, "flops_per_s": {"fp32": wrong}}, "x")


@pytest.mark.parametrize("formula", ["2**99999", "a.b.c", "f(1)", "1 if 2 else 3", "1/0", "'x'", "(" * 500, ""])
def test_a_formula_is_arithmetic_or_refused(formula: str) -> None:
    with pytest.raises(ValueError, match="formula"):
        arithmetic(formula, {"a": 1.0})


def test_arithmetic_reads_fields() -> None:
    assert arithmetic("2 * (x + y.z) / 4 - 1", {"x": 3.0, "y.z": 5.0}) == 3.0
