"""How fast can a step be when part of the model lies in host memory?

Weights go to the host first: what a step never reads, the input table, experts, the rest; the cache last. What lies
there is either streamed over the link every step, or the host computes with it: two placements, each with a time where
both memories work at once and one where they take turns. The bound holds for both, and needs a host that is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Unpack, overload

import numpy as np

from sol.answers.floor.strictness import is_strict
from sol.answers.memory.host import (
    NamedHost,
    assumed_lines,
    expert_layers,
    loosened_by,
    put_away,
    resolve_host,
    resolve_link,
    why_loose,
)  # fmt: skip
from sol.answers.question.ask import Question, ask
from sol.answers.question.options import OffloadOptions, check_names, spelled_out
from sol.answers.report.citations import Bibliography, citations, cite_row
from sol.answers.report.shown import Shown
from sol.errors import DoesNotFit
from sol.frozen import Frozen
from sol.physics.memory.cache_traffic import kv_read_bytes
from sol.physics.network.sharding import device_resident_bytes
from sol.physics.time.roofline import total
from sol.physics.time.tiers import Host, activations, cache_part, chosen, hosted, tiered, weight_parts
from sol.specs.assumption import Assumption, assumed
from sol.specs.hardware import GPU, Link
from sol.specs.model import Model
from sol.specs.quantities import Amount, Array, Flag, Flags, Label, Labels, Number, Numbers
from sol.specs.record import Cite
from sol.tabular import Table, joined
from sol.units import show_bytes, show_count, show_seconds

PlacementName = Literal["streamed", "computed"]
"""What becomes of the bytes on the host: sent over the link every step, or computed with by the host."""


@dataclass(frozen=True, eq=False, repr=False)
class Offload(Shown, Frozen, Generic[Amount, Flag, Label]):
    """One decode step over two memories. Scalars in, plain numbers out; arrays read-only.

    Fields [unit]: `bound_s` what no placement of these bytes is faster than; without a host only what the device's own
    part needs [s]; `bound` what sets it: "memory", "compute", "host" or "link"; `is_bound` whether no assumption is above
    its optimistic end by what would matter, `loosened` by kind which one is.

    `placement` "computed" where a host is named, else "streamed". Of this placement: `overlapped_s` both memories at once,
    `serial_s` one after the other, `tokens_per_s` at `overlapped_s` [token/s], `device_s` the device's part, `host_s`
    the host's part (None without a host), `link_s` what crosses the link [s], `link_bytes` so much [B].
    Of both: `streamed_s`, `streamed_serial_s`, `computed_s`, `computed_serial_s` [s], the latter None without a host.

    `host_bytes` on the host, of them `host_weight_bytes` and `host_kv_bytes`, `device_bytes` the rest of what must be
    resident; `host_read_bytes` a step reads of what is on the host, `device_read_bytes` it reads and writes on the device
    [B]; `fits` whether device and host hold their parts (None where no capacity is known).
    """

    question: Question
    link: Link
    link_cite: Cite | None
    host: GPU | None
    host_sockets: int | None
    n_cpu_moe: Amount | None
    placement: PlacementName
    bound_s: Amount
    bound: Label
    is_bound: Flag
    loosened: Mapping[str, bool | Flags]
    overlapped_s: Amount
    serial_s: Amount
    device_s: Amount
    host_s: Amount | None
    link_s: Amount
    link_bytes: Amount
    streamed_s: Amount
    streamed_serial_s: Amount
    computed_s: Amount | None
    computed_serial_s: Amount | None
    host_bytes: Amount
    host_weight_bytes: Amount
    host_kv_bytes: Amount
    device_bytes: Amount
    host_read_bytes: Amount
    device_read_bytes: Amount
    tokens_per_s: Amount
    fits: Flag | None
    assumptions: tuple[Assumption, ...]
    shown_by: ClassVar[str] = "sol.answers.memory.show_offload"

    @property
    def is_point(self) -> bool:
        """Whether this is one point rather than a sweep."""
        return not isinstance(self.overlapped_s, np.ndarray)

    @property
    def host_bytes_per_s(self) -> float | None:
        """Bandwidth of the host's memory, all sockets together [B/s]; None without a host."""
        return None if self.host is None or self.host_sockets is None else NamedHost(self.host, self.host_sockets).bytes_per_s

    @property
    def host_label(self) -> str:
        """The host as it is called in text."""
        return "its host" if self.host is None or self.host_sockets is None else NamedHost(self.host, self.host_sockets).label

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before using the number."""
        return self.question.warnings

    def why_not_strict(self) -> str | None:
        """The first reason why the bound of a point is no strict one; None where it is, and for a sweep."""
        named = None if self.host is None or self.host_sockets is None else NamedHost(self.host, self.host_sockets)
        return why_loose(dict(self.loosened), named, self.question.gpu) if self.is_point else None

    def heading(self) -> str:
        """What was asked, on one line."""
        q = self.question
        batch, ctx = ("…".join(map(show_count, dict.fromkeys((v.min(), v.max())))) for v in (q.step.batch, q.ctx))
        on = f"{q.model.id} on {q.gpu.id} and {self.host_label}"
        return joined((on, q.phase, f"batch {batch}", f"ctx {ctx}", q.storage.weights.id))

    def table(self) -> Table:
        """One line per tier for a point, one line per point for a sweep."""
        made: Table = self.drawn("offload_table")
        return made

    def sources(self) -> Bibliography:
        """The bibliography: the floor's, the host's memory, and the link's."""
        floor, rows = citations(self.question), []
        if self.host is not None:
            rows.append(cite_row(f"{self.host.id} memory_bytes_per_s", self.host.cites["memory_bytes_per_s"]))
        if self.link_cite is not None:
            rows.append(cite_row(f"{self.link.name} per_direction_bytes_per_s", self.link_cite))
        return Bibliography(columns=floor.columns, rows=(*floor.rows, *rows))

    def __repr__(self) -> str:
        if not self.is_point:
            return f"<Offload {self.heading()}: {np.size(self.overlapped_s)} points>"
        there = f"{show_bytes(float(self.host_bytes))} on the host"
        if self.host is None:
            return f"<Offload {self.heading()}: {there}, streamed in {show_seconds(float(self.overlapped_s), 4)}>"
        return f"<Offload {self.heading()}: {there}, {show_seconds(float(self.bound_s), 4)}, {self.bound}-bound>"


