"""The second memory of a step: whose it is, over which link it is reached, and what goes there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sol.answers.floor.strictness import TOLERATED, loosened
from sol.answers.question.ask import Question
from sol.answers.question.inputs import number, numbers
from sol.answers.question.records import resolve_gpu
from sol.errors import InvalidInput, MissingSpec
from sol.physics.time.roofline import Times
from sol.physics.time.tiers import EXPERTS, Host, Part, TieredTimes, in_order
from sol.sources.database.database import gpu_ids, link_ids, load_link
from sol.specs.hardware import GPU, Link
from sol.specs.quantities import Array
from sol.specs.record import Cite
from sol.units import show_bytes, show_rate

INTEGER = "int8"
"""The narrowest format a CPU computes in: with its ceiling known, no format of weights is computed faster."""


class NamedHost(NamedTuple):
    """A CPU, and how many sockets of it read their own memory at once."""

    cpu: GPU
    sockets: int

    @property
    def label(self) -> str:
        """What it is called."""
        return self.cpu.id if self.sockets == 1 else f"{self.sockets}×{self.cpu.id}"

    @property
    def bytes_per_s(self) -> float:
        """Bandwidth of all sockets' memory together [B/s]."""
        return self.sockets * self.cpu.memory_bytes_per_s

    @property
    def memory_bytes(self) -> float | None:
        """What all sockets' memory holds [B]; None where the record does not say."""
        return None if self.cpu.memory_bytes is None else self.sockets * self.cpu.memory_bytes

    @property
    def rates(self) -> Host:
        """Its rates; FLOPs count only where a source gives the most it can do in its narrowest format."""
        ceilings = self.cpu.ceiling_flops_per_s
        return Host(self.bytes_per_s, self.sockets * max(ceilings.values()) if INTEGER in ceilings else None)


class Away(NamedTuple):
    """What lies on the host: its bytes, and the share of each part there; `split_experts` where a layer's may lie in both memories."""

    host_bytes: Array
    shares: Sequence[Array]
    split_experts: Any


def resolve_host(host: str | GPU | None, sockets: Any) -> NamedHost | None:
    """The host that was named. Raises `InvalidInput` for what is no CPU, `UnknownName`."""
    if host is None:
        if sockets is not None:
            raise InvalidInput(f"host_sockets={sockets}", "is of no host", "name one, for instance host='epyc-9654'")
        return None
    cpu = resolve_gpu(host)
    if cpu.kind != "cpu":
        raise InvalidInput(f"host '{cpu.id}'", f"is a {cpu.kind}, not a CPU", f"known ones: {', '.join(gpu_ids('cpu'))}")
    many = 1.0 if sockets is None else number("host_sockets", sockets, at_least=1.0)
    if not many.is_integer():
        raise InvalidInput(f"host_sockets={sockets}", "is not a whole number of sockets", "write it like 2")
    return NamedHost(cpu, int(many))


def resolve_link(gpu: GPU, link: str | Link | None) -> tuple[Link, Cite | None]:
    """The link to the host, and the source of its rate. Raises `InvalidInput` where there is no second tier."""
    if gpu.unified_memory or gpu.kind == "cpu":
        what = "is the host itself" if gpu.kind == "cpu" else "shares its memory with the host"
        raise InvalidInput(f"{gpu.id} {what}:", "there is no second tier to put anything in", "sol floor says how fast it is")
    if isinstance(link, Link):
        return link, None
    if link is None:
        if gpu.pcie is None:
            raise MissingSpec("no source", f"gives {gpu.id} a link to its host", "name its kind, for instance link='pcie4-x16' (sol links)")
        return gpu.pcie, gpu.cites.get("pcie.per_direction_bytes_per_s")
    if not isinstance(link, str):
        raise InvalidInput(f"link {link!r}", "is neither a name nor a Link", "sol links lists the names")
    kind = load_link(link)
    if kind.kind != "host":
        known = ", ".join(i for i in link_ids() if load_link(i).kind == "host")
        raise InvalidInput(f"link '{kind.id}'", "does not lead to a host", f"known ones that do: {known}")
    rate = kind.per_direction_bytes_per_s
    return Link(name=kind.id, per_direction_bytes_per_s=rate), kind.cites["per_direction_bytes_per_s"]


def expert_layers(q: Question) -> int:
    """How many layers have routed experts."""
    return sum(group.count for group in q.model.groups if group.moe is not None)


def put_away(q: Question, parts: Sequence[Part], host_bytes: Any, n_cpu_moe: Any, excess: Any) -> Away:
    """What lies on the host: so many bytes in order, the experts of so many layers, or what does not fit."""
    if n_cpu_moe is not None:
        return _experts_away(q, parts, host_bytes, n_cpu_moe)
    most = sum(part.holds for part in parts)
    if host_bytes is not None:
        on_host = _asked(q, "host_bytes", host_bytes)
        if (on_host > np.max(most)).any():
            truth = f"is more than weights and cache are ({float(np.max(most)):g})"
            raise InvalidInput(f"host_bytes={on_host.max():g}", truth, "activations stay on the device")
    elif excess is None:
        raise MissingSpec("no source", f"gives {q.gpu.id} a capacity, so what does not fit is unknown", "say host_bytes")
    else:
        on_host = np.minimum(excess, most)
    shares = in_order(parts, on_host)
    partly: Any = False
    for part, share in zip(parts, shares, strict=True):
        if part.name == EXPERTS:
            partly = partly | ((share > 0.0) & (share < 1.0))
    return Away(on_host, shares, partly)


