"""The command line: the same answers as Python, clean streams, one line and exit 2 for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sol import floor, formats, gpus, links, models, table
from sol.tabular import Table
from sol.views.cli import COMMANDS, main


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[str, str, int]:
    code = 0
    try:
        main(list(args))
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return captured.out, captured.err, code


def test_floor_json_is_the_python_answer(capsys: pytest.CaptureFixture[str]) -> None:
    out, err, code = run(capsys, "floor", "qwen2.5-7b", "h100", "--ctx", "2k", "--json")
    assert (err, code) == ("", 0)
    assert json.loads(out) == json.loads(json.dumps(floor("qwen2.5-7b", "h100", ctx=2048).to_dict(), default=str))


def test_lists_make_a_grid_with_batch_outermost(capsys: pytest.CaptureFixture[str]) -> None:
    out, _, _ = run(capsys, "floor", "llama-3.1-8b", "h100", "--ctx", "1k,8k,128k", "--batch", "1,64", "--json")
    got = json.loads(out)["outputs"]["latency_s"]
    assert got == floor("llama-3.1-8b", "h100", ctx=[[1024, 8192, 131072]], batch=[[1], [64]]).latency_s.tolist()


def test_table_json_is_the_python_table(capsys: pytest.CaptureFixture[str]) -> None:
    out, _, _ = run(capsys, "table", "--gpus", "h100,l4", "--json")
    doc = json.loads(out)
    assert doc["outputs"] == table(gpus="h100,l4").to_dicts()
    assert doc["assumptions"]
    assert doc["sources"]


def test_formats_side_by_side_are_the_python_table(capsys: pytest.CaptureFixture[str]) -> None:
    out, _, _ = run(capsys, "table", "--gpus", "a100", "--dtype", "bf16,fp8,w4a16", "--ctx", "0", "--json")
    doc = json.loads(out)
    assert doc["outputs"] == table(gpus="a100", dtype=["bf16", "fp8", "w4a16"], ctx=0).to_dicts()
    assert doc["warnings"] == ["fp8: a100-sxm-80gb has no fp8 units"]
    assert "speedup and gain_ends_batch compare with bf16" in doc["assumptions"]


@pytest.mark.parametrize(
    "args",
    [
        ("gpus", "--json"),
        ("models", "--json"),
        ("formats", "--json"),
        ("links", "--json"),
        ("memory", "mistral-7b", "l4", "--ctx", "1k,8k", "--json"),
        ("memory", "mistral-7b", "--ctx", "1k", "--json"),
        ("memory", "mistral-7b", "l4", "--ctx", "1k,8k", "--engine", "vllm", "--json"),
        ("offload", "llama-3.1-70b", "l4", "--ctx", "1k,8k", "--json"),
        ("offload", "qwen3-30b-a3b", "l4", "--ctx", "1k", "--host-bytes", "40GiB", "--json"),
        ("offload", "qwen3-30b-a3b", "l4", "--ctx", "1k", "--n-cpu-moe", "40,48", "--host", "epyc-9654", "--host-sockets", "2", "--json"),
        ("show", "h100", "--json"),
        ("show", "qwen2.5-7b", "--json"),
        ("explain", "qwen3-8b", "l4", "--ctx", "100", "--json"),
        ("floor", "llama-3.1-70b", "h100", "--ctx", "2048", "--tp", "8", "--json"),
        ("explain", "llama-3.1-70b", "h100", "--ctx", "2048", "--tp", "4", "--pp", "2", "--json"),
        ("compare", "qwen2.5-7b", "h100", "--measured", "16.97ms", "--ctx", "2048", "--json"),
        ("compare", "llama-3.1-70b", "h100", "--measured", "16.97ms", "--tp", "8", "--engine", "vllm", "--json"),
        ("table", "--gpus", "h100,l4", "--estimate", "--json"),
    ],
)
def test_every_command_speaks_json(capsys: pytest.CaptureFixture[str], args: tuple[str, ...]) -> None:
    out, err, code = run(capsys, *args)
    doc = json.loads(out)
    assert (err, code, doc["schema_version"]) == ("", 0, 1)
    assert {"inputs", "outputs", "assumptions", "sources", "warnings"} <= set(doc)


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize(
    "args",
    [
        ("floor", "qwen2.5-7b", "h100", "--ctx", "2048"),
        ("floor", "qwen3-30b-a3b", "h100", "--ctx", "1k,128k", "--batch", "1,256", "--kv-dtype", "fp8"),
        ("floor", "mixtral-8x7b", "mi300x", "--ctx", "4k", "--fusion", "eager"),
        ("floor", "deepseek-v3", "h200", "--ctx", "4k", "--batch", "256", "--dp", "16", "--ep", "16", "--network", "ndr"),
        ("table", "--gpus", "all"),
        ("table", "--gpus", "h100", "--dtype", "bf16,fp8,fp8-block128,w4a16,nvfp4,q4_k_m"),
        ("table", "--gpus", "a100", "--dtype", "fp16,fp8,w4a16", "--model", "llama-3.1-405b", "--phase", "prefill", "--batch", "64"),
        ("gpus",),
        ("models",),
        ("formats",),
        ("links",),
        ("memory", "llama-3.1-70b", "h100", "--ctx", "8k,128k", "--batch", "1,32"),
        ("memory", "mistral-7b", "4090", "--ctx", "32k"),
        ("memory", "mistral-7b", "4090", "--ctx", "5001", "--batch", "3", "--engine", "llama.cpp"),
        ("memory", "llama-3.1-8b", "h100", "--ctx", "1k,128k", "--batch", "1,1000", "--engine", "tensorrt-llm"),
        ("compare", "qwen2.5-7b", "h100", "--measured", "16.97ms", "--ctx", "2048"),
        ("compare", "deepseek-v3", "h200", "--measured", "13tok/s", "--ctx", "4k", "--dp", "16", "--ep", "16", "--network", "ndr"),
        ("compare", "qwen2.5-7b", "h100", "--measured", "3ms", "--ctx", "2048"),
        ("table", "--gpus", "all", "--estimate"),
        ("plan", "deepseek-v3", "h200", "--devices", "8,16", "--ctx", "4k", "--network", "ndr", "--objective", "tokens_per_s_per_gpu"),
        (
            "plan",
            "llama-3.1-70b",
            "h100",
            "--devices",
            "8,16",
            "--network",
            "ndr",
            "--pools",
            "--prompt-tokens",
            "2k",
            "--output-tokens",
            "256",
        ),
        (
            "plan",
            "llama-3.1-70b",
            "h100",
            "--devices",
            "1-16",
            "--concurrency",
            "64",
            "--prompt",
            "1k",
            "--output",
            "1k",
            "--tpot",
            "50ms",
            "--price-per-hour",
            "2.5",
        ),
        ("plan", "qwen3-30b-a3b", "h100", "--devices", "1-8", "--request-rate", "40", "--prompt", "1k", "--output", "256"),
        (
            "plan",
            "llama-3.1-8b",
            "h100",
            "--devices",
            "1-4",
            "--concurrency",
            "8",
            "--prompt",
            "1k",
            "--output",
            "256",
            "--objective",
            "latency",
        ),
        (
            "plan",
            "llama-3.1-70b",
            "h100",
            "--devices",
            "2-16",
            "--network",
            "ndr",
            "--pools",
            "--prompt",
            "2k",
            "--output",
            "256",
            "--request-rate",
            "8",
        ),
        ("offload", "llama-3.1-70b", "4090", "--ctx", "4k"),
        ("offload", "llama-3.1-70b", "4090", "--ctx", "4k", "--host", "epyc-9654", "--host-sockets", "2"),
        ("offload", "qwen3-235b-a22b", "h100", "--ctx", "4k", "--host", "epyc-9654", "--batch", "1,64", "--host-bytes", "400GiB,420GiB"),
        ("offload", "qwen3-235b-a22b", "h100", "--ctx", "4k", "--batch", "1,64", "--host-bytes", "400GiB,420GiB"),
        *((command, "--help") for command in COMMANDS),
        ("--help",),
    ],
)
def test_text_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str, args: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out, err, code = run(capsys, *args)
    assert (err, code) == ("", 0)
    assert out.strip()
    assert max(map(len, out.splitlines())) <= int(columns)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_note_keeps_its_words_however_narrow(width: int) -> None:
    shown = table(estimate=True)
    words = shown.to_text(width).split()
    assert {word for note in shown["note"] for word in note.split()} <= set(words)


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize(
    "args", [("show", "h100"), ("show", "jetson-agx-orin-64gb@30w"), ("explain", "qwen2.5-7b", "h100", "--ctx", "2048", "--sources")]
)
def test_a_bibliography_breaks_nothing_but_addresses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str, args: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out, _, code = run(capsys, *args)
    assert code == 0
    for line in out.splitlines():
        assert len(line) <= int(columns) or line.strip().startswith("http")
    cited, _, _ = run(capsys, *args, "--json")
    doc = json.loads(cited)
    for source in doc["outputs"] if args[0] == "show" else doc["sources"]:
        if source["where"].startswith("http"):
            assert source["where"] in out.split(), "an address must stay in one piece"


LISTINGS = [
    models,
    gpus,
    formats,
    links,
    table,
    lambda: table(gpus="h100", dtype=["bf16", "fp8-block128", "w4a16"]),
    lambda: floor("mixtral-8x7b", "mi300x", ctx=4096, fusion="eager").operators,
]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("make", LISTINGS)
def test_no_cell_is_ever_cut(make: Callable[[], Table], width: int) -> None:
    shown = make()
    text = "".join(shown.to_text(width).split())
    for row in shown.rows:
        for column, value in zip(shown.columns, row, strict=True):
            if not column.hidden and not column.wrap and value is not None:
                assert "".join(column.show(value).split()) in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_holds_a_worked_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    out, _, _ = run(capsys, command, "--help")
    assert f"sol {command}" in out.partition("Example")[2]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("floor", "qwen2.5-7b", "5070", "--ctx", "1"), "no gpu '5070'"),
        (("floor", "qwen2.5-7b", "h100-smx", "--ctx", "1"), "did you mean 'h100-sxm'"),
        (("floor", "qwen2.5-7", "h100", "--ctx", "1"), "did you mean 'qwen2.5-7b'"),
        (("floor", "qwen2.5-7b", "h100"), "--ctx"),
        (("floor", "qwen2.5-7b", "h100", "--ctx", "many"), "ctx 'many'"),
        (("floor", "qwen2.5-7b", "h100", "--ctx", "2 parsecs"), "parsecs"),
        (("floor", "qwen2.5-7b", "h100", "--ctx", "-5"), "ctx=-5"),
        (("floor", "qwen2.5-7b", "h100", "--ctx", "nan"), "ctx 'nan'"),
        (("floor", "qwen2.5-7b", "h100", "--ctx", "1e999"), "1e999"),
        (("floor", "qwen2.5-7b", "h100", "--ctx", "1", "--batch", "0"), "batch=0"),
        (("floor", "qwen2.5-7b", "a100", "--ctx", "1", "--dtype", "fp8"), "no fp8 units"),
        (("floor", "llama-3.1-70b", "h100", "--ctx", "1"), "does not fit"),
        (("floor", "no/such/config.json", "h100", "--ctx", "1"), "no file"),
        (("table", "--gpus", "h100,nope"), "no gpu 'nope'"),
        (("table", "--dtype", "bf16,fp8"), "several dtypes compare on one device, and gpus='all' names 92"),
        (("table", "--gpus", "h100", "--model", "qwen3-8b,qwen3-14b", "--dtype", "bf16,fp8"), "several dtypes compare on one model"),
        (("show", "nothing-like-it"), "nothing-like-it"),
        (("memory", "qwen2.5-7b", "h100", "--ctx", "1", "--engine", "tgi"), "no engine 'tgi'; known: vllm"),
        (("memory", "qwen2.5-7b", "h100", "--ctx", "1", "--engine", "sglang"), "give memory_fraction"),
        (("offload", "llama-3.1-70b", "m2-max", "--ctx", "1"), "no second tier"),
        (("offload", "llama-3.1-70b", "h100", "--ctx", "1", "--host", "l4"), "not a CPU"),
        (("offload", "llama-3.1-70b", "h100", "--ctx", "1", "--host-bytes", "3 parsecs"), "parsecs"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "2048"), "--measured"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "2048", "--measured", "0ms"), "measured_s=0.0 has no meaning"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "2048", "--measured", "-3ms"), "measured_s=-0.003 has no meaning"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "2048", "--measured", "fast"), "measured 'fast' is not a number"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "2048", "--measured", "nan"), "measured 'nan' is not a number"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "2048", "--measured", "3 parsecs"), "parsecs"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "2048", "--measured", "0tok/s"), "not a rate that a step can have"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "2048", "--measured", "59tok/s/gpu"), "tok/s of all sequences, or tok/s/user"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "1k,2k", "--measured", "5ms"), "call it once a row"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "1k", "--measured", "5ms", "--engine", "tgi"), "no engine 'tgi' has a calibration"),
        (("compare", "qwen2.5-7b", "h100", "--ctx", "1k", "--measured", "5ms", "--calibration", "no.toml"), "no.toml"),
        (("compare", "qwen2.5-7b", "h100", "--phase", "prefill", "--measured", "5ms"), "the prompt is the work"),
        (("estimate", "qwen2.5-7b", "h100", "--ctx", "1k", "--engine", "tgi"), "no engine 'tgi' has a calibration"),
        (("table", "--engine", "vllm"), "ask for estimates as well"),
        (("table", "--estimate", "--dtype", "bf16,fp8", "--gpus", "h100"), "estimates are for one dtype"),
        (("table", "--estimate", "--engine", "tgi"), "no engine 'tgi' has a calibration"),
        (("flor",), "did you mean 'floor'"),
        (("floor", "--colour"), "--colour"),
        (("floor", "qwen2.5-7b", "h100", "--ctx", "1", "--gpu-files", "/nowhere"), "/nowhere"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], words: str
) -> None:
    monkeypatch.setenv("SOL_GPUS", "")  # so that --gpu-files is undone afterwards
    out, err, code = run(capsys, *args)
    assert (out, code) == ("", 2)
    assert words in err
    assert len(err.splitlines()) == 1
    assert err.startswith("sol: ")


def test_vllm_names_are_aliases(capsys: pytest.CaptureFixture[str]) -> None:
    mine, _, _ = run(capsys, "floor", "qwen2.5-7b", "h100", "--ctx", "9", "--dtype", "fp8", "--kv-dtype", "fp8", "--json")
    theirs, _, _ = run(capsys, "floor", "qwen2.5-7b", "h100", "--ctx", "9", "--quantization", "fp8", "--kv-cache-dtype", "fp8", "--json")
    assert mine == theirs


def test_engines_names_of_one_fraction(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("memory", "qwen2.5-7b", "h100", "--ctx", "8k", "--engine")
    ours, _, _ = run(capsys, *asked, "vllm", "--memory-fraction", "0.8", "--json")
    theirs, _, _ = run(capsys, *asked, "vllm", "--gpu-memory-utilization", "0.8", "--json")
    assert ours == theirs
    sglang, _, _ = run(capsys, *asked, "sglang", "--mem-fraction-static", "0.8", "--json")
    assert json.loads(sglang)["inputs"]["memory_fraction"] == 0.8


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m sol gpus | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"})
    assert done.stderr == ""


def test_bare_sol_is_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    out, err, code = run(capsys)
    assert "sol floor qwen2.5-7b h100" in out
    assert (err, code) == ("", 0)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_our_characters_still_gets_the_answer(encoding: str) -> None:
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    for args in (("explain", "qwen2.5-7b", "h100", "--ctx", "9"), ("table", "--gpus", "h100")):
        done = subprocess.run([sys.executable, "-m", "sol", *args], capture_output=True, check=True, env=env)
        assert b"h100-sxm" in done.stdout


def test_a_full_disk_is_one_line() -> None:
    done = subprocess.run(f"{sys.executable} -m sol gpus > /dev/full", shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_show_knows_every_alias(capsys: pytest.CaptureFixture[str]) -> None:
    for name, title in (("gptq", "w4a16"), ("float16", "fp16"), ("q4-k-m", "q4_k_m"), ("4090", "rtx-4090"), ("nvlink4", "nvlink4")):
        out, _, code = run(capsys, "show", name)
        assert code == 0
        assert out.startswith(title)


def test_a_pipe_gets_plain_text() -> None:
    done = subprocess.run([sys.executable, "-m", "sol", "gpus"], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_devices_of_your_own(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOL_GPUS", "")
    (tmp_path / "mine.toml").write_text(
        '[sources.s]\ntitle = "sheet"\nkind = "datasheet"\ndocument = "D-1"\n[my-npu]\nname = "N"\nvendor = "me"\nkind = "accelerator"\n'
        'memory_bytes_per_s = { value = 2e11, printed = "200 GB/s", source = "s", evidence = "A" }\n'
    )
    out, _, code = run(capsys, "table", "--gpus", "my-npu", "--gpu-files", str(tmp_path))
    assert code == 0
    assert "my-npu" in out