@overload
def offload(  # type: ignore[overload-overlap]  # a point is a sweep's narrowest case, and has floats
    model: str | Path | Model, gpu: str | GPU, *, ctx: Number, host: str | GPU | None = None, host_sockets: int | None = None,
    host_bytes: Number | None = None, n_cpu_moe: Number | None = None, link: str | Link | None = None,
    **options: Unpack[OffloadOptions[Number]],
) -> Offload[float, bool, str]: ...  # fmt: skip
@overload
def offload(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Numbers, host: str | GPU | None = None, host_sockets: int | None = None,
    host_bytes: Numbers | None = None, n_cpu_moe: Numbers | None = None, link: str | Link | None = None,
    **options: Unpack[OffloadOptions[Numbers]],
) -> Offload[Array, Flags, Labels]: ...  # fmt: skip
@spelled_out(OffloadOptions)
def offload(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Numbers, host: str | GPU | None = None, host_sockets: int | None = None,
    host_bytes: Numbers | None = None, n_cpu_moe: Numbers | None = None, link: str | Link | None = None,
    **options: Unpack[OffloadOptions[Numbers]],
) -> Offload:  # fmt: skip
    """The time of one decode step with part of the model in host memory.

        bound    = max( device bytes / bandwidth , host bytes / DRAM bandwidth , FLOPs / ceilings , activations / link )
        streamed = max( device bytes / bandwidth , FLOPs / ceiling , host bytes / link )
        computed = max( device bytes / bandwidth , host bytes / DRAM bandwidth , activations / link )

    Parameters
    ----------
    model, gpu, ctx, batch, dtype, kv_dtype, routing : as in `floor`, in decode.
    host : the CPU whose memory it is (`gpus("kind=cpu")`), or a `GPU` of kind "cpu"; without it there is no bound.
    host_sockets : how many such sockets read their own memory at once; 1 by default.
    host_bytes : bytes of weights, then cache, that lie on the host [B]; by default what does not fit.
    n_cpu_moe : instead, the layers whose experts, and nothing else, lie there (llama.cpp: --n-cpu-moe).
    link : kind of link to the host ("pcie4-x8", see `links()`), or a `Link`; by default the device's own PCIe.

    Raises
    ------
    UnknownName, InvalidInput (also where there is no second tier), MissingSpec, BadFile, and DoesNotFit
    for one point whose device part is too large (a sweep has `fits`).

    >>> offload("llama-3.1-70b", "h100", ctx=2048)
    <Offload llama-3.1-70b on h100-sxm and its host · decode · batch 1 · ctx 2,048 · bf16: 56.3 GB on the host, streamed in 846.2 ms>
    >>> offload("llama-3.1-70b", "h100", ctx=2048, host="epyc-9654")
    <Offload llama-3.1-70b on h100-sxm and epyc-9654 · decode · batch 1 · ctx 2,048 · bf16: 56.3 GB on the host, 117.5 ms, host-bound>
    """
    check_names(offload, options, OffloadOptions.__optional_keys__)
    q = ask(model, gpu, ctx=ctx, **options)
    over, cite = resolve_link(q.gpu, link)
    named = resolve_host(host, host_sockets)
    held = device_resident_bytes(q.model, q.step, q.storage, q.split)
    weights, resident, capacity = held.weights, np.asarray(held.total), q.gpu.memory_bytes
    excess = None if capacity is None else np.maximum(resident - capacity, 0.0)
    rows = q.operators()
    cache = cache_part(held.kv, kv_read_bytes(q.model, q.step.batch, q.ctx, q.storage), rows)
    parts = [*weight_parts(q.model, q.step, q.storage, rows), cache]
    away = put_away(q, parts, host_bytes, n_cpu_moe, excess)
    on_host = away.host_bytes
    shape = np.broadcast_shapes(q.step.batch.shape, q.ctx.shape, on_host.shape)
    fits = None if excess is None else on_host >= excess
    scalar = q.scalar and all(v is None or np.ndim(v) == 0 for v in (host_bytes, n_cpu_moe))
    if scalar and excess is not None and fits is not None and not fits.all():
        raise DoesNotFit(
            "does not fit:",
            f"{resident.item() / 1e9:.1f} GB needed, {(capacity or 0.0) / 1e9:.1f} GB on 1×{q.gpu.id} "
            f"and {on_host.item() / 1e9:.1f} GB on its host",
            f"put {excess.item() / 1e9:.1f} GB there, or leave {'host_bytes' if n_cpu_moe is None else 'n_cpu_moe'} out",
            needed_bytes=resident.item() - on_host.item(),
            capacity_bytes=capacity,
            parts={name: float(np.max(part)) for name, part in held._asdict().items()},
        )
    room = None if named is None else named.memory_bytes
    if named is not None and room is not None:
        if scalar and on_host.item() > room:
            truth = f"{on_host.item() / 1e9:.1f} GB on {named.label}, whose memory is {room / 1e9:.1f} GB"
            raise DoesNotFit("does not fit:", truth, "more memory, a narrower dtype, or more on the device",
                             needed_bytes=on_host.item(), capacity_bytes=room, parts={"host": on_host.item()})  # fmt: skip
        fits = (on_host <= room) & (True if fits is None else fits)
    times = total(rows)
    experts, sent = expert_layers(q), activations(q.model, q.step.batch)
    there = least = most = hosted(parts, away.shares, on_host, experts, sent)
    if q.routing == "min" and np.any(away.split_experts):
        least, most = (hosted(parts, chosen(parts, away.shares, most=end), on_host, experts, sent) for end in (False, True))
    rates = Host() if named is None else named.rates
    found = tiered(times, there, q.rates.memory_bytes_per_s, over.per_direction_bytes_per_s, rates, least, most)
    loose = loosened_by(q, times, found, away, there.reads, named)
    streamed, computed = found.streamed, found.computed
    shown = streamed if computed is None else computed
    binds: Any = ""
    for name, term in reversed(found.terms.items()):
        binds = np.where(term >= found.bound_s, name, binds)

    def out(value: Any) -> Any:
        return None if value is None else np.asarray(value).item() if scalar else np.broadcast_to(value, shape)

    host_weights = np.minimum(on_host, weights)
    layers = None if n_cpu_moe is None else np.minimum(np.asarray(n_cpu_moe, dtype=np.float64), experts)
    asked = "" if host_bytes is None else "bytes"
    if layers is not None:
        some = "…".join(map(show_count, dict.fromkeys((layers.min(), layers.max()))))
        asked = f"the experts of {some} of {show_count(experts)} layers, each an even share"
    return Offload(
        question=q, link=over, link_cite=cite, host=None if named is None else named.cpu,
        host_sockets=None if named is None else named.sockets, n_cpu_moe=out(layers),
        placement="streamed" if computed is None else "computed", bound_s=out(found.bound_s), bound=out(binds),
        is_bound=out(is_strict(loose)), loosened=loose, overlapped_s=out(shown.overlapped_s), serial_s=out(shown.serial_s),
        device_s=out(shown.device_s), host_s=out(shown.host_s), link_s=out(shown.link_s), link_bytes=out(shown.link_bytes),
        streamed_s=out(streamed.overlapped_s), streamed_serial_s=out(streamed.serial_s),
        computed_s=None if computed is None else out(computed.overlapped_s),
        computed_serial_s=None if computed is None else out(computed.serial_s), host_bytes=out(on_host),
        host_weight_bytes=out(host_weights), host_kv_bytes=out(on_host - host_weights), device_bytes=out(resident - on_host),
        host_read_bytes=out(there.reads), device_read_bytes=out(found.device_reads), tokens_per_s=out(q.step.batch / shown.overlapped_s),
        fits=None if fits is None else out(fits), assumptions=(*q.assumptions, *assumed("host", assumed_lines(q, named, asked))),
    )  # fmt: skip
