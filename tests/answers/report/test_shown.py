"""Every result shows itself by the same methods: text, HTML, one document, one table, its sources."""

from __future__ import annotations

import csv
import io
import json
import pickle
import pkgutil
import sys
from collections.abc import Callable
from functools import cache
from html import escape
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import sol
from sol.answers.report.report import Report
from sol.answers.report.shown import Shown
from sol.tabular import Table, plain

DATA = Path(__file__).parents[3] / "hardware_db" / "measured"
QWEN = ("qwen2.5-7b", "h100")
KEYS = {"schema_version", "kind", "inputs", "outputs", "assumptions", "assumption_kinds", "sources", "warnings"}
BATCH, CTX = [[1], [8], [64]], [128, 2048]


def sessions() -> Any:
    return sol.read_measurements(DATA / "pytorch-sessions.csv")


def calibrations() -> Any:
    return sol.calibrate([m for m in sol.read_measurements(DATA / "pytorch-hopper.csv") if m.gpu == "h100-sxm"])


RESULTS: dict[str, tuple[str, Callable[[], Any], int]] = {
    "floor": ("floor", lambda: sol.floor(*QWEN, ctx=2048), 1),
    "floors": ("floor", lambda: sol.floor(*QWEN, ctx=CTX, batch=BATCH), 6),
    "splits": ("floor", lambda: sol.floor(*QWEN, ctx=2048, tp=[1, 2, 3]), 3),  # 28 heads in three parts: no such split
    "explanation": ("explain", lambda: sol.floor(*QWEN, ctx=2048).explain(), 1),
    "estimate": ("estimate", lambda: sol.estimate(*QWEN, ctx=2048), 1),
    "estimates": ("estimate", lambda: sol.estimate(*QWEN, ctx=CTX, batch=BATCH), 6),
    "comparison": ("compare", lambda: sol.compare(*QWEN, measured_s=16.97e-3, ctx=2048), 1),
    "memory": ("memory", lambda: sol.memory(*QWEN, ctx=2048, engine="vllm"), 1),
    "memories": ("memory", lambda: sol.memory("qwen2.5-7b", ctx=CTX, batch=BATCH), 6),
    "offload": ("offload", lambda: sol.offload("llama-3.1-70b", "h100", ctx=2048), 1),
    "offload to a host": ("offload", lambda: sol.offload("llama-3.1-70b", "h100", ctx=2048, host="epyc-9654"), 1),
    "offloads": ("offload", lambda: sol.offload("llama-3.1-70b", "h100", ctx=CTX, batch=BATCH), 6),
    "plan": ("plan", lambda: sol.plan("llama-3.1-8b", "h100", devices=[1, 2], ctx=2048), 3),  # one device; tp=2; pp=2
    "pools": ("pools", lambda: sol.pools("llama-3.1-8b", "h100", devices=[2, 4], prompt_tokens=512, output_tokens=128), 2),
    "collective": ("collective", lambda: sol.collective("all_reduce", "h100", message_bytes=1e6, ranks=8), 1),
    "collectives": ("collective", lambda: sol.collective("all_reduce", "h100", message_bytes=[1e3, 1e6], ranks=[[2], [4], [8]]), 6),
    "ab": ("ab", lambda: sol.ab(sessions()), len({(m.model, m.gpu, m.phase, m.batch, m.ctx, m.dtype) for m in sessions()})),
    "calibrations": ("calibrate", calibrations, 0),
    "table": ("table", lambda: sol.table(gpus="h100,l4"), 2),
    "formats": ("table", lambda: sol.table(gpus="h100", dtype="bf16,w4a16"), 2),
    "bibliography": ("sources", lambda: sol.floor(*QWEN, ctx=2048).sources(), 0),
    "devices": ("gpus", lambda: sol.gpus("vendor=groq"), 1),
    "record": ("record", lambda: sol.show("h100"), 0),
}


@cache
def result(name: str) -> Any:
    return RESULTS[name][1]()


def rows_of(found: Any) -> Table:
    return found if isinstance(found, Table) else found.to_table()


@pytest.mark.contract
@pytest.mark.parametrize("name", RESULTS)
def test_a_document_has_the_same_keys_for_every_result(name: str) -> None:
    found = result(name)
    doc = found.to_dict()
    assert set(doc) == KEYS
    assert doc["schema_version"] == 1
    assert doc["kind"] == RESULTS[name][0]
    assert json.loads(found.to_json(), parse_constant=pytest.fail) == json.loads(json.dumps(doc, allow_nan=False))
    if name not in ("bibliography", "record", "devices"):
        assert doc["sources"] == found.sources().to_dicts() != []
        assert all(s["source"] for s in doc["sources"])


