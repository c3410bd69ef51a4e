"""The time of a step if the part that does not fit lies in host memory and crosses the link each step. Symbols: docs/notation.

Weights go to the host first: what a step never reads, the input table, experts, the rest; the cache
last. Two times, never mixed: `overlapped_s` reads both memories at once and is a bound, `serial_s` one
after the other. Deliberately ignored: a host that computes on its part itself (as llama.cpp does with
layers left on the CPU) reads it at its own memory's rate instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Unpack, overload

import numpy as np

from sol.answers.question.ask import Question, ask
from sol.answers.question.inputs import numbers
from sol.answers.question.options import OffloadOptions, check_names, spelled_out
from sol.answers.report.citations import Bibliography, citations, cite_row
from sol.answers.report.shown import Shown
from sol.errors import DoesNotFit, InvalidInput, MissingSpec
from sol.frozen import Frozen
from sol.physics.memory.cache_traffic import kv_read_bytes
from sol.physics.network.sharding import device_resident_bytes
from sol.physics.time.roofline import total
from sol.physics.time.tiers import host_reads, tiers, weight_parts
from sol.sources.database.database import link_ids, load_link
from sol.specs.assumption import Assumption, assumed
from sol.specs.hardware import GPU, Link
from sol.specs.model import Model
from sol.specs.quantities import Amount, Array, Flag, Flags, Label, Labels, Number, Numbers
from sol.specs.record import Cite
from sol.tabular import Table, joined
from sol.units import show_bytes, show_count, show_seconds


@dataclass(frozen=True, eq=False, repr=False)
class Offload(Shown, Frozen, Generic[Amount, Flag, Label]):
    """One decode step over two tiers. Scalars in, plain numbers out; arrays read-only.

    Fields [unit]: `overlapped_s` both tiers at once, a bound [s]; `serial_s` one after the other [s];
    `device_s` the device's own part, memory or compute [s], `link_s` the host's bytes over the link [s];
    `host_bytes` on the host, of them `host_weight_bytes` and `host_kv_bytes`, `device_bytes` the rest of
    what must be resident [B]; `host_read_bytes` a step reads over the link, `device_read_bytes` it reads
    and writes on the device [B]; `bound` "link", "memory" or "compute"; `fits` whether the device holds
    its part (None where its capacity is unknown); `tokens_per_s` at the bound [token/s].
    """

    question: Question
    link: Link
    link_cite: Cite | None
    overlapped_s: Amount
    serial_s: Amount
    device_s: Amount
    link_s: Amount
    bound: Label
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
    def is_bound(self) -> bool:
        """Whether `overlapped_s` is a bound: not where experts may lie on the host, touched only in expectation."""
        return not self.question.model.is_moe

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before using the number."""
        return self.question.warnings

    def heading(self) -> str:
        """What was asked, on one line."""
        q = self.question
        batch, ctx = ("…".join(map(show_count, dict.fromkeys((v.min(), v.max())))) for v in (q.step.batch, q.ctx))
        return joined((f"{q.model.id} on {q.gpu.id} and its host", q.phase, f"batch {batch}", f"ctx {ctx}", q.storage.weights.id))

    def table(self) -> Table:
        """One line per tier for a point, one line per point for a sweep."""
        made: Table = self.drawn("offload_table")
        return made

    def sources(self) -> Bibliography:
        """The bibliography: the floor's, and the link's."""
        floor = citations(self.question)
        rows = () if self.link_cite is None else (cite_row(f"{self.link.name} per_direction_bytes_per_s", self.link_cite),)
        return Bibliography(columns=floor.columns, rows=(*floor.rows, *rows))

    def __repr__(self) -> str:
        if not self.is_point:
            return f"<Offload {self.heading()}: {np.size(self.overlapped_s)} points>"
        there = f"{show_bytes(float(self.host_bytes))} on the host"
        return f"<Offload {self.heading()}: {there}, {show_seconds(float(self.overlapped_s), 4)}, {self.bound}-bound>"


