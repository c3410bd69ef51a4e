"""The errors that a user's mistake or a bad file can raise.

    SolError
    ├── UnknownName      no such model, device, alias or format
    ├── MissingSpec      the device or record has no sourced value for the question
    ├── InvalidInput     a quantity or option without meaning
    ├── InvalidPlan      a split that the model, the devices or their links do not allow
    ├── DoesNotFit       more memory is needed than the devices have
    ├── BadMeasurement   impossible measured times, or too few of them for the question
    ├── BadFile          a file is missing, broken, or holds something sol does not understand
    └── HubError         the Hugging Face Hub does not deliver a file

Every message is one line, lower case: what was asked · what is true · what to do. The three parts are fields too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MESSAGE_CHARACTERS = 500


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    line = words if words.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…"


class SolError(Exception):
    """Base of every error a user can cause; its text is one line, however odd the input it quotes.

    `asked`, `truth` and `action` are what was asked, what is true and what to do; each may be empty. The text is
    `asked truth; action`, or `asked: truth; action` where `asked` is given with a colon.

    >>> error = InvalidInput("tp=6", truth="does not divide heads=32", action="use 1, 2, 4, 8, 16, 32")
    >>> str(error), error.truth
    ('tp=6 does not divide heads=32; use 1, 2, 4, 8, 16, 32', 'does not divide heads=32')
    """

    def __init__(self, asked: str, truth: str = "", action: str = "") -> None:
        head = f"{asked} {truth}" if truth else asked
        super().__init__(_one_line(f"{head}; {action}" if action else head))
        self.asked, self.truth, self.action = (_one_line(part) for part in (asked.removesuffix(":"), truth, action))

    def to_dict(self) -> dict[str, Any]:  # any: plain JSON values
        """The error as plain data: its kind, its three parts, its text, and the fields of its kind."""
        return {"kind": type(self).__name__, **vars(self), "message": str(self)}


class UnknownName(SolError):
    """An unknown name. Similar names are suggested, never used."""

    def __init__(self, asked: str, truth: str = "", action: str = "", *, name: str = "", suggestions: Iterable[str] = ()) -> None:
        super().__init__(asked, truth, action)
        self.name, self.suggestions = name, tuple(suggestions)


class MissingSpec(SolError):
    """The record has no value for the question: absent in hardware, or without a source. `reason` says which, if known."""

    def __init__(self, asked: str, truth: str = "", action: str = "", *, reason: str = "") -> None:
        super().__init__(asked, truth, action)
        self.reason = reason


class InvalidInput(SolError):
    """A quantity or an option without meaning (negative, NaN, text where a number goes)."""


class InvalidPlan(SolError):
    """A split that the model or the topology does not allow; the message names the legal ones."""


class DoesNotFit(SolError):
    """One point needs more memory than the devices have (a sweep carries a mask instead).

    `needed_bytes` is what the most loaded device needs, `capacity_bytes` its capacity, `parts` the parts of the need [B];
    None and empty if the limit is not one of bytes (a latency limit that nothing meets).
    """

    def __init__(
        self, asked: str, truth: str = "", action: str = "", *,
        needed_bytes: float | None = None, capacity_bytes: float | None = None, parts: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(asked, truth, action)
        self.needed_bytes, self.capacity_bytes, self.parts = needed_bytes, capacity_bytes, dict(parts or {})


class BadMeasurement(SolError):
    """Impossible measured times, or too few to determine a figure; the message names the missing measurement."""


class BadFile(SolError):
    """A file that is missing, unreadable, or of a kind that is not understood."""


class HubError(SolError):
    """The Hugging Face Hub refuses a file, lacks it, or cannot be reached."""


def unknown_name(asked: str, name: str, known: Iterable[str], *, listing: str, otherwise: str = "") -> UnknownName:
    """The error for a name that is not in `known`, with the most similar names, the command that lists all, and another way."""
    near = nearest(name, known)
    action = f"{_advice(near, listing)}, {otherwise}" if otherwise else _advice(near, listing)
    return UnknownName(asked, action=action, name=name, suggestions=near)


def suggest(name: str, known: Iterable[str], *, listing: str) -> str:
    """The advice after an unknown name: the most similar names, and the command that lists all."""
    return _advice(nearest(name, known), listing)


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Up to three known names that are spelled nearly like this one."""
    import difflib  # lazily: only a mistake needs it

    return tuple(difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.5))


def _advice(near: tuple[str, ...], listing: str) -> str:
    if not near:
        return f"{listing} lists them all"
    return f"did you mean {' or '.join(repr(n) for n in near)}? ({listing} lists them all)"


def short(value: Any) -> str:
    """A value as an error quotes it: one line, at most 60 characters."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number beyond 1e30"  # Python refuses to print the largest
    try:
        text = repr(value)
    except ValueError:  # such a number inside
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:59] + "…"
