"""One object inside a `config.json`, read key by key: every complaint names the file, the field and its value.

What is absent, or null, is the class default that the caller gives, or an error: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sol.errors import BadFile, short

MAX_SIZE = 2**40  # no field of any model comes near; larger is a typing error or an attack
MAX_RATIO = 1000


class Section:
    """An object of a config, with the class defaults of the keys it may leave out."""

    def __init__(self, config: Mapping[str, Any], where: str, name: str = "", defaults: Mapping[str, Any] | None = None) -> None:
        self.config, self.where, self.prefix, self.defaults = config, where, f"{name}." if name else "", defaults or {}

    def fail(self, what: str) -> BadFile:
        """The error that says `what` of this file."""
        return BadFile(f"{self.where}: {what}")

    def bad(self, key: str, value: Any, what: str) -> BadFile:
        """The error that says `what` the value of a key is."""
        return self.fail(f"{self.prefix}{key}={short(value)} is {what}")

    def has(self, key: str) -> bool:
        """Whether the config gives a value for `key`."""
        return self.config.get(key) is not None

    def inside(self, key: str) -> Section:
        """The object under `key`."""
        _, value = self._said(key)
        if not isinstance(value, Mapping):
            raise self.bad(key, value, "not the object it should be")
        return Section(value, self.where, self.prefix + key)

    def size(self, *keys: str) -> int:
        """A positive whole number, under the first of `keys` that is given."""
        return self._size(*self._said(*keys))

    def sides(self, key: str) -> tuple[int, int]:
        """Two whole numbers, such as height and width, or one for both."""
        _, value = self._said(key)
        if not isinstance(value, list):
            return (self._size(key, value),) * 2
        if len(value) != 2:
            raise self.bad(key, value, "neither one number nor two")
        return self._size(key, value[0]), self._size(key, value[1])

    def ratio(self, key: str) -> float:
        """A positive number, whole or not."""
        _, value = self._said(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.bad(key, value, "not a number")
        if not 1 / MAX_RATIO <= value <= MAX_RATIO:
            raise self.bad(key, value, "not a ratio a model can have")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false."""
        _, value = self._said(key)
        if not isinstance(value, bool):
            raise self.bad(key, value, "neither true nor false")
        return value

    def word(self, key: str) -> str:
        """A string; the empty one is as good as none."""
        value = self.config.get(key)
        if value is not None and not isinstance(value, str):
            raise self.bad(key, value, "not a word")
        return value or str(self.defaults.get(key, ""))

    def entries(self, key: str) -> list[Any]:
        """A list."""
        _, value = self._said(key)
        if not isinstance(value, list):
            raise self.bad(key, value, "not a list")
        return value

    def insist(self, only: Mapping[str, Any]) -> None:
        """Refuse what differs from the one value that is understood; what is absent is that value."""
        for key, value in only.items():
            said = self.config.get(key)
            if said is not None and (said != value or isinstance(said, bool) is not isinstance(value, bool)):
                raise self.bad(key, said, f"not understood; understood: {short(value)}")

    def _said(self, *keys: str) -> tuple[str, Any]:
        for source in (self.config, self.defaults):
            for key in keys:
                if source.get(key) is not None:
                    return key, source[key]
        raise self.fail(f"{' or '.join(self.prefix + k for k in keys)} is missing, and no default is assumed")

    def _size(self, key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.bad(key, value, "not a whole number")
        if not 0 < value <= MAX_SIZE:
            raise self.bad(key, value, "not a size a model can have")
        return value
