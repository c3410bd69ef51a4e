"""What engines report of their memory when they start: pools of the cache, and what was taken before them.

`pools.csv` has one row a start-up log, under the words and units of the log. Deliberately no formula: a
test holds what `memory` predicts against these rows. A figure that the log does not print is None.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sol.errors import BadFile
from sol.frozen import FrozenMap
from sol.sources.database.tomlfiles import data_root, read_toml
from sol.specs.record import Source, validated

WORDS = ("id", "engine", "repo", "source", "printed")
TEXTS = ("version", "model", "gpu", "dtype", "kv_dtype", "note")
WAYS = ("devices", "tp", "pp", "dp", "ep")
NUMBERS = (
    "utilization", "max_model_len", "max_batched_tokens", "max_seqs", "total_gib", "weights_gib", "activation_gib", "non_torch_gib",
    "graph_gib", "kv_tokens", "blocks", "concurrency",
)  # fmt: skip
CHOICES = {"eager": ("yes", "no", ""), "starts": ("yes", "no"), "use": ("fit", "held_out")}
COLUMNS = (*WORDS, *TEXTS, *WAYS, *NUMBERS, *CHOICES, "kv_gib")


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One start-up log. Memory is per device, in GiB as logs print it (SGLang's and vLLM's older "GB" are GiB).

    `repo` is the checkpoint as the source names it; `model`, `gpu` and `dtype` are ids of the database, empty
    where it has none. `utilization` is the engine's own fraction [1]; `max_batched_tokens` and `max_seqs` bound
    the profiled step [1]; `total_gib` is the device's memory as the log says. `kv_gib` is the pool, negative
    where the log says so; `kv_tokens` those of the whole replica [token]. `starts` is "no" where the engine
    refused or ran out of memory after this line. A model may be fitted to the rows of `use` "fit" only.
    """

    id: str
    engine: str
    version: str
    repo: str
    model: str
    gpu: str
    devices: int
    tp: int
    pp: int
    dp: int
    ep: int
    utilization: float | None
    max_model_len: float | None
    max_batched_tokens: float | None
    max_seqs: float | None
    eager: Literal["yes", "no", ""]
    dtype: str
    kv_dtype: str
    total_gib: float | None
    weights_gib: float | None
    activation_gib: float | None
    non_torch_gib: float | None
    graph_gib: float | None
    kv_gib: float | None
    kv_tokens: float | None
    blocks: float | None
    concurrency: float | None
    starts: Literal["yes", "no"]
    source: str
    printed: str
    note: str
    use: Literal["fit", "held_out"]


@lru_cache(maxsize=1)
def pool_rows() -> tuple[PoolRow, ...]:
    """Every log, in the order of the file. Raises `BadFile`.

    >>> row = pool_rows()[0]
    >>> row.gpu, row.kv_tokens, row.source in pool_sources()
    ('rtx-3090', 31232.0, True)
    """
    path = data_root() / "pools" / "pools.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        wrong = set(table.fieldnames or ()) ^ set(COLUMNS)
        if wrong:
            raise BadFile(f"{path.name}:", f"column {min(wrong)} is missing or unknown", f"the columns are {', '.join(COLUMNS)}")
        return tuple(_row(record, f"{path.name} line {table.line_num}") for record in table)


@lru_cache(maxsize=1)
def pool_sources() -> Mapping[str, Source]:
    """Where the logs were printed, by the name that rows give. Raises `BadFile`."""
    path = data_root() / "pools" / "sources.toml"
    return FrozenMap({k: validated(Source, table, f"{path.name}: [{k}]") for k, table in read_toml(path).items()})


def _row(record: dict[str, str], where: str) -> PoolRow:
    if None in record or None in record.values():
        raise BadFile(f"{where}:", "not as many cells as columns", "put a text that holds commas in quotes")
    for key in WORDS:
        if not record[key]:
            raise BadFile(f"{where}:", f"no {key}", "a row without it cannot be reproduced or cited")
    for key, words in CHOICES.items():
        if record[key] not in words:
            raise BadFile(f"{where}:", f"{key}={record[key]!r} is none of {', '.join(words)}")
    cells: dict[str, Any] = {key: record[key] for key in (*WORDS, *TEXTS, *CHOICES)}
    cells |= {key: _ways(record, key, where) for key in WAYS}
    cells |= {key: _number(record, key, where, 0.0) for key in NUMBERS}
    row = PoolRow(**cells, kv_gib=_number(record, "kv_gib", where, -float("inf")))
    if row.starts == "yes" and row.kv_gib is None and row.kv_tokens is None:
        raise BadFile(f"{where}:", "neither kv_gib nor kv_tokens", "a log of an engine that starts prints its pool")
    return row


def _ways(record: dict[str, str], key: str, where: str) -> int:
    if not record[key].isdecimal() or not int(record[key]):
        raise BadFile(f"{where}:", f"{key}={record[key]!r} is not a whole number above 0")
    return int(record[key])


def _number(record: dict[str, str], key: str, where: str, least: float) -> float | None:
    if not record[key]:
        return None
    try:
        number = float(record[key])
    except ValueError:
        number = float("nan")
    if not least <= number < float("inf"):
        raise BadFile(f"{where}:", f"{key}={record[key]!r} is not a number" + (" of 0 or more" if least == 0 else ""))
    return number