def _asked(q: Question, name: str, value: Any) -> Array:
    """What was asked as an array that broadcasts with the sweep. Raises `InvalidInput`."""
    given = numbers(name, value, at_least=0.0)
    try:
        np.broadcast_shapes(q.step.batch.shape, q.ctx.shape, given.shape)
    except ValueError:
        shapes = f"ctx {q.ctx.shape}, batch {q.step.batch.shape}, {name} {given.shape}"
        raise InvalidInput("shapes do not broadcast:", shapes, "use [:, None]") from None
    return given


def _experts_away(q: Question, parts: Sequence[Part], host_bytes: Any, n_cpu_moe: Any) -> Away:
    if host_bytes is not None:
        raise InvalidInput("host_bytes and n_cpu_moe", "both say what lies on the host", "give one")
    if not q.model.is_moe:
        raise InvalidInput(f"n_cpu_moe={n_cpu_moe}", f"but {q.model.id} has no experts", "say host_bytes")
    layers = _asked(q, "n_cpu_moe", n_cpu_moe)
    if (layers != np.floor(layers)).any():
        raise InvalidInput(f"n_cpu_moe={n_cpu_moe}", "is not a whole number of layers")
    share = np.minimum(layers / expert_layers(q), 1.0)
    shares = [share if part.name == EXPERTS else 0.0 * share for part in parts]
    on_host = sum((s * part.holds for s, part in zip(shares, parts, strict=True)), 0.0 * share)
    return Away(on_host, shares, False)


def loosened_by(q: Question, times: Times, found: TieredTimes, away: Away, reads: Array, host: NamedHost | None) -> dict[str, Any]:
    """By kind, what may be faster than this bound: as of a floor, and what the host's cache or its experts' choice may save."""
    own = replace(times, latency_s=found.bound_s, memory_s=found.memory_s, moved_weight_bytes=found.device_reads, moved_kv_bytes=0.0)
    kinds = loosened(q, own)
    if q.model.is_moe:
        kinds["host_experts"] = away.split_experts if q.routing != "min" else False
    if host is not None:
        binds = (found.terms["host"] >= found.bound_s) & (reads > 0.0)
        cache = host.cpu.last_level_cache_bytes
        if cache is None:
            kinds["unknown_host_cache"] = binds
        else:
            kinds["host_cache"] = binds & (host.sockets * cache > TOLERATED * reads)
    return kinds


def assumed_lines(q: Question, host: NamedHost | None, asked: str) -> tuple[str, ...]:
    """What is assumed of the host; `asked`: "" by default, "bytes", or which layers' experts."""
    order = "input table, experts, the rest" if q.model.is_moe else "input table, the rest"
    chosen = f"weights first ({order}), then cache, each part read in proportion every step"
    what = {"": f"what does not fit, this step's activations counted: {chosen}", "bytes": f"as asked: {chosen}"}.get(asked, asked)
    lines = [f"on the host {what}" + ("; experts there are touched in proportion" if q.model.is_moe else "")]
    if host is None:
        return (*lines, "streamed: the host keeps up with the link and does not compute")
    rate = f"{show_rate(host.bytes_per_s, 'B/s')}" + (f", {host.sockets} sockets each reading its own" if host.sockets > 1 else "")
    lines.append(f"memory of {host.label} filled in every channel: {rate}")
    if host.rates.flops_per_s is None:
        lines.append(f"its FLOPs are free: no source gives {host.cpu.id} the most it can do in {INTEGER}")
    lines.append("activations cross the link: in the bound once, in 8 bits; where it computes in 16, there and back for each run of layers")
    return tuple(lines)


def why_loose(kinds: dict[str, Any], host: NamedHost | None, gpu: GPU) -> str | None:
    """The first reason why the bound of a point is no strict one; None where it is."""
    kind = next((name for name, holds in kinds.items() if np.all(holds)), None)
    if kind is None:
        return None
    cpu = None if host is None else host.cpu
    cache = 0.0 if host is None or cpu is None else host.sockets * (cpu.last_level_cache_bytes or 0.0)
    return {
        "routing": "skewed routing may touch fewer experts (routing min is the bound)",
        "host_experts": "tokens may choose the experts that lie on the device (routing min is the bound)",
        "cache": f"a warm cache of {gpu.id} may hold part of what it reads",
        "unknown_cache": f"no source gives {gpu.id} a last-level cache",
        "states": "recurrent states may be kept in 16 bits; 32 are assumed",
        "host_cache": f"a warm cache of {show_bytes(cache)} may hold part of what the host reads",
        "unknown_host_cache": f"no source gives {'' if cpu is None else cpu.id} a last-level cache",
    }[kind]
