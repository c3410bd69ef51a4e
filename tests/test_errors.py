"""Errors as data: the three parts and the fields of a kind are there, survive copying, and make up the text."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from sol import DoesNotFit, InvalidInput, InvalidPlan, SolError, UnknownName, floor, load_gpu, memory
from sol.errors import MESSAGE_CHARACTERS, BadFile
from sol.views.cli import main

pytestmark = pytest.mark.law


def raised(**question: object) -> SolError:
    with pytest.raises(SolError) as error:
        floor(**{"model": "llama-3.1-8b", "gpu": "h100", "ctx": 2048} | question)
    return error.value


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidInput("tp=6", truth="does not divide heads=32", action="use 8"), "tp=6 does not divide heads=32; use 8"),
        (BadFile("a.toml:", "is empty"), "a.toml: is empty"),
        (BadFile("no a.toml", action="give another"), "no a.toml; give another"),
        (InvalidInput("one string"), "one string"),
    ],
)
def test_the_text_is_the_three_parts(error: SolError, text: str) -> None:
    assert str(error) == text
    assert not error.asked.endswith(":")


def test_every_part_is_one_printable_line_of_bounded_length() -> None:
    error = InvalidInput("a\nb\x1b[31m", "x" * 5000, "c\td")
    for part in (str(error), error.asked, error.truth, error.action):
        assert part.isprintable()
        assert len(part) <= MESSAGE_CHARACTERS


def test_an_illegal_split_says_what_was_asked_what_is_true_and_what_to_do() -> None:
    error = raised(tp=6)
    assert isinstance(error, InvalidPlan)
    assert (error.asked, error.truth, error.action) == ("tp=6", "does not divide heads=32 of llama-3.1-8b", "use 1, 2, 4, 8, 16, 32")


def test_what_does_not_fit_has_its_bytes_as_fields() -> None:
    error = raised(model="llama-3.1-70b")
    assert isinstance(error, DoesNotFit)
    assert error.capacity_bytes == load_gpu("h100").memory_bytes
    assert error.needed_bytes == sum(error.parts.values())
    assert error.parts["weights"] == memory("llama-3.1-70b", ctx=2048).weight_bytes
    assert error.needed_bytes > error.capacity_bytes
    several = raised(model="llama-3.1-405b", tp=2)
    assert isinstance(several, DoesNotFit)
    assert "but each has 85.5 GB; use more devices" in str(several)


@pytest.mark.parametrize(
    ("question", "name", "near"),
    [
        ({"gpu": "h100-sx"}, "h100-sx", "h100-sxm"),
        ({"model": "qwen2.5-7"}, "qwen2.5-7", "qwen2.5-7b"),
        ({"dtype": "fp88"}, "fp88", "fp8"),
        ({"tp": 2, "network": "infiniband-nd"}, "infiniband-nd", "infiniband-ndr"),
    ],
)
def test_an_unknown_name_has_the_name_and_the_near_ones_as_fields(question: dict[str, object], name: str, near: str) -> None:
    error = raised(**question)
    assert isinstance(error, UnknownName)
    assert error.name == name
    assert near in error.suggestions


@pytest.mark.parametrize("question", [{"tp": 6}, {"model": "llama-3.1-70b"}, {"gpu": "h100-sx"}, {"ctx": -1}])
def test_errors_pickle_and_copy(question: dict[str, object]) -> None:
    error = raised(**question)
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.to_dict() == error.to_dict()


@pytest.mark.parametrize(
    ("args", "kind", "field"),
    [
        (["floor", "llama-3.1-70b", "h100", "--ctx", "2k", "--json"], "DoesNotFit", "needed_bytes"),
        (["floor", "llama-3.1-8b", "h1000", "--ctx", "2k", "--json"], "UnknownName", "suggestions"),
        (["floor", "llama-3.1-8b", "h100", "--ctx", "2k", "--json", "--no-such-option"], "InvalidInput", "action"),
    ],
)
def test_with_json_the_error_is_a_document_on_stderr(args: list[str], kind: str, field: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(args)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    document = json.loads(err)
    assert document["schema_version"] == 1
    assert document["error"]["kind"] == kind
    assert {"asked", "truth", "action", "message", field} <= set(document["error"])


def test_without_json_the_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["floor", "llama-3.1-8b", "h100", "--ctx", "2k", "--tp", "6"])
    assert capsys.readouterr().err == "sol: tp=6 does not divide heads=32 of llama-3.1-8b; use 1, 2, 4, 8, 16, 32\n"
