"""One number format out of the schemes of many modules: by tensor class, averaged over a class's elements where they differ."""

from __future__ import annotations

from collections.abc import Iterable

from sol.errors import InvalidInput
from sol.sources.quantization.linear_modules import Module
from sol.sources.quantization.schemes import Scheme
from sol.specs.formats import FAMILY, Choice, Covered, NumberFormat, TensorClass
from sol.specs.record import Source

Stored = list[tuple[Module, Scheme | None]]
SIXTEEN = Scheme("16-bit", 16, "16-bit")
RATES = ("16-bit", "fp8", "fp4")
"""Compute formats, each faster than the one before wherever a device has it."""
LEFT_OUT = "what is stored once a tensor is left out"


def combined(method: str, stored: Stored, source: Source, *, tied: bool) -> NumberFormat | None:
    """The format of a checkpoint whose modules are stored so; None where no format here is exactly that."""
    classes: dict[TensorClass, Stored] = {}
    for module, scheme in stored:
        classes.setdefault(module.tensor, []).append((module, scheme))
    covered = {tensor: members for tensor, members in classes.items() if any(scheme for _, scheme in members)}
    if not covered or "router" in covered or (tied and "lm_head" in covered):
        return None  # routers are in 16 bits in every engine, and a tied head is no module of its own
    used = {scheme for members in covered.values() for _, scheme in members if scheme is not None}
    if any(_experts_differ(members) for members in covered.values()):
        return None
    one = next(iter(used)) if len(used) == 1 else None
    if one is not None and all(s == one and one.in_whole_blocks(m.rows, m.columns) for members in covered.values() for m, s in members):
        return format_of(method, one, _families(covered, classes), source)
    return _mixed(method, covered, used, source)


def format_of(method: str, scheme: Scheme, covers: Iterable[Covered], source: Source) -> NumberFormat | None:
    """The format of modules that are all stored alike; None for sizes no format can have."""
    try:
        return NumberFormat(
            id=_id(method, scheme.id), name=_name(method), source=source, bits=scheme.bits, group=scheme.group,
            scale_bits=scheme.scale_bits, zero_bits=scheme.zero_bits, covers=tuple(covers), compute=scheme.compute,
            otherwise=scheme.otherwise, note=LEFT_OUT if scheme.block is None or scheme.id.startswith("nvfp4") else "",
        )  # fmt: skip
    except InvalidInput:
        return None


def _name(method: str) -> str:
    return f"{method}, as the checkpoint's config says"


def _id(method: str, scheme: str) -> str:
    return scheme if scheme.startswith((method, "nf4", "fp8-block")) else f"{method}-{scheme}"


def _experts_differ(members: Stored) -> bool:
    """Whether experts of a class differ in scheme and size: which of them a token reads is then not known."""
    experts = [(m.rows, m.columns) for m, _ in members if m.tensor in ("experts_up", "experts_down")]
    return len(set(experts)) > 1 and len({s for _, s in members}) > 1


def _families(covered: dict[TensorClass, Stored], classes: dict[TensorClass, Stored]) -> list[Covered]:
    """The covered classes, by family where all of one that the model has are."""
    names: dict[Covered, None] = {}
    for tensor in covered:
        family: Covered = FAMILY.get(tensor, tensor)  # type: ignore[assignment]  # a table of plain strings
        names[family if all(t in covered for t in classes if FAMILY.get(t) == family) else tensor] = None
    return list(names)


def _mixed(method: str, covered: dict[TensorClass, Stored], used: set[Scheme], source: Source) -> NumberFormat | None:
    """A format by tensor class, each with its average bits an element."""
    compute = _compute({scheme.compute for scheme in used})
    if compute is None:
        return None
    otherwise = "16-bit" if all(s.compute == "16-bit" or s.otherwise == "16-bit" for s in used) and compute != "16-bit" else None
    rates = "; the fastest of its compute formats for all" if len({s.compute for s in used}) > 1 else ""
    name = "+".join(sorted(scheme.id for scheme in used))

    def average(members: Stored, covers: Iterable[Covered], part: str) -> NumberFormat:
        elements = sum(m.elements for m, _ in members)
        bits = sum(m.copies * (s or SIXTEEN).stored_bits(m.rows, m.columns) for m, s in members)
        return NumberFormat(
            id=_id(method, f"{name}{part}"), name=_name(method), source=source, bits=bits / elements,
            covers=tuple(covers), compute=compute, otherwise=otherwise, note=f"average over {elements} elements; {LEFT_OUT}{rates}",
        )  # fmt: skip

    try:
        mix: dict[Covered, Choice] = {t: Choice(default=average(members, (t,), f"-{t}")) for t, members in covered.items()}
        main = average([pair for members in covered.values() for pair in members], covered, "")
        return main.model_copy(update={"mix": mix})
    except InvalidInput:
        return None


def _compute(formats: set[str]) -> str | None:
    """The compute format that bounds all of them; None where they have no order."""
    if len(formats) == 1:
        return next(iter(formats))
    return max(formats, key=RATES.index) if formats <= set(RATES) else None
