"""The database of devices, formats and models, and users' own devices beside it.

Names resolve exactly, after folding case and `_`, never by substring. A user's devices are TOML
files of the same shape, in the folder (or file) the environment variable SOL_GPUS names, or one
passed in. A user's record may not take a shipped name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sol.errors import BadFile, InvalidInput, UnknownName, nearest, unknown_name
from sol.sources.config.config_json import read_config
from sol.sources.database.tomlfiles import TomlRecords, data_root, read_toml
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU, DeviceRecord, Lacks, Link, LinkRecord
from sol.specs.model import Model
from sol.specs.record import Cite, Quantity, Source, validated

if TYPE_CHECKING:
    from sol.specs.links import LinkType

GPUS_VARIABLE = "SOL_GPUS"


def fold(name: str) -> str:
    """A name in the form used for comparison: lower case, blanks and underscores as hyphens. Raises `InvalidInput` if not text."""
    if not isinstance(name, str):
        raise InvalidInput(f"{name!r}", "is not a name")
    return name.strip().lower().replace("_", "-").replace(" ", "-")


@lru_cache(maxsize=8)
def _index(folder: str) -> tuple[dict[str, tuple[TomlRecords, str]], dict[str, str]]:
    """Shipped records of one folder: id → (file, id), and every folded name → id."""
    records: dict[str, tuple[TomlRecords, str]] = {}
    names: dict[str, str] = {}
    for path in sorted((data_root() / folder).glob("*.toml")):
        file = TomlRecords(path)
        for record_id, aliases in file.ids():
            records[record_id] = (file, record_id)
            for name in (record_id, *aliases):
                names[fold(name)] = record_id
    return records, names


def gpu_ids(kind: str | None = None) -> list[str]:
    """Every device id, built-in ones first, then the user's; with `kind` only those, without reading other records."""
    users = {user_id: table for user_id, _, table, _ in _user_devices(None).values()}
    return [*shipped_gpu_ids(kind), *(i for i, table in users.items() if kind is None or table.get("kind") == kind)]


def shipped_gpu_ids(kind: str | None = None) -> list[str]:
    """The device ids of the database alone; of one `kind` only, without reading the other records."""
    return [i for i, (file, _) in _index("gpus")[0].items() if kind is None or file.says(i, "kind", kind)]


def model_ids() -> list[str]:
    """Every built-in model id."""
    return list(_index("models")[0])


def format_ids() -> list[str]:
    """Every number format id."""
    return list(_index("formats")[0])


def load_gpu(name: str, *, folder: str | Path | None = None) -> GPU:
    """The device with this id or alias; `id@mode` is the device in one of its power modes.

    `folder` is a TOML file, or a folder of them, with devices of your own; without it the
    environment variable SOL_GPUS names one.

    Raises `UnknownName` (with the nearest right names), `BadFile` for a broken file.

    >>> load_gpu("h100").memory_bytes_per_s
    3350000000000.0
    """
    base, _, mode = fold(name).partition("@")
    gpu_id = _index("gpus")[1].get(base)
    devices = _user_devices(folder)  # before the built-in: a device of yours under its name is refused, not ignored
    if gpu_id is not None:
        return _shipped_gpu(gpu_id, mode)
    if base in devices:
        user_id, path, table, sources = devices[base]
        return _device(user_id, table, sources, mode, str(path))
    known = [*_index("gpus")[1], *devices]
    raise unknown_name(f"no gpu '{name}'", base, known, listing="sol gpus")


@lru_cache(maxsize=512)
def _shipped_gpu(gpu_id: str, mode: str) -> GPU:
    file, _ = _index("gpus")[0][gpu_id]
    table, sources = file.load(gpu_id)
    return _device(gpu_id, table, sources, mode, file.path.name)


def device_record(gpu_id: str, table: dict[str, Any], sources: dict[str, Any], where: str) -> tuple[DeviceRecord, dict[str, Source]]:
    """A device's table and its sources, checked; `BadFile` names file and key."""
    record = validated(DeviceRecord, table, f"{where}: [{gpu_id}]")
    checked = {key: validated(Source, value, f"{where}: [sources.{key}]") for key, value in sources.items()}
    quoted: list[tuple[str, Quantity | Lacks]] = [*record.quantities().items()]
    for mode in record.power_modes:
        quoted += [(f"{mode} {field}", q) for field, q in record.in_mode(mode).quantities().items()]
    if record.lacks is not None:
        quoted.append(("lacks", record.lacks))
    for field, item in quoted:
        if item.source not in checked:
            raise BadFile(f"{where}:", f"[{gpu_id}] {field}: no source '{item.source}' in this file", f"add [sources.{item.source}]")
    return record, checked


