"""What is no number, or a number without meaning, is refused in one line; every kind of number is one."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from sol import InvalidInput, SolError, floor

GOOD = {"model": "qwen2.5-7b", "gpu": "h100", "ctx": 2048}


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"batch": 0}, InvalidInput, "batch=0"),
        ({"batch": -1}, InvalidInput, "batch=-1"),
        ({"batch": float("nan")}, InvalidInput, "batch=nan"),
        ({"batch": float("inf")}, InvalidInput, "batch=inf"),
        ({"batch": "many"}, InvalidInput, "batch='many'"),
        ({"batch": "8"}, InvalidInput, "batch='8'"),
        ({"batch": True}, InvalidInput, "batch=True"),
        ({"batch": None}, InvalidInput, "batch=None"),
        ({"batch": []}, InvalidInput, "batch is empty"),
        ({"batch": [1, -2]}, InvalidInput, "batch=-2"),
        ({"batch": [1, "x"]}, InvalidInput, "batch="),
        ({"batch": 10**400}, InvalidInput, "batch="),
        ({"batch": -(10**9000)}, InvalidInput, "batch="),
        ({"batch": 1j}, InvalidInput, "batch="),
        ({"batch": ["8"]}, InvalidInput, "batch="),
        ({"batch": [True]}, InvalidInput, "batch="),
        ({"batch": np.bool_(True)}, InvalidInput, "batch="),
        ({"batch": np.array([8 + 3j])}, InvalidInput, "batch="),
        ({"batch": np.datetime64("2020-01-01")}, InvalidInput, "batch="),
        ({"batch": bytearray(b"12")}, InvalidInput, "batch="),
        ({"batch": np.ma.masked_array([1.0, 2.0], mask=[0, 1])}, InvalidInput, "batch="),
        ({"batch": np.array([object()])}, InvalidInput, "batch="),
        ({"ctx": -1}, InvalidInput, "ctx=-1"),
        ({"batch": [1, 2], "ctx": [1, 2, 3]}, InvalidInput, "do not broadcast"),
    ],
)
def test_one_line_that_names_the_thing(asked: dict, kind: type[SolError], words: str) -> None:
    with pytest.raises(kind) as error:
        floor(**{**GOOD, **asked})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_of_other_types_are_numbers() -> None:
    expected = floor(**GOOD).latency_s
    for ctx in (2048.0, np.int32(2048), np.float32(2048), Decimal(2048), np.array(2048)):
        assert floor(**{**GOOD, "ctx": ctx}).latency_s == expected
