"""How tokens choose their experts: a rule, a measured number of distinct experts, or measured shares."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from sol.errors import InvalidInput
from sol.physics.operators.experts import imbalance
from sol.specs.feedforward import MoE
from sol.specs.model import Model
from sol.specs.split import Split
from sol.specs.step import Routing, RoutingName, Shares

RULES = {
    "expected": "E·(1 − (1 − k/E)^T) distinct experts per layer, tokens routed uniformly",
    "min": "every token chooses the same k experts",
    "max": "no two tokens share an expert until all are used",
}


def resolve_routing(model: Model, routing: Any, skew: float) -> Routing:
    """A rule by name, a number of distinct experts per layer [1], or shares of any scale, one per expert.

    Raises `InvalidInput` for an unknown rule, a dense model, an impossible number of experts, or invalid shares.
    """
    if isinstance(routing, str) and routing in RULES:
        return routing  # type: ignore[return-value]  # one of the names: just checked
    given = _numbers(routing)
    moe = next(iter(model.routed), None)
    if moe is None:
        raise InvalidInput(f"routing of {model.id}:", "it has no experts to choose", "leave routing out")
    if len({(b.experts, b.experts_per_token) for b in model.routed}) > 1:
        raise InvalidInput(
            f"routing of {model.id}:", "its layers differ in their experts, so one measurement cannot describe them all", "give a rule"
        )
    if given.ndim == 0:
        if not moe.experts_per_token <= given <= moe.experts:
            below = f"is below the {moe.experts_per_token} experts each token chooses"
            above = f"is above the {moe.experts} experts of a layer"
            raise InvalidInput(
                f"routing={routing:g}",
                below if given < moe.experts_per_token else above if given > moe.experts else "has no meaning",
                f"give a number of distinct experts from {moe.experts_per_token} to {moe.experts}",
            )
        return float(given)
    return _shares(model, moe, given, skew)


def _numbers(routing: Any) -> Any:
    try:
        if isinstance(routing, str | bytes | bool | None | dict | set):
            raise TypeError
        return np.array(routing, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        names = ", ".join(get_args(RoutingName))
        raise InvalidInput(
            f"routing={routing!r}", f"is not one of {names}, a number of distinct experts or a share for each expert"
        ) from None


def _shares(model: Model, moe: MoE, given: Any, skew: float) -> Shares:
    if given.shape != (moe.experts,):
        raise InvalidInput(
            "routing", f"has {given.size} shares, {model.id} has {moe.experts} experts", "give one share for each, in their order"
        )
    bad = np.flatnonzero(~(np.isfinite(given) & (given >= 0.0)))
    if bad.size:
        raise InvalidInput("routing:", f"the share of expert {bad[0]} is {given[bad[0]]:g}", "shares are finite and not negative")
    if np.count_nonzero(given) < moe.experts_per_token:
        raise InvalidInput(
            "routing",
            f"has {np.count_nonzero(given)} shares above zero, but each token of {model.id} chooses {moe.experts_per_token} experts",
            f"give at least {moe.experts_per_token} shares above zero",
        )
    if skew > 1.0:
        raise InvalidInput(f"imbalance={skew:g}:", "the shares of routing already determine the imbalance", "leave imbalance out")
    return Shares(given / given.max() / (given / given.max()).sum())


def routed(routing: Routing) -> str:
    """The assumption about routing, on one line."""
    if isinstance(routing, str):
        return f"routing {routing}: {RULES[routing]}"
    if isinstance(routing, Shares):
        shares = routing.of_experts
        return (
            f"routing by the given shares of {shares.size} experts, from {shares.min():.3g} to {shares.max():.3g}: "
            "Σ 1 − (1 − π)^T distinct experts per layer, tokens independent"
        )
    return f"routing as measured: {routing:g} distinct experts per layer, at most k·T"


def shared_out(model: Model, split: Split) -> tuple[str, ...]:
    """What is assumed of experts that the devices cannot divide evenly."""
    experts = model.routed[0].experts
    if np.all(experts % np.asarray(split.ep) == 0):
        return ()
    if np.size(split.ep) > 1:
        return ("where ep does not divide the experts, some are held twice so that every device holds as many",)
    held = -(-experts // int(split.ep))
    twice = held * int(split.ep) - experts
    return (f"{split.ep} devices hold {held} experts each: {twice} of {experts} are held twice, and each token goes to one of the two",)


def skewed(model: Model, split: Split, routing: Routing, skew: float) -> tuple[str, ...]:
    """The assumption about uneven shares of the tokens; none if they are even."""
    if not isinstance(routing, Shares):
        return (
            (f"imbalance {skew:g}: the experts of the most loaded device get {skew:g} times an even share of the tokens",)
            if skew > 1.0
            else ()
        )
    moe = model.routed[0]
    most = np.max(imbalance(moe.experts, moe.experts_per_token, moe.experts // split.ep, routing, 1.0))
    return (
        f"imbalance up to {most:.3g} by these shares, with consecutive experts on each device: the most distinct experts and the most "
        "tokens of any device count; the bytes sent are those of an even load",
    )


def routing_document(routing: Routing) -> str | float | list[float]:
    """The routing as a plain JSON value."""
    return routing.of_experts.tolist() if isinstance(routing, Shares) else routing
