"""`sol compare`, `sol estimate` and `sol table --estimate`: the answers of Python, with calibrations from a file or made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from answers.estimate.calibrated import EAGER, GRAPH, knows
from views.cli.test_cli import run

from sol import compare, estimate, table

SAVED = """
[sources.mine]
title = "timed here"
kind = "user"

[mine]
gpu = "h100-sxm"
engine = "vllm"
fusion = "kernel"
mbu = 0.9
launch_s = 1.3e-6
step_s = 0.4e-3
within_95 = 0.2
source = "mine"
"""


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(SAVED, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("typed", "seconds", "options"),
    [
        ("16.97ms", 16.97e-3, {}),
        ("0.01697", 0.01697, {}),
        ("16970us", 16970e-6, {}),
        ("59tok/s", 1 / 59, {}),
        ("2100 tok/s", 32 / 2100, {"batch": 32}),
        ("65tok/s/user", 1 / 65, {"batch": 32}),
        ("90tok/s", 4 * 5 / 90, {"batch": 4, "new_tokens": 5}),
        ("40000tok/s", 1024 / 40000, {"phase": "prefill"}),
        ("40000tok/s", 2 * (1024 - 256) / 40000, {"phase": "prefill", "cached_tokens": 256, "batch": 2}),
    ],
)
def test_compare_is_the_python_answer(capsys: pytest.CaptureFixture[str], typed: str, seconds: float, options: dict[str, object]) -> None:
    given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    out, err, code = run(capsys, "compare", "qwen2.5-7b", "h100", "--measured", typed, "--ctx", "1k", *given, "--json")
    told = "time" if "tok" not in typed else "rate/user" if "/user" in typed else "rate"
    ours = compare("qwen2.5-7b", "h100", measured_s=seconds, ctx=1024, told=told, **options)  # type: ignore[arg-type]
    assert (err, code) == ("", 0)
    assert json.loads(out) == json.loads(json.dumps(ours.to_dict()))
    text, _, _ = run(capsys, "compare", "qwen2.5-7b", "h100", "--measured", typed, "--ctx", "1k", *given)
    assert text.splitlines()[0].startswith(f"{ours.verdict}: ")


def test_compare_with_a_saved_calibration(capsys: pytest.CaptureFixture[str], saved: str) -> None:
    asked = ("compare", "qwen2.5-7b", "h100", "--measured", "5.9ms", "--ctx", "2k", "--calibration", saved)
    doc = json.loads(run(capsys, *asked, "--json")[0])
    assert doc["inputs"]["calibration"] == "mine"
    assert doc["outputs"]["low_s"] < 5.9e-3 < doc["outputs"]["high_s"]
    assert (doc["outputs"]["usual"], doc["outputs"]["suspects"]) == (True, [])
    assert sum(doc["outputs"]["gap"].values()) == pytest.approx(doc["outputs"]["gap_s"], rel=1e-12)
    assert "timed here" in {s["source"] for s in doc["sources"]}
    assert "usual for vllm here" in run(capsys, *asked)[0]


def test_estimate_is_the_python_answer(capsys: pytest.CaptureFixture[str], saved: str) -> None:
    asked = ("estimate", "llama-3.1-8b", "h100", "--ctx", "1k,8k", "--batch", "1,64", "--calibration", saved)
    out, err, code = run(capsys, *asked, "--json")
    ours = estimate("llama-3.1-8b", "h100", ctx=[[1024, 8192]], batch=[[1], [64]], calibration=saved)
    assert (err, code) == ("", 0)
    assert json.loads(out) == json.loads(json.dumps(ours.to_dict()))


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("ctx", ["2k", "2k,128k"])
def test_an_estimate_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, saved: str, columns: str, ctx: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out, _, code = run(capsys, "estimate", "llama-3.1-8b", "h100", "--ctx", ctx, "--calibration", saved)
    assert code == 0
    assert max(map(len, out.splitlines())) <= int(columns)
    assert "vllm" in out.splitlines()[0]


def test_an_estimate_nothing_is_known_of_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    knows(monkeypatch)
    out, err, code = run(capsys, "estimate", "qwen2.5-7b", "h100", "--ctx", "1k")
    assert (out, code) == ("", 2)
    assert "no device has one" in err


def test_a_table_has_estimates_where_one_is_known(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    knows(monkeypatch, GRAPH, EAGER)
    t = table(gpus="h100,l4,epyc-9654", estimate=True)
    assert t["device"] == ["h100-sxm", "epyc-9654", "l4"]
    expected = estimate("qwen2.5-7b", "h100", ctx=2048)
    assert (t["estimate_s"], t["engine"]) == ([expected.latency_s, None, None], ["graph", None, None])
    assert (t["low_s"][0], t["high_s"][0]) == (expected.low_s, expected.high_s)
    assert t["note"][0] == ""
    assert all("no calibration" in note for note in t["note"][1:])
    assert t["latency_s"] == table(gpus="h100,l4,epyc-9654")["latency_s"]
    other = table(gpus="h100", estimate=True, engine="transformers")
    assert other["estimate_s"] == [estimate("qwen2.5-7b", "h100", ctx=2048, engine="eager").latency_s]
    doc = json.loads(run(capsys, "table", "--gpus", "h100,l4", "--estimate", "--json")[0])
    assert doc["outputs"] == table(gpus="h100,l4", estimate=True).to_dicts()
    text = run(capsys, "table", "--gpus", "h100,l4", "--estimate")[0]
    assert "est. ms" in text
    assert "1 of 2" in text


def test_a_table_estimates_what_does_not_fit_and_leaves_what_a_device_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    knows(monkeypatch, GRAPH)
    big = table("llama-3.1-70b", gpus="h100,a100", dtype="fp8", estimate=True)
    assert big["estimate_s"][0] > big["latency_s"][0]
    assert big["estimate_s"][1] is None
    assert "no fp8 units" in big["note"][1]
    assert "no calibration" not in big["note"][1]
