"""An answer for people: a heading, lines, a table and notes, as text and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sol.tabular import INDENT, Table, render

Style = Literal["", "bold", "dim"]


@dataclass(frozen=True)
class Item:
    """A line with the lines `below` it, which are indented further."""

    text: str
    below: tuple[Item, ...] = ()
    style: Style = ""


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """The content of an answer before it becomes text or HTML.

    `under` are lines that belong to the heading; `lines` are the answer in words; `more` follows the table: further
    lines, tables, or reports of parts. `spaced`: a blank line between these.
    """

    heading: str = ""
    lines: tuple[str, ...] = ()
    table: Table | None = None
    notes: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    more: tuple[Table | Report | tuple[Item, ...], ...] = ()
    spaced: bool = True

    @classmethod
    def of_table(cls, table: Table) -> Report:
        """A table as the whole answer: its title is the heading, the lines below it are the notes."""
        return cls(heading=table.title, table=replace(table, title="", footer=()), notes=table.footer, spaced=False)

    def to_text(self, width: int | None = None) -> str:
        """The report as text no wider than `width` columns (the terminal's, or 100)."""
        return render(self, width)

    def __str__(self) -> str:
        return self.to_text()

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text as RichText

        heading = [RichText(self.heading, style="bold")] if self.heading else []
        blocks: list[Sequence[Any]] = [
            [*heading, *_indented(_items(self.under))],
            _indented(_items(self.lines)),
            [] if self.table is None else [self.table],
            *([part] if isinstance(part, Table | Report) else _indented(part) for part in self.more),
            _indented(_items(self.notes, "dim")),
        ]
        for i, block in enumerate(b for b in blocks if b):
            if i and self.spaced:
                yield ""
            yield from block

    def _repr_html_(self) -> str:
        from html import escape

        lines = "".join(f"<div>{escape(line)}</div>" for line in (*self.under, *self.lines))
        blocks = self.more if self.table is None else (self.table, *self.more)
        parts = [part._repr_html_() if isinstance(part, Table | Report) else _html(part) for part in blocks]
        notes = "".join(f"<div><small>{escape(note)}</small></div>" for note in self.notes)
        heading = f"<b>{escape(self.heading)}</b>" if self.heading else ""
        return f"<div>{heading}{lines}{''.join(parts)}{notes}</div>"


def _items(lines: Sequence[str], style: Style = "") -> tuple[Item, ...]:
    return tuple(Item(line, style=style) for line in lines)


def _indented(items: Sequence[Item], by: int = len(INDENT)) -> list[Any]:
    """Items for rich, each line's own lines further to the right."""
    from rich.padding import Padding
    from rich.text import Text as RichText

    found: list[Any] = []
    for item in items:
        found += [Padding(RichText(item.text, style=item.style), (0, 0, 0, by)), *_indented(item.below, by + len(INDENT))]
    return found


def _html(items: Sequence[Item]) -> str:
    from html import escape

    if not items:
        return ""
    return f"<ul>{''.join(f'<li>{escape(item.text)}{_html(item.below)}</li>' for item in items)}</ul>"
