"""The layers a config describes, first to last: mixers and feed-forward blocks, alike ones grouped."""

from __future__ import annotations

from typing import Any

from sol.errors import short
from sol.sources.config.mixers import attention, layer_types, shares_kv
from sol.sources.config.reader import Reader
from sol.specs.blocks import Block, PerLayerInput, Projection
from sol.specs.feedforward import MLP, MoE
from sol.specs.mixers import Attention
from sol.specs.model import LayerGroup


def layer_groups(r: Reader) -> tuple[LayerGroup, ...]:
    """The layers as groups of alike ones, in the order they first appear."""
    if r.kind.layout == "listed":
        return _variable(r)
    grouped: dict[tuple[int, ...], tuple[int, tuple[Block, ...]]] = {}
    for blocks in layer_blocks(r):
        key = tuple(id(b) for b in blocks)
        count, _ = grouped.get(key, (0, blocks))
        grouped[key] = (count + 1, blocks)
    return tuple(_group(r, count, blocks) for count, blocks in grouped.values())


def layer_blocks(r: Reader) -> list[tuple[Block, ...]]:
    """The blocks of each layer, first to last; alike layers hold the same blocks."""
    types = layer_types(r)
    feeds = feed_forward(r) if r.kind.layout == "mixer and feed-forward" else [None] * len(types)
    made: dict[Any, Block] = {}
    return [_blocks(r, kind, i, feed, made) for i, (kind, feed) in enumerate(zip(types, feeds, strict=True))]


def _blocks(r: Reader, kind: str, layer: int, feed: Block | None, made: dict[Any, Block]) -> tuple[Block, ...]:
    """One layer's blocks; `made` keeps one block of each kind, so that alike layers are the same."""

    def once(name: Any, make: Any) -> Block:
        if name not in made:
            made[name] = make()
        return made[name]

    if kind == "mlp":
        return (once("mlp", lambda: mlp(r)),)
    if kind == "moe":
        return (once("moe", lambda: moe(r)),)
    if kind == "state":
        mixer = once("state", lambda: _state(r))
    elif r.kind.indexer or r.kind.shapes:  # layers of one kind may differ
        fresh = attention(r, kind, layer)
        mixer = once(repr(fresh), lambda: fresh)
    else:
        mixer = once(kind, lambda: attention(r, kind, layer))
    beside = (once("state", lambda: _state(r)),) if r.kind.parallel_state else ()
    if r.kind.shapes and r.config.get("hidden_size_per_layer_input"):
        width, rows = r.named("hidden_size_per_layer_input"), r.named("vocab_size_per_layer_input")
        beside = (*beside, once("input", lambda: PerLayerInput(width=width, vocab=rows)))
    return (mixer, *(() if feed is None else (feed,)), *beside)


def _state(r: Reader) -> Block:
    from sol.sources.config.states import state  # here: most models have none

    return state(r)


def _group(r: Reader, count: int, blocks: tuple[Block, ...]) -> LayerGroup:
    return LayerGroup(count=count, blocks=blocks, norms=_norms(r, blocks), norm_vectors=_norm_vectors(r), scalars=r.kind.scalars,
                      residuals=_residuals(r, blocks))  # fmt: skip


def _norms(r: Reader, blocks: tuple[Block, ...]) -> int:
    if r.kind.shapes:  # around each branch: attention, dense, experts (with a scale before the router), the layer's own input
        routed, own_input = any(b.experts_held for b in blocks), any(b.table_elements for b in blocks)
        return r.kind.norms + (4 if routed else 0) + (1 if own_input else 0)
    if r.said(r.kind.parallel):
        return _parallel_norms(r)
    return r.kind.norms


def _parallel_norms(r: Reader) -> int:
    """Norms of a layer whose blocks stand side by side: one for both, or one each."""
    if r.kind.parallel_norms == "by architecture":
        new = r.flag("new_decoder_architecture")
        return r.named("num_ln_in_parallel_attn", 2) if new else 1
    return 1 if r.kind.parallel_norms == "one" else r.kind.norms


def _residuals(r: Reader, blocks: tuple[Block, ...]) -> int | None:
    """Sums added to a layer's input, where they are not one per block."""
    if r.said(r.kind.parallel):
        return 1
    return 2 if len(blocks) > 2 else None


def _norm_vectors(r: Reader) -> int:
    return r.kind.norm_vectors if r.said(r.kind.affine) else 0


