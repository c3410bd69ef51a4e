"""Measured times of steps, of prompts, and of requests, which are neither.

A `Measurement` is comparable with a floor: a decode step, or the prefill of a prompt, at a known batch
and context. An `Aggregate` is what servers and request benchmarks report instead (a request, a mean
time per output token under load): kept, but not a step. Nothing here says what a time should have been.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, model_validator

from sol.frozen import FrozenMap, frozen
from sol.specs.record import HandMade
from sol.specs.step import Phase
from sol.tabular import Column, Table, joined
from sol.units import show_count, show_seconds

Metric = Literal["request", "ttft", "tpot", "itl", "output_token"]
"""A whole request · time to its first token · time per output token after the first, (e2e − ttft)/(output − 1) ·
the gap between two chunks of its stream · the system's time per output token, over all requests."""

Statistic = Literal["mean", "median"]
Word = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
Seconds = Annotated[float, Field(gt=0, lt=1e9, strict=True)]
Tokens = Annotated[float, Field(gt=0, le=1e15, strict=True)]
DeviceCount = Annotated[int, Field(gt=0, le=2**31, strict=True)]
SHOWN_REJECTS = 5


class Run(HandMade):
    """What both kinds of row record about their run.

    `dtype` and `kv_dtype` are format ids, None where nothing says; a replica is tp·pp·dp devices;
    `prompt_tokens` and `output_tokens` are the (mean) lengths of a request; `session` names rows taken
    together, `source` where they come from.
    """

    model: Word
    gpu: Word
    measured_s: Seconds
    dtype: Word | None = None
    kv_dtype: Word | None = None
    tp: DeviceCount = 1
    pp: DeviceCount = 1
    ep: DeviceCount = 1
    dp: DeviceCount = 1
    prompt_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    engine: Word | None = None
    cuda_graphs: StrictBool | None = None
    session: Word | None = None
    source: Word | None = None


class Measurement(Run):
    """One measured step.

    `measured_s` [s] is one decode step, or one prefill from the first new token to the logits; where
    `batch` prompts go through together, the time of all of them, which is what each waits. `ctx` are the
    tokens in the cache before the step (decode; of a span of steps, their mean), or the prompt (prefill).
    `new_tokens` are those computed per sequence: 1 in decode unless drafts are verified; in prefill the
    prompt, less what was cached.

    >>> m = Measurement(model="qwen2.5-7b", gpu="h100-sxm", phase="decode", measured_s=0.01697, ctx=2048)
    >>> m.batch, m.new_tokens
    (1.0, 1.0)
    """

    phase: Phase
    batch: Tokens = 1.0
    ctx: Annotated[float, Field(ge=0, le=1e15, strict=True)]
    new_tokens: Tokens = 1.0

    @model_validator(mode="before")
    @classmethod
    def _new_by_phase(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("new_tokens") is None:
            whole = data.get("phase") == "prefill" and data.get("ctx")
            return {**data, "new_tokens": data["ctx"] if whole else 1.0}
        return data

    @model_validator(mode="after")
    def _prompt_holds_its_tokens(self) -> Measurement:
        if self.phase == "prefill" and not 0 < self.new_tokens <= self.ctx:
            raise ValueError(f"ctx: a prompt of {self.ctx:g} tokens cannot have {self.new_tokens:g} new ones")
        return self

    @property
    def cached_tokens(self) -> float:
        """Tokens of a prompt that were in the cache already; 0 in decode, where `ctx` is all of them."""
        return self.ctx - self.new_tokens if self.phase == "prefill" else 0.0

    def __repr__(self) -> str:
        what = joined((self.phase, f"batch {show_count(self.batch)}", f"ctx {show_count(self.ctx)}", self.dtype or ""))
        return f"<Measurement {self.model} on {self.gpu} · {what}: {show_seconds(self.measured_s, 4)}>"


class Aggregate(Run):
    """A measured time that is not one step: `metric` says what it is, `concurrency` how many requests ran at once, if known."""

    metric: Metric
    statistic: Statistic = "mean"
    concurrency: Tokens | None = None

    def __repr__(self) -> str:
        load = "" if self.concurrency is None else f" · {self.concurrency:.3g} at once"
        return f"<Aggregate {self.model} on {self.gpu} · {self.statistic} {self.metric}{load}: {show_seconds(self.measured_s, 4)}>"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected row: its place in the file, the reason, and its values."""

    where: str
    reason: str
    values: Mapping[str, Any] = field(default_factory=FrozenMap)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen(self.values))

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Measurements:
    """The contents of one file: `rows` to compare with a floor, `aggregates`, and all `rejected` rows with reasons.

    Iterating and `len` are over `rows`. `tool` wrote the file; `assumptions` are what the file does not record and
    was assumed.
    """

    path: str
    tool: str
    rows: tuple[Measurement, ...]
    aggregates: tuple[Aggregate, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    assumptions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Measurement]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Measurement:
        return self.rows[index]

    def to_table(self) -> Table:
        """The rows and the aggregates, one per line; below them what was assumed and what was rejected."""
        lines = (*(_row(m, m.phase, m.batch, m.ctx) for m in self.rows), *(_row(a, a.metric, a.concurrency, None) for a in self.aggregates))
        footer = [f"assumes: {' · '.join(self.assumptions)}"] if self.assumptions else []
        footer += [f"rejected: {r}" for r in self.rejected[:SHOWN_REJECTS]]
        if len(self.rejected) > SHOWN_REJECTS:
            footer.append(f"rejected: {len(self.rejected) - SHOWN_REJECTS} more")
        return Table(columns=COLUMNS, rows=lines, title=joined((self.path, self.tool, *self._counts())), footer=tuple(footer))

    def _counts(self) -> list[str]:
        counts = ((len(self.rows), "row"), (len(self.aggregates), "aggregate"), (len(self.rejected), "rejected"))
        return [f"{n:,} {word}{'s' if n != 1 and word != 'rejected' else ''}" for n, word in counts if n or word == "row"]

    def __repr__(self) -> str:
        first = f" ({self.rejected[0]})" if self.rejected else ""
        return f"<Measurements {self.path} · {self.tool}: {', '.join(self._counts())}{first}>"


COLUMNS = (
    Column("model", "model", left=True),
    Column("gpu", "gpu", left=True),
    Column("what", "what", left=True),
    Column("batch", "batch", lambda v: f"{v:g}"),
    Column("ctx", "ctx", lambda v: f"{v:,g}"),
    Column("measured_s", "time", lambda v: show_seconds(v, 4)),
    Column("dtype", "dtype", left=True),
    Column("kv_dtype", "kv", left=True),
    Column("devices", "devices", show_count),
    Column("prompt_tokens", "prompt", lambda v: f"{v:,g}"),
    Column("output_tokens", "output", lambda v: f"{v:,g}"),
    Column("engine", "engine", left=True),
)


def _row(run: Run, what: str, batch: float | None, ctx: float | None) -> tuple[Any, ...]:
    devices = run.tp * run.pp * run.dp
    lengths = (run.prompt_tokens, run.output_tokens)
    return (run.model, run.gpu, what, batch, ctx, run.measured_s, run.dtype, run.kv_dtype, devices, *lengths, run.engine)
