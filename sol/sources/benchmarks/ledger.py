"""From importers' findings and options to records: gaps are filled or asked for, contradictions and copies rejected.

An option gives what a file does not record, or replaces a name that sol does not know. It never overrides a known
value: if the file has another value, the row is rejected. Labels (engine, session, source) may be overridden.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from sol.errors import BadFile, InvalidInput, short
from sol.sources.benchmarks.importer import Found, Given, Unreadable
from sol.sources.benchmarks.names import format_id, gpu_id, model_id
from sol.sources.database.database import built_in_model, load_format, load_gpu, require_model
from sol.specs.measurement import Aggregate, Measurement, Rejected

MAX_ROWS = 200_000
"""Rows kept, of all kinds: a campaign of years, and a bound on memory (1.4 kB each)."""
KEPT_CHARACTERS = 200
MIXED = 300.0
QUESTION = tuple(k for k in Measurement.model_fields if k not in ("measured_s", "session", "source"))

LABELS = ("engine", "session", "source")
LENGTHS = ("prompt_tokens", "output_tokens")
SPLIT = ("tp", "pp", "ep", "dp")
NUMBERS = ("batch", *LENGTHS, *SPLIT)


def options(**asked: Any) -> Given:
    """The options that were given, their names resolved. Raises `UnknownName` or `InvalidInput`."""
    given = {k: v for k, v in asked.items() if v is not None}
    for name in given.keys() & {"model", "gpu", "dtype", "kv_dtype", *LABELS}:
        if not isinstance(given[name], str | os.PathLike if name == "model" else str) or not str(given[name]).strip():
            raise InvalidInput(f"{name}={given[name]!r} is not a name")
    if "model" in given:
        given["model"] = _model(os.fspath(given["model"]))
    if "gpu" in given:
        given["gpu"] = load_gpu(given["gpu"]).id
    for name in given.keys() & {"dtype", "kv_dtype"}:
        given[name] = load_format(given[name]).id
    for name in given.keys() & set(NUMBERS):
        given[name] = _count(name, given[name]) if name in SPLIT else _amount(name, given[name])
    if not isinstance(given.get("cuda_graphs", True), bool):
        raise InvalidInput(f"cuda_graphs={given['cuda_graphs']!r} is neither True nor False")
    return given


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 < int(value) <= 2**31:
        raise InvalidInput(f"{name}={value!r} is not a whole number above 0")
    return int(value)


def _amount(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < (amount := float(value)) <= 1e15:
            raise ValueError
    except (ValueError, OverflowError):
        raise InvalidInput(f"{name}={value!r} is not a number above 0") from None
    return amount


def _model(name: str) -> str:
    """A built-in model's id; a path or a Hugging Face id stays as it is, for the answers to resolve."""
    model = built_in_model(name)
    if model is not None:
        return model.id
    return name if "/" in name or os.path.exists(name) else require_model(name).id


