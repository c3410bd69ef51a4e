"""The database as tables: devices, models, formats, links, and one record with all its sources."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sol.answers.catalogue.device_filter import matching
from sol.answers.memory.pool import SHARE
from sol.answers.report.citations import COLUMNS, Bibliography, cite_row, cited
from sol.errors import InvalidInput, UnknownName
from sol.physics.memory.cache import kv_bytes
from sol.sources.checkpoints.tensor_counts import is_checkpoint, read_checkpoint
from sol.sources.database.database import (
    built_in_model,
    format_ids,
    gpu_ids,
    is_format,
    is_link,
    link_ids,
    load_format,
    load_gpu,
    load_link,
    model_ids,
)
from sol.sources.database.engines import is_engine, load_engine
from sol.specs.blocks import Block
from sol.specs.engines import Engine
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.links import LinkType
from sol.specs.model import Model
from sol.specs.record import Cite
from sol.tabular import Column, Table, joined
from sol.units import show_gib, show_rate, significant


def gpus(where: str | Sequence[str] = ()) -> Table:
    """Every device: capacity, bandwidth and sourced rates.

    `where` keeps devices that satisfy every condition, for instance "vendor=nvidia", "memory>=80GiB",
    "bandwidth>2TB/s", "bf16>100TFLOPS", or a format alone (the device has a sourced rate for it).

    >>> gpus(["vendor=amd", "memory>200GiB"])["id"]
    ['mi325x', 'mi355x']
    """
    rows = []
    for g in matching(map(load_gpu, gpu_ids()), [where] if isinstance(where, str) else where):
        rows.append((g.id, g.memory_bytes, g.memory_bytes_per_s, g.peak("bf16") or g.peak("fp16"), g.peak("fp8"), g.peak("int8"), g.tdp_w,
                     ", ".join((*g.aliases, *(f"@{m}" for m in g.power_modes)))))  # fmt: skip
    tera = lambda v: significant(v / 1e12)  # noqa: E731  # dense TFLOP/s, the unit of the columns
    columns = (
        Column("id", "device", left=True),
        Column("memory_bytes", "GiB", show_gib),
        Column("memory_bytes_per_s", "GB/s", lambda v: f"{v / 1e9:.0f}"),
        Column("flops_per_s_16bit", "16-bit", tera),
        Column("flops_per_s_fp8", "fp8", tera),
        Column("flops_per_s_int8", "int8", tera),
        Column("tdp_w", "W", lambda v: f"{v:.0f}"),
        Column("aliases", "aliases, @modes", left=True, wrap=True),
    )
    footer = ("rates in dense TFLOP/s with fp32 accumulation; – means that the part lacks it or no source was found (sol show DEVICE)",)
    asked = {"where": [where] if isinstance(where, str) else list(where)}
    return Table(columns=columns, rows=tuple(rows), footer=footer, meta={"kind": "gpus", "inputs": asked})


def models() -> Table:
    """Every built-in model: parameters as computed, layers, and KV cache per token at 16 bits."""
    import numpy as np

    base = load_format("bf16")
    rows = []
    for model_id in model_ids():
        m = built_in_model(model_id)
        assert m is not None
        first = kv_bytes(m, np.array([1.0]), base).item()
        rows.append((m.id, m.parameters, m.active_parameters, m.layers, first, m.max_ctx, m.hf_id))
    columns = (
        Column("id", "model", left=True, wrap=True),
        Column("parameters", "parameters", lambda v: f"{v:,}"),
        Column("active_parameters", "active", lambda v: f"{v / 1e9:.2f} B"),
        Column("layers", "layers"),
        Column("kv_bytes_per_token", "kv B/tok", lambda v: f"{v:,.0f}"),
        Column("max_ctx", "max ctx", lambda v: f"{v:,}"),
        Column("hf_id", "Hugging Face id", left=True, hidden=True),
    )
    footer = ("parameters computed from the architecture; kv per token of a short context at 16 bits",)
    return Table(columns=columns, rows=tuple(rows), footer=footer, meta={"kind": "models"})


def formats() -> Table:
    """Every number format: stored bits with scales, the tensors it covers, the format of its products."""
    rows = []
    for format_id in format_ids():
        f = load_format(format_id)
        compute = f.compute if f.otherwise is None else f"{f.compute}, else {f.otherwise}"
        rows.append((f.id, f.bits_per_weight, compute, f.cache, _covered(f), f.name))
    columns = (
        Column("id", "format", left=True),
        Column("bits_per_weight", "bits", lambda v: f"{v:.4g}"),
        Column("compute", "computes in", left=True),
        Column("cache", "kv", lambda v: "yes" if v else "no"),
        Column("covers", "covers", left=True),
        Column("name", "what it is", left=True, wrap=True),
    )
    footer = ("tensors that a format does not cover keep the model's 16 bits; for a mix, the bits are those of its main part",)
    return Table(columns=columns, rows=tuple(rows), footer=footer, meta={"kind": "formats"})


def _covered(f: NumberFormat) -> str:
    if not f.covering("lm_head"):
        return ", ".join(f.covers)
    if not f.covering("embedding"):
        return "every linear layer"
    return "every tensor" if f.covering("norm") else "every matrix"


def links() -> Table:
    """Every kind of link: rate per device in one direction, what it joins, whether its switch reduces."""
    rows = []
    for link_id in link_ids():
        k = load_link(link_id)
        rows.append((k.id, k.kind, k.per_direction_bytes_per_s, k.pair_bytes_per_s, k.domain, k.switched, k.reduces_in_network, k.name))
    yes = {True: "yes", False: "no"}
    columns = (
        Column("id", "link", left=True),
        Column("kind", "kind", left=True),
        Column("per_direction_bytes_per_s", "GB/s", lambda v: f"{v / 1e9:.4g}"),
        Column("pair_bytes_per_s", "pair", lambda v: f"{v / 1e9:.4g}"),
        Column("domain", "joins", lambda v: f"{v:g}"),
        Column("switched", "switch", lambda v: yes[v]),
        Column("reduces_in_network", "adds", lambda v: yes[v]),
        Column("name", "what it is", left=True, wrap=True),
    )
    footer = ("one direction, one device; pair: rate between two devices, if lower; adds: the switch reduces",)
    return Table(columns=columns, rows=tuple(rows), footer=footer, meta={"kind": "links"})


def show(name: str) -> Table:
    """One record with the source of every number, or the contents of a checkpoint on disk.

    `name`: of a device, model, format, link or engine (a `Bibliography`), or the path of a GGUF file, a safetensors
    file or a folder of them (bytes [B] and elements of each part). Raises `UnknownName` and `BadFile`.
    """
    if not isinstance(name, str):
        raise InvalidInput(f"{name!r}", "is not a name", "sol gpus, models, formats and links list them")
    return replace(_record(name), meta={"kind": "record", "inputs": {"name": name}})


def _record(name: str) -> Table:
    if is_checkpoint(name):
        return _checkpoint_record(name)
    model = built_in_model(name)
    if model is not None:
        return _model_record(model)
    if is_format(name):
        return _format_record(load_format(name))
    if is_link(name):
        return _link_record(load_link(name))
    if is_engine(name):
        return _engine_record(load_engine(name))
    try:
        return _gpu_record(load_gpu(name))
    except UnknownName as error:
        action = f"{error.action}; no model, format, link or engine has that name either"
        raise UnknownName(error.asked, error.truth, action, name=error.name, suggestions=error.suggestions) from None


def _checkpoint_record(name: str) -> Table:
    held = read_checkpoint(Path(os.path.expanduser(name)))
    rows = []
    for part, h in sorted(held.by_class.items(), key=lambda item: -item[1].bytes):
        dtypes = ", ".join(d for d, _ in sorted(h.dtypes.items(), key=lambda item: -item[1]))
        rows.append((part, h.bytes, h.bytes / held.bytes if held.bytes else 0.0, h.elements, dtypes))
    columns = (
        Column("part", "part", left=True),
        Column("stored_bytes", "bytes", lambda v: f"{v:,}"),
        Column("share", "share", lambda v: f"{100 * v:.1f} %"),
        Column("elements", "elements", lambda v: f"{v:,}"),
        Column("dtypes", "stored as", left=True, wrap=True),
    )
    footer = ["stored bytes and elements; of packed weights (GPTQ, AWQ, MXFP4) the elements are the containers"]
    if held.unknown:
        footer.append(f"unknown: {len(held.unknown)} tensors that belong to no known part, the first is {held.unknown[0]}")
    total = ("total", held.bytes, 1.0, held.elements, "")
    return Table(columns=columns, rows=tuple(rows), title=name, footer=tuple(footer), total=total)


def _gpu_record(gpu: GPU) -> Bibliography:
    footer = [f"note: {gpu.note}"] if gpu.note else []
    footer += [f"{field}: {cite.note}" for field, cite in gpu.cites.items() if cite.note]
    if gpu.capacity_basis:
        footer.append(f"capacity ({gpu.capacity_basis}): {show_gib(gpu.memory_bytes or 0.0)} GiB")
    if gpu.link:
        footer.append(f"link {gpu.link.name}: {show_rate(gpu.link.per_direction_bytes_per_s, 'B/s')} in one direction")
    aliases = f"also {', '.join(gpu.aliases)}" if gpu.aliases else ""
    modes = f"power modes {', '.join(gpu.power_modes)}" if gpu.power_modes else ""
    return Bibliography(columns=COLUMNS, rows=cited(gpu), title=joined((gpu.id, gpu.name, aliases, modes)), footer=tuple(footer))


def _link_record(link: LinkType) -> Bibliography:
    footer = [f"note: {link.note}"] if link.note else []
    footer += [f"{field}: {cite.note}" for field, cite in link.cites.items() if cite.note]
    return Bibliography(columns=COLUMNS, rows=cited(link), title=joined((link.id, link.name, link.kind)), footer=tuple(footer))


def _engine_record(engine: Engine) -> Bibliography:
    footer = [f"kv pool: {SHARE[engine.budget].format(f='memory_fraction')}"]
    footer += [f"note: {engine.note}"] if engine.note else []
    footer += [f"{field}: {cite.note}" for field, cite in engine.cites.items() if cite.note]
    title = joined((engine.id, f"{engine.name} {engine.version}"))
    rules = () if engine.scheduler is None else tuple(cite_row(field, cite) for field, cite in engine.scheduler.cites.items())
    return Bibliography(columns=COLUMNS, rows=(*cited(engine), *rules), title=title, footer=tuple(footer))


def _format_record(f: NumberFormat) -> Bibliography:
    facts = {"bits_per_weight": f.bits_per_weight, "bits": f.bits, "group": f.group, "scale_bits": f.scale_bits, "zero_bits": f.zero_bits}
    rows = tuple(cite_row(fact, Cite(value=value, source=f.source)) for fact, value in facts.items() if value)
    footer = [f"covers {', '.join(f.covers)}", f"computes in {f.compute}" + (f", else {f.otherwise}" if f.otherwise else "")]
    footer += [f"{tensor}: {choice}" for tensor, choice in f.mix.items()]
    footer += [f"note: {f.note}"] if f.note else []
    return Bibliography(columns=COLUMNS, rows=rows, title=joined((f.id, f.name)), footer=tuple(footer))


def _model_record(model: Model) -> Bibliography:
    source = next(iter(model.cites.values())).source
    facts: dict[str, float | str] = {
        "parameters": model.parameters, "active_parameters": model.active_parameters, "streamed_parameters": model.streamed_parameters,
        "layers": model.layers, "hidden": model.hidden, "vocab": model.vocab, "tied_embeddings": str(model.tied_embeddings),
        **{key: n for key in ("mtp_parameters", "tower_parameters") if (n := getattr(model, key))},
        **({} if model.quantization is None else {"quantization": model.quantization}),
        **({} if model.weight_format is None else {"weight_format": model.weight_format.id}),
        **({} if model.cache_format is None else {"cache_format": model.cache_format}),
    }  # fmt: skip
    rows = [cite_row(fact, Cite(value=value, source=source)) for fact, value in facts.items()]
    for i, group in enumerate(model.groups):
        prefix = f"group {i} " if len(model.groups) > 1 else ""
        rows.append(cite_row(f"{prefix}count", Cite(value=group.count, source=source)))
        for block in group.blocks:
            rows.append(cite_row(f"{prefix}block", Cite(value=type(block).__name__, source=source)))
            rows += [cite_row(f"{prefix}{key}", Cite(value=v, source=source)) for key, v in _said(block).items()]
    footer = ("parameter counts are computed from the architecture; the other values are published",)
    return Bibliography(columns=COLUMNS, rows=tuple(rows), title=joined((model.id, model.hf_id or "")), footer=footer)


def _said(block: Block) -> dict[str, float | str]:
    """The fields of a block worth showing: sizes, and switches that are on."""
    return {key: str(v) if isinstance(v, bool | dict) else v for key, v in block.model_dump(exclude_none=True).items() if v is not False}
