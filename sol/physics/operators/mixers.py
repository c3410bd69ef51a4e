"""Rows of the mixers: attention over a cache, latent attention, recurrent states. Symbols: docs/notation."""

from __future__ import annotations

from collections.abc import Sequence

from sol.physics.operators import fusion as fused
from sol.physics.operators.attention import cached_tokens_read, cached_tokens_written, causal_pairs, tokens_held
from sol.physics.operators.linear import linear_row, linears
from sol.physics.operators.operator import Amount, Cost, Operator, Pass, row, smaller
from sol.specs.blocks import Block, CacheSpan, StateMixer
from sol.specs.formats import NumberFormat
from sol.specs.mixers import Attention, LatentAttention
from sol.specs.parts import Count, Parts
from sol.specs.step import Fusion, Step, Storage


def attention_rows(att: Attention | Parts, layers: int, p: Pass) -> list[Operator]:
    """Projections, the attention itself (2·h·(dk+dv) FLOPs a query-key pair, its cache read and written), output projection."""
    hidden, step, tokens, storage, _, fusion = p
    *before, o = (linear_row(x, layers, tokens, fused.linear(fusion, x, tokens)) for x in linears(att, hidden, storage))
    widths, grouped = (att.q_width, att.kv_width, att.out_width), att.kv_heads < att.heads
    costs = [fused.attention(fusion, att.heads, *widths, grouped, one, one.batch * one.new_tokens) for one in step.groups]
    ways = smaller(1.0 * step.cp, att.cache_copies)
    cores = [_core(att, layers, p, n, ways, cost.attention) for n, cost in enumerate(costs)]
    return [*before, *_rope(layers, fusion, costs), *cores, o]


def _core(att: Attention | Parts, layers: int, p: Pass, n: int, ways: Amount, cost: Cost) -> Operator:
    """The attention of the n-th group: its cache read and written, its query-key pairs."""
    group, token_bytes = p.step.groups[n], att.kv_width * p.storage.cache.bytes_per_weight
    read = tokens_held(cached_tokens_read(group.past_tokens, att.window, att.chunk), ways)
    written = tokens_held(cached_tokens_written(group.new_tokens, att.span), ways)
    pairs = causal_pairs(group.new_tokens, group.past_tokens, att.window, att.chunk)
    if not att.owns_kv:  # another layer's cache: read once a step there, read again here by an engine
        cost = cost._replace(activation_bytes=cost.activation_bytes + (group.batch * token_bytes) * read)
    limit = f", window {att.window}" if att.window else f", chunks of {att.chunk}" if att.chunk else ""
    return row(
        _named("attention", n), layers, "attention",
        kv_bytes=(group.batch * (layers * token_bytes)) * (read + written) if att.owns_kv else 0.0,
        flops=(group.batch * (layers * 2.0 * (att.q_width + att.out_width))) * pairs, cost=_launched(cost, p, group),
        shape=lambda: f"h·(dk+dv) = {att.heads}·{att.head_dim + att.v_dim}{limit}",
        detail=(("cached tokens read per sequence", read), ("written", written), ("query-key pairs per sequence", pairs)),
        pieces=group.batch * att.kv_heads,
    )  # fmt: skip


def _launched(cost: Cost, p: Pass, group: Step) -> Cost:
    """The cost, with launches in a part of the steps where a group of a mixed step has less than one sequence in the mean."""
    if not p.step.beside:
        return cost
    return cost._replace(kernels=cost.kernels * smaller(group.batch, 1.0))


def _named(operator: str, n: int) -> str:
    """The name of the n-th group's row: the first has the operator's own."""
    return operator if n == 0 else f"{operator} of group {n + 1}"


def _rope(layers: int, fusion: Fusion, costs: Sequence[fused.AttentionCosts]) -> list[Operator]:
    """The rotary embedding of all groups, where it is a kernel of its own: one launch for all."""
    if fusion == "ideal":
        return []
    cost = costs[0].rope
    for other in costs[1:]:
        cost = cost._replace(activation_bytes=cost.activation_bytes + other.rope.activation_bytes)
    return [row("rope", layers, "rest", cost=cost, shape=lambda: "rotary embedding, cache write")]


def latent_rows(att: LatentAttention | Parts, layers: int, p: Pass) -> list[Operator]:
    """Latent attention, with the cheaper of two ways: expand the cached latents, or compute on them directly (absorbed).

    Plain: (past+n)·2·h·r·(nope+v) + 2·h·(nope+rope+v)·pairs. Absorbed: n·2·h·r·(nope+v) + 2·h·(2r+rope)·pairs.
    The expanding matrix is read once either way; its FLOPs are in this row.
    """
    hidden, step, tokens, storage, _, fusion = p
    rows, o = [], None
    expanding: Count = 0
    for x in linears(att, hidden, storage):
        if x.operator == "kv_b_proj":
            expanding = 2 * x.weights
            shape = lambda x=x: x.shape() + ", flops in attention"  # noqa: E731  # text for few
            rows.append(row(x.operator, layers, x.role, weight_bytes=layers * x.stored_bytes, shape=shape))
            continue
        made = linear_row(x, layers, tokens, fused.linear(fusion, x, tokens))
        if x.operator == "o_proj":
            o = made
        else:
            rows.append(made)
    assert o is not None
    ways = smaller(1.0 * step.cp, att.cache_copies)
    widths = (att.q_width, att.kv_width, att.out_width)
    costs = [fused.attention(fusion, att.heads, *widths, False, one, one.batch * one.new_tokens) for one in step.groups]
    cores = []
    for n, cost in enumerate(costs):
        if att.indexer is not None and att.indexed:
            cores.append(_index(att, layers, step.groups[n], n, ways))
        cores.append(_latent_core(att, layers, p, n, ways, expanding, cost.attention))
    return [*rows, *_rope(layers, fusion, costs), *cores, o]