def _device(gpu_id: str, table: dict[str, Any], sources: dict[str, Any], mode: str, where: str) -> GPU:
    record, checked = device_record(gpu_id, table, sources, where)
    full_id = gpu_id
    if mode:
        mode = next((m for m in record.power_modes if fold(m) == mode), mode)
        if mode not in record.power_modes:
            modes = ", ".join(f"{gpu_id}@{m}" for m in record.power_modes) or "none"
            raise UnknownName(f"no power mode '{mode}' of {gpu_id}", action=f"it has: {modes}", name=mode)
        record, full_id = record.in_mode(mode), f"{gpu_id}@{fold(mode)}"
    cites = {field: _cite(q, checked) for field, q in record.quantities().items()}
    if record.lacks is not None:
        lacks = record.lacks
        cites["lacks"] = Cite(value=", ".join(lacks.formats), source=checked[lacks.source], evidence=lacks.evidence, note=lacks.note)
    memory = record.memory_bytes or record.marketed_memory_bytes
    basis = None if memory is None else (memory.basis or "marketed") if memory is record.memory_bytes else "marketed"
    return GPU(
        id=full_id, name=record.name, vendor=record.vendor, kind=record.kind, architecture=record.architecture,
        year=record.year, line=record.line or "", aliases=record.aliases, unified_memory=record.unified_memory, note=record.note,
        memory_bytes=_value(memory), capacity_basis=basis, marketed_memory_bytes=_value(record.marketed_memory_bytes),
        memory_bytes_per_s=record.memory_bytes_per_s.value, last_level_cache_bytes=_value(record.last_level_cache_bytes),
        sm_count=_value(record.sm_count), clock_hz=_value(record.clock_hz), max_clock_hz=_value(record.max_clock_hz),
        tdp_w=_value(record.tdp_w),
        flops_per_s={k: q.value for k, q in record.flops_per_s.items()},
        ceiling_flops_per_s={k: q.value for k, q in record.ceiling_flops_per_s.items()},
        lacks=frozenset(record.lacks.formats if record.lacks else ()),
        link=_link(record.link), pcie=_link(record.pcie), power_modes=tuple(record.power_modes), cites=cites,
    )  # fmt: skip


def _cite(q: Quantity, sources: dict[str, Source]) -> Cite:
    printed = q.printed if q.printed is None or not q.unit else f"{q.printed} {q.unit}"
    return Cite(value=q.value, source=sources[q.source], evidence=q.evidence, printed=printed, formula=q.formula, note=q.note)


def _value(q: Quantity | None) -> float | None:
    return None if q is None else q.value


def _link(record: LinkRecord | None) -> Link | None:
    if record is None:
        return None
    domain = None if record.domain is None else int(record.domain.value)
    return Link(
        name=record.name, per_direction_bytes_per_s=record.per_direction_bytes_per_s.value, domain=domain, peer_access=record.peer_access
    )


def _user_files(folder: str | Path | None) -> Iterator[Path]:
    place = folder if folder is not None else os.environ.get(GPUS_VARIABLE)
    if not place:
        return
    path = Path(place)
    if path.is_dir():
        yield from sorted(path.glob("*.toml"))
    elif path.exists():
        yield path
    else:
        asked = "the devices folder" if folder is not None else GPUS_VARIABLE
        raise BadFile(f"{asked} '{place}'", "does not exist", "name a TOML file or a folder of them")


def _user_devices(folder: str | Path | None) -> dict[str, tuple[str, Path, dict[str, Any], dict[str, Any]]]:
    """Every folded name of a user's devices → (id, file, table, sources)."""
    devices: dict[str, tuple[str, Path, dict[str, Any], dict[str, Any]]] = {}
    shipped = _index("gpus")[1]
    for path in _user_files(folder):
        data = read_toml(path)
        sources = data.pop("sources", {})
        for gpu_id, table in data.items():
            if not isinstance(table, dict) or not isinstance(sources, dict):
                raise BadFile(f"{path}:", f"'{gpu_id}' is not a table", "write [my-device] and its fields below")
            if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", gpu_id) or gpu_id == "all":
                raise BadFile(f"{path}:", f"[{gpu_id}] is not an id", "use lower-case letters, digits and single hyphens")
            record, _ = device_record(gpu_id, table, sources, str(path))
            for name in dict.fromkeys(map(fold, (gpu_id, *record.aliases))):
                if name in shipped or name in devices:
                    owner = f"the built-in {shipped[name]}" if name in shipped else f"[{devices[name][0]}] of {devices[name][1]}"
                    raise BadFile(f"{path}:", f"[{gpu_id}] the name '{name}' is taken by {owner}", "choose another id or alias")
                devices[name] = (gpu_id, path, table, sources)
    return devices


