"""The arithmetic behind an answer, as text that carries the answer."""

from __future__ import annotations

from typing import Any

from sol.answers.report.report import Report
from sol.answers.report.shown import Shown
from sol.tabular import Table, Text, document


class Explanation(Text, Shown):
    """The arithmetic behind an answer, a string; `of` is the answer."""

    of: Shown

    def __new__(cls, text: str, of: Shown) -> Explanation:
        """The text, of this answer."""
        made = super().__new__(cls, text)
        made.of = of
        return made

    def __getnewargs__(self) -> tuple[str, Shown]:  # type: ignore[override]  # for pickle and copy, which make it anew
        return str(self), self.of

    def report(self) -> Report:
        """The text, line by line."""
        return Report(lines=tuple(self.splitlines()))

    def to_text(self, width: int | None = None) -> str:
        """The text unchanged: its lines are formulas, which do not wrap."""
        return str(self)

    def to_table(self) -> Table:
        """The rows of the answer that is explained."""
        return self.of.to_table()

    def to_dict(self) -> dict[str, Any]:  # any: plain JSON values
        """The text and the operators it goes through, with what the answer rests on."""
        doc = self.of.to_dict()
        outputs = {"text": self.to_text(), "operators": doc["outputs"]["operators"]}
        rest = {key: doc[key] for key in ("inputs", "assumptions", "sources", "warnings")}
        return document("explain", outputs=outputs, **rest)

    def sources(self) -> Table:
        """What the answer rests on."""
        return self.of.sources()
