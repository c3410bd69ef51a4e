"""How a replica is split, and which links its devices use: checked against the model and the topology."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from sol.errors import InvalidInput, InvalidPlan
from sol.frozen import frozen
from sol.physics.network.pricing import nothing_sent, priced
from sol.physics.time.roofline import Rates
from sol.specs.assumption import Assumption, assumed
from sol.specs.hardware import GPU
from sol.specs.links import LinkType, Topology
from sol.specs.model import Model
from sol.specs.parts import Count
from sol.specs.split import Split, illegal, legal
from sol.units import show_rate

ONE = Split()
MOST = 2**20


def resolve_split(tp: Any, pp: Any, ep: Any, dp: Any, cp: Any = 1) -> Split:
    """One split, or many splits if any value is an array. Raises `InvalidInput` for an invalid count."""
    return Split(*(_ways(name, value) for name, value in (("tp", tp), ("pp", pp), ("ep", ep), ("dp", dp), ("cp", cp))))


def _ways(name: str, value: Any) -> Count:
    if type(value) is int and 0 < value <= MOST:  # the fast path: a plain number, and no truth value
        return value
    array = np.asarray(value) if isinstance(value, list | tuple | np.ndarray) else np.asarray(None)
    if array.dtype.kind not in "iu" or not array.ndim or not array.size or not ((array > 0) & (array <= MOST)).all():
        raise InvalidInput(f"{name}={value!r}", "is not a whole number of devices, 1 or more, or an array of them")
    ways: Count = frozen(array.astype(np.int64))
    return ways


def valid_splits(
    model: Model, split: Split, gpu: GPU | None = None, network: str | LinkType | None = None, link: str | LinkType | None = None
) -> Any:  # fmt: skip
    """True for one split that the model allows; for many, a mask of those that the model and the links of `gpu` allow.

    Raises `InvalidPlan` with the legal values if the only split, or every one of many, is invalid.
    """
    if not split.is_sweep:
        why = None if split == ONE else illegal(model, split)
        if why is not None:
            raise why
        return True
    valid = legal(model, split)
    links = _links(gpu, *_named(network, link)) if gpu is not None and np.any(split.devices > 1) else None
    if links is not None:
        valid = valid & (split.devices <= links.joins)
    if not np.any(valid):
        first = Split(*(np.broadcast_to(n, split.shape).flat[0].item() for n in split))
        why = illegal(model, first)
        assert why is not None or (gpu is not None and links is not None)  # what the model can have, the links do not join
        raise why or _too_many(gpu, first, links)  # type: ignore[arg-type]  # just so
    return valid


def safe_splits(split: Split, valid: Any) -> Split:
    """The splits to compute: one device in place of the invalid ones."""
    return split if valid is True or np.all(valid) else Split(*(np.where(valid, n, 1) for n in split))


def where_valid(value: Any, valid: Any) -> Any:
    """Figures of valid splits; NaN or False for invalid ones."""
    if valid is True or np.all(valid):
        return value
    array = np.asarray(value)
    return array & valid if array.dtype == bool else np.where(valid, array, np.nan)


def with_links(
    gpu: GPU, split: Split, network: str | LinkType | None, rates: Rates, link: str | LinkType | None = None
) -> tuple[Rates, tuple[Assumption, ...]]:  # fmt: skip
    """The rates with the cost of communication between the devices, and the assumptions of that.

    Raises `InvalidPlan` for more devices than the links join, `MissingSpec` where no link has a source.
    """
    beyond, inside = _named(network, link)
    most = np.max(split.devices) if split.is_sweep else split.devices
    if most == 1:
        return (replace(rates, network=nothing_sent) if split.is_sweep else rates), ()
    links = _links(gpu, beyond, inside)
    if most > links.joins:
        raise _too_many(gpu, split, links)
    from sol.answers.question.links import as_wired

    joined = ", then ".join(
        f"{link.id} at {show_rate(link.per_direction_bytes_per_s, 'B/s')}" + (f" joining {link.domain:g} devices" if link.domain else "")
        for link in links.levels
    )
    whole = f"links {joined}; the floor uses their full rate in one direction; serial adds the latency of the fastest algorithm"
    lines = [Assumption("links", whole), *assumed("links", as_wired(gpu, inside, links))]
    silent = [link.id for link in links.levels if not link.alpha_s]
    if silent:
        without = f"no source gives {' or '.join(silent)} a latency: for collectives over it, serial uses their floor"
        lines.append(Assumption("links", without))
    if np.any(split.tp > 1) or np.any(split.dp > 1):
        lines.append(Assumption("split", "work divided evenly over the devices; figures are those of the most loaded device"))
    if np.any(split.pp > 1):
        stages = np.max(split.pp) if np.size(split.pp) == 1 else "pp"
        passing = (
            f"a pipeline of {stages} stages: batch/{stages} sequences per micro-batch pass all of them one after the other; for a "
            "prompt, the floor lets them work on pieces side by side"
        )
        lines.append(Assumption("pipeline", passing))
    return replace(rates, network=partial(priced, links=links)), tuple(lines)


def unnamed_bridge(gpu: GPU, split: Split, network: str | LinkType | None, link: str | LinkType | None) -> Topology | None:
    """The links with the bridge that these cards may have and nobody named; None where there is none."""
    if link is not None or gpu.link is None or (not split.is_sweep and split.devices == 1):
        return None
    from sol.answers.question.links import bridged

    return bridged(gpu, _named(network, None)[0])


def _too_many(gpu: GPU, split: Split, links: Topology) -> InvalidPlan:
    from sol.answers.question.links import networks

    return InvalidPlan(
        f"{split.devices} devices ({split})",
        f"are more than the {links.joins:g} that {links.levels[-1].id} of {gpu.id} joins",
        f"name the network between them, one of {networks()}",
    )


def joining(gpu: GPU, network: str | LinkType | None, devices: int, link: str | LinkType | None = None) -> Topology:
    """The links between devices. Raises `InvalidPlan` if they join fewer devices than the split needs."""
    links = _links(gpu, *_named(network, link))
    if devices > links.joins:
        raise _too_many(gpu, Split(dp=devices), links)
    return links


@lru_cache(maxsize=256)
def _links(gpu: GPU, network: LinkType | None, link: LinkType | None) -> Topology:
    from sol.answers.question.links import topology

    return topology(gpu, network, link)


def _named(network: str | LinkType | None, link: str | LinkType | None) -> tuple[LinkType | None, LinkType | None]:
    """The network between boxes and the link inside them, from their ids or aliases. Raises as `links` does."""
    if network is None and link is None:
        return None, None
    from sol.answers.question import links  # here: one device speaks to no other

    return links.resolve_network(network), links.resolve_link(link)
