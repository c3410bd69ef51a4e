"""What the floors of a table have in common: inputs, assumptions, and each source once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sol.answers.floor.result import Floor
from sol.answers.report.citations import COLUMNS, Bibliography
from sol.answers.report.document import plain


def basis(floors: Sequence[Floor], warnings: list[str], inputs: dict[str, Any]) -> dict[str, Any]:
    """The document of such a table besides its rows; `inputs` hold records by their ids."""
    shared = [a for a in floors[0].assumptions if all(a in f.assumptions for f in floors)]
    rows = dict.fromkeys(row for f in floors for row in f.sources().rows)
    return {
        "kind": "table", "inputs": {name: plain(_by_id(value)) for name, value in inputs.items()}, "assumptions": shared,
        "sources": Bibliography(columns=COLUMNS, rows=tuple(rows)), "warnings": warnings,
    }  # fmt: skip


def _by_id(value: Any) -> Any:
    return [_by_id(v) for v in value] if isinstance(value, list | tuple) else getattr(value, "id", value)
