"""What every result offers: text, HTML, JSON, CSV, a pandas table, and its sources."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from sol.tabular import Table, json_text

if TYPE_CHECKING:
    from sol.answers.report.report import Report


class Shown:
    """A result that shows itself. A subclass names the module that draws it in `shown_by`, and has `sources`.

    The module is named and not imported: what draws a result imports the result, so the result may not import it. It is
    loaded when it is first asked, and has three functions of the result: `report`, `to_document` and `to_table`.
    """

    shown_by: ClassVar[str]

    def drawn(self, what: str) -> Any:  # any: what that function returns, found by its name
        """What a function of the module that draws this result makes of it."""
        return getattr(import_module(self.shown_by), what)(self)

    def report(self) -> Report:
        """The answer for people: heading, lines, table, notes."""
        made: Report = self.drawn("report")
        return made

    def to_table(self) -> Table:
        """The answer as rows for programs: inputs and outputs, one row per point."""
        made: Table = self.drawn("to_table")
        return made

    def to_dict(self) -> dict[str, Any]:  # any: plain JSON values
        """The answer as plain JSON values, units in the keys."""
        made: dict[str, Any] = self.drawn("to_document")
        return made

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict()` as JSON text."""
        return json_text(self.to_dict(), indent)

    def to_csv(self) -> str:
        """`to_table()` as CSV text."""
        return self.to_table().to_csv()

    def to_pandas(self) -> Any:  # any: a DataFrame of pandas, which need not be installed
        """`to_table()` as a pandas DataFrame. Raises `SolError` where pandas is not installed."""
        return self.to_table().to_pandas()

    def to_text(self, width: int | None = None) -> str:
        """The whole answer as text, at most `width` columns wide (by default the terminal's, or 100)."""
        return self.report().to_text(width)

    def sources(self) -> Table:
        """The sources of the answer: every number with its printed words and where they are."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.to_text()

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield self.report()

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()