@overload
def offload(  # type: ignore[overload-overlap]  # a point is a sweep's narrowest case, and has floats
    model: str | Path | Model, gpu: str | GPU, *, ctx: Number, host_bytes: Number | None = None, link: str | Link | None = None,
    **options: Unpack[OffloadOptions[Number]],
) -> Offload[float, bool, str]: ...  # fmt: skip
@overload
def offload(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Numbers, host_bytes: Numbers | None = None, link: str | Link | None = None,
    **options: Unpack[OffloadOptions[Numbers]],
) -> Offload[Array, Flags, Labels]: ...  # fmt: skip
@spelled_out(OffloadOptions)
def offload(
    model: str | Path | Model, gpu: str | GPU, *, ctx: Numbers, host_bytes: Numbers | None = None, link: str | Link | None = None,
    **options: Unpack[OffloadOptions[Numbers]],
) -> Offload:  # fmt: skip
    """The time of one decode step with part of the model in host memory.

        overlapped = max( device bytes / bandwidth , flops / ceiling , host bytes / link )
        serial     = max( device bytes / bandwidth , flops / ceiling ) + host bytes / link

    Parameters
    ----------
    model, gpu, ctx, batch, dtype, kv_dtype, routing : as in `floor`, in decode.
    host_bytes : bytes of weights, then cache, that lie on the host [B]; by default what does not fit.
    link : kind of link to the host ("pcie4-x8", see `links()`), or a `Link`; by default the device's own PCIe.

    Raises
    ------
    UnknownName, InvalidInput (also where there is no second tier), MissingSpec, BadFile, and DoesNotFit
    for one point whose device part is too large (a sweep has `fits`).

    >>> offload("llama-3.1-70b", "h100", ctx=2048)
    <Offload llama-3.1-70b on h100-sxm and its host · decode · batch 1 · ctx 2,048 · bf16: 56.3 GB on the host, 846.2 ms, link-bound>
    """
    check_names(offload, options, OffloadOptions.__optional_keys__)
    q = ask(model, gpu, ctx=ctx, **options)
    over, cite = _link(q.gpu, link)
    held = device_resident_bytes(q.model, q.step, q.storage, q.split)
    weights, kv, resident = held.weights, held.kv, np.asarray(held.total)
    capacity = q.gpu.memory_bytes
    excess = None if capacity is None else np.maximum(resident - capacity, 0.0)
    on_host = _on_host(q, host_bytes, excess, weights, kv)
    try:
        shape = np.broadcast_shapes(q.step.batch.shape, q.ctx.shape, on_host.shape)
    except ValueError:
        raise InvalidInput(
            "shapes do not broadcast:", f"ctx {q.ctx.shape}, batch {q.step.batch.shape}, host_bytes {on_host.shape}", "use [:, None]"
        ) from None
    times = total(q.operators())
    parts = [*weight_parts(q.model, q.step, q.storage, q.routing), (kv, kv_read_bytes(q.model, q.step.batch, q.ctx, q.storage))]
    rate = over.per_direction_bytes_per_s
    device, host = tiers(times, resident, on_host, host_reads(parts, on_host), q.rates.memory_bytes_per_s, rate)
    overlapped = np.maximum(device.seconds, host.seconds)
    compute_bound = np.asarray(times.compute_s) >= device.seconds
    bound = np.where(host.seconds > device.seconds, "link", np.where(compute_bound, "compute", "memory"))
    fits = None if excess is None else on_host >= excess
    scalar = q.scalar and (host_bytes is None or np.ndim(host_bytes) == 0)
    if scalar and excess is not None and fits is not None and not fits.all():
        raise DoesNotFit(
            "does not fit:",
            f"{resident.item() / 1e9:.1f} GB needed, {(capacity or 0.0) / 1e9:.1f} GB on 1×{q.gpu.id} "
            f"and {on_host.item() / 1e9:.1f} GB on its host",
            f"put {excess.item() / 1e9:.1f} GB there, or leave host_bytes out",
            needed_bytes=resident.item() - on_host.item(),
            capacity_bytes=capacity,
            parts={name: float(np.max(part)) for name, part in held._asdict().items()},
        )

    def out(value: Any) -> Any:
        return np.asarray(value).item() if scalar else np.broadcast_to(value, shape)

    host_weights = np.minimum(on_host, weights)
    return Offload(
        question=q, link=over, link_cite=cite, overlapped_s=out(overlapped), serial_s=out(device.seconds + host.seconds),
        device_s=out(device.seconds), link_s=out(host.seconds), bound=out(bound), host_bytes=out(on_host),
        host_weight_bytes=out(host_weights), host_kv_bytes=out(on_host - host_weights), device_bytes=out(device.holds),
        host_read_bytes=out(host.reads), device_read_bytes=out(device.reads), tokens_per_s=out(q.step.batch / overlapped),
        fits=None if fits is None else out(fits), assumptions=(*q.assumptions, *assumed("host", _assumed(q, host_bytes is None))),
    )  # fmt: skip


def _on_host(q: Question, asked: Any, excess: Any, weights: Any, kv: Any) -> Any:
    """Bytes on the host: what was asked, or what does not fit; never more than weights and cache."""
    if asked is None:
        if excess is None:
            raise MissingSpec("no source", f"gives {q.gpu.id} a capacity, so what does not fit is unknown", "say host_bytes")
        return np.minimum(excess, weights + kv)
    given = numbers("host_bytes", asked, at_least=0.0)
    most = float(np.max(weights + kv))
    if (given > most).any():
        raise InvalidInput(
            f"host_bytes={given.max():g}", f"is more than weights and cache are ({most:g})", "activations stay on the device"
        )
    return given


def _link(gpu: GPU, link: str | Link | None) -> tuple[Link, Cite | None]:
    """The link to the host, and the source of its rate. Raises `InvalidInput` where there is no second tier."""
    if gpu.unified_memory or gpu.kind == "cpu":
        what = "is the host itself" if gpu.kind == "cpu" else "shares its memory with the host"
        raise InvalidInput(f"{gpu.id} {what}:", "so there is no second tier", "use sol floor")
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


def _assumed(q: Question, by_default: bool) -> tuple[str, ...]:
    order = "input table, experts, the rest" if q.model.is_moe else "input table, the rest"
    what = "what does not fit, this step's activations counted" if by_default else "as asked"
    return (
        f"on the host {what}: weights first ({order}), then cache; each part is read in proportion every step"
        + ("; experts on the host are chosen in proportion" if q.model.is_moe else ""),
        "the host keeps up with the link and does not compute",
    )
