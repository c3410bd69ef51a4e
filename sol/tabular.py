"""A small table: plain values inside, formatted only for people.

It renders as text (with rich, imported when asked for), as HTML for notebooks, and as plain
Python for JSON, CSV and pandas. It does no arithmetic: whoever fills it has computed the rows.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

from sol.errors import SolError
from sol.frozen import Frozen, FrozenMap

SCHEMA_VERSION = 1
INDENT, GAP, NARROWEST, READABLE = "  ", 2, 8, 16
"""Two columns before every line, two between columns, the least that prose is squeezed to, and below which it goes under its row."""


class Text(str):
    """A string that shows itself as it reads, at the prompt and in a notebook."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self)}</pre>"


class Column(NamedTuple):
    """`key` names the values, with the unit, for JSON; `title` and `show` are for people.

    Prose may `wrap`; what only programs want is `hidden`.
    """

    key: str
    title: str
    show: Callable[[Any], str] = str
    left: bool = False
    wrap: bool = False
    hidden: bool = False


@dataclass(frozen=True, eq=False)
class Table(Frozen):
    """Rows of plain values under typed columns, with lines above and below.

    `rows` are tuples in the order of `columns`; None shows as a dash. `total`, where given, is a
    last row under a rule. `meta` is what the document of a table that answers a question says besides its
    rows: `kind`, `inputs`, `assumptions`, `warnings`, and `sources` as a table.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]  # any: what a cell holds, which its column knows
    title: str = ""
    footer: tuple[str, ...] = ()
    total: tuple[Any, ...] | None = None  # any: as in `rows`
    meta: Mapping[str, Any] = field(default_factory=FrozenMap)  # any: plain JSON values, and tables
    kind: ClassVar[str] = "table"

    def __getstate__(self) -> dict[str, Any]:
        lines = self.rows if self.total is None else (*self.rows, self.total)
        columns = tuple(_portable(c, [line[i] for line in lines]) for i, c in enumerate(self.columns))
        return {**self.__dict__, "columns": columns}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: str) -> list[Any]:  # any: as in `rows`
        """The values of one column, by key."""
        index = [c.key for c in self.columns].index(key)
        return [row[index] for row in self.rows]

    def to_dicts(self) -> list[dict[str, Any]]:  # any: as in `rows`
        """One plain dictionary a row, keyed by column; what JSON holds."""
        keys = [c.key for c in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:  # any: plain JSON values
        """The table as a document of plain JSON values: its rows are the outputs."""
        of = self.meta
        cited = of.get("sources")
        return document(
            of.get("kind", self.kind), inputs=of.get("inputs", {}), outputs=plain(self.to_dicts()), assumptions=of.get("assumptions", ()),
            sources=() if cited is None else cited.to_dicts(), warnings=of.get("warnings", ()),
        )  # fmt: skip

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict()` as JSON text."""
        return json_text(self.to_dict(), indent)

    def to_csv(self) -> str:
        """The rows as CSV text under the columns' keys; None is an empty cell."""
        import csv

        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(c.key for c in self.columns)
        writer.writerows(map(plain, row) for row in self.rows)
        return out.getvalue()

    def to_pandas(self) -> Any:  # any: a DataFrame of pandas, which need not be installed
        """The rows as a pandas DataFrame. Raises `SolError` where pandas is not installed."""
        from importlib import import_module

        try:
            pandas = import_module("pandas")
        except ImportError:
            raise SolError("to_pandas() needs the pandas package, which is not installed: pip install pandas") from None
        return pandas.DataFrame(self.to_dicts(), columns=[c.key for c in self.columns])

    def sources(self) -> Table:
        """The sources of the rows, one fact per row; empty if there are none."""
        cited: Table = self.meta.get("sources", Table(columns=(), rows=()))
        return cited

    def to_text(self, width: int | None = None) -> str:
        """The table as text no wider than `width` columns (the terminal's, or 100)."""
        return render(self, width)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return self.to_text()

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """The table for rich: prose wraps to fit; a number or a name is never cut, though the line grow too long.

        A last column of prose that would be squeezed to a ribbon stands under its row instead.
        """
        from rich.padding import Padding
        from rich.segment import Segment
        from rich.table import Table as RichTable
        from rich.text import Text as RichText

        columns = self._shown()
        lines = [self._cells(row) for row in (*self.rows, *([self.total] if self.total is not None else []))]
        widths = [max(len(c.title), *(len(cells[i]) for cells in lines), 1) if lines else len(c.title) for i, c in enumerate(columns)]
        longest = widths[-1] if widths else 0
        room = options.max_width - len(INDENT) - sum(w + GAP for w, c in zip(widths, columns, strict=True) if not c.wrap)
        wrapping = [i for i, c in enumerate(columns) if c.wrap]
        for i in sorted(wrapping, key=lambda i: widths[i]):  # the narrow ones first, so that the wide ones share what is left
            share = room // sum(1 for k in wrapping if widths[k] >= widths[i])
            widths[i] = max(min(widths[i], share - GAP), min(widths[i], NARROWEST))
            room -= widths[i] + GAP
        below: list[str] = []
        if wrapping == [len(columns) - 1] and widths[-1] < min(READABLE, longest):
            below, columns, widths, lines = [cells[-1] for cells in lines], columns[:-1], widths[:-1], [cells[:-1] for cells in lines]
        grid = RichTable(box=None, pad_edge=False, show_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for column, width in zip(columns, widths, strict=True):
            grid.add_column(
                RichText(column.title), justify="left" if column.left else "right", width=width, overflow="fold", no_wrap=not column.wrap
            )
        for cells in lines[: len(self.rows)]:
            grid.add_row(*map(RichText, cells))
        for cells in lines[len(self.rows) :]:
            grid.add_row(*(RichText(cell, style="bold") for cell in cells))
        if self.title:
            yield RichText(self.title, style="bold")
        needed = len(INDENT) + sum(w + GAP for w in widths)
        wide = options.update(width=max(options.max_width, needed))
        body = Padding(grid, (0, 0, 0, len(INDENT)), expand=False)
        if below:
            for line, prose in zip(console.render_lines(body, wide, pad=False), ["", *below], strict=True):
                yield from (*line, Segment.line())
                if prose:
                    yield Padding(RichText(prose, style="dim"), (0, 0, 0, 2 * len(INDENT)))
        else:
            yield from console.render(body, wide)
        for line in self.footer:
            yield Padding(RichText(line, style="dim"), (0, 0, 0, len(INDENT)))

    def _shown(self) -> list[Column]:
        return [c for c in self.columns if not c.hidden]

    def _cells(self, row: Sequence[Any]) -> list[str]:
        return ["–" if v is None else c.show(v) for c, v in zip(self.columns, row, strict=True) if not c.hidden]

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(f"<th>{escape(c.title)}</th>" for c in self._shown())
        rows = [*self.rows, *([self.total] if self.total is not None else [])]
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in self._cells(row)) + "</tr>" for row in rows)
        foot = "".join(f"<div><small>{escape(line)}</small></div>" for line in self.footer)
        return f"<div><b>{escape(self.title)}</b><table><tr>{head}</tr>{body}</table>{foot}</div>"


