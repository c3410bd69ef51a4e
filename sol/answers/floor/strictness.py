"""What a legitimate system might do that a floor does not assume: where it might, the floor is not a strict bound."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sol.answers.question.ask import Question
from sol.physics.memory.cache import state_bytes
from sol.physics.network.sharding import device_model, device_step
from sol.physics.time.roofline import Times
from sol.specs.model import Model
from sol.specs.split import cache_copies
from sol.units import show_bytes

if TYPE_CHECKING:
    from sol.answers.floor.result import Floor

TOLERATED = 0.05
"""What a floor may be above the time without an assumption and count as a bound all the same [1]."""
NARROW_STATE_BITS = 16
"""The narrowest recurrent states an engine offers [bit] (vLLM: --mamba-ssm-cache-dtype)."""


def loosened(q: Question, times: Times) -> dict[str, Any]:
    """By kind, whether a system might do better than this floor: one truth value, or an array of the sweep's shape."""
    found: dict[str, Any] = {}
    split, moved = q.split, times.moved_weight_bytes + times.moved_kv_bytes
    if q.model.is_moe:
        even = isinstance(q.routing, str) and not (q.step.imbalance > 1.0 and np.any(split.ep > 1))
        step = q.computed_step
        alone = (step.tokens <= 1.0) & (split.dp == 1)  # one token's experts are k, of its own copy
        found["routing"] = True if not even else False if q.routing == "min" else np.logical_not(alone)
    reads = times.memory_s >= times.latency_s
    if q.gpu.last_level_cache_bytes is None:
        found["unknown_cache"] = reads
    else:
        found["cache"] = reads & (split.pp * q.gpu.last_level_cache_bytes > TOLERATED * moved)
    if split.is_sweep or split.tp > 1:
        copies = cache_copies(q.model, split.tp)
        found["copies"] = reads & (times.moved_kv_bytes * (1.0 - split.cp / copies) > TOLERATED * moved)
    if q.model.is_moe and np.any(np.asarray(split.expert_width_ways) > 1):
        ways, which = np.unique(split.expert_width_ways, return_inverse=True)
        padded = np.array([_padding(q, n) for n in ways.tolist()])[which].reshape(np.shape(split.expert_width_ways))
        found["experts"] = reads & (padded > 1.0 + TOLERATED)
    if split.is_sweep or split.devices > 1:
        found["bridge"] = q.bridged is not None and (times.network_s >= times.latency_s) & (times.network_s > 0.0)
        found["wire"] = (times.network_s >= times.latency_s) & (times.network_s > 0.0)
    if _wide_states(q.model):
        own = device_step(q.computed_step, split)
        wide = own.sequences * state_bytes(device_model(q.model, split), q.storage)
        found["states"] = reads & (wide * (1.0 - NARROW_STATE_BITS / 32) > TOLERATED * moved)
    return found


def _padding(q: Question, ways: int) -> float:
    """How many times the bytes of an expert's weights its parts take, whose rows fill blocks of the format less well [1]."""
    width = q.model.routed[0].expert_ffn
    whole, part = (
        q.storage.bytes_per_weight("experts_down", columns) for columns in (width, -(-width // max(ways, 1)))
    )  # 0 of a split that cannot be
    return float(part / whole)


@lru_cache(maxsize=256)
def _wide_states(model: Model) -> bool:
    return any(state.bits is not None and state.bits > NARROW_STATE_BITS for b in model.blocks for state in b.states)


def is_strict(found: dict[str, Any]) -> Any:
    """Whether none of these holds."""
    loose: Any = False
    for holds in found.values():
        loose = loose | holds
    return np.logical_not(loose) if isinstance(loose, np.ndarray) else not loose


def why_not_strict(f: Floor) -> str | None:
    """The first reason why a floor of one point is not a strict bound; None where it is one."""
    q = f.question
    kind = next((name for name, holds in f.loosened.items() if np.all(holds)), None)
    if kind is None:
        return None
    if kind == "routing":
        fewer = "experts and devices" if np.any(q.split.dp > 1) else "experts"
        return f"skewed routing may touch fewer {fewer} (--routing min gives the bound)"
    if kind == "cache":
        held = q.split.pp * (q.gpu.last_level_cache_bytes or 0.0)
        part = "all" if held >= f.moved_bytes else f"{100 * held / f.moved_bytes:.0f} %"
        return f"a warm cache of {show_bytes(q.gpu.last_level_cache_bytes or 0.0)} could hold {part} of what the step reads"
    if kind == "copies":
        copies = int(cache_copies(q.model, q.split.tp))
        return f"{copies} devices read the same keys and values, and could divide the tokens among them (cp={copies})"
    return {
        "unknown_cache": f"no source gives {q.gpu.id} a last-level cache, so it cannot be told how much a warm cache would save",
        "bridge": f"{q.bridged.levels[0].id if q.bridged else 'a bridge'} may join these cards (give the link to say which)",
        "experts": "experts may be held whole (ep): the parts of an expert fill the blocks of the format less well",
        "wire": "activations may be sent in 8 bits; 16 are assumed",
        "states": "recurrent states may be kept in 16 bits; 32 are assumed",
    }[kind]
