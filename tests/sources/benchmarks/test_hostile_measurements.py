"""Files of measurements that are large, damaged or made to harm: read in bounded memory, or refused by a SolError."""

from __future__ import annotations

import copy
import csv
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import BadFile, Measurements, SolError, read_measurements
from sol.sources.benchmarks import documents, ledger

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


# Files of a gigabyte, in small: what is not kept is never held.
@pytest.mark.parametrize("kind", ["csv", "jsonl", "log"])
def test_reading_is_streamed(tmp_path: Path, kind: str) -> None:
    path, junk = tmp_path / "big", "x" * 20_000
    serve = json.loads((FOLDER / "vllm-serve.json").read_text(encoding="utf-8"))

    def lines() -> Iterator[str]:
        if kind == "csv":
            yield f"{HEADER},log\n"
        for i in range(1000):
            if kind == "csv":
                yield f"qwen2.5-7b,h100,decode,{0.01 + i * 1e-6},1,{i},{junk}\n"
            elif kind == "jsonl":
                yield json.dumps({**serve, "duration": 20 + i, "generated_texts": [junk]}) + "\n"
            else:
                yield f"{junk}\n|x|\nTime for inference {i}: 1.60 sec total, 125.00 tokens/sec\n"

    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines())
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    found = read_measurements(path, model="qwen2.5-7b", gpu="h100", prompt_tokens=500, output_tokens=101 if kind == "jsonl" else 200)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) + len(found.aggregates) >= 1000
    assert peak < 15_000_000, f"{peak / 1e6:.1f} MB held while reading {path.stat().st_size / 1e6:.0f}"


def test_limits_are_errors_that_say_so(wrote: Wrote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_ROWS", 3)
    with pytest.raises(BadFile, match="more than 3 rows"):
        read_measurements(wrote("\n".join([HEADER, *(ROW.replace("2048", str(i)) for i in range(4))])))
    monkeypatch.setattr("sol.sources.benchmarks.content.MAX_DOCUMENT_BYTES", 1000)
    assert documents.MAX_DOCUMENT_BYTES == 64 * 2**20
    with pytest.raises(BadFile, match=r"a JSON document of more than 0 MiB; write one record per line"):
        read_measurements(wrote("[\n" + json.dumps(RECORD) + " " * 1000 + "]"))
    with pytest.raises(BadFile, match="line 1 is longer than 0 MiB"):
        read_measurements(wrote("[{" + " " * 2000))


# Hostile files: anything may be in them.
HOSTILE: list[Any] = [
    None,
    "",
    "x",
    "nan",
    "-1",
    0,
    -1,
    1e-320,
    1e300,
    float("inf"),
    float("nan"),
    10**400,
    True,
    [],
    {},
    [[]],
    {"a": 1},
    ["x"] * 3,
]
JSON_FIXTURES = [p for p in sorted(FOLDER.iterdir()) if p.suffix in (".json", ".jsonl")]
GIVEN: dict[str, Any] = {"model": "qwen2.5-7b", "gpu": "h100", "batch": 1, "prompt_tokens": 500, "output_tokens": 101}


def read_or_refused(path: Path, **given_: Any) -> None:
    try:
        found = read_measurements(path, **given_)
    except SolError:
        return
    assert isinstance(found, Measurements)
    for row in (*found.rows, *found.aggregates):
        assert 0 < row.measured_s < 1e9
    assert str(found.to_table())


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a JSON value, with each key or index of it."""
    for key in list(value) if isinstance(value, dict) else range(min(len(value), 3)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


@pytest.mark.slow
@pytest.mark.parametrize("fixture", JSON_FIXTURES, ids=lambda p: p.name)
def test_no_value_of_any_key_breaks_an_importer(fixture: Path, tmp_path: Path) -> None:
    text = fixture.read_text(encoding="utf-8")
    record = json.loads(text.splitlines()[0] if fixture.suffix == ".jsonl" else text)
    choose, path = random.Random(fixture.name), tmp_path / "hostile"
    spots = len(list(places(record)))
    for spot in choose.sample(range(spots), min(spots, 120)):
        for value in choose.sample(HOSTILE, 4 if spots < 60 else 2):
            changed = copy.deepcopy(record)
            container, key = list(places(changed))[spot]
            container[key] = value
            path.write_text(json.dumps(changed), encoding="utf-8")
            read_or_refused(path, **choose.choice([GIVEN, {}, {"gpu": "h100", "batch": 1}]))


@pytest.mark.slow
@pytest.mark.parametrize("fixture", sorted(FOLDER.iterdir()), ids=lambda p: p.name)
def test_no_damage_to_a_file_breaks_its_reader(fixture: Path, tmp_path: Path) -> None:
    whole, choose, path = fixture.read_bytes(), random.Random(fixture.name), tmp_path / "hostile"
    for _ in range(25):
        data = bytearray(whole[: choose.randrange(len(whole))] if choose.random() < 0.3 else whole)
        for _ in range(choose.randrange(1, 6)):
            at = choose.randrange(len(data) + 1)
            data[at : at + choose.randrange(3)] = choose.choice(
                [b"", b"\0", b'"', b",", b"|", b"\n", b"}", b"9" * 400, b"\xff", b"'", b"-", b"e9"]
            )
        path.write_bytes(bytes(data))
        read_or_refused(path, **GIVEN)


@settings(max_examples=150)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_bytes_that_are_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(data)
    read_or_refused(path)


CELLS = st.sampled_from(
    ["", "1", "-1", "0.1", "nan", "1e400", "decode", "prefill", "h100", "qwen2.5-7b", "yes", "fp8", "x" * 300, '"', "'", "é", "9" * 50]
)


@settings(max_examples=150)
@given(st.lists(st.lists(CELLS, min_size=8, max_size=8), max_size=5), st.permutations(["dtype", "tp", "new_tokens", "cuda_graphs"]))
def test_cells_that_are_nothing(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], more: list[str]) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["model", "gpu", "phase", "measured_s", "ctx", *more[:3]], *rows])
    read_or_refused(path)
