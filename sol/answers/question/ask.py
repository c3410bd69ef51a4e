"""From what was typed to records and arrays: the one door through which every question goes.

Numbers and words are checked in `inputs`, models and devices are found in `records`. Everything below sees only
frozen records and float64 arrays of at least one dimension. What was assumed on the way is written down as
it is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from sol.answers.question.formats import resolve_formats
from sol.answers.question.groups import Group, resolve_groups
from sol.answers.question.inputs import PLAIN, common_shape, first_bad, number, numbers, one_of, reject
from sol.answers.question.records import load_model, resolve_gpu
from sol.answers.question.routing import resolve_routing, routed, shared_out, skewed
from sol.answers.question.splits import ONE, resolve_split, safe_splits, unnamed_bridge, valid_splits, with_links
from sol.errors import InvalidInput
from sol.frozen import Frozen
from sol.physics.network.sharding import split_operators
from sol.physics.time.roofline import Priced, Rates, price_rows
from sol.specs.assumption import Assumption, assumed
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.links import Topology
from sol.specs.model import Model
from sol.specs.quantities import Array, Counts, Flags, Number, Numbers
from sol.specs.split import Split
from sol.specs.step import Fusion, Logits, Phase, Routing, RoutingChoice, Step, StepKind, Storage
from sol.units import show_count

KEPT_POINTS = 4096
"""Rows of a sweep of up to so many points are kept with its question: a few MB."""


@dataclass(frozen=True, eq=False)
class Question(Frozen):
    """One question, resolved: records, the step's arrays, and how it was asked.

    `cache_stated`: the cache's format was asked for, or the checkpoint says it. `bridged`: the links with the bridge that
    the cards may have and nobody named.
    """

    model: Model
    gpu: GPU
    phase: StepKind
    step: Step
    ctx: Array
    cached_tokens: Array
    storage: Storage
    rates: Rates
    routing: Routing
    fusion: Fusion
    scalar: bool
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]
    split: Split = ONE
    valid: bool | Flags = True
    cache_stated: bool = False
    bridged: Topology | None = None

    @cached_property
    def computed_step(self) -> Step:
        """The step as it is computed: plain floats for one point."""
        return self.step.in_floats() if self.scalar else self.step

    def operators(self) -> Priced:
        """The operator rows of the step with their seconds, built and priced once; those of a large sweep whenever asked for."""
        kept: Priced | None = self.__dict__.get("_operators")
        if kept is None:
            split = safe_splits(self.split, self.valid)
            rows = split_operators(self.model, self.computed_step, self.storage, self.routing, self.fusion, split)
            kept = price_rows(rows, self.rates)
            if self.scalar or max(np.size(op.flops) for op, _ in kept) <= KEPT_POINTS:
                self.__dict__["_operators"] = kept
        return kept

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_operators", "computed_step")}


def ask(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Numbers | None = None, batch: Numbers = 1, phase: Phase = "decode",
    new_tokens: Numbers = 1, cached_tokens: Numbers = 0, logits: Logits | None = None, dtype: str | NumberFormat | None = None,
    kv_dtype: str | NumberFormat | None = None, tp: Counts = 1, pp: Counts = 1, ep: Counts = 1, dp: Counts = 1, cp: Counts = 1,
    link: str | None = None, network: str | None = None, imbalance: Number = 1.0, routing: RoutingChoice = "expected",
    fusion: Fusion = "ideal", groups: Sequence[Group[Any]] | None = None,
) -> Question:  # fmt: skip
    """Resolve a question about one model on one device, or split over several.

    With many splits, `valid` is the mask of those that are possible.

    Raises `UnknownName`, `InvalidInput`, `InvalidPlan`, `MissingSpec` or `BadFile`, one line each.
    """
    the_model, the_gpu = load_model(model), resolve_gpu(gpu)
    split = resolve_split(tp, pp, ep, dp, cp)
    valid = valid_splits(the_model, split, the_gpu, network, link)
    run = safe_splits(split, valid)
    skew = number("imbalance", imbalance, at_least=1.0)
    the_routing = resolve_routing(the_model, routing, skew)
    the_fusion: Fusion = one_of("fusion", fusion, get_args(Fusion))
    rows: Logits | None = None if logits is None else one_of("logits", logits, get_args(Logits))
    if groups is not None:
        asked = _mixed(
            groups, split, skew, ctx=ctx, batch=batch, phase=phase, new_tokens=new_tokens, cached_tokens=cached_tokens, logits=rows
        )
    else:
        asked = _of_phase(phase, ctx, batch, new_tokens, cached_tokens, rows, split, skew)
    step, c, cached = asked.step, asked.ctx, asked.cached_tokens
    storage, rates, assumptions, warnings = resolve_formats(the_model, the_gpu, dtype, kv_dtype)
    rates, said = with_links(the_gpu, run, network, rates, link)
    if split.is_sweep or split.devices > 1:
        said = (*said, *_sent(the_model, run, storage, the_routing, skew))
    return Question(
        the_model, the_gpu, asked.kind, step, c, cached, storage, rates, the_routing, the_fusion, asked.scalar and not split.is_sweep,
        (*assumptions, *_step_assumptions(the_model, the_routing, the_fusion), *said), (*warnings, *_beyond(the_model, c)), split, valid,
        kv_dtype is not None or the_model.cache_format is not None, unnamed_bridge(the_gpu, run, network, link),
    )  # fmt: skip


class _Asked(NamedTuple):
    """A step as it was asked for."""

    kind: StepKind
    step: Step
    ctx: Array
    cached_tokens: Array
    scalar: bool


def _of_phase(
    phase: Any, ctx: Any, batch: Any, new_tokens: Any, cached_tokens: Any, logits: Logits | None, split: Split, skew: float
) -> _Asked:  # fmt: skip
    """A step of equal sequences, in one phase."""
    the_phase: Phase = one_of("phase", phase, get_args(Phase))
    if ctx is None:
        raise InvalidInput("no ctx", "was given", "give ctx=2048 (--ctx 2k), or the groups of a mixed step")
    b = numbers("batch", batch, above=0.0)
    c = numbers("ctx", ctx, at_least=0.0) if phase == "decode" else numbers("ctx", ctx, above=0.0)
    n, cached = numbers("new_tokens", new_tokens, above=0.0), numbers("cached_tokens", cached_tokens, at_least=0.0)
    scalar = all(type(v) in PLAIN or np.ndim(v) == 0 for v in (batch, ctx, new_tokens, cached_tokens))
    if not scalar or split.is_sweep:
        common_shape(batch=b, ctx=c, new_tokens=n, cached_tokens=cached, **split._asdict())
    if phase == "decode":
        reject("cached_tokens", cached, 0.0, "phase='decode' takes the cached tokens as ctx; leave cached_tokens out")
        return _Asked(the_phase, Step(b, n, c, logits or "all", imbalance=skew), c, cached, scalar)
    reject("new_tokens", n, 1.0, "phase='prefill' computes ctx − cached_tokens new tokens; leave new_tokens out")
    if not (cached < c).all():
        over = cached >= c
        raise InvalidInput(
            f"cached_tokens={first_bad(cached, over)}", f"is not below ctx={first_bad(c, over)}", "at least one token must be new"
        )
    return _Asked(the_phase, Step(b, c - cached, cached, logits or "last", imbalance=skew), c, cached, scalar)


def _mixed(groups: Any, split: Split, skew: float, **others: Any) -> _Asked:
    """A step of several groups; its context is the longest that a group has after it."""
    given = next((name for name, value in others.items() if name not in _UNASKED or not _is(value, _UNASKED[name])), None)
    if given is not None:
        raise InvalidInput(f"{given} and groups", "are both given", f"each group has tokens and logits of its own, so leave {given} out")
    step, scalar = resolve_groups(groups, skew)
    if split.is_sweep:
        common_shape(**{f"groups[{i // 3}]": array for i, array in enumerate(step.arrays)}, **split._asdict())
    after = [g.new_tokens + g.past_tokens for g in step.groups]
    return _Asked("mixed", step, reduce(np.maximum, after), numbers("cached_tokens", 0), scalar)


_UNASKED = {"ctx": None, "batch": 1, "phase": "decode", "new_tokens": 1, "cached_tokens": 0, "logits": None}


def _is(value: Any, default: Any) -> bool:
    return value is default or (type(value) in (*PLAIN, str) and bool(value == default))


def _sent(model: Model, split: Split, storage: Storage, routing: Routing, skew: float) -> tuple[Assumption, ...]:
    """The assumptions about what the devices of a split send, and about their shares of the experts."""
    if not model.is_moe or not np.any(split.dp > 1):
        sent = "activations are sent in 16 bits"
    else:
        far = ", to the nearest devices that hold enough experts" if routing == "min" else ""
        compute = storage.computed("experts_up")
        sent = f"activations are sent in 16 bits, and to the experts in their compute format, {compute}{far}"
    lines: tuple[Assumption, ...] = (Assumption("wire", sent),)
    if model.is_moe and np.any(split.ep > 1):
        lines = (*lines, *assumed("experts", shared_out(model, split)), *assumed("imbalance", skewed(model, split, routing, skew)))
    return lines


def _beyond(model: Model, ctx: Array) -> tuple[str, ...]:
    longest = ctx.item() if ctx.size == 1 else float(ctx.max())
    if model.max_ctx is None or longest <= model.max_ctx:
        return ()
    return (f"ctx {show_count(longest)} is beyond the {model.max_ctx:,} positions that {model.id} supports",)


@lru_cache(maxsize=1024)
def _step_assumptions(model: Model, routing: Routing, fusion: Fusion) -> tuple[Assumption, ...]:
    lines: list[Assumption] = []
    if model.is_moe:
        lines.append(Assumption("routing", routed(routing)))
    widths = sorted({state.bits for b in model.blocks for state in b.states if state.bits is not None and state.elements})
    if widths:
        bits = " and ".join(map(str, widths))
        lines.append(Assumption("state", f"recurrent states in {bits} bits, read once a step; the serial floor writes them back"))
    lines += dict.fromkeys(line for b in model.blocks for line in b.assumptions)
    if fusion != "ideal":
        counted = f"fusion {fusion}: activations through memory count in the serial floor, never in the floor"
        lines.append(Assumption("fusion", counted))
    return tuple(lines)
