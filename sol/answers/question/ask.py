"""From names and numbers to records and arrays: the one place where names, numbers and options are checked.

Everything below sees only frozen records and float64 arrays of at least one dimension. What was
assumed on the way is written down as it is decided.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from numbers import Number
from pathlib import Path
from typing import Any, get_args

import numpy as np

from sol.answers.question.formats import resolve_formats
from sol.answers.question.routing import resolve_routing, routed, skewed
from sol.answers.question.splits import ONE, resolve_split, safe_splits, valid_splits, with_links
from sol.errors import InvalidInput
from sol.frozen import Frozen
from sol.physics.network.sharding import split_operators
from sol.physics.time.roofline import Priced, Rates, price_rows
from sol.sources.database.database import built_in_model, load_gpu, require_model
from sol.specs.assumption import Assumption, assumed
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.split import Split
from sol.specs.step import Array, Fusion, Logits, Phase, Routing, Step, Storage
from sol.units import show_count

KEPT_POINTS = 4096
"""Rows of a sweep of up to so many points are kept with its question: a few MB."""
LARGEST = 1e15
"""No batch or context comes near; up to here every whole number is exact and no product overflows."""


@dataclass(frozen=True, eq=False)
class Question(Frozen):
    """One question, resolved: records, the step's arrays, and how it was asked.

    `cache_stated`: the cache's format was asked for, or the checkpoint says it.
    """

    model: Model
    gpu: GPU
    phase: Phase
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
    valid: Any = True
    cache_stated: bool = False

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
    model: str | Path | Model, gpu: str | GPU, *, ctx: Any, batch: Any = 1, phase: str = "decode", new_tokens: Any = 1,
    cached_tokens: Any = 0, logits: str | None = None, dtype: str | NumberFormat | None = None, kv_dtype: str | NumberFormat | None = None,
    tp: Any = 1, pp: Any = 1, ep: Any = 1, dp: Any = 1, network: str | None = None, imbalance: float = 1.0,
    routing: Any = "expected", fusion: str = "ideal",
) -> Question:  # fmt: skip
    """Resolve a question about one model on one device, or split over several.

    With many splits, `valid` is the mask of those that are possible.

    Raises `UnknownName`, `InvalidInput`, `InvalidPlan`, `MissingSpec` or `BadFile`, one line each.
    """
    the_model, the_gpu = load_model(model), resolve_gpu(gpu)
    split = resolve_split(tp, pp, ep, dp)
    valid = valid_splits(the_model, split, the_gpu, network)
    run = safe_splits(split, valid)
    the_phase: Phase = _one_of("phase", phase, get_args(Phase))
    skew = number("imbalance", imbalance, at_least=1.0)
    the_routing = resolve_routing(the_model, routing, skew)
    the_fusion: Fusion = _one_of("fusion", fusion, get_args(Fusion))
    rows: Logits | None = None if logits is None else _one_of("logits", logits, get_args(Logits))
    b = numbers("batch", batch, above=0.0)
    c = numbers("ctx", ctx, at_least=0.0) if phase == "decode" else numbers("ctx", ctx, above=0.0)
    n, cached = numbers("new_tokens", new_tokens, above=0.0), numbers("cached_tokens", cached_tokens, at_least=0.0)
    scalar = not split.is_many and all(np.ndim(v) == 0 for v in (batch, ctx, new_tokens, cached_tokens))
    if not scalar:
        common_shape(batch=b, ctx=c, new_tokens=n, cached_tokens=cached, **split._asdict())
    if phase == "decode":
        _reject("cached_tokens", cached, 0.0, "phase='decode' takes the cached tokens as ctx; leave cached_tokens out")
        step = Step(b, n, c, rows or "all", imbalance=skew)
    else:
        _reject("new_tokens", n, 1.0, "phase='prefill' computes ctx − cached_tokens new tokens; leave new_tokens out")
        if not (cached < c).all():
            over = cached >= c
            raise InvalidInput(
                f"cached_tokens={_first(cached, over)}", f"is not below ctx={_first(c, over)}", "at least one token must be new"
            )
        step = Step(b, c - cached, cached, rows or "last", imbalance=skew)
    storage, rates, assumptions, warnings = resolve_formats(the_model, the_gpu, dtype, kv_dtype)
    rates, said = with_links(the_gpu, run, network, rates)
    if (split.is_many or split.devices > 1) and the_model.is_moe:
        if np.any(run.dp > 1):
            far = ", to the nearest devices that hold enough experts" if the_routing == "min" else ""
            said = (
                *said,
                Assumption(
                    "wire",
                    f"tokens are sent to the experts in their compute format, {storage.computed('experts_up')}{far}, and back in 16 bits",
                ),
            )
        if np.any(run.ep > 1):
            said = (*said, *assumed("imbalance", skewed(the_model, run, the_routing, skew)))
    return Question(
        the_model, the_gpu, the_phase, step, c, cached, storage, rates, the_routing, the_fusion, scalar,
        (*assumptions, *_step_assumptions(the_model, the_routing, the_fusion), *said), (*warnings, *_beyond(the_model, c)), split, valid,
        kv_dtype is not None or the_model.cache_format is not None,
    )  # fmt: skip


def resolve_gpu(gpu: str | GPU) -> GPU:
    """A device from its id or alias; a `GPU` is itself."""
    if isinstance(gpu, GPU):
        return gpu
    if isinstance(gpu, str):
        return load_gpu(gpu)
    raise InvalidInput(f"gpu {gpu!r}", "is neither a name nor a GPU", "sol gpus lists the names")


def load_model(model: str | Path | Model) -> Model:
    """A model from its id, a path, or its Hugging Face id; a `Model` is itself.

    A path: of a config.json, of a GGUF file, or of a folder with a config.json and perhaps safetensors, which then say
    how the weights are stored.
    A Hugging Face id that is not built in is looked up on the Hub (org/name, or org/name@revision), once a process.
    Raises `UnknownName`, `BadFile` or `HubError`.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, str):
        known = built_in_model(model)
        if known is not None:
            return known
        if model.endswith((".json", ".gguf", ".safetensors")) or model.startswith((".", "/", "~")) or _exists(model):
            return _from_path(Path(os.path.expanduser(model)))
        if model.count("/") == 1:
            return _from_hub(model)
        return require_model(model)
    if isinstance(model, Path):
        return _from_path(model)
    raise InvalidInput(f"model {model!r}", "is neither a name, a path nor a Model", "sol models lists the names")


