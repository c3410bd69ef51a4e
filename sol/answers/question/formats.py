"""The formats that tensors are stored in, the rates at which the device computes, and why.

A format that the device has no unit for is an error that lists the formats it has. Without a sourced rate
the floor counts memory only, and is still a bound.
"""

from __future__ import annotations

from functools import lru_cache

from sol.errors import InvalidInput, MissingSpec
from sol.physics.time.roofline import Rates
from sol.sources.database.database import is_format, load_format
from sol.specs.assumption import Assumption, AssumptionKind, assumed
from sol.specs.formats import FAMILY, NumberFormat, TensorClass
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.step import Role, Storage

Format = str | NumberFormat
AS_ASKED = "as asked"
CACHES = "a cache is stored as bf16, fp16, fp8, int8, int4, nvfp4, q8_0 or q4_0"
Decision = tuple[Storage, Rates, tuple[Assumption, ...], tuple[str, ...]]


def resolve_formats(model: Model, gpu: GPU, dtype: Format | None, kv_dtype: Format | None) -> Decision:
    """Storage, rates, assumptions and warnings: the same for every step of a model on a device.

    Raises `UnknownName` for a format, `MissingSpec` for one the device lacks, `InvalidInput` for a
    format that no cache has.
    """
    dtype = stored_format(model, dtype)
    return _decided(model, gpu, None if dtype is None else resolve_format(dtype), None if kv_dtype is None else resolve_format(kv_dtype))


def stored_format(model: Model, dtype: Format | None) -> Format | None:
    """The weight format asked for, else the one that the checkpoint's config describes."""
    return model.weight_format if dtype is None else dtype


@lru_cache(maxsize=1024)
def _decided(model: Model, gpu: GPU, asked: NumberFormat | None, asked_cache: NumberFormat | None) -> Decision:
    base, why_base = _base_format(model, gpu, asked)
    weights = base if asked is None else asked
    cache, why_cache = _cache(model, base, asked_cache)
    if not cache.cache:
        raise InvalidInput(f"kv_dtype={cache.id}", "is a weight format", CACHES)
    if not any(weights.covering(tensor) for tensor in classes_of(model)):
        only = f"stores only {', '.join(weights.covers)}"
        none = f", and {model.id} has none" if any(map(weights.covering, FAMILY)) else ""
        raise InvalidInput(f"dtype={weights.id}", only + none, "choose a weight format (sol formats)")
    rates, why_compute = _rates(gpu, weights, base, cache)
    experts = max((b.experts for b in model.routed), default=0)
    storage = Storage(weights, base, cache, model.layers, experts, rates.formats["weights"])
    own = asked is None or (model.weight_format is not None and weights.id == model.weight_format.id)
    why_own = "as its tensors are stored" if weights.class_bits else "as its config says"
    why = why_base if weights is base else why_own if own else AS_ASKED
    kind: AssumptionKind = "asked_weights" if why == AS_ASKED else "weights"
    assumptions = [Assumption(kind, f"weights {weights.id} ({why})"), *assumed("compute", why_compute)]
    if weights.class_bits:
        assumptions.append(Assumption("bits", f"{weights.bits_per_weight:.4g} bits per weight on average, scales included"))
    elif left := _left(model, weights):
        rest = f"{', '.join(left)} stay {base.id}; {weights.bits_per_weight:g} bits per other weight, scales included"
        assumptions.append(Assumption("bits", rest))
    if own and model.storage_note:
        assumptions.append(Assumption("weights", model.storage_note))
    assumptions.append(Assumption("cache", f"kv cache {cache.id} ({why_cache})"))
    assumptions.append(Assumption("cold_cache", "cold cache: every byte comes from memory once a step"))
    skipped = "no skipped work: no speculation, shared prefixes, lossless compression or sparsity"
    assumptions.append(Assumption("no_skipped_work", skipped))
    if gpu.memory_bytes is not None and gpu.capacity_basis != "driver":
        assumptions.append(Assumption("capacity", f"capacity as {gpu.capacity_basis}, not as the driver reports it"))
    if gpu.unified_memory:
        assumptions.append(Assumption("unified_memory", "unified memory: the device gets all of its bandwidth and capacity"))
    warnings = () if rates.peak is not None else (f"memory only: no source gives {gpu.id} a {rates.formats['weights']} rate",)
    return storage, rates, tuple(assumptions), warnings


@lru_cache(maxsize=256)
def classes_of(model: Model) -> frozenset[TensorClass]:
    """The tensor classes of a model's matrices."""
    d = model.hidden
    return frozenset(m.tensor for b in model.blocks for m in (*b.matrices(d), *b.expert_matrices(d)))


def _left(model: Model, weights: NumberFormat) -> list[str]:
    """The tensors of the model that a weight format leaves in 16 bits: whole families, and single classes."""
    has = classes_of(model)
    classes = [t for t in FAMILY if t in has]
    partly = {FAMILY[t] for t in classes if weights.covering(t)}
    linear = [t if FAMILY[t] in partly else FAMILY[t] for t in classes if not weights.covering(t)]
    others = [c for c in ("embedding", "lm_head", "norm", "router", "bias") if not weights.covering(c) and (c != "router" or model.is_moe)]
    return [*dict.fromkeys(linear), *others]