def _latent_core(att: LatentAttention | Parts, layers: int, p: Pass, n: int, ways: Amount, expanding: Count, cost: Cost) -> Operator:
    """The attention of the n-th group over its latents."""
    group, storage = p.step.groups[n], p.storage
    new, past, chosen = group.new_tokens, group.past_tokens, None if att.indexer is None else att.indexer.top_k
    pairs, read, written = causal_pairs(new, past, chosen), tokens_held(cached_tokens_read(past, chosen), ways), tokens_held(new, ways)
    plain = (past + new) * expanding + pairs * (2.0 * (att.q_width + att.out_width))
    absorbed = new * expanding + pairs * (2.0 * att.heads * (att.kv_width + att.kv_rank))
    return row(
        _named("attention", n), layers, "attention",
        kv_bytes=(group.batch * (layers * att.kv_width * storage.cache.bytes_per_weight)) * (read + written),
        flops=(group.batch * float(layers)) * smaller(plain, absorbed), cost=_launched(cost, p, group),
        shape=lambda: f"h·(nope+rope+v) = {att.heads}·{att.nope_dim + att.rope_dim + att.v_dim}, latent {att.kv_rank}+{att.rope_dim}",
        detail=(("cached tokens read per sequence", read), ("query-key pairs per sequence", pairs),
                ("FLOP per sequence, latents expanded", plain), ("absorbed", absorbed)),
    )  # fmt: skip


def _index(att: LatentAttention | Parts, layers: int, step: Step, n: int, ways: Amount) -> Operator:
    """Scores of the indexer of the n-th group over every cached index key, in 8 bits where the device has them."""
    assert att.indexer is not None
    i, pairs = att.indexer, causal_pairs(step.new_tokens, step.past_tokens)
    held = tokens_held(step.past_tokens + step.new_tokens, ways)
    return row(
        _named("index", n), layers, "index", kv_bytes=(step.batch * (layers * i.cache_bytes)) * held,
        flops=(step.batch * (layers * 2.0 * i.heads * i.head_dim)) * pairs,
        shape=lambda: f"h·d = {i.heads}·{i.head_dim}, the best {i.top_k}",
        detail=(("query-key pairs per sequence", pairs),),
    )  # fmt: skip


def state_rows(mixer: StateMixer | Parts, layers: int, p: Pass) -> list[Operator]:
    """A recurrent mixer: the state is read once per step if there is a past. Writing it back is not compulsory in every step."""
    hidden, step, tokens, storage, _, fusion = p
    *before, out = (linear_row(x, layers, tokens, fused.linear(fusion, x, tokens)) for x in linears(mixer, hidden, storage))
    return [*before, *(_scan(mixer, layers, p, n) for n in range(len(step.groups))), out]


def _scan(mixer: StateMixer | Parts, layers: int, p: Pass, n: int) -> Operator:
    """The states of the n-th group: read, and its tokens scanned."""
    group, storage = p.step.groups[n], p.storage
    tokens, held = group.batch * group.new_tokens, state_bytes_per_sequence(mixer, storage)
    known: Amount = smaller(group.past_tokens, 1.0)  # nothing is kept of an empty past
    cost = fused.state(p.fusion, sum(x.outputs for x in linears(mixer, p.hidden, storage)[:-1]), tokens)
    return row(
        _named("state", n), layers, "attention",
        kv_bytes=(group.batch * (layers * held)) * known, flops=tokens * (float(layers) * mixer.scan_flops),
        cost=_launched(cost._replace(activation_bytes=cost.activation_bytes + group.batch * held), p, group),
        shape=lambda: f"{mixer.state_elements} elements at {mixer.state_bits} bits, {mixer.conv_elements} of a convolution",
        detail=(("FLOP per token and layer", 1.0 * mixer.scan_flops),),
    )  # fmt: skip


def state_bytes_per_sequence(block: Block | Parts, storage: Storage) -> Amount:
    """Bytes of the fixed-size state that one layer keeps per sequence [B]."""
    base = storage.base.bytes_per_weight
    widest = storage.state_bits
    stored: Amount = sum(s.elements * base if s.bits is None else s.elements * smaller(s.bits, widest) / 8 for s in block.states)
    return stored


def span_bytes(span: CacheSpan | Parts, cache: NumberFormat) -> Amount:
    """Bytes of one token in a cache of one layer [B]."""
    stored: Amount = span.elements * cache.bytes_per_weight + span.own_bytes
    return stored
