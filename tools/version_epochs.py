"""Which versions of an engine have calibrations of their own: decided from rows of the same settings, for `tools/derive_engines.py`.

A boundary lies between two versions that follow one another where rows of the same setting differ by more than 10 %. The same
setting is the same model, weights, split and phase, with a batch and a context (or lengths) within a factor of two; what is left
of the difference in work, and a cache in another format, is taken out by an estimate of both rows, of one calibration. Where several
versions lie together, all their rows count.
Rows without a version belong to no range; they are given to the last one, as engines are asked for as they are now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from sol.sources.database.measured import MeasuredRow
from sol.specs.engines import version_numbers

APART = 0.10
"""The least difference of the times of two versions [1]."""
FEW_PAIRS = 3
"""Pairs of rows that a difference takes."""
NEAR = 2.0
"""The largest ratio of batches, and of contexts, in one setting [1]."""


class Epoch(NamedTuple):
    """Rows whose versions time alike: the first and the last version; both "" where no row says its version."""

    first: str
    last: str
    rows: tuple[MeasuredRow, ...]

    @property
    def versions(self) -> tuple[()] | tuple[str, str]:
        """As in `Calibration.versions`."""
        return (self.first, self.last) if self.first else ()


class Difference(NamedTuple):
    """How much longer the rows of a later version take [1], the pairs of rows that say so, and whether other sources published them."""

    slower: float
    pairs: int
    other_sources: bool


def epochs(rows: Sequence[MeasuredRow], errors: Mapping[str, float]) -> list[Epoch]:
    """The ranges of versions of the rows of one engine on one device, the oldest first.

    `errors`: log(estimate / measured) of each row by its id, all by one calibration.
    """
    versions = dated(rows)
    groups: list[list[str]] = []
    for version in versions:
        before = [r for r in rows if groups and r.version in groups[-1]]
        found = difference(before, [r for r in rows if r.version == version], errors)
        if not groups or (found is not None and abs(found.slower) > APART):
            groups.append([version])
        else:
            groups[-1].append(version)
    if not groups:
        return [Epoch("", "", tuple(rows))]
    undated = tuple(r for r in rows if r.version not in versions)
    last = len(groups) - 1
    return [
        Epoch(g[0], g[-1], tuple(r for r in rows if r.version in g) + (undated if i == last else ())) for i, g in enumerate(groups)
    ]  # fmt: skip


def dated(rows: Sequence[MeasuredRow]) -> list[str]:
    """The versions of the rows that are numbers, the oldest first."""
    return sorted({r.version for r in rows if version_numbers(r.version)}, key=lambda v: (version_numbers(v) or (), v))


def difference(before: Sequence[MeasuredRow], after: Sequence[MeasuredRow], errors: Mapping[str, float]) -> Difference | None:
    """The median difference over pairs of rows of the same setting; None with fewer than `FEW_PAIRS`."""
    pairs = [(a, b) for b in after for a in before if alike(a, b)]
    if len(pairs) < FEW_PAIRS:
        return None
    slower = math.expm1(median(errors[a.id] - errors[b.id] for a, b in pairs))
    return Difference(slower, len(pairs), {a.source for a, _ in pairs}.isdisjoint({b.source for _, b in pairs}))


def alike(a: MeasuredRow, b: MeasuredRow) -> bool:
    """Whether two rows are of the same setting."""
    same = all(getattr(a, k) == getattr(b, k) for k in ("model", "gpu", "engine", "phase", "dtype", "tp", "pp", "ep", "dp"))
    return same and all(_near(getattr(a, k), getattr(b, k)) for k in ("batch", "ctx", "prompt_tokens", "output_tokens"))


def _near(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return max(a, b, 1.0) <= NEAR * max(min(a, b), 1.0)


def residuals(rows: Sequence[MeasuredRow], errors: Mapping[str, float]) -> list[tuple[str, int, float, float]]:
    """Of each version: its rows, and the median of their errors and of the size of their errors [log]."""
    by_version = {v: [errors[r.id] for r in rows if r.version == v] for v in sorted({r.version for r in rows})}
    return [(v, len(e), median(e), median(map(abs, e))) for v, e in by_version.items()]
