"""The options of a step, which the questions share: one TypedDict for each set of them, for editors and type checkers.

`N` is what numbers are asked with, `C` what counts of devices are: `StepOptions[Numbers, Counts]` may be swept,
`StepOptions[Number, int]` is of one point. What each option means is said once, in `sol.floor`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypedDict, TypeVar

from sol.answers.question.ask import ask
from sol.answers.question.groups import Group
from sol.errors import InvalidInput, nearest
from sol.specs.formats import NumberFormat
from sol.specs.quantities import Number
from sol.specs.step import Fusion, Logits, Phase, RoutingChoice

N = TypeVar("N")
C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., object])


class FormatOptions(TypedDict, total=False):
    """How the weights and the cache are stored."""

    dtype: str | NumberFormat | None
    kv_dtype: str | NumberFormat | None


class RoutingOptions(FormatOptions, total=False):
    """Those, and how tokens choose their experts."""

    routing: RoutingChoice


class OffloadOptions(RoutingOptions, Generic[N], total=False):
    """Those of a decode step on one device."""

    batch: N


class PlanOptions(RoutingOptions, total=False):
    """Those of a question that tries the splits itself."""

    link: str | None
    network: str | None


class SplitOptions(TypedDict, Generic[C], total=False):
    """How a replica is spread over devices."""

    tp: C
    pp: C
    ep: C
    dp: C
    cp: C


class MemoryOptions(FormatOptions, SplitOptions[C], Generic[N, C], total=False):
    """Those of what must fit."""

    batch: N
    groups: Sequence[Group[N]] | None


class WorkOptions(TypedDict, Generic[N], total=False):
    """What is computed in a step."""

    batch: N
    phase: Phase
    new_tokens: N
    cached_tokens: N
    logits: Logits | None


class TableOptions(WorkOptions[Number], total=False):
    """Those of one step on many devices, one at a time."""

    kv_dtype: str | NumberFormat | None
    routing: RoutingChoice
    fusion: Fusion


class EstimateOptions(WorkOptions[N], SplitOptions[C], PlanOptions, Generic[N, C], total=False):
    """Those of a step whose kernels an engine chooses."""

    imbalance: Number
    groups: Sequence[Group[N]] | None


class ServerOptions(SplitOptions[int], PlanOptions, total=False):
    """Those of a server, whose steps follow from its load."""

    imbalance: Number


class StepOptions(EstimateOptions[N, C], Generic[N, C], total=False):
    """Every option of a step."""

    fusion: Fusion


OTHER_NAMES = {
    "tensor_parallel_size": "tp", "pipeline_parallel_size": "pp", "data_parallel_size": "dp", "decode_context_parallel_size": "cp",
    "max_num_seqs": "batch", "max_model_len": "ctx", "quantization": "dtype", "kv_cache_dtype": "kv_dtype",
    "max_num_batched_tokens": "max_step_tokens", "gpu_memory_utilization": "memory_fraction",
}  # fmt: skip
"""What vLLM calls the same options, as docs/notation.md has them."""


def spelled_out(options: type) -> Callable[[F], F]:
    """Gives a function with `**options` the signature that names each of them, for `help()`, notebooks and `inspect`.

    The function itself is left as it is. Defaults are those of `ask`.
    """
    asked = inspect.signature(ask).parameters

    def with_signature(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        named = [asked[name] for name in asked if name in options.__annotations__]
        function.__signature__ = signature.replace(parameters=[*own, *named])  # type: ignore[attr-defined]  # what `inspect` reads
        return function

    return with_signature


def check_names(function: Callable[..., object], options: Mapping[str, object], known: frozenset[str]) -> None:
    """Raises `InvalidInput` for the first option that is none of the `known` ones of this function, with the name that is meant."""
    if not options.keys() <= known:
        wrong = next(name for name in options if name not in known)
        names = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
        raise InvalidInput(f"{wrong}:", f"is not an option of {function.__name__}", _advice(wrong, names))


def _advice(wrong: str, names: Sequence[str]) -> str:
    plain = wrong.lower().replace("-", "_")
    meant = OTHER_NAMES.get(plain, plain.partition("_")[0])
    elsewhere = wrong in StepOptions.__optional_keys__  # an option, spelled right, of another question
    near = (meant,) if meant in names else () if elsewhere else nearest(wrong, names)
    return f"use {near[0]}" if near else f"its options are {', '.join(names)}"
