"""A small neutral table: plain values inside, formatting only where a person reads.

It renders as text (with rich, imported when asked for), as HTML for notebooks, and as plain
Python for JSON. It deliberately does no arithmetic: whoever fills it has computed the rows.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Text(str):
    """A string that shows itself as it reads, at the prompt and in a notebook."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self)}</pre>"


class Column(NamedTuple):
    """`key` names the values (with the unit, for JSON); `title` and `show` are for people; prose may `wrap`."""

    key: str
    title: str
    show: Callable[[Any], str] = str
    left: bool = False
    wrap: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of plain values under typed columns, with lines above and below.

    `rows` are tuples in the order of `columns`; None shows as a dash. `total`, where given, is a
    last row under a rule.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""
    footer: tuple[str, ...] = ()
    total: tuple[Any, ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: str) -> list[Any]:
        """The values of one column, by key."""
        index = [c.key for c in self.columns].index(key)
        return [row[index] for row in self.rows]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One plain dictionary a row, keyed by column; what JSON holds."""
        keys = [c.key for c in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]

    def to_text(self, width: int | None = None) -> str:
        """The table as text no wider than `width` columns (the terminal's, or 100)."""
        return render(self.__rich__(), width)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return self.to_text()

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.padding import Padding
        from rich.table import Table as RichTable
        from rich.text import Text as RichText

        grid = RichTable(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        grid.add_column("", width=0)  # two columns of indent, as every answer has
        for column in self.columns:
            grid.add_column(RichText(column.title), justify="left" if column.left else "right", overflow="fold", no_wrap=not column.wrap)
        for row in self.rows:
            grid.add_row("", *(RichText(cell) for cell in self._cells(row)))
        if self.total is not None:
            grid.add_row("", *(RichText(cell, style="bold") for cell in self._cells(self.total)))
        parts: list[Any] = [RichText(self.title, style="bold")] if self.title else []
        parts.append(grid)
        parts.extend(Padding(RichText(line, style="dim"), (0, 0, 0, 2)) for line in self.footer)
        return Group(*parts)

    def _cells(self, row: Sequence[Any]) -> list[str]:
        return ["–" if v is None else c.show(v) for c, v in zip(self.columns, row, strict=True)]

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(f"<th>{escape(c.title)}</th>" for c in self.columns)
        rows = [*self.rows, *([self.total] if self.total is not None else [])]
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in self._cells(row)) + "</tr>" for row in rows)
        foot = "".join(f"<div><small>{escape(line)}</small></div>" for line in self.footer)
        return f"<div><b>{escape(self.title)}</b><table><tr>{head}</tr>{body}</table>{foot}</div>"


def render(renderable: Any, width: int | None = None) -> str:
    """Anything rich can show, as plain text without trailing spaces."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width or _terminal_width(), color_system=None, highlight=False, emoji=False)
    console.print(renderable, crop=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO, typed as IO[str]
    return "\n".join(line.rstrip() for line in text.splitlines())


def _terminal_width() -> int:
    import shutil

    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def joined(parts: Iterable[str]) -> str:
    """Facts on one line, the way every heading is written."""
    return " · ".join(p for p in parts if p)
