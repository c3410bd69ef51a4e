"""The floor of one step on many devices, or in many weight formats on one device, with notes on what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.question.ask import ask
from sol.answers.question.options import TableOptions, check_names, spelled_out
from sol.answers.question.records import load_model, resolve_gpu
from sol.answers.table.basis import basis
from sol.answers.table.estimate_column import estimate_column
from sol.answers.table.weight_formats import format_table, refusal
from sol.errors import InvalidInput, MissingSpec
from sol.sources.database.database import gpu_ids
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Number
from sol.tabular import Column, Table, joined
from sol.units import show_bytes, show_count, significant

COLUMNS: tuple[Column, ...] = (
    Column("device", "device", left=True),
    Column("latency_s", "floor ms", lambda v: significant(v * 1e3)),
    Column("tokens_per_s", "tok/s", significant),
    Column("bound", "bound", left=True),
    Column("memory_bytes_per_s", "GB/s", lambda v: f"{v / 1e9:.0f}"),
    Column("needs", "needs", lambda v: f"{v}"),
    Column("note", "note", left=True, wrap=True),
)


@spelled_out(TableOptions)
def table(
    model: str | Path | Model = "qwen2.5-7b", gpus: str | GPU | Sequence[str | GPU] = "all", *, ctx: Number = 2048,
    dtype: str | NumberFormat | Sequence[str | NumberFormat] | None = None, estimate: bool = False, engine: str | None = None,
    **options: Unpack[TableOptions],
) -> Table:  # fmt: skip
    """The floor of one step on each of many devices, fastest first; what is missing or too large is a note in its row.

    `gpus` is "all", names separated by commas, or a list of names and `GPU`s; the other parameters
    are those of `floor`, one number each. `needs` is how many devices hold it.

    `estimate=True` adds the expected time `estimate_s` with its interval `low_s` … `high_s` [s], of `engine`
    (as in `sol.estimate`); a device where nothing is known of it has None, and says so in its note.

    >>> table(gpus="h100,l4")["device"]
    ['h100-sxm', 'l4']

    Several formats in `dtype`, as a list or separated by commas, make a table of one model on one
    device, a row per format in the order given: bytes of all weights [B], the floor [s], `speedup`, how many
    times as fast as 16-bit weights, and `gain_ends_batch`, the smallest whole batch from which on the
    format is no faster than they (None: no such batch; `note` says why).

    >>> table(gpus="h100", dtype="bf16,w4a16", ctx=0)["gain_ends_batch"]
    [None, 321.0]
    """
    check_names(table, options, TableOptions.__optional_keys__)
    asked: dict[str, Any] = {
        "ctx": ctx, "batch": 1, "phase": "decode", "new_tokens": 1, "cached_tokens": 0, "logits": None, "kv_dtype": None,
        "routing": "expected", "fusion": "ideal", **options,
    }  # fmt: skip
    if engine is not None and not estimate:
        raise InvalidInput(
            f"engine={engine!r}", "names the engine of the estimates", "ask for estimates as well (estimate=True, --estimate)"
        )
    several = _formats(dtype)
    if several is not None and estimate:
        raise InvalidInput("several dtypes compare floors", action="estimates are for one dtype, so give one, or leave estimate out")
    if several is not None:
        return format_table(_one_model(model), _one_device(gpus), several, asked)
    asked["dtype"] = dtype
    the_model = load_model(model)
    floors: list[Floor] = []
    refused: list[tuple[GPU, str]] = []
    for gpu in _devices(gpus):
        try:
            question = ask(the_model, gpu, **asked)
        except MissingSpec as error:
            refused.append((gpu, refusal(error)))
            continue
        if not question.scalar:
            raise InvalidInput("a table", "takes one ctx, batch and so on", "sweep them with floor(…) on one device")
        floors.append(floor_of(question))
    if not floors and refused:
        raise MissingSpec("; ".join(dict.fromkeys(note for _, note in refused)) + "; choose another dtype")
    floors.sort(key=lambda f: (f.latency_s, f.question.gpu.id))
    rows = [_row(f) for f in floors]
    rows += [(gpu.id, None, None, None, gpu.memory_bytes_per_s, None, note) for gpu, note in refused]
    columns, footer = COLUMNS, ["a source for every number: sol show DEVICE"]
    if estimate:
        columns, rows, whose = estimate_column(floors, columns, rows, engine)
        footer.append(whose)
    formats = dict.fromkeys(f.question.storage.weights.id for f in floors)
    first = floors[0]
    loads = {(f.moved_bytes, f.resident_bytes) for f in floors}
    same = f"{show_bytes(first.moved_bytes)} moved per step" if len(loads) == 1 else ""
    held = f"{show_bytes(first.resident_bytes)} resident" if len(loads) == 1 else ""
    step = (asked["phase"], f"batch {show_count(asked['batch'])}", f"ctx {show_count(asked['ctx'])}")
    title = joined((the_model.id, *step, "/".join(formats), same, held))
    inputs = {"model": the_model, "gpus": gpus, **asked, "estimate": estimate, "engine": engine}
    meta = basis(floors, [f"{row[0]}: {row[-1]}" for row in rows if row[-1]], inputs)
    return Table(columns=columns, rows=tuple(rows), title=title, footer=tuple(footer), meta=meta)


def _devices(gpus: Any) -> list[GPU]:
    if isinstance(gpus, str):
        names: Any = gpu_ids() if gpus == "all" else [g.strip() for g in gpus.split(",") if g.strip()]
    elif isinstance(gpus, GPU):
        names = [gpus]
    elif isinstance(gpus, list | tuple):
        names = gpus
    else:
        raise InvalidInput(f"gpus={gpus!r}", "is neither 'all', names separated by commas, nor a list of them")
    if not names:
        raise InvalidInput("gpus names no device", action="give 'all' or names separated by commas")
    return list({gpu.id: gpu for gpu in map(resolve_gpu, names)}.values())


def _formats(dtype: Any) -> list[str | NumberFormat] | None:
    """The weight formats of a list, or of names separated by commas; None for a single one."""
    if isinstance(dtype, str) and "," in dtype:
        dtype = [name.strip() for name in dtype.split(",") if name.strip()]
    if not isinstance(dtype, list | tuple):
        return None
    if not dtype:
        raise InvalidInput("dtype names no format", action="give one, or several separated by commas")
    return list(dtype)


def _one_model(model: Any) -> Model:
    if isinstance(model, list | tuple) or (isinstance(model, str) and "," in model and not Path(model).exists()):
        raise InvalidInput(f"several dtypes compare on one model, and model={model!r} names more", action="name one model, or one dtype")
    return load_model(model)


def _one_device(gpus: Any) -> GPU:
    devices = _devices(gpus)
    if len(devices) > 1:
        raise InvalidInput(
            f"several dtypes compare on one device, and gpus={gpus!r} names {len(devices)}", action="name one device, or one dtype"
        )
    return devices[0]


def _row(f: Floor) -> tuple[Any, ...]:
    gpu = f.question.gpu
    needs = None if gpu.memory_bytes is None else math.ceil(f.resident_bytes / gpu.memory_bytes)
    notes = []
    if f.compute_s is None:
        notes.append(f"memory only: no {f.question.rates.formats['weights']} rate")
    if f.fits is False:
        notes.append(f"does not fit one: {show_bytes(gpu.memory_bytes or 0.0)}")
    if gpu.memory_bytes is None:
        notes.append("capacity not given")
    if f.question.storage.base.id != (f.question.model.dtype or "bf16") and f.assumptions[0].kind != "asked_weights":
        notes.append(f"{f.question.storage.base.id}: {'no' if 'bf16' in gpu.lacks else 'unsourced'} {f.question.model.dtype or 'bf16'}")
    return (gpu.id, f.latency_s, f.tokens_per_s, f.bound, gpu.memory_bytes_per_s, needs, "; ".join(notes))