def _from_path(path: Path) -> Model:
    from sol.sources.checkpoints.model_files import load_path  # here: built-in models need no file of the user's

    return load_path(path)


@lru_cache(maxsize=64)
def _from_hub(name: str) -> Model:
    from sol.sources.hub.model import load_hub  # here: few questions are about a model of the Hub

    return load_hub(name)


def _exists(name: str) -> bool:
    try:
        return bool(name.strip()) and Path(name).exists()
    except (OSError, ValueError):  # a name no file can have
        return False


def numbers(field: str, value: Any, *, above: float | None = None, at_least: float | None = None) -> Array:
    """`value` as a float64 array of at least one dimension, finite and in range.

    Raises `InvalidInput` naming the field and the first bad value.
    """
    if type(value) is int or type(value) is float:  # the fast path: a plain number
        if abs(value) <= LARGEST and (above is None or value > above) and (at_least is None or value >= at_least):
            return np.array([float(value)])
        raise _out_of_range(field, value, above, at_least)
    if isinstance(value, str | bytes | bytearray | bool | None | dict | set):
        raise InvalidInput(f"{field}={value!r}", "is not a number")
    try:
        given = np.asarray(value)
        if given.dtype.kind == "O" and not all(isinstance(v, Number) and not isinstance(v, bool | complex) for v in given.flat):
            raise TypeError
        if given.dtype.kind not in "iufO" or np.ma.isMaskedArray(value):  # no text, truth values, dates, complex or masked ones
            raise TypeError
        array = np.array(given, dtype=np.float64, ndmin=1)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{field}={value!r}", "is not a number or an array of numbers") from None
    if array.size == 0:
        raise InvalidInput(field, "is empty", "give at least one value")
    bad = ~(np.abs(array) <= LARGEST)  # so that NaN is bad too
    bad |= (array <= above) if above is not None else (array < (at_least or 0.0))
    if bad.any():
        raise _out_of_range(field, _first(array, bad), above, at_least)
    return array


def number(field: str, value: Any, *, above: float | None = None, at_least: float | None = None) -> float:
    """`value` as one finite number in range. Raises `InvalidInput`."""
    array = numbers(field, value, above=above, at_least=at_least)
    if array.size != 1:
        raise InvalidInput(field, f"has {array.size} values", "give one")
    return array.item()


def _out_of_range(field: str, value: Any, above: float | None, at_least: float | None) -> InvalidInput:
    wanted = f"above {above:g}" if above is not None else f"{at_least:g} or more" if at_least else "zero or more"
    shown = repr(value) if isinstance(value, float) or abs(value) <= LARGEST else f"a number beyond {LARGEST:g}"
    return InvalidInput(f"{field}={shown}", "has no meaning", f"it must be a finite number {wanted}")


def _first(array: Array, bad: Any) -> Any:
    value = np.broadcast_to(array, bad.shape)[bad].flat[0].item()
    return int(value) if float(value).is_integer() else value


def _reject(field: str, array: Array, default: float, why: str) -> None:
    if (array != default).any():
        raise InvalidInput(f"{field}={_first(array, array != default)}:", why)


def common_shape(**arrays: Any) -> tuple[int, ...]:
    """The shape these numbers broadcast to. Raises `InvalidInput` naming those that are arrays."""
    try:
        return np.broadcast_shapes(*map(np.shape, arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{k} {a.shape}" for k, a in arrays.items() if np.size(a) > 1)
        raise InvalidInput("shapes do not broadcast:", shapes, "use np.meshgrid or [:, None]") from None


def _one_of(field: str, value: Any, allowed: Iterable[str]) -> Any:
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInput(f"{field}={value!r}", f"is not one of {', '.join(allowed)}")
    return value


def _beyond(model: Model, ctx: Array) -> tuple[str, ...]:
    longest = float(ctx.max())
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
