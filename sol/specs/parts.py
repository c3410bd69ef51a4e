"""The parts of a model that devices hold, for many splits at once.

Every part is a record of one split, with whole numbers. A field of `Parts` is an array of that field over the
splits, or the single value that all parts have. So records hold no arrays, and formulas compute with all parts at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sol.specs.record import Record

Count = int | NDArray[Any]
"""A whole number, or an array of them over many splits (`Any`: numpy's types know no product of whole and other numbers)."""


class Parts:
    """The distinct parts of one record; `which` gives the part of each split.

    A field, property or method is evaluated for every part. Numbers become arrays of the shape of `which`, records
    become `Parts`, tuples stay tuples of either.
    """

    def __init__(self, parts: Sequence[Any], which: NDArray[np.intp]) -> None:
        self._parts, self._which = parts, which

    @property
    def kind(self) -> type[Any]:
        """The class of the parts."""
        return type(self._parts[0])

    def __getattr__(self, name: str) -> Any:  # any type: what the parts' field has, or an array of it
        found = [getattr(part, name) for part in self._parts]
        value = self._each(found) if callable(found[0]) else side_by_side(found, self._which)
        self.__dict__[name] = value  # asked for again and again
        return value

    def _each(self, methods: list[Callable[..., Any]]) -> Callable[..., Any]:
        return lambda *given, **named: side_by_side([method(*given, **named) for method in methods], self._which)


def side_by_side(values: Sequence[Any], which: NDArray[np.intp]) -> Any:
    """One value over many splits; a single value if it is the same in all of them."""
    first = values[0]
    if all(value is first for value in values):
        return first
    if isinstance(first, Record) or hasattr(first, "_fields"):  # a NamedTuple is a record as well
        different = {id(value): value for value in values}
        place = {key: n for n, key in enumerate(different)}
        return Parts(tuple(different.values()), np.array([place[id(value)] for value in values])[which])
    if isinstance(first, tuple):
        return tuple(side_by_side(found, which) for found in zip(*values, strict=True))
    if all(value == first for value in values):
        return first
    array = np.array(values)[which]
    array.flags.writeable = False
    return array
