"""What a user's mistake or a bad file can raise, and nothing else.

    SolError
    ├── UnknownName      no such model, device, alias or format
    ├── MissingSpec      the device or record has no (sourced) value for what was asked
    ├── InvalidInput     a quantity or option that has no meaning
    ├── InvalidPlan      a split the model, or the devices and their links, cannot have
    ├── DoesNotFit       more memory is needed than there is
    ├── BadMeasurement   measured times that cannot be, or that cannot tell what is asked of them
    ├── BadFile          a file is missing, broken, or says something we do not understand
    └── HubError         the Hugging Face Hub does not give what was asked for

Every message is one line, lower case: what was asked · what is true · what to do.
"""

from __future__ import annotations

from collections.abc import Iterable

MESSAGE_CHARACTERS = 500


class SolError(Exception):
    """Base of every error a user can cause; its text is one line, however odd the input it quotes."""

    def __init__(self, message: str) -> None:
        words = " ".join(message.split())
        line = words if words.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
        super().__init__(line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…")


class UnknownName(SolError):
    """A name that resolves to nothing; near names are suggested, never taken."""


class MissingSpec(SolError):
    """The record has no value for what was asked: absent in hardware, or without a source."""


class InvalidInput(SolError):
    """A quantity or an option without meaning (negative, NaN, text where a number goes)."""


class InvalidPlan(SolError):
    """A split over devices that the model or the topology cannot have; the message names the legal ones."""


class DoesNotFit(SolError):
    """One point needs more memory than the devices have (a sweep carries a mask instead)."""


class BadMeasurement(SolError):
    """Measured times that no such step can take, or too few to tell what is asked; the message names the measurement that would."""


class BadFile(SolError):
    """A file that is missing, unreadable, or of a kind that is not understood."""


class HubError(SolError):
    """The Hugging Face Hub refuses, lacks or cannot be asked for a file."""


def suggest(name: str, known: Iterable[str], *, listing: str) -> str:
    """The tail of an unknown-name message: the nearest right names, and where all are listed."""
    import difflib  # lazily: only a mistake needs it

    near = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.5)
    if not near:
        return f"{listing} lists them all"
    quoted = [f"'{n}'" for n in near]
    return f"did you mean {' or '.join(quoted)}? ({listing} lists them all)"
