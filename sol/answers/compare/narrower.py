"""Weights in fewer bits than were said: all of them, or those that a narrow format leaves in 16."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from sol.answers.compare.changes import variant
from sol.answers.compare.suspects import Case, Suspect, percent
from sol.answers.floor.optimistic import everywhere
from sol.answers.question.formats import classes_of
from sol.sources.database.database import format_ids, is_format, load_format
from sol.specs.formats import Choice, NumberFormat
from sol.specs.model import Model
from sol.units import significant

KEPT_WIDE = ("router", "norm", "bias")
"""Small tensors that every format but a few leaves wide."""


def narrower_format(case: Case) -> Sequence[Suspect]:
    """Weights with fewer bits than given."""
    own = case.question.storage.weights
    fitting = []
    for name in ("fp8", "w8a16", "w4a16"):
        fmt = load_format(name)
        f = variant(case.question, dtype=fmt) if fmt.bits_per_weight < 0.8 * own.bits_per_weight else None
        if f is not None and case.explains(case.share(f)):
            fitting.append((name, fmt, float(f.latency_s)))
    chosen = next((c for c in fitting if case.well(c[2] / case.measured_s)), fitting[0] if fitting else None)
    if chosen is None:
        return ()
    name, fmt, limit = chosen
    return (
        Suspect(
            "precision",
            f"the weights may be {name}, not {own.id}",
            f"as if they were {name}: {percent(limit / case.measured_s)} of that floor",
            f"{fmt.bits_per_weight:.4g} bits a weight",
            f"say --dtype {name}, or see the format the engine logs as it loads",
            0.8,
            limit,
            case.measured_s,
            {"dtype": name},
        ),
    )


def other_tensors(case: Case) -> Sequence[Suspect]:
    """The head, or all that a narrow format leaves in 16 bits, stored narrow too: the least of it that explains the time."""
    q, own = case.question, case.question.storage.weights
    found = []
    for what, fmt in _narrowed(q.model, own, q.storage.base):
        f = variant(q, dtype=fmt)
        if f is not None and case.explains(case.share(f)):
            found.append((what, fmt, float(f.latency_s)))
    chosen = next((c for c in found if case.well(c[2] / case.measured_s)), found[-1] if found else None)
    if chosen is None:
        return ()
    what, fmt, limit = chosen
    rate = (q.step.batch * q.step.new_tokens).item() / limit
    named = is_format(fmt.id)
    return (
        Suspect(
            "precision",
            f"{what} as well, where {own.id} leaves 16 bits",
            f"the limit would be {significant(rate)} tok/s, and this {percent(limit / case.measured_s)} of it",
            f"{q.storage.base.id} outside what {own.id} covers, as said",
            (f"say --dtype {fmt.id}, or give the checkpoint" if named else "give the checkpoint (a GGUF file, or its folder)")
            + ": its headers say the bits of every tensor",
            0.7,
            limit,
            case.measured_s,
            {"dtype": fmt.id if named else fmt},
        ),
    )


def _narrowed(model: Model, own: NumberFormat, base: NumberFormat) -> Iterator[tuple[str, NumberFormat]]:
    """What may be narrower too, and the format that says so; the least change first. Nothing of a format whose every part is known."""
    if own.class_bits or own.mix or own.bits_per_weight >= base.bits_per_weight:
        return
    outside = tuple(t for t in (*sorted(classes_of(model)), "lm_head", "embedding") if t not in KEPT_WIDE and not own.covering(t))
    outside = tuple(dict.fromkeys(outside))
    dense = set(outside) - {"lm_head", "embedding"}
    if "lm_head" in outside and not dense:
        yield f"the head may be {own.id}", _known(own.model_copy(update={"id": f"{own.id}+head", "covers": (*own.covers, "lm_head")}))
    if dense:
        eight = load_format("q8_0")
        mix = {t: Choice(default=eight) for t in outside}
        gguf = load_format("mxfp4-moe")
        same = own.bits_per_weight == gguf.bits_per_weight and own.covers == ("experts",)
        made = own.model_copy(update={"id": f"{own.id}+q8_0", "covers": (*own.covers, *outside), "mix": mix})
        yield "other tensors may be q8_0", gguf if same else made
    if outside:
        all_of_it = everywhere(own, base)
        yield f"every tensor may be {own.id}", all_of_it.model_copy(update={"id": f"{own.id}+all"})


@lru_cache(maxsize=256)
def _known(made: NumberFormat) -> NumberFormat:
    """The format of the database that stores the same parts in the same bits, if there is one."""
    alike = ("bits", "group", "scale_bits", "zero_bits", "compute", "otherwise")
    for name in format_ids():
        if name.startswith(made.id.partition("+")[0]):
            fmt = load_format(name)
            if not fmt.mix and set(fmt.covers) == set(made.covers) and all(getattr(fmt, k) == getattr(made, k) for k in alike):
                return fmt
    return made
