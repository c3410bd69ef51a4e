"""The published measurements of the database: times of steps, prompts and requests.

Every CSV file of `measured/` with the columns `NEEDED` is read whole, whatever its name; other tables
(of collectives, of rows left out) lack them. Rows use the ids of the database for models and devices. A test compares
every row with its floor.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

from sol.errors import BadFile
from sol.frozen import FrozenMap
from sol.sources.database.cells import needed, number, one_of, rows_of, ways, word
from sol.sources.database.tomlfiles import data_root, read_toml
from sol.specs.record import Source, validated

NEEDED = (
    "id", "model", "gpu", "phase", "measured_s", "dtype", "kv_dtype", "batch", "ctx", "engine", "cuda_graphs", "source", "printed", "note",
    "split",
)  # fmt: skip
OPTIONAL = ("new_tokens", "prompt_tokens", "output_tokens", "tp", "pp", "ep", "dp", "version")
PHASES = ("decode", "prefill", "request")
GRAPHS = ("yes", "no", "unknown")
HALVES = ("fit", "holdout")


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """One published time.

    `measured_s` [s]: of one step of `batch` sequences (decode), of one pass over `batch` prompts
    (prefill), or of `batch` whole requests run together (request: `prompt_tokens` each, from the prompt
    to the last of `output_tokens`). `ctx` [token]: in the cache before a decode step (of a span of steps
    their mean), or the prompt; None for a request. A replica is tp·pp·dp devices. `printed` is the
    source's own figure; `split` says whether a calibration may be fitted to the row or is scored on it.
    """

    id: str
    model: str
    gpu: str
    phase: Literal["decode", "prefill", "request"]
    measured_s: float
    dtype: str
    kv_dtype: str
    batch: float
    ctx: float | None
    new_tokens: float | None
    prompt_tokens: float | None
    output_tokens: float | None
    tp: int
    pp: int
    ep: int
    dp: int
    engine: str
    version: str
    cuda_graphs: Literal["yes", "no", "unknown"]
    source: str
    printed: str
    note: str
    split: Literal["fit", "holdout"]

    @property
    def devices(self) -> int:
        """Devices of the replica that was timed."""
        return self.tp * self.pp * self.dp


@lru_cache(maxsize=1)
def measured_rows() -> tuple[MeasuredRow, ...]:
    """Every published row, file by file in the order of their names. Raises `BadFile`.

    >>> row = measured_rows()[0]
    >>> row.measured_s > 0, row.source in measured_sources()
    (True, True)
    """
    return tuple(row for path in measured_files() for row in rows_of(path, (*NEEDED, *OPTIONAL), _row))


@lru_cache(maxsize=1)
def measured_sources() -> Mapping[str, Source]:
    """Where the rows were published, by the name they give. Raises `BadFile`."""
    path = data_root() / "measured" / "sources.toml"
    return FrozenMap({k: validated(Source, table, f"{path.name}: [{k}]") for k, table in read_toml(path).items()})


def measured_files() -> list[Path]:
    """The tables of rows: every CSV file whose header has the columns `NEEDED`."""
    return [path for path in sorted((data_root() / "measured").glob("*.csv")) if set(NEEDED) <= set(_header(path))]


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as lines:
        return next(csv.reader(lines), [])


def _row(record: dict[str, str], where: str) -> MeasuredRow:
    row = MeasuredRow(
        id=word(record, "id", where),
        model=word(record, "model", where),
        gpu=word(record, "gpu", where),
        phase=cast("Literal['decode', 'prefill', 'request']", one_of(record, "phase", PHASES, where)),
        measured_s=needed(record, "measured_s", where),
        dtype=word(record, "dtype", where),
        kv_dtype=word(record, "kv_dtype", where),
        batch=needed(record, "batch", where),
        ctx=number(record, "ctx", where),
        new_tokens=number(record, "new_tokens", where),
        prompt_tokens=number(record, "prompt_tokens", where),
        output_tokens=number(record, "output_tokens", where),
        tp=ways(record, "tp", where),
        pp=ways(record, "pp", where),
        ep=ways(record, "ep", where),
        dp=ways(record, "dp", where),
        engine=word(record, "engine", where),
        version=record.get("version") or "",
        cuda_graphs=cast("Literal['yes', 'no', 'unknown']", one_of(record, "cuda_graphs", GRAPHS, where)),
        source=word(record, "source", where),
        printed=word(record, "printed", where),
        note=record["note"] or "",
        split=cast("Literal['fit', 'holdout']", one_of(record, "split", HALVES, where)),
    )
    lengths = (row.prompt_tokens, row.output_tokens) if row.phase == "request" else (row.ctx,)
    if None in lengths:
        raise BadFile(f"{where}:", f"a {row.phase} needs {('prompt_tokens and output_tokens' if row.phase == 'request' else 'ctx')}")
    return row
