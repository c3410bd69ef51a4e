"""A model or a device that is not found is named in one line, with what to do."""

from __future__ import annotations

import pytest

from sol import BadFile, HubError, InvalidInput, SolError, UnknownName, floor

GOOD = {"model": "qwen2.5-7b", "gpu": "h100", "ctx": 2048}


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"model": "qwen-2.5-7b"}, UnknownName, "did you mean 'qwen2.5-7b'"),
        ({"model": "Qwen/Qwen9-7B"}, HubError, "config.json"),
        ({"model": "./model.gguf"}, BadFile, "no file 'model.gguf'"),
        ({"model": ""}, UnknownName, "no built-in model"),
        ({"model": 7}, InvalidInput, "neither a name"),
        ({"gpu": "h100-smx"}, UnknownName, "did you mean 'h100-sxm'"),
        ({"gpu": None}, InvalidInput, "neither a name nor a GPU"),
        ({"model": "x" * 5000}, UnknownName, "no built-in model"),
        ({"model": "a\nb"}, UnknownName, "no built-in model"),
        ({"gpu": "a\nb"}, UnknownName, "no gpu"),
        ({"model": "~nosuchuser/config.json"}, BadFile, "no file"),
    ],
)
def test_one_line_that_names_the_thing(asked: dict, kind: type[SolError], words: str) -> None:
    with pytest.raises(kind) as error:
        floor(**{**GOOD, **asked})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_hugging_face_ids_resolve_in_any_case() -> None:
    assert floor("qwen/QWEN2.5-7b", "H100", ctx=2048).latency_s == floor(**GOOD).latency_s
