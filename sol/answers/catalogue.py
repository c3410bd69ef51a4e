"""What is known: the devices, the models, the formats, and one record with all its sources."""

from __future__ import annotations

from collections.abc import Sequence

from sol.answers.citations import COLUMNS, Bibliography, cite_row, gpu_citations, source_place
from sol.answers.where import matching
from sol.errors import UnknownName
from sol.physics.cache import kv_bytes
from sol.sources.database import built_in_model, format_ids, gpu_ids, load_format, load_gpu, model_ids
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.record import Cite
from sol.tabular import Column, Table, joined
from sol.units import show_gib, show_rate, significant


def gpus(where: str | Sequence[str] = ()) -> Table:
    """Every device: capacity, bandwidth and the rates it has a source for.

    `where` keeps those that satisfy every condition, for instance "vendor=nvidia", "memory>=80GiB",
    "bandwidth>2TB/s", "bf16>100TFLOPS", or a format alone: a rate for it has a source.

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
        Column("aliases", "also called; @power modes", left=True, wrap=True),
    )
    footer = ("rates in dense TFLOP/s with fp32 accumulation; – means no source was found or the part lacks it: sol show DEVICE",)
    return Table(columns=columns, rows=tuple(rows), footer=footer)


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
        Column("id", "model", left=True),
        Column("parameters", "parameters", lambda v: f"{v:,}"),
        Column("active_parameters", "active", lambda v: f"{v / 1e9:.2f} B"),
        Column("layers", "layers"),
        Column("kv_bytes_per_token", "kv B/token", lambda v: f"{v:,.0f}"),
        Column("max_ctx", "max ctx", lambda v: f"{v:,}"),
        Column("hf_id", "Hugging Face id", left=True),
    )
    return Table(
        columns=columns, rows=tuple(rows), footer=("parameters computed from the architecture; kv per token of a short context at 16 bits",)
    )


def formats() -> Table:
    """Every number format: stored bits with scales, what it covers, whose rate it computes at."""
    rows = []
    for format_id in format_ids():
        f = load_format(format_id)
        compute = f.compute if f.otherwise is None else f"{f.compute}, else {f.otherwise}"
        covers = "every tensor" if f.covering("lm_head") else ", ".join(f.covers)
        rows.append((f.id, f.bits_per_weight, compute, f.cache, covers, f.name))
    columns = (
        Column("id", "format", left=True),
        Column("bits_per_weight", "bits", lambda v: f"{v:.4g}"),
        Column("compute", "computes in", left=True),
        Column("cache", "kv", lambda v: "yes" if v else "no"),
        Column("covers", "covers", left=True),
        Column("name", "what it is", left=True, wrap=True),
    )
    footer = ("what a format does not cover keeps the model's 16 bits; of a mix, the bits of its main part",)
    return Table(columns=columns, rows=tuple(rows), footer=footer)


def show(name: str) -> Bibliography:
    """One record, device, model or format, with every number's source. Raises `UnknownName`."""
    model = built_in_model(name)
    if model is not None:
        return _model_record(model)
    if name.lower() in format_ids():
        f = load_format(name)
        row = cite_row("bits_per_weight", Cite(value=f.bits_per_weight, source=f.source), f"{f.bits_per_weight:g} bits")
        return Bibliography(
            columns=COLUMNS, rows=(row,), title=joined((f.id, f.name)), footer=(f"covers {', '.join(f.covers)}", f"computes in {f.compute}")
        )
    try:
        return _gpu_record(load_gpu(name))
    except UnknownName as error:
        raise UnknownName(f"{error}; nor is there a model or a format of that name") from None


def _gpu_record(gpu: GPU) -> Bibliography:
    table = gpu_citations(gpu)
    footer = [f"note: {gpu.note}"] if gpu.note else []
    footer += [f"{field}: {cite.note}" for field, cite in gpu.cites.items() if cite.note]
    if gpu.capacity_basis:
        footer.append(f"capacity is {gpu.capacity_basis}-reported: {show_gib(gpu.memory_bytes or 0.0)} GiB")
    if gpu.link:
        footer.append(f"link {gpu.link.name}: {show_rate(gpu.link.per_direction_bytes_per_s, 'B/s')} in one direction")
    aliases = f"also {', '.join(gpu.aliases)}" if gpu.aliases else ""
    modes = f"power modes {', '.join(gpu.power_modes)}" if gpu.power_modes else ""
    return Bibliography(columns=table.columns, rows=table.rows, title=joined((gpu.id, gpu.name, aliases, modes)), footer=tuple(footer))


def _model_record(model: Model) -> Bibliography:
    cite = next(iter(model.cites.values()))
    rows: list[tuple[str | None, ...]] = [
        ("parameters", f"{model.parameters:,}", "D", "computed from the architecture", cite.source.title, source_place(cite.source))
    ]
    for key, value in (
        ("layers", model.layers),
        ("hidden", model.hidden),
        ("vocab", model.vocab),
        ("tied_embeddings", model.tied_embeddings),
    ):
        rows.append((key, str(value), None, None, cite.source.title, source_place(cite.source)))
    for i, group in enumerate(model.groups):
        shape = f"{group.count} × {group.attention!r} {group.ffn!r}"
        rows.append((f"group {i}", shape, None, None, cite.source.title, source_place(cite.source)))
    return Bibliography(columns=COLUMNS, rows=tuple(rows), title=joined((model.id, model.hf_id or "", f"{model.parameters:,} parameters")))
