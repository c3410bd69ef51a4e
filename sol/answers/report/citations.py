"""The numbers of an answer with their sources: the printed words, and where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from sol.answers.question.ask import Question
from sol.specs.hardware import GPU
from sol.specs.record import Cite
from sol.tabular import Column, Table
from sol.units import show_bytes, show_rate, significant

if TYPE_CHECKING:
    from sol.specs.engines import Engine
    from sol.specs.links import LinkType

COLUMNS = tuple(Column(key, key) for key in ("fact", "value", "evidence", "printed", "formula", "note", "source", "where", "checked"))
"""The JSON keys of a citation; `value` is in the SI unit its field names (bytes, flops_per_s, hz, w, s)."""
BRIEF = (
    Column("fact", "fact", left=True, wrap=True),
    Column("value", "value"),
    Column("evidence", "grade"),
    Column("printed", "printed, or formula", left=True, wrap=True),
    Column("source", "source"),
)


class Bibliography(Table):
    """Facts with their sources; as text, each fact points to a numbered source listed below the table."""

    kind: ClassVar[str] = "sources"

    def sources(self) -> Bibliography:
        """Itself."""
        return self

    def brief(self) -> tuple[Table, list[tuple[int, str, str | None]]]:
        """The facts as text, and the numbered sources they point to."""
        numbers: dict[tuple[str, str | None], int] = {}
        rows = []
        for r in self.to_dicts():
            number = numbers.setdefault((r["source"], r["where"]), len(numbers) + 1)
            rows.append(
                (
                    r["fact"],
                    show_value(r["fact"], r["value"]),
                    r["evidence"],
                    r["printed"] if r["printed"] is not None else r["formula"],
                    f"[{number}]",
                )
            )
        said = [i for i, column in enumerate(BRIEF) if column.key in ("fact", "value", "source") or any(row[i] is not None for row in rows)]
        shown = tuple(tuple(row[i] for i in said) for row in rows)  # a model's facts have neither a grade nor a printed form
        table = Table(columns=tuple(BRIEF[i] for i in said), rows=shown, title=self.title, footer=self.footer)
        return table, [(n, title, where) for (title, where), n in numbers.items()]

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.padding import Padding
        from rich.text import Text as RichText

        table, listed = self.brief()
        if self.title:
            yield RichText(self.title, style="bold")
            yield ""
        yield Table(columns=table.columns, rows=table.rows)
        yield ""
        for n, title, where in listed:
            yield Padding(RichText(f"[{n}] {title}"), (0, 0, 0, 2))
            if where and where.startswith("http"):  # on a line of its own and never broken, so that it can be clicked or copied
                yield RichText(f"      {where}", no_wrap=True, overflow="ignore")
            elif where:
                yield Padding(RichText(where), (0, 0, 0, 6))
        if self.footer:
            yield ""
        for line in self.footer:
            yield Padding(RichText(line, style="dim"), (0, 0, 0, 2))

    def _repr_html_(self) -> str:
        table, listed = self.brief()
        lines = tuple(f"[{n}] {title}" + (f" – {where}" if where else "") for n, title, where in listed)
        return Table(columns=table.columns, rows=table.rows, title=self.title, footer=(*lines, *self.footer))._repr_html_()


def citations(q: Question) -> Bibliography:
    """The bibliography of one question: the device's numbers, the formats, the architecture."""
    fields = ["memory_bytes_per_s", "memory_bytes" if "memory_bytes" in q.gpu.cites else "marketed_memory_bytes"]
    for compute in dict.fromkeys((*q.rates.formats.values(), q.storage.cache.compute) if q.rates.peak is not None else ()):
        fields += [f"flops_per_s.{compute}", f"ceiling_flops_per_s.{compute}"]
    if not q.rates.peak and q.storage.base.compute != (q.model.dtype or "bf16"):
        fields.append("lacks")
    rows = [cite_row(f"{q.gpu.id} {field}", q.gpu.cites[field]) for field in fields if field in q.gpu.cites]
    for fmt in dict.fromkeys((q.storage.weights, q.storage.base, q.storage.cache)):
        rows.append(cite_row(f"format {fmt.id} bits_per_weight", Cite(value=fmt.bits_per_weight, source=fmt.source)))
    rows += [cite_row(f"{q.model.id} {k}", c) for k, c in q.model.cites.items()]
    return Bibliography(columns=COLUMNS, rows=tuple(rows))


def cite_row(fact: str, cite: Cite) -> tuple[Any, ...]:
    """One line of a bibliography, plain values."""
    source = cite.source
    checked = None if source.checked is None else source.checked.isoformat()
    return (fact, cite.value, cite.evidence, cite.printed, cite.formula, cite.note, source.title, source.url or source.document, checked)


def cited(record: GPU | LinkType | Engine) -> tuple[tuple[Any, ...], ...]:
    """Every number of a record with its source."""
    return tuple(cite_row(field, cite) for field, cite in record.cites.items())


_SHOWN: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("bytes_per_s", lambda v: show_rate(v, "B/s")),
    ("flops_per_s", lambda v: show_rate(v, "FLOP/s")),
    ("bytes", show_bytes),
    ("_hz", lambda v: show_rate(v, "Hz")),
    ("alpha_s", lambda v: f"{v * 1e6:.3g} µs"),
    ("_w", lambda v: f"{significant(v)} W"),
    ("bits_per_weight", lambda v: f"{v:g} bits"),
)


def show_value(fact: str, value: float | str) -> str:
    """A cited value as a person reads it, by the unit its field names."""
    if isinstance(value, str):
        return value
    field = fact.rsplit(maxsplit=1)[-1]
    name = field.partition(".")[0] if field.startswith(("flops_per_s", "ceiling_flops_per_s", "alpha_s", "reached_bytes_per_s")) else field
    return next((show(value) for ending, show in _SHOWN if name.endswith(ending)), f"{value:,.12g}")
