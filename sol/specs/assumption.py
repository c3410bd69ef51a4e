"""What an answer assumes: one line for people, and a kind for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

AssumptionKind = Literal[
    "weights", "asked_weights", "compute", "bits", "cache", "cold_cache", "no_skipped_work", "capacity", "unified_memory",
    "routing", "experts", "imbalance", "wire", "state", "index_keys", "fusion", "links", "split", "pipeline", "calibration", "engine",
    "activations", "host", "pools", "baseline",
]  # fmt: skip


class Assumption(str):
    """A line that says what was assumed; `kind` says what it is about, so that nobody has to search the text.

    >>> line = Assumption("cold_cache", "cold cache: every byte comes from memory once a step")
    >>> line.kind, line.partition(":")[0]
    ('cold_cache', 'cold cache')
    """

    __slots__ = ("kind",)
    kind: AssumptionKind

    def __new__(cls, kind: AssumptionKind, text: str) -> Assumption:
        """The line `text`, which is about `kind`."""
        line = super().__new__(cls, text)
        line.kind = kind
        return line

    def __getnewargs__(self) -> tuple[AssumptionKind, str]:  # type: ignore[override]  # a copy is made of both
        return self.kind, str(self)


def assumed(kind: AssumptionKind, lines: Iterable[str]) -> tuple[Assumption, ...]:
    """Several lines of one kind."""
    return tuple(Assumption(kind, line) for line in lines)