class Ledger:
    """The rows so far, the assumptions and rejections, and the word of the file that each option has replaced."""

    def __init__(self, where: str, given: Given) -> None:
        self.where, self.given = where, given
        self.rows: list[Measurement] = []
        self.aggregates: list[Aggregate] = []
        self.rejected: list[Rejected] = []
        self.lacking: dict[str, None] = {}
        self._assumptions: dict[str, None] = {}
        self._seen: dict[int, str] = {}
        self._stood_for: dict[str, str] = {}
        self._places: list[str] = []

    @property
    def assumptions(self) -> tuple[str, ...]:
        """In the order in which they were made."""
        return tuple(self._assumptions)

    def is_copy(self, where: str, record: Mapping[str, Any]) -> bool:
        """Whether an equal record was there before; the copy is rejected."""
        first = self._seen.setdefault(hash(repr(record)), where)
        if first == where:
            return False
        self.reject(where, f"the same as {first}; a column session distinguishes repeats", record)
        return True

    def reject(self, where: str, reason: str, record: Mapping[str, Any]) -> None:
        """Note a rejected row; a reason shared by several of its parts is noted once."""
        self._room()
        reason = " ".join(reason.split())
        last = self.rejected[-1] if self.rejected else None
        if last is not None and (last.where, last.reason) == (where, reason):
            return
        self.rejected.append(Rejected(where, reason, _kept(record)))

    def refuse(self, where: str, error: Unreadable, record: Mapping[str, Any]) -> None:
        """Note a rejected row, and the options that would resolve it."""
        self.lacking.update(dict.fromkeys(error.lacks))
        self.reject(where, str(error), record)

    def assume(self, lines: tuple[str, ...]) -> None:
        """Note what the file does not record and was assumed, each line once."""
        self._assumptions.update(dict.fromkeys(lines))

    def take(self, where: str, found: Found, record: Mapping[str, Any]) -> None:
        """A row from what an importer found, or its rejection."""
        self._room()
        try:
            fields, assumed = self._filled(found)
            row = Aggregate(**fields) if "metric" in fields else Measurement(**fields)
        except Unreadable as error:
            self.refuse(where, error, record)
        except InvalidInput as error:
            self.reject(where, str(error).partition(": ")[2] or str(error), record)
        else:
            if isinstance(row, Measurement):
                self.rows.append(row)
                self._places.append(where)
            else:
                self.aggregates.append(row)
            self.assume(tuple(assumed))

    def reject_mixed_units(self) -> None:
        """Reject rows with equal inputs whose times differ about a thousandfold: some are not in seconds, and it is unknown which."""
        span: dict[tuple[Any, ...], tuple[float, float]] = {}
        asked = [tuple(getattr(row, k) for k in QUESTION) for row in self.rows]
        for key, row in zip(asked, self.rows, strict=True):
            low, high = span.get(key, (row.measured_s, row.measured_s))
            span[key] = (min(low, row.measured_s), max(high, row.measured_s))
        kept = []
        for key, row, where in zip(asked, self.rows, self._places, strict=True):
            low, high = span[key]
            if high < MIXED * low:
                kept.append(row)
            else:
                told = f"measured_s is {low:g} and {high:g} for the same step: probably mixed units, so all its rows are rejected"
                self.rejected.append(Rejected(where, told, row.model_dump(exclude_none=True)))
        self.rows = kept

    def _room(self) -> None:
        if len(self.rows) + len(self.aggregates) + len(self.rejected) >= MAX_ROWS:
            raise BadFile(f"{self.where}: more than {MAX_ROWS:,} rows; read it in parts, or average repeats first")

    def _filled(self, found: Found) -> tuple[dict[str, Any], list[str]]:
        fields = {k: v for k, v in found.fields.items() if v is not None}
        assumed, problems = list(found.assumes), []
        for name, settle in FACTS.items():
            try:
                settle(self, name, fields, assumed)
            except Unreadable as error:
                problems.append(str(error))
                fields.setdefault(name, None)  # recorded, with a word of the file's own: not missing
        for name in LABELS:
            if name in self.given:
                fields[name] = self.given[name]
        needed = ("model", "gpu", "measured_s", *(("batch", "ctx") if "phase" in fields else found.needs))
        missing = [k for k in needed if k not in fields]
        asked = tuple(k for k in missing if k not in ("ctx", "measured_s"))
        if asked:
            problems.append(f"{', '.join(asked)} not recorded; pass {', '.join(f'{k}=' for k in asked)}")
        elif missing and not problems:
            problems.append(f"{', '.join(missing)} not recorded")
        if problems:
            raise Unreadable("; ".join(problems), asked)
        if "metric" in fields and "batch" in fields:  # requests that run as one batch are that many at once
            fields.setdefault("concurrency", fields.pop("batch"))
        if not any(k in fields for k in SPLIT):
            assumed.append("one device (tp = pp = ep = dp = 1): no other split is recorded")
        return fields, assumed

    def _named(self, name: str, fields: dict[str, Any], assumed: list[str]) -> None:
        """A model's or device's id from the file's word, or from the option if sol does not know that word."""
        word, option = fields.pop(name, None), self.given.get(name)
        if word is None:
            if option is not None:
                fields[name] = option
                assumed.append(f"{name} {option}: as given, not in the file")
            return
        try:
            fields[name] = (model_id if name == "model" else gpu_id)(word)
        except Unreadable:
            if option is None:
                raise
            stood = self._stood_for.setdefault(name, word)
            if stood != word:
                told = f"{name}={option} cannot stand for both {short(stood)} and {short(word)}"
                raise BadFile(f"{self.where}: {told}; read them from files of their own") from None
            fields[name] = option
            assumed.append(f"{name} {short(word)} is {option}: as given")
            return
        if option is not None and fields[name] != option:
            raise Unreadable(_against(name, word, fields[name], option))
        if word != fields[name]:
            assumed.append(f"{name} {short(word)} is {fields[name]}")

    def _format(self, name: str, fields: dict[str, Any], assumed: list[str]) -> None:
        word, option = fields.pop(name, None), self.given.get(name)
        try:
            said = None if word is None else format_id(word)
        except Unreadable as error:
            if option is None:
                raise Unreadable(f"{name}: {error}; pass {name}= to say what it is") from None
            said = None
        if said is not None and option is not None and said != option:
            raise Unreadable(_against(name, word, said, option))
        if said is not None or option is not None:
            fields[name] = said or option
        else:
            assumed.append(f"{name} not recorded: the model's own")

    def _number(self, name: str, fields: dict[str, Any], assumed: list[str]) -> None:
        option = self.given.get(name)
        if option is None or ("phase" in fields and name in LENGTHS):
            return
        if fields.setdefault(name, option) != option:
            raise Unreadable(f"{name}={fields[name]:g} is recorded, and {name}={option:g} was given")


FACTS: Mapping[str, Any] = {
    **dict.fromkeys(("model", "gpu"), Ledger._named), **dict.fromkeys(("dtype", "kv_dtype"), Ledger._format),
    **dict.fromkeys((*NUMBERS, "cuda_graphs"), Ledger._number),
}  # fmt: skip
"""How each field that an option may give is resolved."""


def _kept(record: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a record: long texts, lists and objects are left out."""
    return {
        str(k)[:KEPT_CHARACTERS]: v
        for k, v in list(record.items())[:100]
        if v is None or isinstance(v, bool | int | float) or (isinstance(v, str) and len(v) <= KEPT_CHARACTERS)
    }


def raise_if_asked(ledger: Ledger, tool: str) -> None:
    """Raises one error that names all missing options if no row could be read without them."""
    if ledger.lacking and not ledger.rows and not ledger.aggregates:
        names = ", ".join(ledger.lacking)
        raise InvalidInput(
            f"{ledger.where}: {tool} does not record {names}; pass {', '.join(f'{k}=' for k in ledger.lacking)} ({ledger.rejected[0]})"
        )


def _against(name: str, word: Any, said: Any, option: Any) -> str:
    """The message for an option that contradicts the file."""
    recorded = f"{name}={said} is recorded" if word == said else f"{name} {short(word)} is {said}"
    return f"{recorded}, and {name}={option} was given"