def link_ids() -> list[str]:
    """Every kind of link."""
    return list(_index("links")[0])


def load_link(name: str) -> LinkType:
    """The kind of link with this id or alias. Raises `UnknownName`."""
    names = _index("links")[1]
    link_id = names.get(fold(name))
    if link_id is None:
        raise unknown_name(f"no link '{name}'", fold(name), names, listing="sol links")
    return _shipped_link(link_id)


@lru_cache(maxsize=128)
def _shipped_link(link_id: str) -> LinkType:
    from sol.specs.links import LinkType, LinkTypeRecord  # here, so that a question about one device does not build them

    file, _ = _index("links")[0][link_id]
    table, sources = file.load(link_id)
    where = f"{file.path.name}: [{link_id}]"
    record = validated(LinkTypeRecord, table, where)
    found = record.quantities()
    cites = {field: _cite(q, {q.source: _source(q.source, sources, where)}) for field, q in found.items()}
    numbers = {field: q.value for field, q in found.items() if "." not in field}
    return LinkType(
        id=link_id, name=record.name, kind=record.kind, aliases=record.aliases, switched=record.switched,
        reduces_in_network=record.reduces_in_network, peer_access=record.peer_access,
        reached_bytes_per_s={k: q.value for k, q in record.reached_bytes_per_s.items()},
        alpha_s={k: q.value for k, q in record.alpha_s.items()}, note=record.note, cites=cites, **numbers,
    )  # fmt: skip


def is_format(name: str) -> bool:
    """Whether a number format has this id or alias."""
    return fold(name) in _index("formats")[1]


def is_link(name: str) -> bool:
    """Whether a kind of link has this id or alias."""
    return fold(name) in _index("links")[1]


def load_format(name: str) -> NumberFormat:
    """The number format with this id or alias. Raises `UnknownName`."""
    names = _index("formats")[1]
    format_id = names.get(fold(name))
    if format_id is None:
        raise UnknownName(f"no format '{name}'", action=f"known: {', '.join(format_ids())}", name=name, suggestions=nearest(name, names))
    return _shipped_format(format_id)


@lru_cache(maxsize=64)
def _shipped_format(format_id: str) -> NumberFormat:
    file, _ = _index("formats")[0][format_id]
    table, sources = file.load(format_id)
    where = f"{file.path.name}: [{format_id}]"
    mix = {  # one name, or a name for each kind of layer
        tensor: {kind: load_format(name) for kind, name in (choice if isinstance(choice, dict) else {"default": choice}).items()}
        for tensor, choice in table.pop("mix", {}).items()
    }
    fallback = load_format(table.pop("fallback")) if "fallback" in table else None
    source = _source(table.pop("source", ""), sources, where)
    return NumberFormat(id=format_id, **table, fallback=fallback, mix=mix, source=source)


def _source(key: str, sources: dict[str, Any], where: str) -> Source:
    if key not in sources:
        raise BadFile(f"{where}:", f"no source '{key}' in this file", f"add [sources.{key}]")
    return validated(Source, sources[key], f"{where}: [sources.{key}]")


def built_in_model(name: str) -> Model | None:
    """The built-in model with this id, alias or Hugging Face id; None for any other name."""
    model_id = _index("models")[1].get(fold(name))
    return None if model_id is None else _shipped_model(model_id)


@lru_cache(maxsize=256)
def _shipped_model(model_id: str) -> Model:
    file, _ = _index("models")[0][model_id]
    table, sources = file.load(model_id)
    where = f"{file.path.name}: [{model_id}]"
    source = _source(table.get("source", ""), sources, where)
    config = {"sliding_window": None, **table["config"]}  # TOML has no null: a key left out of a shipped record was null, or absent
    return read_config(config, where, model_id=model_id, hf_id=table["hf_id"], aliases=tuple(table.get("aliases", ())), source=source)


def require_model(name: str) -> Model:
    """Like `built_in_model`, but an unknown name is an `UnknownName` with the nearest right ones."""
    model = built_in_model(name)
    if model is None:
        known = _index("models")[1]
        raise unknown_name(
            f"no built-in model '{name}'", fold(name), known, listing="sol models", otherwise="or give the path of its config.json"
        )
    return model