def mlp(r: Reader, times: int = 1) -> MLP:
    """The dense feed-forward block, `times` as wide as the config says."""
    if r.kind.ffn_key is not None:  # the usual key is that of the experts
        return MLP(ffn=r.named(r.kind.ffn_key))
    width = r.count("ffn") if r.has("ffn") else None
    if width is None:
        if r.kind.ffn_over_hidden is None:
            raise r.fail("intermediate_size is missing, and no default is assumed")
        width = r.kind.ffn_over_hidden * r.count("hidden")
    if width % r.kind.ffn_divisor:
        raise r.fail(f"intermediate_size={width} is twice the width of one branch, so it cannot be odd")
    if r.kind.ffn_adjusted and r.flag("block_auto_adjust_ff_dim", True):
        width = _adjusted(r, width)
    return MLP(ffn=times * width // r.kind.ffn_divisor, gated=r.kind.gated, bias=r.said(r.kind.mlp_bias))


def _adjusted(r: Reader, width: int) -> int:
    """Two thirds of the width, times a multiplier, rounded up to a multiple."""
    factor, multiple = r.config.get("block_ffn_dim_multiplier"), r.named("block_multiple_of", 256)
    if factor is not None and (isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 2**20):
        raise r.fail(f"block_ffn_dim_multiplier={short(factor)} is not a number of widths")
    width = int(2 * width / 3)
    width = width if factor is None else int(factor * width)
    return multiple * -(-width // multiple) if multiple else width


def moe(r: Reader) -> MoE:
    """The block of routed experts."""
    experts, top_k = r.count("experts"), r.count("experts_per_token")
    if top_k > experts:
        raise r.fail(f"{r._key('experts_per_token')}={top_k} exceeds the {experts} experts there are")
    width = r.count("expert_ffn") if r.has("expert_ffn") else r.count("ffn")
    shared = _shared_width(r, width)
    groups, chosen = _groups(r, experts, top_k)
    return MoE(
        experts=experts, experts_per_token=top_k, expert_ffn=width, gated=r.kind.experts_gated, expert_bias=r.kind.expert_bias,
        router_bias=r.kind.router_bias, correction=r.said(r.kind.correction),
        latent=r.count("latent") if r.config.get("moe_latent_size") else None,
        shared=MLP(ffn=shared, gated=r.kind.experts_gated, bias=r.said(r.kind.shared_bias)) if shared else None,
        shared_gate=r.kind.shared_gate and shared > 0, groups=groups, groups_per_token=chosen,
    )  # fmt: skip


def _groups(r: Reader, experts: int, top_k: int) -> tuple[int, int]:
    """Groups of experts, and how many of them a token chooses; one of one where it chooses among all experts."""
    groups = r.whole_number("expert_groups") if r.has("expert_groups") else 0
    if groups <= 1:
        return 1, 1
    chosen = r.count("groups_per_token") if r.has("groups_per_token") else groups
    if experts % groups or chosen > groups or top_k > experts // groups * chosen:
        raise r.fail(f"topk_group={chosen} of n_group={groups} cannot be chosen of {experts} experts, {top_k} a token")
    return groups, chosen


def _shared_width(r: Reader, width: int) -> int:
    """The width of the experts every token goes through, all together; 0 for none."""
    if r.kind.shared == "expert width":
        return width
    if r.kind.shared == "dense":
        return r.count("ffn")
    if r.kind.shared == "count":
        return width * r.whole_number("shared_experts") if r.has("shared_experts") else 0
    if r.kind.shared == "width":
        if r.config.get("n_shared_experts") == 0:
            return 0
        return r.whole_number("shared_ffn") if r.has("shared_ffn") else 0
    return 0


def feed_forward(r: Reader) -> list[MLP | MoE | None]:
    """The feed-forward block of each layer."""
    layers = r.layers()
    if r.kind.moe is None or (r.kind.shapes and not r.flag("enable_moe_block")):
        narrow, wide = mlp(r), mlp(r, 2) if r.kind.shapes and r.flag("use_double_wide_mlp") else None
        return [wide if wide is not None and shares_kv(r, i) else narrow for i in range(layers)]
    if r.kind.moe == "if said" and not (r.has("experts") and r.whole_number("experts") >= r.kind.least_experts):
        return [_only_shared(r)] * layers
    sparse, dense_at = moe(r), _dense_layers(r, layers)
    dense = mlp(r) if dense_at else None
    return [dense if i in dense_at else sparse for i in range(layers)]


def _only_shared(r: Reader) -> MLP:
    """A mixture without experts: what every token goes through is all there is."""
    return MLP(ffn=r.count("shared_ffn")) if r.kind.shared == "width" else mlp(r)


def _dense_layers(r: Reader, layers: int) -> set[int]:
    """The layers of a mixture of experts that have a dense block."""
    named = r.listed("mlp_layer_types", layers)
    if named is not None:
        if not set(map(str, named)) <= {"dense", "sparse", "moe"}:
            raise r.fail(f"mlp_layer_types names {short(next(t for t in named if t not in ('dense', 'sparse')))}, which is not understood")
        return {i for i, t in enumerate(named) if t == "dense"}
    sparse = set(range(layers))
    for key in r.kind.dense:
        sparse &= _sparse_by(r, key, layers)
    return set(range(layers)) - sparse


def _sparse_by(r: Reader, key: str, layers: int) -> set[int]:
    """The layers one key lets have experts."""
    every = set(range(layers))
    given = r.config.get(key)
    open_end = key == "moe_layer_end_index" and given == -1
    listed_instead = key == "interleave_moe_layer_step" and r.config.get("moe_layers") is not None
    if given is None or open_end or listed_instead:
        return every
    if key in FROM:
        first = r.named(key)
        return {i for i in every if i >= first}
    if key in LISTS:
        listed = r.layers_in(key, layers) or set()
        return every - listed if key == "mlp_only_layers" else listed or every
    if key == "moe_layer_freq" and isinstance(given, list):
        return {i for i, flag in enumerate(r.listed(key, layers) or []) if flag}
    number = r.named(key)
    if key == "moe_layer_end_index":
        return {i for i in every if i <= number}
    if number < 1:
        raise r.fail(f"{key}={number} is not a number of layers")
    offset = r.named("expert_layer_offset") if key == "expert_layer_period" else 0 if key == "moe_layer_freq" else number - 1
    return {i for i in every if i % number == offset}


FROM = ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
LISTS = ("mlp_only_layers", "moe_layers")


def _variable(r: Reader) -> tuple[LayerGroup, ...]:
    """Layers of their own widths (Nemotron-NAS): a block may be left out, with its norm, or be one matrix."""
    configs = r.listed("block_configs", r.layers())
    if configs is None:
        raise r.fail("block_configs is missing, which says what each layer of a nemotron-nas model is")
    made: dict[Any, tuple[int, tuple[Block, ...]]] = {}
    for i, block in enumerate(configs):
        try:
            att, ffn = block["attention"], block["ffn"]
            key = (bool(att.get("no_op")), bool(att.get("replace_with_linear")), att.get("n_heads_in_group"),
                   bool(ffn.get("no_op")), bool(ffn.get("replace_with_linear")), ffn.get("ffn_mult"))  # fmt: skip
            hash(key)
        except (TypeError, KeyError, AttributeError):
            raise r.fail(f"block_configs[{i}]={short(block)} does not say its attention and ffn") from None
        if key not in made:
            made[key] = (0, _variable_blocks(r, i, key))
        count, blocks = made[key]
        made[key] = (count + 1, blocks)
    return tuple(LayerGroup(count=count, blocks=blocks) for count, blocks in made.values() if blocks)


def _variable_blocks(r: Reader, layer: int, key: tuple[Any, ...]) -> tuple[Block, ...]:
    no_attention, linear_attention, group, no_ffn, linear_ffn, mult = key
    blocks: list[Block] = []
    if linear_attention:
        blocks.append(Projection())
    elif not no_attention:
        heads, grouped = r.count("heads"), r.number("n_heads_in_group", group, at_least=1)
        if heads % grouped:
            raise r.fail(f"block_configs[{layer}] has n_heads_in_group={grouped}, which does not divide num_attention_heads={heads}")
        blocks.append(Attention(heads=heads, kv_heads=heads // grouped, head_dim=r.head_dim(heads)))
    if linear_ffn:
        blocks.append(Projection())
    elif not no_ffn:
        if isinstance(mult, bool) or not isinstance(mult, int | float) or not 0 < mult < 2**20:
            raise r.fail(f"block_configs[{layer}] has ffn_mult={short(mult)}, which is not a number of widths")
        width = int(2 * mult * r.count("hidden") / 3)
        blocks.append(MLP(ffn=256 * -(-width // 256)))
    return tuple(blocks)
