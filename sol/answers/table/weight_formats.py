"""One model on one device in several weight formats: the floor, the memory, and the batch at which each gain ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.memory.memory import memory
from sol.answers.question.ask import ask
from sol.answers.question.formats import SIXTEEN, resolve_format
from sol.answers.table.basis import basis
from sol.answers.table.break_even import Gain, gain
from sol.errors import InvalidInput, MissingSpec
from sol.specs.assumption import Assumption
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.tabular import Column, Table, joined
from sol.units import show_count, show_gib, show_seconds, significant


def format_table(model: Model, gpu: GPU, dtypes: Sequence[str | NumberFormat], asked: dict[str, Any]) -> Table:
    """The floor of one step in each of `dtypes`, in their order; a format that the device lacks has a note in its row.

    `asked` are the parameters of `floor` but `dtype`, one number each. `speedup` and `gain_ends_batch`
    compare with 16 bits: the first 16-bit format asked for, else the 16-bit format of the other tensors.
    """
    formats = list({f.id: f for f in map(resolve_format, dtypes)}.values())
    answers = {f.id: _in_format(model, gpu, f, asked) for f in formats}
    floors = {name: f for name, f in answers.items() if isinstance(f, Floor)}
    if not floors:
        raise MissingSpec("; ".join(dict.fromkeys(map(str, answers.values()))) + "; choose other dtypes")
    first = next(iter(floors.values()))
    sixteen = next((f for name, f in floors.items() if name in SIXTEEN), None)
    against = sixteen or _in_format(model, gpu, first.question.storage.base, asked)
    wide = against if isinstance(against, Floor) else first
    gains = {name: gain(wide.question, f.question) for name, f in floors.items() if f is not wide}
    rows = []
    for fmt in formats:
        held = memory(model, ctx=0, dtype=fmt).weight_bytes  # stored so on any device
        rows.append(_row(fmt, held, answers[fmt.id], wide, gains.get(fmt.id, Gain(None))))
    base = wide.question.storage.weights.id
    title = joined((f"{model.id} on {gpu.id}", first.question.phase, f"batch {show_count(asked['batch'])}",
                    f"ctx {show_count(asked['ctx'])}", f"kv {first.question.storage.cache.id}" if asked["kv_dtype"] else ""))  # fmt: skip
    footer = [f"GiB: all weights · gain ends: the batch from which on a format is no faster than {base}, whether or not it fits"]
    if base not in floors:
        footer.append(f"{base}: {show_seconds(wide.latency_s)}, {wide.bound}-bound")
    footer += [f"{name}: {note}" for name, note in answers.items() if isinstance(note, str)]
    footer += _endless(gains)
    footer += [f"note: {w}" for w in dict.fromkeys(w for f in floors.values() for w in f.warnings)]
    inputs = {"model": model, "gpus": gpu, **asked, "dtype": formats}
    meta = basis(list(floors.values()), [f"{row[0]}: {row[-1]}" for row in rows if row[-1]], inputs)
    meta["assumptions"].append(Assumption("baseline", f"speedup and gain_ends_batch compare with {base}"))
    return Table(columns=_columns(base), rows=tuple(rows), title=title, footer=tuple(footer), meta=meta)


def refusal(error: MissingSpec) -> str:
    """Why a device cannot compute in a format, as a note: only the reason, if the error has one."""
    return error.reason or str(error)


def _in_format(model: Model, gpu: GPU, fmt: NumberFormat, asked: dict[str, Any]) -> Floor | str:
    """The floor in one format, whether or not it fits, or a note with the reason why there is none."""
    try:
        question = ask(model, gpu, dtype=fmt, **asked)
    except MissingSpec as error:
        return refusal(error)
    if not question.scalar:
        raise InvalidInput("a table", "takes one ctx, batch and so on", "sweep them with floor(…) in one dtype")
    return floor_of(question)


def _columns(base: str) -> tuple[Column, ...]:
    return (
        Column("format", "format", left=True),
        Column("bits_per_weight", "bits", lambda v: f"{v:.4g}"),
        Column("weight_bytes", "GiB", show_gib),
        Column("latency_s", "floor", show_seconds),
        Column("speedup", f"× {base}", lambda v: f"{v:.2f}"),
        Column("tokens_per_s", "tok/s", significant),
        Column("bound", "bound", left=True),
        Column("fits", "fits", lambda v: "yes" if v else "no", left=True),
        Column("gain_ends_batch", "gain ends", show_count),
        Column("resident_bytes", "resident", hidden=True),
        Column("note", "note", hidden=True),
    )


def _row(fmt: NumberFormat, held: float, f: Floor | str, wide: Floor, gained: Gain) -> tuple[Any, ...]:
    if isinstance(f, str):
        return (fmt.id, fmt.bits_per_weight, held, None, None, None, None, None, None, None, f)
    notes = list(f.warnings)
    if gained.reason:
        notes.append(f"the gain does not end: {gained.reason} {gained.remains}".rstrip())
    return (fmt.id, fmt.bits_per_weight, held, f.latency_s, wide.latency_s / f.latency_s, f.tokens_per_s, f.bound, f.fits,
            gained.ends, f.resident_bytes, "; ".join(notes))  # fmt: skip


def _endless(gains: dict[str, Gain]) -> list[str]:
    """Why some gains do not end: one line per reason, with the remaining gain of each format."""
    remains: dict[str, list[str]] = {}
    for name, g in gains.items():
        if g.reason:
            remains.setdefault(g.reason, []).extend([f"{g.remains} ({name})"] if g.remains else [])
    return [f"the gain does not end: {reason} {', '.join(each)}".rstrip() for reason, each in remains.items()]
