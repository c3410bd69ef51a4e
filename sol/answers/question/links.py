"""The links that join devices: the device's own, the host's beyond a bridge, the network beyond the box.

The device determines the links. A network is used only beyond what the device's own links join.
"""

from __future__ import annotations

from sol.errors import InvalidInput, MissingSpec, unknown_name
from sol.sources.database.database import is_link, link_ids, load_link
from sol.specs.hardware import GPU, Link
from sol.specs.links import LinkType, Topology


def topology(gpu: GPU, network: LinkType | None = None) -> Topology:
    """The links between devices of this kind, innermost first, with the device's own rate and domain.

    Raises `MissingSpec` where no link of the device has a source and no network is named.
    """
    levels = []
    if gpu.link is not None:
        levels.append(_kind(gpu.link, "scale-up"))
    if gpu.pcie is not None and (not levels or levels[0].kind == "bridge"):
        levels.append(_kind(gpu.pcie, "host"))
    if network is not None and (not levels or levels[-1].domain is not None):
        levels.append(network)
    if not levels:
        raise MissingSpec(f"no link of {gpu.id}", "has a source", f"name the network between single devices, one of {networks()}")
    return Topology(tuple(levels))


def resolve_network(name: str | LinkType | None) -> LinkType | None:
    """A link between boxes from its id or alias; a `LinkType` is itself. Raises `UnknownName` and `InvalidInput`."""
    if name is None or isinstance(name, LinkType):
        return name
    if isinstance(name, str) and not is_link(name):
        raise unknown_name(f"no network '{name}'", name, networks().split(", "), listing="sol links")
    link = load_link(name)
    if link.kind != "network":
        raise InvalidInput(
            f"network={name}", f"is a {link.kind} link, which comes with the device", f"between boxes use one of {networks()}"
        )
    return link


def networks() -> str:
    """The ids of the links between boxes."""
    return ", ".join(i for i in link_ids() if load_link(i).kind == "network")


def _kind(link: Link, kind: str) -> LinkType:
    """The kind of a device's link, with the device's own rate and domain. A name without a record is a link with only these two figures."""
    rate = link.per_direction_bytes_per_s
    if not is_link(link.name):
        return LinkType.model_validate(
            {"id": link.name, "name": link.name, "kind": kind, "per_direction_bytes_per_s": rate, "domain": link.domain}
        )
    known = load_link(link.name)
    own = rate / known.per_direction_bytes_per_s
    if own == 1.0 and link.domain in (None, known.domain):
        return known
    reached = {k: own * v for k, v in known.reached_bytes_per_s.items()}
    pair = None if known.pair_bytes_per_s is None else min(rate, known.pair_bytes_per_s)
    update = {"per_direction_bytes_per_s": rate, "reached_bytes_per_s": reached, "pair_bytes_per_s": pair}
    return known.model_copy(update=update | ({"domain": float(link.domain)} if link.domain is not None else {}))