def _cache(model: Model, base: NumberFormat, asked: NumberFormat | None) -> tuple[NumberFormat, str]:
    """The format of the cache, and why: as asked, from the checkpoint, or the 16-bit format."""
    if asked is not None:
        return asked, AS_ASKED
    if model.cache_format is None:
        return base, "16-bit by default"
    if not is_format(model.cache_format) or not load_format(model.cache_format).cache:
        raise MissingSpec(
            model.id, f"says its kv cache is {model.cache_format}, which sol does not know as a cache format", "give kv_dtype="
        )
    return load_format(model.cache_format), "as its config says"


def resolve_format(dtype: Format) -> NumberFormat:
    """A format from its id or alias; a `NumberFormat` is itself."""
    if isinstance(dtype, NumberFormat):
        return dtype
    if isinstance(dtype, str):
        return load_format(dtype)
    raise InvalidInput(f"dtype {dtype!r}", "is neither a name nor a NumberFormat", "sol formats lists the names")


def _base_format(model: Model, gpu: GPU, asked: NumberFormat | None) -> tuple[NumberFormat, str]:
    """The 16-bit format of every tensor that the weight format does not cover, and why it was chosen."""
    if asked is not None and asked.id in SIXTEEN:
        if asked.compute in gpu.lacks:
            raise _missing(gpu, asked.compute, asked.id)
        return asked, AS_ASKED
    if asked is None and model.quantization:
        raise MissingSpec(
            model.id, f"is quantised by {model.quantization}", "give its weight format, for instance dtype='w4a16' or dtype='fp8'"
        )
    said = model.dtype if model.dtype is not None else "bf16"
    if said not in SIXTEEN:
        if asked is None:
            raise MissingSpec(
                model.id, f"is stored as {said}, a format that sol does not know", "give dtype='bf16' or another (sol formats)"
            )
        said = "bf16"
    why = "as its config says" if model.dtype == said else "no dtype in its config"
    other = "fp16" if said == "bf16" else "bf16"
    if said in gpu.lacks and other not in gpu.lacks:
        return load_format(other), f"{gpu.id} has no {said}"
    if gpu.peak(said) is None and gpu.peak(other) is not None:
        return load_format(other), f"no source gives {gpu.id} a {said} rate"
    return load_format(said), why


SIXTEEN = ("bf16", "fp16")


def _rates(gpu: GPU, weights: NumberFormat, base: NumberFormat, cache: NumberFormat) -> tuple[Rates, list[str]]:
    """The compute format, peak and ceiling of each role; no peaks if one of them has no source.

    A format computed "in 16 bits" may run in either 16-bit format, a format with an `otherwise` may run in that one, and so
    may everything beside narrow weights. The ceiling is that of the fastest, so that the floor stays a bound and fewer bits
    never raise it.
    """
    sixteen = max((gpu.ceiling(c) or 0.0 for c in SIXTEEN), default=0.0)
    compute, lines = weights.compute, []
    if compute == "16-bit":
        compute = base.compute
    elif weights.otherwise is not None and (compute in gpu.lacks or (gpu.peak(compute) or 0.0) < (gpu.peak(base.compute) or 0.0)):
        if gpu.peak(compute) is not None or compute in gpu.lacks:
            why = f"no {compute} units" if compute in gpu.lacks else f"slower {compute} units"
            lines.append(f"{gpu.id} has {why}: computed in {base.id}")
            compute = base.compute
    elif gpu.peak(compute) is None and weights.otherwise is None and compute != base.compute:
        raise _missing(gpu, compute, weights.id)
    index = "fp8" if gpu.peak("fp8") is not None else base.compute  # engines keep and score index keys in 8 bits where they can
    formats: dict[Role, str] = {"weights": compute, "rest": base.compute, "attention": base.compute, "index": index}
    peaks = {role: gpu.peak(c) for role, c in formats.items()}
    if any(p is None for p in peaks.values()):
        unsourced: dict[Role, str] = {**formats, "weights": next(c for role, c in formats.items() if peaks[role] is None)}
        return Rates(gpu.memory_bytes_per_s, unsourced), lines
    peak = {role: float(p) for role, p in peaks.items() if p is not None}
    ceiling = {role: gpu.ceiling(c) or peak[role] for role, c in formats.items()}
    # Beside narrow weights everything else may run in either 16-bit format; they themselves too, unless their format says where.
    if weights.bits_per_weight < base.bits_per_weight:
        free = weights.compute == "16-bit" or weights.otherwise is not None
        ceiling = {role: max(c, sixteen) if free or role != "weights" else c for role, c in ceiling.items()}
    # Attention over a narrow cache may also run at that format's rate: only the floor assumes so.
    narrow = sixteen if cache.bits_per_weight < base.bits_per_weight else 0.0
    ceiling["attention"] = max(ceiling["attention"], gpu.ceiling(cache.compute) or 0.0, narrow)
    return Rates(gpu.memory_bytes_per_s, formats, peak, ceiling), lines


def _missing(gpu: GPU, compute: str, asked: str) -> MissingSpec:
    """The error for a format that the device lacks or has no sourced rate for. It lists the formats that the device has."""
    has = ", ".join(gpu.flops_per_s) or "no sourced rate at all"
    reason = f"{gpu.id} has no {compute} units" if compute in gpu.lacks else f"no source gives {gpu.id} a {compute} rate"
    stored = "; w8a16 stores 8 bits and computes in 16" if compute in ("fp8", "int8") else ""
    return MissingSpec(f"dtype {asked}", f"needs {compute} compute, and {reason}", f"it has: {has}{stored}", reason=reason)
