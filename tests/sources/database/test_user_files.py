"""Files and records of a user's own, damaged in thousands of ways: each is read, or refused in one short line."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sources.tensors.headers import mutated

from sol import GPU, NumberFormat, SolError, floor, load_gpu, load_model
from sol.errors import MESSAGE_CHARACTERS

pytestmark = pytest.mark.law
DEVICE = """
[sources.sheet]
title = "My datasheet"
kind = "datasheet"
url = "https://example.com/sheet"
checked = 2026-11-20

[my-card]
name = "My card 80GB"
aliases = ["mine"]
vendor = "me"
kind = "gpu"
architecture = "x"
year = 2026
memory_bytes = { value = 8.0e10, source = "sheet", evidence = "A", printed = "80GB", basis = "marketed" }
memory_bytes_per_s = { value = 3.35e12, source = "sheet", evidence = "A", printed = "3.35TB/s" }
tdp_w = { value = 700, source = "sheet", evidence = "A", printed = "700W" }
lacks = { formats = ["fp4"], source = "sheet", evidence = "A" }

[my-card.flops_per_s]
bf16 = { value = 9.894e14, source = "sheet", evidence = "A", printed = "1,978.8 TFLOPS", factor = 0.5, note = "half of the sparse rate" }
fp8 = { value = 1.9788e15, evidence = "D", source = "sheet", formula = "flops_per_s.bf16 * 2" }

[my-card.link]
name = "NVLink"
per_direction_bytes_per_s = { value = 4.5e11, source = "sheet", evidence = "A", printed = "900GB/s", factor = 0.5 }
"""
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 10**400, 0.5, -0.0, float("inf"), float("nan"), 1e308, "", " ", "x" * 5000, "sheet", "a\nb", "\ud800", "\x1b[31m",
    [], [[]], ["x"], [1, "x"], {}, {"value": 1}, {"": ""}, {"x": {"y": {}}}, b"x", object(),
)  # fmt: skip


def line_of(call: Callable[[], object]) -> str:
    """The line that refuses a call, "" where it is not; it fits a screen and can be printed."""
    line = ""
    try:
        call()
    except SolError as error:
        line = str(error)
    assert line.isprintable()
    assert len(line) <= MESSAGE_CHARACTERS
    return line


def asked(path: Path) -> str:
    return line_of(lambda: floor("qwen2.5-7b", load_gpu("my-card", folder=path), ctx=1))


def test_the_device_itself_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.toml"
    path.write_text(DEVICE)
    assert asked(path) == ""


def test_device_files_with_damaged_bytes(tmp_path: Path) -> None:
    path, dice, refused = tmp_path / "d.toml", random.Random(8), 0
    for _ in range(1500):
        path.write_bytes(mutated(DEVICE.encode(), dice))
        refused += bool(asked(path))
    assert refused > 700
    assert [p.name for p in tmp_path.iterdir()] == ["d.toml"]


def written(value: Any) -> str:
    """A value as TOML, or as what is none."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {written(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else str(value)


@pytest.mark.slow
def test_device_files_with_odd_values(tmp_path: Path) -> None:
    """True TOML, each time one value of the whole record another one."""
    path, dice, refused = tmp_path / "d.toml", random.Random(9), 0
    for _ in range(1500):
        data = tomllib.loads(DEVICE)
        place = data
        while True:
            key = dice.choice(list(place))
            if isinstance(place[key], dict) and dice.random() < 0.8:
                place = place[key]
                continue
            place[key] = dice.choice(ODD)
            break
        path.write_text("\n".join(f"{json.dumps(k)} = {written(v)}" for k, v in data.items()), encoding="utf-8", errors="replace")
        refused += bool(asked(path))
    assert refused > 700


FORMAT: dict[str, Any] = {
    "id": "w5", "name": "5-bit weights", "bits": 5, "group": 64, "scale_bits": 16, "zero_bits": 0, "covers": ("linear", "experts"),
    "compute": "16-bit", "otherwise": None, "cache": False, "fallback": None, "mix": {}, "class_bits": {}, "source": "mine", "note": "",
}  # fmt: skip
CLASS_BITS = ({"q_proj": 4}, {"nonsense": 4}, {"q_proj": -1}, {"q_proj": float("nan")}, {"tower": 3, "lm_head": 99})


def test_formats_of_ones_own_with_odd_fields() -> None:
    dice, refused, answered = random.Random(10), 0, 0
    model, gpu = load_model("qwen2.5-7b"), load_gpu("h100")
    for _ in range(3000):
        fields = dict(FORMAT)
        for key in dice.sample(list(fields), dice.randint(1, 2)):
            fields[key] = dice.choice((*ODD, *CLASS_BITS))
        line = line_of(lambda fields=fields: floor(model, gpu, ctx=1, dtype=NumberFormat(**fields)))  # type: ignore[misc]
        refused, answered = refused + bool(line), answered + (not line)
    assert refused > 1000
    assert answered > 100


def test_devices_of_ones_own_with_odd_fields() -> None:
    dice, refused = random.Random(11), 0
    fields: dict[str, Any] = {"id": "a", "name": "a", "memory_bytes": 1e11, "memory_bytes_per_s": 1e12, "flops_per_s": {"bf16": 1e14},
                              "ceiling_flops_per_s": {}, "lacks": frozenset(), "source": "x", "last_level_cache_bytes": None}  # fmt: skip
    for _ in range(1500):
        odd = {**fields, dice.choice(list(fields)): dice.choice(ODD)}
        refused += bool(line_of(lambda odd=odd: floor("qwen2.5-7b", GPU(**odd), ctx=1)))  # type: ignore[misc]
    assert refused > 700