def document(
    kind: str, *, inputs: dict[str, Any], outputs: Any, assumptions: Any = (), sources: Any = (), warnings: Any = ()
) -> dict[str, Any]:
    """The envelope every answer has as a document of plain JSON values."""
    kinds = [getattr(line, "kind", None) for line in assumptions]  # None: a note of the answer's own
    return {
        "schema_version": SCHEMA_VERSION, "kind": kind, "inputs": inputs, "outputs": outputs,
        "assumptions": [str(line) for line in assumptions], "assumption_kinds": kinds,
        "sources": list(sources), "warnings": list(warnings),
    }  # fmt: skip


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays as lists, and what is not finite as None."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return plain(value.tolist()) if hasattr(value, "tolist") else value


def json_text(answer: dict[str, Any], indent: int | None = None) -> str:
    """A document as JSON text, which has neither NaN nor infinity."""
    import json

    return json.dumps(answer, ensure_ascii=False, indent=indent, allow_nan=False)


def _portable(column: Column, values: list[Any]) -> Column:
    """The column as another process can have it: a `show` that has no name to find it by is replaced by the texts it makes."""
    if "<" not in getattr(column.show, "__qualname__", ""):
        return column
    texts = {repr(v): column.show(v) for v in values if v is not None}
    return column._replace(show=partial(_recorded, FrozenMap(texts)))


def _recorded(texts: Mapping[str, str], value: Any) -> str:
    return texts.get(repr(value), str(value))


def render(renderable: Any, width: int | None = None) -> str:
    """Anything rich can show, as plain text without trailing spaces."""
    from rich.console import Console

    # Not Jupyter: there rich prints into the notebook, whatever file it was given, and leaves the text empty.
    console = Console(
        file=io.StringIO(), width=width or _terminal_width(), color_system=None, highlight=False, emoji=False, force_jupyter=False
    )
    console.print(renderable, crop=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO, typed as IO[str]
    return "\n".join(line.rstrip() for line in text.splitlines())


def _terminal_width() -> int:
    import shutil

    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def joined(parts: Iterable[str]) -> str:
    """Facts on one line, the way every heading is written."""
    return " · ".join(p for p in parts if p)
