"""The loader of the published rows: what a file may hold, and what it says of one that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sol import BadFile
from sol.sources.database import measured

HEADER = ",".join(measured.NEEDED)
ROW = "X-1,qwen2.5-7b,h100-sxm,decode,0.02,bf16,bf16,1,2048,vllm,yes,somewhere,50 tok/s,,fit"

Rows = Callable[[str], tuple[measured.MeasuredRow, ...]]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rows]:
    (tmp_path / "measured").mkdir()
    monkeypatch.setattr(measured, "data_root", lambda: tmp_path)

    def read(text: str) -> tuple[measured.MeasuredRow, ...]:
        (tmp_path / "measured" / "any-name.csv").write_text(text, encoding="utf-8")
        measured.measured_rows.cache_clear()
        return measured.measured_rows()

    yield read
    measured.measured_rows.cache_clear()


def test_columns_that_are_not_needed_have_their_defaults(rows: Rows) -> None:
    (row,) = rows(f"{HEADER}\n{ROW}\n")
    assert (row.measured_s, row.batch, row.ctx, row.devices, row.version, row.prompt_tokens) == (0.02, 1.0, 2048.0, 1, "", None)


def test_columns_may_stand_in_any_order_and_be_more(rows: Rows) -> None:
    names, cells = [*measured.NEEDED, "tp", "pp"], [*ROW.split(","), "2", "4"]
    (row,) = rows(",".join(reversed(names)) + "\n" + ",".join(reversed(cells)) + "\n")
    assert (row.id, row.tp, row.pp, row.devices) == ("X-1", 2, 4, 8)


def test_a_request_has_lengths_instead_of_a_context(rows: Rows) -> None:
    names = f"{HEADER},prompt_tokens,output_tokens"
    line = ROW.replace("decode", "request").replace(",2048,", ",,")
    (row,) = rows(f"{names}\n{line},128,512\n")
    assert (row.phase, row.ctx, row.prompt_tokens, row.output_tokens) == ("request", None, 128.0, 512.0)
    with pytest.raises(BadFile, match="line 2: a request needs prompt_tokens and output_tokens"):
        rows(f"{names}\n{line},128,\n")


def test_other_tables_are_passed_over(rows: Rows) -> None:
    assert rows("first,last,reason\nX-1,X-2,no lengths\n") == ()
    assert rows("") == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("decode", "verify", "phase='verify' is not one of decode, prefill, request"),
        ("0.02", "20ms", "measured_s='20ms' is not a number"),
        ("0.02", "0", "measured_s='0' is not a number above 0"),
        ("0.02", "inf", "measured_s='inf' is not a number"),
        ("0.02", "nan", "measured_s='nan' is not a number"),
        (",2048,", ",-1,", "ctx='-1' is not a number of 0 or more"),
        (",2048,", ",,", "a decode needs ctx"),
        ("yes", "maybe", "cuda_graphs='maybe' is not one of yes, no, unknown"),
        (",fit", ",train", "split='train' is not one of fit, holdout"),
        ("somewhere", "", "no source; a row without it cannot be compared or cited"),
        ("qwen2.5-7b", "", "no model"),
        (",fit", ",fit,too", "more cells than columns"),
        (",,fit", "", "split=None is not one of fit, holdout"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(rows: Rows, old: str, new: str, said: str) -> None:
    with pytest.raises(BadFile) as error:
        rows(f"{HEADER}\n{ROW.replace(old, new)}\n")
    assert str(error.value).startswith(f"any-name.csv line 2: {said}")


def test_a_split_is_whole(rows: Rows) -> None:
    with pytest.raises(BadFile, match=r"line 2: tp='1.5' is not a whole number"):
        rows(f"{HEADER},tp\n{ROW},1.5\n")


def test_a_column_that_is_misspelt_is_named(rows: Rows) -> None:
    with pytest.raises(BadFile, match=r"any-name.csv: column tpp is not one of"):
        rows(f"{HEADER},tpp\n{ROW},2\n")
