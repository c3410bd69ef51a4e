"""`sol replay` on the command line: text at every width, JSON, CSV, and mistakes in one line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from sol.views.cli import main

TRACE = str(Path(__file__).parents[2] / "fixtures" / "traces" / "rtx-4090_llama-3.1-8b.csv")
SERVER = ["llama-3.1-8b", "rtx-4090", "--engine", "vllm@0.19", "--kv-tokens", "41408"]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    main(["replay", *args])
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = run(capsys, TRACE, *SERVER)
    assert max(map(len, text.splitlines())) <= width
    for said in ("300 requests in", "preemptions", "TTFT", "TPOT", "ITL", "E2E", "measured", "where the time went"):
        assert said in text


def test_json_and_csv_are_the_same_requests(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run(capsys, TRACE, *SERVER, "--json"))
    rows = list(csv.DictReader(io.StringIO(run(capsys, TRACE, *SERVER, "--csv"))))
    assert document["kind"] == "replay"
    assert document["inputs"]["admission"] == "prompt"
    assert len(rows) == len(document["outputs"]["requests"]) == 300
    assert [float(r["ttft_s"]) for r in rows] == [r["ttft_s"] for r in document["outputs"]["requests"]]


def test_flags_are_vllms_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,300,4\n0,200,4\n", encoding="utf-8")
    vllms = ["--max-num-seqs", "1", "--max-num-batched-tokens", "128", "--gpu-memory-utilization", "0.8", "--tensor-parallel-size", "2"]
    inputs = json.loads(run(capsys, str(trace), "llama-3.1-8b", "h100", *vllms, "--on", "floor", "--json"))["inputs"]
    assert (inputs["max_batch"], inputs["max_batch_tokens"], inputs["tp"], inputs["on"]) == (1, 128, 2, "floor")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arrival_s,prompt_tokens\n0,1\n", "no column output_tokens"),
        ("arrival_s,prompt_tokens,output_tokens\n0,0,1\n", "request 1: prompt_tokens 0"),
        ("arrival_s,prompt_tokens,output_tokens\n0,900000,1\n", "supports 131,072"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, said: str) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["replay", str(trace), "llama-3.1-8b", "h100"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
