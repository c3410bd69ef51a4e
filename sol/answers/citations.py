"""Which numbers an answer rests on, what the source printed, and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sol.answers.question import Question
from sol.specs.hardware import GPU
from sol.specs.record import Cite, Source
from sol.tabular import Column, Table
from sol.units import show_bytes, show_rate, significant

COLUMNS = (
    Column("fact", "fact", left=True, wrap=True),
    Column("value", "value"),
    Column("evidence", "grade"),
    Column("printed", "printed", left=True, wrap=True),
    Column("source", "source", left=True, wrap=True),
    Column("where", "where", left=True, wrap=True),
)


class Bibliography(Table):
    """Facts with their sources; as text, each fact points to a numbered source listed below the table."""

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.padding import Padding
        from rich.text import Text as RichText

        numbers: dict[tuple[str, str | None], int] = {}
        rows = []
        for r in self.to_dicts():
            number = numbers.setdefault((r["source"], r["where"]), len(numbers) + 1)
            rows.append((r["fact"], r["value"], r["evidence"], r["printed"], f"[{number}]"))
        parts: list[Any] = [RichText(self.title, style="bold"), ""] if self.title else []
        parts += [Table(columns=(*COLUMNS[:4], Column("source", "source")), rows=tuple(rows)), ""]
        for (title, where), n in numbers.items():
            parts.append(Padding(RichText(f"[{n}] {title}"), (0, 0, 0, 2)))
            if where and where.startswith("http"):  # on a line of its own and never broken, so that it can be clicked or copied
                parts.append(RichText(f"      {where}", no_wrap=True, overflow="ignore"))
            elif where:
                parts.append(Padding(RichText(where), (0, 0, 0, 6)))
        if self.footer:
            parts += ["", *(Padding(RichText(line, style="dim"), (0, 0, 0, 2)) for line in self.footer)]
        return Group(*parts)


def citations(q: Question) -> Bibliography:
    """The bibliography of one question: the device's numbers it used, the formats, the architecture."""
    fields = ["memory_bytes_per_s", "memory_bytes" if "memory_bytes" in q.gpu.cites else "marketed_memory_bytes"]
    for compute in q.rates.peak or {}:
        fields += [f"flops_per_s.{compute}", f"ceiling_flops_per_s.{compute}"]
    rows = [
        cite_row(f"{q.gpu.id} {field}", q.gpu.cites[field], show_field(field, q.gpu.cites[field]))
        for field in fields
        if field in q.gpu.cites
    ]
    if "lacks" in q.gpu.cites and q.storage.base.compute != q.model.dtype:
        rows.append(cite_row(f"{q.gpu.id} lacks", q.gpu.cites["lacks"], str(q.gpu.cites["lacks"].value)))
    for fmt in dict.fromkeys((q.storage.weights, q.storage.base, q.storage.cache)):
        rows.append(cite_row(f"format {fmt.id}", Cite(value=fmt.bits_per_weight, source=fmt.source), f"{fmt.bits_per_weight:g} bits"))
    rows += [cite_row(f"{q.model.id} {k}", c, str(c.value)) for k, c in q.model.cites.items()]
    return Bibliography(columns=COLUMNS, rows=tuple(rows))


def cite_row(fact: str, cite: Cite, value: str) -> tuple[str | None, ...]:
    """One line of a bibliography."""
    words = cite.printed if cite.printed is not None else cite.formula
    return (fact, value, cite.evidence, words, cite.source.title, source_place(cite.source))


def source_place(source: Source) -> str | None:
    """Where a source can be found: its URL, or its document id."""
    return source.url or source.document


def gpu_citations(gpu: GPU) -> Bibliography:
    """Every number of a device with its source."""
    rows = tuple(cite_row(field, cite, show_field(field, cite)) for field, cite in gpu.cites.items())
    return Bibliography(columns=COLUMNS, rows=rows)


_SHOWN: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("bytes_per_s", lambda v: show_rate(v, "B/s")),
    ("flops_per_s", lambda v: show_rate(v, "FLOP/s")),
    ("bytes", show_bytes),
    ("_hz", lambda v: show_rate(v, "Hz")),
    ("_w", lambda v: f"{significant(v)} W"),
)


def show_field(field: str, cite: Cite) -> str:
    """A cited value as a person reads it, by its field's unit."""
    if isinstance(cite.value, str):
        return cite.value
    name = field.partition(".")[0] if field.startswith(("flops_per_s", "ceiling_flops_per_s")) else field
    return next((show(cite.value) for ending, show in _SHOWN if name.endswith(ending)), f"{cite.value:g}")
