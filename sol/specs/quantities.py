"""What numbers are asked with, and what numbers are answered with, as type checkers see them.

One point is asked with plain numbers and answered with floats. A sweep is asked with arrays, or lists, that broadcast,
and answered with read-only arrays of the shape they broadcast to. A class of answers is generic in that: `Floor[float,
bool, str]` is of a point, `Floor[Array, Flags, Labels]` of a sweep, and `Floor` alone of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

# `Any` in the brackets of a numpy type: numbers of every width.
Number = float | np.floating[Any] | np.integer[Any]
"""One number, as it may be asked. (A `Decimal` is taken too, and a checker asks for a float.)"""
NumberArray = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
Numbers = Number | Sequence[float] | Sequence[Sequence[float]] | Sequence[np.integer[Any]] | NumberArray
"""One number, or those of a sweep. Lists nested deeper than a table, or of mixed kinds: make them an array."""
Counts = int | list[int] | list[list[int]] | tuple[int, ...] | NDArray[np.integer[Any]]
"""One whole number of devices, or those of a sweep over splits."""
Index = SupportsIndex | tuple[SupportsIndex, ...]
"""What chooses one point of a sweep."""

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Labels = NDArray[np.str_]

if TYPE_CHECKING:  # the defaults are for checkers: `typing` has them from Python 3.13 on
    from typing_extensions import TypeVar

    # `Any` by default: of a `Floor` alone nothing says whether it is of a point or of a sweep.
    Amount = TypeVar("Amount", bound=float | Array, default=Any)
    Flag = TypeVar("Flag", bound=bool | Flags, default=Any)
    Label = TypeVar("Label", bound=str | Labels, default=Any)
else:
    from typing import TypeVar

    Amount, Flag, Label = TypeVar("Amount"), TypeVar("Flag"), TypeVar("Label")
    """What an answer has: quantities (floats or arrays of them), truths (bools), words (text)."""
