"""Are these numbers and words of the kind, the range and the shape that was asked for?"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from numbers import Number
from typing import Any

import numpy as np

from sol.errors import InvalidInput
from sol.specs.quantities import Array

LARGEST = 1e15
"""No batch or context comes near; up to here every whole number is exact and no product overflows."""
PLAIN = (int, float)
"""The types of a plain number, which take the fast path."""


def numbers(field: str, value: Any, *, above: float | None = None, at_least: float | None = None) -> Array:
    """`value` as a float64 array of at least one dimension, finite and in range.

    Raises `InvalidInput` naming the field and the first bad value.
    """
    if type(value) in PLAIN:  # the fast path
        if abs(value) <= LARGEST and (above is None or value > above) and (at_least is None or value >= at_least):
            return one(float(value))
        raise _out_of_range(field, value, above, at_least)
    if isinstance(value, str | bytes | bytearray | bool | None | dict | set):
        raise InvalidInput(f"{field}={value!r}", "is not a number")
    try:
        given = np.asarray(value)
        if given.dtype.kind == "O" and not all(isinstance(v, Number) and not isinstance(v, bool | complex) for v in given.flat):
            raise TypeError
        if given.dtype.kind not in "iufO" or np.ma.isMaskedArray(value):  # no text, truth values, dates, complex or masked ones
            raise TypeError
        array = np.array(given, dtype=np.float64, ndmin=1)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{field}={value!r}", "is not a number or an array of numbers") from None
    if array.size == 0:
        raise InvalidInput(field, "is empty", "give at least one value")
    bad = ~(np.abs(array) <= LARGEST)  # so that NaN is bad too
    bad |= (array <= above) if above is not None else (array < (at_least or 0.0))
    if bad.any():
        raise _out_of_range(field, first_bad(array, bad), above, at_least)
    return array


@lru_cache(maxsize=1024)
def one(value: float) -> Array:
    """One number as an array."""
    array = np.array([value])
    array.flags.writeable = False  # shared by every question with this number
    return array


def number(field: str, value: Any, *, above: float | None = None, at_least: float | None = None) -> float:
    """`value` as one finite number in range. Raises `InvalidInput`."""
    array = numbers(field, value, above=above, at_least=at_least)
    if array.size != 1:
        raise InvalidInput(field, f"has {array.size} values", "give one")
    return array.item()


def _out_of_range(field: str, value: Any, above: float | None, at_least: float | None) -> InvalidInput:
    wanted = f"above {above:g}" if above is not None else f"{at_least:g} or more" if at_least else "zero or more"
    shown = repr(value) if isinstance(value, float) or abs(value) <= LARGEST else f"a number beyond {LARGEST:g}"
    return InvalidInput(f"{field}={shown}", "has no meaning", f"it must be a finite number {wanted}")


def first_bad(array: Array, bad: Any) -> Any:
    """The first value of an array where `bad` is true."""
    value = np.broadcast_to(array, bad.shape)[bad].flat[0].item()
    return int(value) if float(value).is_integer() else value


def reject(field: str, array: Array, default: float, why: str) -> None:
    """Raises `InvalidInput` for any value but the default."""
    if array is not one(default) and (array != default).any():  # the fast path: the number itself
        raise InvalidInput(f"{field}={first_bad(array, array != default)}:", why)


def common_shape(**arrays: Any) -> tuple[int, ...]:
    """The shape these numbers broadcast to. Raises `InvalidInput` naming those that are arrays."""
    try:
        return np.broadcast_shapes(*map(np.shape, arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{k} {a.shape}" for k, a in arrays.items() if np.size(a) > 1)
        raise InvalidInput("shapes do not broadcast:", shapes, "use np.meshgrid or [:, None]") from None


def one_of(field: str, value: Any, allowed: Iterable[str]) -> Any:
    """`value`, if it is one of the words allowed. Raises `InvalidInput`."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInput(f"{field}={value!r}", f"is not one of {', '.join(allowed)}")
    return value
