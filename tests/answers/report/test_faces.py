"""What a result says of itself: the table, the explanation, the sources, the JSON."""

from __future__ import annotations

import json

import pytest

from sol import GPU, InvalidInput, MissingSpec, floor, formats, gpus, models, show, table


def test_repr_is_one_identifying_line() -> None:
    f = floor("qwen2.5-7b", "h100", ctx=2048)
    assert repr(f) == "<Floor qwen2.5-7b on h100-sxm · decode · batch 1 · ctx 2,048 · bf16: 4.256 ms, memory-bound>"
    assert "3 points" in repr(floor("qwen2.5-7b", "h100", ctx=[1, 2, 3]))


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("fusion", ["ideal", "eager"])
def test_text_fits_the_terminal(width: int, fusion: str) -> None:
    text = floor("qwen3-30b-a3b", "h100", ctx=2048, batch=4, fusion=fusion).to_text(width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text.replace("sol explain …", "")
    sweep = floor("qwen3-30b-a3b", "h100", ctx=[[2048, 131072]], batch=[[1], [1000]]).to_text(width)
    assert all(len(line) <= width for line in sweep.splitlines())
    whole = table().to_text(width)
    assert all(len(line) <= width for line in whole.splitlines())
    for listing in (gpus, models, formats):
        assert all(len(line) <= width for line in listing().to_text(width).splitlines())


def test_explain_holds_the_numbers_and_the_formula() -> None:
    text = str(floor("qwen2.5-7b", "h100", ctx=2048).explain())
    for piece in (
        "max( Σ bytes / bandwidth",
        "3584·(18944 + 18944)",
        "14.3 GB / 3.35 TB/s = 4.256 ms",
        "cached tokens read per sequence 2,048 · written 1 · query-key pairs per sequence 2,049",
        "bf16 peak 989",
    ):
        assert piece in text


def test_explain_counts_what_a_window_and_a_router_let_through() -> None:
    windowed = str(floor("mistral-7b", "h100", ctx=32768).explain())
    assert "cached tokens read per sequence 4,095 · written 1" in windowed
    routed = str(floor("qwen3-30b-a3b", "h200", ctx=10, batch=16).explain())
    assert f"distinct experts per layer {128 * (1 - (120 / 128) ** 16):,.6g}" in routed


def test_sources_name_every_device_number_used() -> None:
    rows = floor("qwen2.5-7b", "rtx-4090", ctx=1, dtype="fp16").sources().to_dicts()
    facts = {r["fact"]: r for r in rows}
    for fact in (
        "rtx-4090 memory_bytes_per_s",
        "rtx-4090 flops_per_s.fp16",
        "rtx-4090 ceiling_flops_per_s.fp16",
        "format fp16 bits_per_weight",
        "qwen2.5-7b architecture",
    ):
        assert facts[fact]["source"]
        assert facts[fact]["where"]


def test_to_dict_is_plain_json_with_units_in_the_keys() -> None:
    doc = json.loads(json.dumps(floor("qwen3-30b-a3b", "h100", ctx=[1, 2], batch=3).to_dict(), allow_nan=False))
    assert doc["schema_version"] == 1
    assert doc["inputs"]["ctx"] == [1, 2]
    assert len(doc["outputs"]["latency_s"]) == 2
    assert doc["assumptions"]
    assert doc["sources"]
    point = floor("qwen2.5-7b", "h100", ctx=2048).to_dict()["outputs"]
    assert point["latency_s"] == floor("qwen2.5-7b", "h100", ctx=2048).latency_s
    assert sum(r["serial_s"] for r in point["operators"]) == pytest.approx(point["serial_s"])


def test_html_shows_the_same_numbers() -> None:
    html = floor("qwen2.5-7b", "h100", ctx=2048)._repr_html_()
    assert "4.256 ms" in html
    assert "<script" not in html
    assert "gate_up_proj" in html


def test_the_table_is_sorted_and_carries_notes() -> None:
    t = table(gpus=["l4", "h100", "epyc-9654"])
    assert t["device"] == ["h100-sxm", "epyc-9654", "l4"]
    assert t["latency_s"] == [floor("qwen2.5-7b", g, ctx=2048).latency_s for g in t["device"]]
    assert "memory only" in t["note"][1]
    big = table("llama-3.1-70b", gpus="h100,a100")
    assert big["needs"] == [2, 2]
    assert all("does not fit one" in n for n in big["note"])


def test_a_missing_format_is_a_note_in_its_row_and_an_error_for_all() -> None:
    t = table(gpus="h100,a100", dtype="fp8")
    assert t["device"] == ["h100-sxm", "a100-sxm-80gb"]
    assert t["latency_s"][1] is None
    assert "no fp8 units" in t["note"][1]
    with pytest.raises(MissingSpec, match="no fp8 units"):
        table(gpus="a100", dtype="fp8")


@pytest.mark.parametrize("gpus_", ["", ",", [], 7, {"a"}])
def test_a_table_of_nothing_is_refused(gpus_: object) -> None:
    with pytest.raises(InvalidInput, match="gpus"):
        table(gpus=gpus_)  # type: ignore[arg-type]


def test_a_table_takes_records_and_one_point() -> None:
    mine = GPU(id="mine", name="mine", memory_bytes=1e12, memory_bytes_per_s=1e13, flops_per_s={"bf16": 1e15}, source="x")
    assert table(gpus=[mine, "h100"])["device"] == ["mine", "h100-sxm"]
    with pytest.raises(InvalidInput, match="one ctx"):
        table(gpus="h100", ctx=[1, 2])  # type: ignore[arg-type]


def test_show_prints_a_record_with_sources() -> None:
    for name, word in (("h100", "989"), ("qwen2.5-7b", "7,615,616,512"), ("w4a16", "4.15625"), ("orin@30w", "jetson-agx-orin-64gb@30w")):
        assert word in show(name).to_text(120)
