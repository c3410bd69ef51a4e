"""The table of measurements, and files that are none: every row is taken or rejected with a reason, and only a SolError is raised."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sol import BadFile, InvalidInput, Measurement, UnknownName, read_measurements
from sol.sources.database.measured import measured_files

FOLDER = Path(__file__).parents[2] / "fixtures" / "benchmarks"
HEADER = "model,gpu,phase,measured_s,batch,ctx"
ROW = "qwen2.5-7b,h100,decode,0.01697,1,2048"
RECORD: dict[str, Any] = {"model": "Qwen/Qwen2.5-7B", "gpu": "H100", "phase": "decode", "measured_s": 0.01697, "batch": 1, "ctx": 2048}


@pytest.fixture
def wrote(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "runs.dat"  # the name says nothing
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


Wrote = Callable[[str | bytes], Path]


@pytest.mark.truth
@pytest.mark.parametrize("path", measured_files(), ids=lambda p: p.name)
def test_the_published_measurements_are_such_tables(path: Path) -> None:
    expected = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    found = read_measurements(path)
    assert found.rejected == ()
    steps = [text for text in expected if text["phase"] != "request"]
    requests = [text for text in expected if text["phase"] == "request"]
    for row, text in (*zip(found.rows, steps, strict=True), *zip(found.aggregates, requests, strict=True)):
        assert (row.model, row.gpu, row.dtype, row.kv_dtype) == tuple(text[k] for k in ("model", "gpu", "dtype", "kv_dtype"))
        assert row.measured_s == float(text["measured_s"])
        assert row.cuda_graphs == {"yes": True, "no": False, "unknown": None}[text["cuda_graphs"]]
        assert (row.engine, row.source) == (text["engine"], text["source"])
        assert (row.tp, row.pp) == (int(text["tp"]), int(text["pp"]))
    for step, text in zip(found.rows, steps, strict=True):
        assert (step.phase, step.batch, step.ctx) == (text["phase"], float(text["batch"]), float(text["ctx"]))
    for request, text in zip(found.aggregates, requests, strict=True):
        assert (request.metric, request.concurrency) == ("request", float(text["batch"]))
        assert (request.prompt_tokens, request.output_tokens) == (float(text["prompt_tokens"]), float(text["output_tokens"]))
    assert "columns not read: id, version, printed, note, split" in found.assumptions


@pytest.mark.truth
def test_one_row_says_the_same_in_every_format(wrote: Wrote) -> None:
    texts = (f"{HEADER}\n{ROW}\n", f"\ufeff{HEADER}\r\n{ROW}\r\n", json.dumps([RECORD]), json.dumps(RECORD), json.dumps(RECORD, indent=1))
    for text in texts:
        (row,) = read_measurements(wrote(text))
        assert (row.model, row.gpu, row.phase, row.measured_s, row.batch, row.ctx) == (
            "qwen2.5-7b",
            "h100-sxm",
            "decode",
            0.01697,
            1.0,
            2048.0,
        )
        assert (row.tp, row.pp, row.ep, row.dp, row.dtype, row.new_tokens) == (1, 1, 1, 1, None, 1.0)
    found = read_measurements(wrote("".join(json.dumps({**RECORD, "ctx": c}) + "\n" for c in (1, 2, 3))))
    assert [r.ctx for r in found] == [1.0, 2.0, 3.0]
    assert "gpu 'H100' is h100-sxm" in found.assumptions
    assert "one device (tp = pp = ep = dp = 1): no other split is recorded" in found.assumptions


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "runs"
    table = arrow.Table.from_pylist([{**RECORD, "ctx": c, "tp": 2, "cuda_graphs": True} for c in range(1, 9001)])
    parquet.write_table(table, path)
    found = read_measurements(path)
    assert [r.ctx for r in found] == [float(c) for c in range(1, 9001)]
    assert (found[0].tp, found[0].cuda_graphs) == (2, True)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-30] + whole[-20:], whole[:5000] + b"\xff" * 200 + whole[5200:], b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(BadFile, match="Parquet"):
            read_measurements(path)
    parquet.write_table(table.drop(["gpu"]), path)
    with pytest.raises(BadFile, match="no column gpu"):
        read_measurements(path)
    assert len(read_measurements(path, gpu="h200")) == 9000


def test_parquet_without_pyarrow_names_the_extra(wrote: Wrote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadFile, match=r"pip install 'llm-sol\[parquet\]'"):
        read_measurements(wrote(b"PAR1 and so on"))


@pytest.mark.truth
def test_ctx_from_lengths_is_the_mean_over_the_span(wrote: Wrote) -> None:
    head = "model,gpu,phase,measured_s,prompt_tokens,output_tokens\n"
    found = read_measurements(wrote(head + "qwen2.5-7b,h100,decode,0.01,100,4\nqwen2.5-7b,h100,prefill,0.02,100,4\n"))
    # steps at 100, 101, 102 and 103 cached tokens
    assert [(r.ctx, r.new_tokens) for r in found] == [(sum(range(100, 104)) / 4, 1.0), (100.0, 100.0)]
    assert (found[0].prompt_tokens, found[0].output_tokens) == (100.0, 4.0)


@pytest.mark.truth
def test_a_whole_request_is_an_aggregate_and_needs_its_lengths(wrote: Wrote) -> None:
    head = "model,gpu,phase,measured_s,batch,prompt_tokens,output_tokens\n"
    found = read_measurements(wrote(head + "qwen2.5-7b,h100,request,2.5,16,128,512\nqwen2.5-7b,h100,request,2.5,16,128,\n"))
    (request,) = found.aggregates
    assert (len(found), request.metric, request.measured_s, request.concurrency) == (0, "request", 2.5, 16.0)
    assert (request.prompt_tokens, request.output_tokens) == (128.0, 512.0)
    assert "output_tokens not recorded" in found.rejected[0].reason


REJECTS = {
    "qwen2.5-7b,h100,decode,nan,1,5": "measured_s='nan' is not a finite number",
    "qwen2.5-7b,h100,decode,inf,1,5": "measured_s='inf' is not a finite number",
    "qwen2.5-7b,h100,decode,0,1,5": "measured_s='0' is not above 0",
    "qwen2.5-7b,h100,decode,-0.1,1,5": "measured_s='-0.1' is not above 0",
    "qwen2.5-7b,h100,decode,16.97ms,1,5": "a number of seconds, without a unit",
    "qwen2.5-7b,h100,decode,,1,5": "measured_s is missing",
    "qwen2.5-7b,h101,decode,0.1,1,5": "no gpu 'h101'; did you mean 'h100'",
    "qwen2.6-7b,h100,decode,0.1,1,5": "no built-in model 'qwen2.6-7b'",
    "qwen2.5-7b,h100,verify,0.1,1,5": "phase='verify' is not one of decode, prefill, request",
    "qwen2.5-7b,h100,,0.1,1,5": "phase is missing",
    "qwen2.5-7b,h100,decode,0.1,0,5": "batch: input should be greater than 0",
    "qwen2.5-7b,h100,decode,0.1,1,-5": "ctx: input should be greater than or equal to 0",
    "qwen2.5-7b,h100,decode,0.1,1,": "no ctx",
    "qwen2.5-7b,h100,prefill,0.1,1,0": "a prompt of 0 tokens",
    "qwen2.5-7b,h100,decode,0.1,1": "5 cells under 6 columns",
    ",h100,decode,0.1,1,5": "model not recorded",
    "qwen2.5-7b,h100,decode,0.1,1,7": "the same as line 3",
}


def test_every_row_is_taken_or_rejected_with_a_reason(wrote: Wrote) -> None:
    lines = [HEADER, ROW, "qwen2.5-7b,h100,decode,0.1,1,7", *REJECTS]
    found = read_measurements(wrote("\n".join(lines) + "\n"))
    assert len(found) == 2
    assert [r.where for r in found.rejected] == [f"line {i}" for i in range(4, 4 + len(REJECTS))]
    for rejected, said in zip(found.rejected, REJECTS.values(), strict=True):
        assert said in rejected.reason, rejected
        assert "\n" not in str(rejected)
    assert found.rejected[0].values["measured_s"] == "nan"  # what it held is kept
    assert "1,000" not in repr(found)
    text = str(found.to_table())
    assert f"{len(REJECTS)} rejected" in text
    assert "rejected: 12 more" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        (" \n\n", "empty but for blanks"),
        (f"{HEADER}\n", "no row below them"),
        ("[]", "no measurements found"),
        ("model,gpu,phase\na,b,c\n", "no column measured_s"),
        ("model,gpu,phase,measured_ms\na,b,c,1\n", "column measured_ms is not in seconds"),
        (f"{HEADER},batch\n{ROW},1\n", "column 'batch' is there twice"),
        (f"{HEADER},tp_size\n{ROW},2\n", "column 'tp_size' is not read; did you mean tp?"),
        (f"{HEADER},kvdtype\n{ROW},fp8\n", "did you mean kv_dtype?"),
        ("a,b,c\n1,2,3\n", "columns a, b, c are not of a tool that sol reads"),
        (HEADER.replace(",", ";") + "\n" + ROW.replace(",", ";"), "separate them by commas"),
        (f'{HEADER}\n"qwen2.5-7b,h100\n', "a quote left open"),
        ("some text\nand more\n", "no measurements found"),
        (b"\xff\xfem\0o\0", "UTF-16"),
        (b"model,\x80\n", "line 1 is not UTF-8"),
        (f"{HEADER}\n".encode() + b"\xff,h100\n", "line 2 is not UTF-8"),
        (b"\0" * 2**21, "line 1 is longer than 1 MiB"),
        ("[" * 10**5, "nested too deeply"),
        ('{"a":' * 10**5, "nested too deeply"),
        ('{"model": "x"', "is not valid JSON"),
        ('[{"measured_s": ' + "9" * 5000 + "}]", "is not valid JSON"),
        (
            json.dumps(RECORD) + "\n" + (FOLDER / "vllm-serve.json").read_text(encoding="utf-8"),
            r"two tools, a table of measurements \(line 1\)",
        ),
        (json.dumps({**RECORD, "build_commit": "a", "avg_ts": 1}), "the keys of a table of measurements and of llama-bench"),
        (
            "Time for inference 1: 1.60 sec total, 125.00 tokens/sec\n" + (FOLDER / "llama-bench.md").read_text(encoding="utf-8"),
            "two tools",
        ),
    ],
)
def test_files_that_are_none_are_one_line(wrote: Wrote, content: str | bytes, said: str) -> None:
    path = wrote(content)
    with pytest.raises(BadFile, match=said) as error:
        read_measurements(path, model="qwen2.5-7b", gpu="h100")
    assert "\n" not in str(error.value)


def test_no_file_no_folder_no_pipe(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none.csv", tmp_path, tmp_path / "pipe", Path("a\0b"), tmp_path / ("x" * 300)):
        with pytest.raises(BadFile):
            read_measurements(path)
    with pytest.raises(InvalidInput, match="not the path"):
        read_measurements(None)  # type: ignore[arg-type]


def test_an_array_that_breaks_off_keeps_what_came_before(wrote: Wrote) -> None:
    whole = json.dumps([{**RECORD, "ctx": c} for c in (1, 2, 3)])
    found = read_measurements(wrote(whole[:-20]))
    assert [r.ctx for r in found] == [1.0, 2.0]
    assert "breaks off" in found.rejected[0].reason
    found = read_measurements(wrote(json.dumps(RECORD) + "\nnot json\n\n[1]\n" + json.dumps({**RECORD, "ctx": 9}) + "\n"))
    assert (len(found), [r.where for r in found.rejected]) == (2, ["line 2", "line 4[0]"])


def test_mixed_units_are_rejected_where_one_question_shows_them(wrote: Wrote) -> None:
    rows = ["qwen2.5-7b,h100,decode,0.017,1,5", "qwen2.5-7b,h100,decode,17.1,1,5", "qwen2.5-7b,h100,decode,17.1,1,9000"]
    found = read_measurements(wrote("\n".join([HEADER, *rows])))
    assert [r.ctx for r in found] == [9000.0]  # alone with its question: nothing shows it
    assert [r.where for r in found.rejected] == ["line 2", "line 3"]
    assert "mixed units" in found.rejected[0].reason


def test_options_fill_gaps_and_never_overrule(wrote: Wrote) -> None:
    path = wrote(f"phase,measured_s,ctx,tp\ndecode,0.01,5,2\nprefill,0.02,6,2\ndecode,0.03,7,{''}\n")
    found = read_measurements(
        path, model="qwen2.5-7b", gpu="H100", dtype="bfloat16", batch=4, tp=2, engine="mine", session="a", cuda_graphs=True
    )
    assert {(r.model, r.gpu, r.dtype, r.batch, r.tp, r.engine, r.session, r.cuda_graphs) for r in found} == {
        ("qwen2.5-7b", "h100-sxm", "bf16", 4.0, 2, "mine", "a", True)
    }
    other = read_measurements(path, model="qwen2.5-7b", gpu="h100", tp=4)
    assert len(other) == 1  # the row without a tp of its own
    assert "tp=2 is recorded, and tp=4 was given" in other.rejected[0].reason
    with pytest.raises(BadFile, match=r"no column model, gpu; .* or pass model=, gpu="):
        read_measurements(path)


def test_an_option_stands_for_one_word_only(wrote: Wrote) -> None:
    lines = [HEADER, "mine,h100,decode,0.1,1,5", "mine,h100,decode,0.2,1,6", "qwen2.5-7b,h100,decode,0.3,1,7"]
    found = read_measurements(wrote("\n".join(lines)), model="llama-3.1-8b")
    assert [r.model for r in found] == ["llama-3.1-8b"] * 2
    assert "model=qwen2.5-7b is recorded, and model=llama-3.1-8b was given" in found.rejected[0].reason
    assert "model 'mine' is llama-3.1-8b: as given" in found.assumptions
    with pytest.raises(BadFile, match="cannot stand for both 'mine' and 'yours'"):
        read_measurements(wrote("\n".join([*lines, "yours,h100,decode,0.4,1,8"])), model="llama-3.1-8b")


@pytest.mark.parametrize(
    "option",
    [
        {"tp": 0}, {"tp": 1.5}, {"tp": True}, {"batch": float("nan")}, {"batch": "8"}, {"gpu": 3}, {"engine": " "}, {"cuda_graphs": 1},
        {"prompt_tokens": -1}, {"dp": 10**30}, {"batch": 10**400},
    ],
)  # fmt: skip
def test_options_without_meaning(wrote: Wrote, option: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        read_measurements(wrote(f"{HEADER}\n{ROW}\n"), **option)


@pytest.mark.parametrize("option", [{"model": "qwen2.6-7b"}, {"gpu": "h101"}, {"dtype": "fp9"}, {"kv_dtype": "x"}])
def test_options_with_unknown_names(wrote: Wrote, option: dict[str, Any]) -> None:
    with pytest.raises(UnknownName):
        read_measurements(wrote(f"{HEADER}\n{ROW}\n"), **option)


def test_a_model_by_path_stays_a_path(wrote: Wrote) -> None:
    found = read_measurements(wrote("gpu,phase,measured_s,ctx\nh100,decode,0.01,5\n"), model=Path("models/mine/config.json"))
    assert found[0].model == "models/mine/config.json"


def test_measurements_by_hand() -> None:
    row = Measurement(model="m", gpu="g", phase="prefill", measured_s=0.1, ctx=512, new_tokens=12)
    assert row.cached_tokens == 500.0
    for wrong in (
        {"measured_s": 0},
        {"measured_s": float("nan")},
        {"ctx": None},
        {"new_tokens": 513},
        {"batch": -1},
        {"tp": 0},
        {"colour": 1},
    ):
        with pytest.raises(InvalidInput) as error:
            Measurement(**{"model": "m", "gpu": "g", "phase": "prefill", "measured_s": 0.1, "ctx": 512, **wrong})
        assert "\n" not in str(error.value)