@pytest.mark.contract
@pytest.mark.parametrize("name", RESULTS)
def test_text_and_html_say_the_same(name: str) -> None:
    found = result(name)
    text, html = found.to_text(200), found._repr_html_()
    assert str(found) == found.to_text()
    if isinstance(found, str):
        assert html == f"<pre>{escape(text)}</pre>"
        return
    said = " ".join(text.split())
    if isinstance(found, Table):
        assert escape(found.title) in html
        return
    assert repr(found).count("\n") == 0
    report: Report = found.report()
    parts = [p for p in (report, *report.more) if isinstance(p, Report)]
    for part in parts:
        for line in (part.heading, *part.under, *part.lines, *part.notes):
            assert " ".join(line.split()) in said
            assert escape(line) in html
        for cells in [] if part.table is None else map(part.table._cells, part.table.rows):
            assert all(escape(cell) in html for cell in cells)
            assert cells[0] in said


@pytest.mark.contract
@pytest.mark.parametrize("name", RESULTS)
def test_csv_holds_every_row_of_the_table_to_the_last_bit(name: str) -> None:
    found, expected = result(name), RESULTS[name][2]
    table = rows_of(found)
    assert len(table) == (expected or len(table)) > 0
    read = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(read) == len(table)
    assert list(read[0]) == [c.key for c in table.columns]
    for line, row in zip(read, table.to_dicts(), strict=True):
        for key, value in row.items():
            if plain(value) is None:
                assert line[key] == ""
            elif isinstance(value, float):
                assert float(line[key]) == value
            elif isinstance(value, str | int):
                assert line[key] == str(value)


@pytest.mark.law
@pytest.mark.parametrize("name", [n for n in RESULTS if n.endswith("s") and n not in ("pools", "calibrations", "formats", "devices")])
def test_a_row_a_point_is_the_document_point_by_point(name: str) -> None:
    found = result(name)
    outputs, table = found.to_dict()["outputs"], rows_of(found)
    checked = 0
    for column in table.columns:
        if isinstance(outputs.get(column.key), list):
            flat = np.ravel(np.array(outputs[column.key], dtype=object)).tolist()
            assert [plain(v) for v in table[column.key]] == flat, column.key
            checked += 1
    assert checked >= 3


@pytest.mark.contract
def test_rows_for_programs_go_on_where_the_page_stops() -> None:
    f = sol.floor(*QWEN, ctx=np.arange(1, 101))
    assert "60 more points" in f.to_text(100)
    assert f.to_table()["latency_s"] == f.latency_s.tolist()
    assert f.to_table()["ctx"] == list(range(1, 101))
    assert sol.floor(*QWEN, ctx=7).to_table()["ctx"] == [7]


@pytest.mark.contract
def test_a_data_frame_is_made_by_pandas_or_its_absence_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda rows, columns: made.append((rows, columns))))
    f = result("floors")
    f.to_pandas()
    assert made == [(f.to_table().to_dicts(), [c.key for c in f.to_table().columns])]
    monkeypatch.setitem(sys.modules, "pandas", None)  # as where it is not installed
    for found in (f, result("table"), result("explanation")):
        with pytest.raises(sol.SolError, match="pip install pandas") as caught:
            found.to_pandas()
        assert str(caught.value).count("\n") == 0


@pytest.mark.contract
def test_the_document_of_an_explanation_is_the_command_line_s(capsys: pytest.CaptureFixture[str]) -> None:
    from sol.views.cli import main

    main(["explain", *QWEN, "--ctx", "2048", "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(result("explanation").to_json())


@pytest.mark.contract
def test_an_explanation_travels() -> None:
    there = pickle.loads(pickle.dumps(result("explanation")))
    assert (there, there.to_dict()) == (result("explanation"), result("explanation").to_dict())


@pytest.mark.contract
def test_what_draws_a_result_is_in_its_room() -> None:
    import sol.answers

    for info in pkgutil.walk_packages(sol.answers.__path__, "sol.answers."):
        import_module(info.name)
    drawn = {c for c in Shown.__subclasses__() if c.__module__.startswith("sol.") and "shown_by" in vars(c)}
    assert {c.__name__ for c in drawn} >= {
        "Floor", "Estimate", "Comparison", "Memory", "Offload", "Plan", "Pools", "Collective", "Calibrations", "AB",
    }  # fmt: skip
    for c in drawn:
        assert c.shown_by.rpartition(".")[0] == c.__module__.rpartition(".")[0]
        module = import_module(c.shown_by)
        assert all(callable(getattr(module, name)) for name in ("report", "to_document", "to_table"))
        assert "sources" in vars(c)
