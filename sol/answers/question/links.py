"""Which links join the ranks of a device: its own or the one it is wired by, its host's beyond a bridge, the network beyond its box.

Inside a box the database knows the link, and `link` names another where the devices are wired otherwise. A bridge is an
accessory: it joins cards only where it is named. A network is read only beyond what the box's links join.
"""

from __future__ import annotations

from collections.abc import Iterator

from sol.errors import InvalidInput, MissingSpec, unknown_name
from sol.sources.database.database import is_link, link_ids, load_link
from sol.specs.hardware import GPU, Link
from sol.specs.links import LinkType, Topology
from sol.units import show_rate

NO_PEERS = "-no-p2p"
"""How the id of a link ends whose devices do not reach each other's memory."""


def topology(gpu: GPU, network: LinkType | None = None, link: LinkType | None = None) -> Topology:
    """The links between devices of this kind, innermost first, with the device's own rate and domain; `link` as they are wired.

    Raises `MissingSpec` where no link of the device has a source and neither a link nor a network is named.
    """
    levels = list(_inside(gpu) if link is None else _wired(gpu, link))
    if network is not None and (not levels or levels[-1].domain is not None):
        levels.append(network)
    if not levels:
        raise MissingSpec(f"no link of {gpu.id}", "has a source", f"name the network between single devices, one of {networks()}")
    return Topology(tuple(levels))


def bridged(gpu: GPU, network: LinkType | None = None) -> Topology | None:
    """The links between devices that a bridge joins in pairs; None where there is no bridge to leave out."""
    bridge = left_out(gpu)
    return None if bridge is None else topology(gpu, network, bridge)


def left_out(gpu: GPU) -> LinkType | None:
    """The bridge that this device can have and is not taken to have unless it is named."""
    own = None if gpu.link is None else _kind(gpu.link, "scale-up")
    return own if own is not None and own.kind == "bridge" and gpu.pcie is not None else None


def _inside(gpu: GPU) -> Iterator[LinkType]:
    """What the database knows of a box: its scale-up link, else the host's; a bridge only where nothing else is known."""
    if gpu.link is not None and left_out(gpu) is None:
        yield _kind(gpu.link, "scale-up")
    elif gpu.pcie is not None:
        yield _between(gpu.pcie)


def _wired(gpu: GPU, link: LinkType) -> Iterator[LinkType]:
    """The link that was named; beyond a bridge the host's. Raises `InvalidInput` for one that this device cannot have."""
    host = None if gpu.pcie is None else _kind(gpu.pcie, "host")
    if link.kind == "host":
        if host is not None and link.per_direction_bytes_per_s > host.per_direction_bytes_per_s:
            wide = f"{host.id} of {gpu.id} at {show_rate(host.per_direction_bytes_per_s, 'B/s')}"
            raise InvalidInput(f"link={link.id}", f"is faster than {wide}", f"name {host.id} or a narrower one")
        box = None if host is None else host.domain  # lanes say nothing of the size of a box
        yield link if link.domain is not None or box is None else link.model_copy(update={"domain": box})
        return
    own = None if gpu.link is None else _kind(gpu.link, "scale-up")
    if own is not None and own.id != link.id:
        raise InvalidInput(f"link={link.id}", f"is no link of {gpu.id}", f"it has {own.id}" + (f" and {host.id}" if host else ""))
    yield own or link
    if link.kind == "bridge" and gpu.pcie is not None:
        yield _between(gpu.pcie)


def _between(pcie: Link) -> LinkType:
    """The host's link as it joins devices: past host memory where they do not reach each other's."""
    whole = _kind(pcie, "host")
    around = whole.id + NO_PEERS
    if pcie.peer_access is not False or not is_link(around):
        return whole
    return load_link(around).model_copy(update={"domain": whole.domain})


def as_wired(gpu: GPU, link: LinkType | None, links: Topology) -> Iterator[str]:
    """What is taken for granted of how the devices of a box are wired, and which option says otherwise."""
    inner, bridge = links.levels[0], left_out(gpu)
    if link is None and bridge is not None:
        yield f"no bridge between cards; where {bridge.id} is fitted, name it as link"
    elif link is None and inner.kind == "bridge":
        yield f"{inner.id} fitted: no other link of {gpu.id} has a source"
    elif link is not None and link.kind != "host" and gpu.link is None:
        yield f"{link.id} as named; no source says that {gpu.id} has it"
    host = next((level for level in links.levels if level.kind == "host"), None)
    if host is not None and host.id.endswith(NO_PEERS):
        yield f"{host.id}: what devices send passes through host memory, which slows the estimate and not the floor"
        if link is None:
            yield f"{gpu.id} gives its peers no access; where yours does, name {host.id.removesuffix(NO_PEERS)} as link"
    elif host is not None and link is None:
        others = [i for i in link_ids() if i.startswith(host.id.partition("-")[0] + "-") and i != host.id]
        if others:
            yield f"{host.id} whole and with peer access; if wired otherwise, name the link: {', '.join(others)}"


def resolve_link(name: str | LinkType | None) -> LinkType | None:
    """A link inside a box from its id or alias; a `LinkType` is itself. Raises `UnknownName` and `InvalidInput`."""
    if name is None or isinstance(name, LinkType):
        return name
    inside = [i for i in link_ids() if load_link(i).kind != "network"]
    if not isinstance(name, str) or not is_link(name):
        raise unknown_name(f"no link '{name}'", str(name), inside, listing="sol links")
    link = load_link(name)
    if link.kind == "network":
        raise InvalidInput(f"link={name}", "is a network, which joins boxes", "name it as network; a link joins the devices of one box")
    return link


def resolve_network(name: str | LinkType | None) -> LinkType | None:
    """A link between boxes from its id or alias; a `LinkType` is itself. Raises `UnknownName` and `InvalidInput`."""
    if name is None or isinstance(name, LinkType):
        return name
    if isinstance(name, str) and not is_link(name):
        raise unknown_name(f"no network '{name}'", name, networks().split(", "), listing="sol links")
    link = load_link(name)
    if link.kind != "network":
        raise InvalidInput(
            f"network={name}",
            f"is a {link.kind} link, which joins the devices of one box",
            f"name it as link; between boxes there are {networks()}",
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
