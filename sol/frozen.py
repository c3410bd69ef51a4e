"""Read-only dictionaries and arrays, which stay read-only when pickled and copied.

A frozen dataclass freezes its fields, not their contents. `FrozenMap` freezes dictionaries, `frozen` any other value,
and `Frozen` is the base of a dataclass that applies it to every field.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import numpy as np

K = TypeVar("K")
V = TypeVar("V")


class FrozenMap(dict[K, V]):
    """A dictionary that cannot be changed: `json`, Pydantic and pickle take it as the dictionary it is. Hashable if its values are.

    >>> FrozenMap(ring=1e-6)["ring"] = 2e-6
    Traceback (most recent call last):
        ...
    TypeError: this dictionary is read-only; dict(…) of it is a copy that can be changed
    """

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this dictionary is read-only; dict(…) of it is a copy that can be changed")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none, because it can change
        return hash(frozenset(self.items()))

    def __copy__(self) -> FrozenMap[K, V]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:  # without it pickle fills an empty one, item by item
        return frozen, (dict(self),)

    def __repr__(self) -> str:
        return dict.__repr__(self)


def frozen(value: Any) -> Any:
    """A read-only version of `value`, to the last dictionary and array; `value` itself if it already is.

    Dictionaries become `FrozenMap`s, lists tuples, sets frozensets. An array becomes a read-only view of itself.
    """
    kind = type(value)
    if kind is np.ndarray:
        return _read_only(value)
    if kind is dict:
        return FrozenMap({key: frozen(item) for key, item in value.items()})
    if kind is set:
        return frozenset(value)
    if isinstance(value, list | tuple):
        made = tuple(map(frozen, value))
        if kind is not list and all(a is b for a, b in zip(made, value, strict=True)):
            return value
        return kind._make(made) if hasattr(kind, "_make") else made  # a NamedTuple remains one
    return value


def _read_only(array: Any) -> Any:
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


class Frozen:
    """The base of a frozen dataclass whose fields hold dictionaries or arrays: they are read-only when made, unpickled and copied."""

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            kind = type(value)
            if kind is np.ndarray:
                if value.flags.writeable:
                    self.__dict__[name] = _read_only(value)
            elif kind is dict or kind is list or kind is set:
                self.__dict__[name] = frozen(value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: frozen(value) for name, value in state.items()})
