"""Which formats the tensors are stored in, at which rates the device computes, and why.

A format the device has no unit for is an error that names the ones it has. A rate without a source
gives a memory-only floor, which is still a bound.
"""

from __future__ import annotations

from functools import lru_cache

from sol.errors import InvalidInput, MissingSpec
from sol.physics.roofline import Rates
from sol.sources.database import load_format
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.model import Model, MoE
from sol.specs.step import Storage

Format = str | NumberFormat
Decision = tuple[Storage, Rates, tuple[str, ...], tuple[str, ...]]


@lru_cache(maxsize=1024)
def decided(model: Model, gpu: GPU, dtype: Format | None, kv_dtype: Format | None) -> Decision:
    """Storage, rates, assumptions and warnings: the same for every step of a model on a device.

    Raises `UnknownName` for a format, `MissingSpec` for one the device lacks, `InvalidInput` for a
    cache format that is none.
    """
    asked = None if dtype is None else resolve_format(dtype)
    base, why_base = _base_format(model, gpu, asked)
    weights = base if asked is None else asked
    cache = base if kv_dtype is None else resolve_format(kv_dtype)
    if not cache.cache:
        raise InvalidInput(f"kv_dtype={cache.id} is a weight format; a cache is stored as bf16, fp16, fp8 or int8")
    compute, why_compute, sourced = _weights_compute(gpu, weights, base)
    experts = max((g.ffn.experts for g in model.groups if isinstance(g.ffn, MoE)), default=0)
    storage = Storage(weights, base, cache, compute, model.layers, experts)
    assumptions = [f"weights {weights.id} ({why_base if weights is base else 'as asked'})", *why_compute]
    left = [c for c in ("embedding", "lm_head", "norm", "router", "bias") if not weights.covering(c) and (c != "router" or model.is_moe)]
    if left:
        assumptions.append(f"{', '.join(left)} stay {base.id}; {weights.bits_per_weight:g} bits per other weight, scales included")
    assumptions.append(f"kv cache {cache.id} ({'as asked' if kv_dtype is not None else '16-bit unless asked'})")
    assumptions.append("cold cache: every byte comes from memory once a step")
    assumptions.append("no skipped work: no speculation, shared prefixes, lossless compression or sparsity")
    if gpu.memory_bytes is not None and gpu.capacity_basis != "driver":
        assumptions.append(f"capacity as {gpu.capacity_basis}, not as a driver reports it")
    if gpu.unified_memory:
        assumptions.append("unified memory: the device has all of it, bandwidth and capacity")
    unsourced = next((c for c in (base.compute, compute) if gpu.peak(c) is None), None if sourced else weights.compute)
    if unsourced is not None:
        warning = f"memory only: no source gives {gpu.id} a {unsourced} rate"
        return storage, Rates(gpu.memory_bytes_per_s, None, None), tuple(assumptions), (warning,)
    return storage, _rates(gpu, storage), tuple(assumptions), ()


def resolve_format(dtype: Format) -> NumberFormat:
    """A format from its id or alias; a `NumberFormat` is itself."""
    if isinstance(dtype, NumberFormat):
        return dtype
    if isinstance(dtype, str):
        return load_format(dtype)
    raise InvalidInput(f"dtype {dtype!r} is neither a name nor a NumberFormat; sol formats lists the names")


def _base_format(model: Model, gpu: GPU, asked: NumberFormat | None) -> tuple[NumberFormat, str]:
    """The 16-bit format of everything the weight format does not cover, and why it was chosen."""
    if asked is not None and asked.compute in ("bf16", "fp16"):
        if asked.compute in gpu.lacks:
            raise _missing(gpu, asked.compute, asked.id)
        return asked, "as asked"
    if asked is None and model.quantization:
        raise MissingSpec(
            f"{model.id} is quantised by {model.quantization}; say its weight format, for instance dtype='w4a16' or dtype='fp8'"
        )
    said = model.dtype if model.dtype is not None else "bf16"
    if said not in ("bf16", "fp16"):
        if asked is None:
            raise MissingSpec(f"{model.id} is stored as {said}, which has no format here; say dtype='bf16' or another (sol formats)")
        said = "bf16"
    why = "as its config says" if model.dtype == said else "no dtype in its config"
    other = "fp16" if said == "bf16" else "bf16"
    if said in gpu.lacks and other not in gpu.lacks:
        return load_format(other), f"{gpu.id} has no {said}"
    return load_format(said), why


def _weights_compute(gpu: GPU, weights: NumberFormat, base: NumberFormat) -> tuple[str, list[str], bool]:
    """The format the weights' matrix products run in on this device, what to say of it, and whether its rate is known."""
    if weights.compute in ("16-bit", base.compute):
        return base.compute, [], True
    if gpu.peak(weights.compute) is not None:
        return weights.compute, [], True
    if weights.otherwise is None:
        raise _missing(gpu, weights.compute, weights.id)
    if weights.compute in gpu.lacks:
        return base.compute, [f"{gpu.id} has no {weights.compute} units: computed in {base.id}"], True
    return base.compute, [], False


def _rates(gpu: GPU, storage: Storage) -> Rates:
    """Peaks and ceilings of the formats this storage computes in."""
    base = storage.base.compute
    needed = {base, storage.weights_compute}
    peak = {c: float(gpu.flops_per_s[c]) for c in sorted(needed, key=lambda c: c != base)}
    ceiling = {c: gpu.ceiling(c) or peak[c] for c in peak}
    cache = storage.cache.compute  # attention over a narrow cache may run at that format's rate: only the floor assumes so
    narrow = gpu.ceiling(cache) if cache not in ("16-bit", base) else None
    ceiling.setdefault(cache, max(narrow or 0.0, ceiling[base]))
    return Rates(gpu.memory_bytes_per_s, peak, ceiling)


def _missing(gpu: GPU, compute: str, asked: str) -> MissingSpec:
    """The error for a format the device lacks, or has no sourced rate for: it names the ones it has."""
    has = ", ".join(gpu.flops_per_s) or "no sourced rate at all"
    reason = f"{gpu.id} has no {compute} units" if compute in gpu.lacks else f"no source gives {gpu.id} a {compute} rate"
    stored = "; w8a16 stores 8 bits and computes in 16" if compute in ("fp8", "int8") else ""
    return MissingSpec(f"dtype {asked} needs {compute} compute, and {reason}; it has: {has}{stored}")
