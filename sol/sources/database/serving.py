"""Published figures of servers under load: what a client sees, or what a whole server makes a second.

Every CSV file of `serving/` is read. A row is one statistic of one run: a server, a load, and a metric in SI units.
Rows use the ids of the database for models, devices and formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

from sol.errors import BadFile
from sol.frozen import FrozenMap
from sol.sources.database.cells import needed, number, one_of, rows_of, ways, word
from sol.sources.database.measured import GRAPHS, HALVES
from sol.sources.database.tomlfiles import data_root, read_toml
from sol.specs.record import Source, validated

COLUMNS = (
    "id", "model", "gpu", "engine", "version", "dtype", "kv_dtype", "tp", "pp", "ep", "dp", "cuda_graphs", "concurrency",
    "request_rate_per_s", "prompt_tokens", "output_tokens", "cached_share", "max_batch", "max_batch_tokens", "metric", "statistic", "value",
    "source", "printed", "note", "split",
)  # fmt: skip
METRICS = ("tpot_s", "itl_s", "ttft_s", "e2e_s", "output_tokens_per_s", "requests_per_s")
STATISTICS = ("", "mean", "median", "p90", "p99")
Metric = Literal["tpot_s", "itl_s", "ttft_s", "e2e_s", "output_tokens_per_s", "requests_per_s"]
Statistic = Literal["", "mean", "median", "p90", "p99"]


@dataclass(frozen=True, slots=True)
class ServingRow:
    """One published figure of a server under load.

    The load is `concurrency` requests kept in flight [1], or `request_rate_per_s` [1/s], or, where both are None, every
    request queued at once (offline, the note says so). `prompt_tokens` and `output_tokens` are means over the requests
    [token]; `cached_share` is the share of prompt tokens found in the prefix cache [1], None where the source leaves it
    open: then any share is possible. `max_batch` [sequence] and `max_batch_tokens` [token] limit a step of the engine. A
    server is tp·pp·dp devices, and `value` is of the whole server: seconds, or tokens or requests a second.
    `statistic` is "" where the source does not say which it prints. `split` as in measured rows.
    """

    id: str
    model: str
    gpu: str
    engine: str
    version: str
    dtype: str
    kv_dtype: str
    tp: int
    pp: int
    ep: int
    dp: int
    cuda_graphs: Literal["yes", "no", "unknown"]
    concurrency: float | None
    request_rate_per_s: float | None
    prompt_tokens: float
    output_tokens: float
    cached_share: float | None
    max_batch: float | None
    max_batch_tokens: float | None
    metric: Metric
    statistic: Statistic
    value: float
    source: str
    printed: str
    note: str
    split: Literal["fit", "holdout"]

    @property
    def devices(self) -> int:
        """Devices of the server."""
        return self.tp * self.pp * self.dp

    @property
    def offline(self) -> bool:
        """Whether every request was queued at once."""
        return self.concurrency is None and self.request_rate_per_s is None

    @property
    def overloaded(self) -> bool:
        """Whether requests came faster than they were served: the figures are of no steady state."""
        return "overloaded" in self.note

    @property
    def waiting(self) -> bool:
        """Whether the note says that requests wait longer for their first token than they then take: fewer run than are in flight."""
        return "requests wait" in self.note

    @property
    def prompt_tokens_per_step(self) -> float | None:
        """Prompt tokens that come with each decode step of a constant number of requests, cached or not [token]."""
        return None if self.concurrency is None else self.concurrency * self.prompt_tokens / self.output_tokens


@lru_cache(maxsize=1)
def serving_rows() -> tuple[ServingRow, ...]:
    """Every published row, file by file in the order of their names. Raises `BadFile`.

    >>> row = serving_rows()[0]
    >>> row.metric, row.value > 0, row.source in serving_sources()
    ('tpot_s', True, True)
    """
    return tuple(row for path in sorted((data_root() / "serving").glob("*.csv")) for row in rows_of(path, COLUMNS, _row))


@lru_cache(maxsize=1)
def serving_sources() -> Mapping[str, Source]:
    """Where the rows were published, by the name they give. Raises `BadFile`."""
    path = data_root() / "serving" / "sources.toml"
    return FrozenMap({k: validated(Source, table, f"{path.name}: [{k}]") for k, table in read_toml(path).items()})


def _row(record: dict[str, str], where: str) -> ServingRow:
    absent = [c for c in COLUMNS if record.get(c) is None]
    if absent:
        raise BadFile(f"{where}:", f"no cell for {absent[0]}", f"the columns are {', '.join(COLUMNS)}")
    row = ServingRow(
        id=word(record, "id", where),
        model=word(record, "model", where),
        gpu=word(record, "gpu", where),
        engine=word(record, "engine", where),
        version=record["version"],
        dtype=word(record, "dtype", where),
        kv_dtype=word(record, "kv_dtype", where),
        tp=ways(record, "tp", where),
        pp=ways(record, "pp", where),
        ep=ways(record, "ep", where),
        dp=ways(record, "dp", where),
        cuda_graphs=cast("Literal['yes', 'no', 'unknown']", one_of(record, "cuda_graphs", GRAPHS, where)),
        concurrency=_load(record, "concurrency", where),
        request_rate_per_s=_load(record, "request_rate_per_s", where),
        prompt_tokens=needed(record, "prompt_tokens", where),
        output_tokens=needed(record, "output_tokens", where),
        cached_share=number(record, "cached_share", where),
        max_batch=_load(record, "max_batch", where),
        max_batch_tokens=_load(record, "max_batch_tokens", where),
        metric=cast("Metric", one_of(record, "metric", METRICS, where)),
        statistic=cast("Statistic", one_of(record, "statistic", STATISTICS, where)),
        value=needed(record, "value", where),
        source=word(record, "source", where),
        printed=word(record, "printed", where),
        note=record["note"],
        split=cast("Literal['fit', 'holdout']", one_of(record, "split", HALVES, where)),
    )
    _checked(row, where)
    return row


def _load(record: dict[str, str], key: str, where: str) -> float | None:
    return needed(record, key, where) if record[key] else None


def _checked(row: ServingRow, where: str) -> None:
    if row.concurrency is not None and row.request_rate_per_s is not None:
        raise BadFile(f"{where}:", "both concurrency and request_rate_per_s", "a load is one of them, or neither where it was offline")
    if row.offline and "offline" not in row.note:
        raise BadFile(
            f"{where}:", "neither concurrency nor request_rate_per_s", "say offline in the note if every request was queued at once"
        )
    if row.cached_share is not None and row.cached_share >= 1:
        raise BadFile(f"{where}:", f"cached_share={row.cached_share:g} is not below 1", "the last token of a prompt is always computed")
    if row.metric in ("tpot_s", "itl_s") and row.output_tokens <= 1:
        raise BadFile(f"{where}:", f"{row.metric} of {row.output_tokens:g} output tokens", "there is no gap between tokens")
