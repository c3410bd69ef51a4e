"""Deliberate defects, each one a mistake a peer has shipped. A truth or a law must notice every one.

Each function patches the running library; `test_faults` runs the suite under each in a process of
its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _replace(module: Any, name: str, value: Any) -> None:
    setattr(module, name, value)


def gb_as_gib() -> None:
    """Bandwidth in GB/s read as GiB/s."""
    from sol.answers.question import formats as storage

    right = storage._rates
    _replace(storage, "_rates", lambda *a: _with(right(*a), lambda r: {"memory_bytes_per_s": r.memory_bytes_per_s * 2**30 / 1e9}))


def sparse_peak() -> None:
    """The headline rate with sparsity taken as dense."""
    from sol.answers.question import formats as storage

    right = storage._rates
    _replace(storage, "_rates", lambda *a: _with(right(*a), _doubled))


def _doubled(rates: Any) -> dict[str, Any]:
    if rates.peak is None:
        return {}
    return {"peak": {k: 2 * v for k, v in rates.peak.items()}, "ceiling": {k: 2 * v for k, v in rates.ceiling.items()}}


def _with(answer: Any, change: Callable[[Any], dict[str, Any]]) -> Any:
    from dataclasses import replace

    rates, lines = answer
    return replace(rates, **change(rates)), lines


def top_k_at_any_batch() -> None:
    """A mixture of experts reads top-k experts however many tokens there are."""
    from sol.physics.operators import feedforward as feeding

    _replace(feeding, "distinct_experts", lambda experts, k, tokens, routing: 0.0 * tokens + k)


def ring_as_a_floor() -> None:
    """The ring all-reduce taken as the bound of a switch that adds."""
    from sol.physics.network import collectives

    right = collectives.wire_bytes

    def ring(op: Any, size: Any, ranks: Any, topology: Any, *stride: Any) -> Any:
        plain = type(topology)(tuple(link.model_copy(update={"reduces_in_network": False}) for link in topology.levels))
        return right(op, size, ranks, plain, *stride)

    _replace(collectives, "wire_bytes", ring)


def mesh_as_a_switch() -> None:
    """A pair of a mesh priced at the whole rate of the device."""
    from sol.specs.links import LinkType

    LinkType.joins_pairs = property(lambda self: False)  # type: ignore[method-assign,assignment]


def boxes_forgotten() -> None:
    """Ranks of several boxes priced as if they shared one."""
    from sol.physics.network import collectives

    _replace(collectives, "units", lambda ranks, topology, *stride: (ranks, *(len(topology.levels) * [0 * ranks + 1.0])))


def two_of_three_matrices() -> None:
    """A gated feed-forward block counted as two matrices."""
    from sol import MLP, MoE

    dense, routed = MLP.matrices, MoE.expert_matrices
    _replace(MLP, "matrices", lambda self, hidden: dense(self, hidden)[-2:])
    _replace(MoE, "expert_matrices", lambda self, hidden: routed(self, hidden)[-2:])


def full_square_attention() -> None:
    """Every new token attends to every other: the causal half forgotten."""
    from sol.physics.operators import mixers as mixing

    _replace(mixing, "causal_pairs", lambda new, past, window=None, chunk=None: new * (past + new))


def embedding_streamed() -> None:
    """The whole input table read every step."""
    from sol.physics.operators import forward_pass as operators

    def row(model: Any, step: Any, tokens: Any, storage: Any, fusion: Any) -> Any:
        read = model.embedding_elements * storage.bytes_per_weight("embedding", model.hidden)
        return operators.row("embedding", 1, "rest", weight_bytes=read)

    _replace(operators, "_embedding", row)


def query_heads_for_kv() -> None:
    """The KV cache sized with the query heads."""
    from sol import Attention

    _replace(Attention, "kv_width", property(lambda self: self.heads * 2 * self.head_dim))


def router_for_nothing() -> None:
    """The router's FLOPs forgotten."""
    from sol import MoE

    right = MoE.matrices
    _replace(MoE, "matrices", lambda self, hidden: right(self, hidden)[1:])


def activations_for_nothing() -> None:
    """Activations left out of what must fit."""
    from sol.physics.memory import capacity

    _replace(capacity, "activation_bytes_per_token", lambda model: 0.0)


def narrow_cache_computed_wide() -> None:
    """Attention over an fp8 cache bounded by the 16-bit rate."""
    from sol.answers.question import formats as storage

    right = storage._rates
    _replace(
        storage,
        "_rates",
        lambda *a: _with(right(*a), lambda r: {"ceiling": {**r.ceiling, "attention": r.peak["attention"]}} if r.peak else {}),
    )


FAULTS: dict[str, Callable[[], None]] = {
    f.__name__: f
    for f in (
        gb_as_gib,
        sparse_peak,
        top_k_at_any_batch,
        ring_as_a_floor,
        mesh_as_a_switch,
        boxes_forgotten,
        two_of_three_matrices,
        full_square_attention,
        embedding_streamed,
        query_heads_for_kv,
        router_for_nothing,
        activations_for_nothing,
        narrow_cache_computed_wide,
    )
}
