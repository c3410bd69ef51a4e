"""The base of every record, and the source of every number.

Pydantic checks a record once, when it is made; after that it is read-only. A bad record is one `SolError` line, never
a Pydantic traceback.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sol.errors import BadFile, InvalidInput, SolError
from sol.frozen import FrozenMap, frozen
from sol.units import parse_printed

T = TypeVar("T", bound=BaseModel)
Evidence = Literal["A", "B", "C", "D"]
"""A vendor's own text or the device's own report · B vendor document quoted by others ·
C secondary · D arithmetic, with its formula."""

SourceKind = Literal["standard", "datasheet", "whitepaper", "documentation", "paper", "measured", "registry", "derived", "estimate", "user"]

Number = Annotated[float, Field(strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]
NotNegative = Annotated[float, Field(ge=0, strict=True)]
"""Numbers as a record holds them: whole numbers count, text and truth values do not."""
TEXT_FOR_NUMBER = "a number is needed, and text was given: write it without quotes"


class Record(BaseModel):
    """A value, frozen to its last dictionary; two records are the same only if they are the same object."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    def model_post_init(self, context: Any) -> None:
        """Freeze what the fields hold."""
        for name, value in self.__dict__.items():
            if type(value) is dict:
                self.__dict__[name] = frozen(value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same record with other fields, unchecked, and as frozen."""
        return super().model_copy(update=None if update is None else {k: frozen(v) for k, v in update.items()}, deep=deep)

    def __str__(self) -> str:
        return repr(self)

    def __hash__(self) -> int:  # spelled out: Pydantic replaces object's own with one over the fields
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class HandMade(Record):
    """A record that people also make by hand; a mistake in it is one `InvalidInput` line."""

    def __init__(self, **fields: Any) -> None:  # any: what each field's validator takes, more than what it then is
        try:
            super().__init__(**fields)
        except ValidationError as error:
            name = type(self).__name__.removesuffix("Record").lower()
            identity = fields.get("id")
            raise InvalidInput(f"{name} {identity!r}: {one_line(error)}" if identity else f"{name}: {one_line(error)}") from None


class Source(HandMade):
    """Where a number was read: a title, and a URL or a document id."""

    title: str = Field(min_length=1, pattern=r"\S")
    kind: SourceKind
    url: str | None = None
    document: str | None = None
    checked: date | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _findable(self) -> Source:
        if not (self.url or self.document or self.kind in ("derived", "user")):
            raise ValueError("a source needs a url or a document id")
        return self


class Quantity(Record):
    """One number of the database, with the source's own words.

    `printed` (in `unit` where that stands in the table's header) times `factor` gives `value`;
    a derived number has a `formula` over the record's other fields instead.
    """

    value: Positive
    source: str
    evidence: Evidence
    printed: str | None = None
    unit: str = ""
    factor: Number = 1.0
    formula: str | None = None
    basis: Literal["driver", "marketed"] | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _shows_its_work(self) -> Quantity:
        if (self.printed is None) == (self.formula is None):
            raise ValueError("give either printed (the source's own words) or formula (a derived number)")
        if (self.formula is not None) != (self.evidence == "D"):
            raise ValueError("evidence D is for derived numbers, and they have a formula")
        if self.printed is not None:
            read = parse_printed(self.printed, self.unit) * self.factor
            if not math.isclose(read, self.value, rel_tol=1e-9):
                raise ValueError(f"printed '{self.printed}' times {self.factor:g} reads {read:g}, not {self.value:g}")
        return self


@dataclass(frozen=True, eq=False)
class Cite:
    """A number with its resolved source."""

    value: float | str
    source: Source
    evidence: Evidence | None = None
    printed: str | None = None
    formula: str | None = None
    note: str | None = None


def _all_cites(value: Mapping[str, Any]) -> Mapping[str, Cite]:
    if not all(isinstance(cite, Cite) for cite in value.values()):
        raise ValueError("cites are filled in from sources; give source= instead")
    return FrozenMap(value)


Cites = Annotated[Mapping[str, Any], AfterValidator(_all_cites)]
"""Field → `Cite`, read-only."""


def one_line(error: ValidationError) -> str:
    """The first complaint of a Pydantic error as `field: what is wrong (got value)`."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(p) for p in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    got = first.get("input")
    if first["type"] in ("float_type", "int_type") and isinstance(got, str):
        message = TEXT_FOR_NUMBER
    shown = "" if isinstance(got, dict | list) or first["type"] == "missing" else f" (got {got!r})"
    said = f"{message[:1].lower()}{message[1:]}{shown}"
    return f"{where}: {said}" if where else said


def validated(kind: type[T], data: Any, where: str) -> T:
    """`kind(**data)` with any complaint turned into one `BadFile` line that starts with `where`."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise BadFile(f"{where}:", one_line(error)) from None
    except SolError as error:
        raise BadFile(f"{where}:", str(error)) from None
