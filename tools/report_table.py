"""Tables and figures of a report, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def percent(value: float) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.1f} %" if abs(value) < 0.1 else f"{100 * value:.0f} %"


def table(head: Sequence[str], body: Iterable[Sequence[Any]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(map(str, row))} |" for row in body)]
