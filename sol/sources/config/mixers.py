"""What mixes the tokens of each layer, read from a config: a small reader per mechanism."""

from __future__ import annotations

from typing import Any

from sol.errors import short
from sol.sources.config.reader import Reader
from sol.specs.blocks import Block
from sol.specs.mixers import Attention, Indexer, LatentAttention

WORDS = {
    # What layer lists call a layer, and what it is here.
    "full_attention": "full", "attention": "full", "hybrid": "full", "indexed_attention": "full", "deepseek_sparse_attention": "full",
    "global": "full", "sliding_attention": "window", "local": "window", "chunked_attention": "chunk", "linear_attention": "state",
    "mamba": "state", "conv": "state", "recurrent": "state", "mlp": "mlp", "moe": "moe",
}  # fmt: skip
LETTERS = {"M": "state", "*": "full", "-": "mlp", "E": "moe", "L": "window", "G": "full"}


def layer_types(r: Reader) -> list[str]:
    """What each layer is: full, window or chunk of attention, state, or (where a layer is one block) mlp or moe."""
    pattern = r.config.get("hybrid_override_pattern")
    if pattern is not None and r.kind.layout == "one block":
        return _lettered(r, pattern)
    blocks = r.config.get("layers_block_type")
    layers = len(blocks) if isinstance(blocks, list) and blocks and not r.has("layers") else r.layers()
    for key in ("layer_types", "layers_block_type", "attention_layers"):
        named = r.listed(key, layers)
        if named is not None:
            return [_word(r, key, t) for t in named]
    if r.kind.state:
        return _state_types(r, layers)
    if r.kind.window == "chunks":
        return _chunked(r, layers)
    if r.kind.window == "cycles":
        return _repeated(r, layers)
    return _windowed(r, layers)


def _word(r: Reader, key: str, word: Any) -> str:
    kind = WORDS.get(word) if isinstance(word, str) else None
    if kind is None or (kind == "state" and r.kind.state is None) or (kind == "chunk" and r.kind.window != "chunks"):
        raise r.fail(f"{key} names {short(word)}, which is not understood for {r.name}")
    return kind


def _lettered(r: Reader, pattern: Any) -> list[str]:
    if not isinstance(pattern, str) or not set(pattern) <= set("M*-E"):
        raise r.fail(f"hybrid_override_pattern={short(pattern)} is not understood; its letters are M, *, - and E")
    if r.has("layers") and r.layers() != len(pattern):
        raise r.fail(f"hybrid_override_pattern has {len(pattern)} layers, num_hidden_layers={r.layers()}")
    return [LETTERS[c] for c in pattern]


def _state_types(r: Reader, layers: int) -> list[str]:
    """Which layers attend, the others keep a state."""
    if r.kind.parallel_state:
        return ["full"] * layers
    listed = next((r.layers_in(key, layers) for key in ("attn_layer_indices", "full_attn_idxs") if r.config.get(key) is not None), None)
    if listed is not None:
        return ["full" if i in listed else "state" for i in range(layers)]
    if r.config.get("attn_layer_period") is not None:
        period, offset = r.named("attn_layer_period"), r.named("attn_layer_offset")
        if period < 1 or offset >= period:
            raise r.fail(f"attn_layer_offset={offset} is not below attn_layer_period={period}")
        return ["full" if i % period == offset else "state" for i in range(layers)]
    cycle = r.config.get("block_types")
    if cycle is not None:
        if not isinstance(cycle, list) or not cycle:
            raise r.fail(f"block_types={short(cycle)} is not a list of layer types")
        kinds = ["window" if w == "attention" else _word(r, "block_types", w) for w in cycle]
        return [kinds[i % len(kinds)] for i in range(layers)]
    if r.kind.state == "gated_delta":
        every = r.named("full_attention_interval", 4)
        if every < 1:
            raise r.fail(f"full_attention_interval={every} is not a number of layers")
        return ["state" if (i + 1) % every else "full" for i in range(layers)]
    if r.kind.layout == "mixer only":
        return ["state"] * layers
    raise r.fail(f"nothing says which layers of {r.name} attend; layer_types is missing")


def _chunked(r: Reader, layers: int) -> list[str]:
    """Layers with rotary positions attend in chunks, those without to everything."""
    rotary = r.listed("no_rope_layers", layers) if r.config.get("no_rope_layers") else None  # 1 where a layer has rotary positions
    if rotary is None:
        every = r.named("no_rope_layer_interval", 4)
        if every < 1:
            raise r.fail(f"no_rope_layer_interval={every} is not a number of layers")
        rotary = [int((i + 1) % every != 0) for i in range(layers)]
    return ["chunk" if flag else "full" for flag in rotary]


def _repeated(r: Reader, layers: int) -> list[str]:
    """`attention_types`: a list of [[types], times]."""
    given = r.config.get("attention_types")
    try:
        types = [word for words, times in given for _ in range(min(times, layers)) for word in words]  # type: ignore[union-attr]
    except (TypeError, ValueError):
        types = []
    if len(types) != layers:
        raise r.fail(f"attention_types={short(given)} does not say a type for each of {layers} layers")
    return [_word(r, "attention_types", t) for t in types]


def _windowed(r: Reader, layers: int) -> list[str]:
    """Which layers see only the sliding window, where no list says so."""
    how = r.kind.window
    if r.config.get("sliding_window") is None:
        return ["full"] * layers
    if how in ("all", "even"):
        return ["full" if how == "even" and i % 2 else "window" for i in range(layers)]
    if how == "pattern":
        return _patterned(r, layers)
    if not r.flag("use_sliding_window"):
        return ["full"] * layers
    if how == "upper":  # the first ones attend to everything
        first = r.named("max_window_layers")
        return ["window" if i >= first else "full" for i in range(layers)]
    raise r.fail("use_sliding_window=True needs layer_types to say which layers have the window")


def _patterned(r: Reader, layers: int) -> list[str]:
    """A pattern of letters that repeats, or the number of layers of which the last attends to everything."""
    pattern = r.config.get("sliding_window_pattern", r.config.get("_sliding_window_pattern", r.kind.pattern))
    if isinstance(pattern, str) and pattern and set(pattern) <= {"L", "G"}:
        return [LETTERS[pattern[i % len(pattern)]] for i in range(layers)]
    if pattern is None:
        raise r.fail("sliding_window_pattern is missing, so nothing says which layers have the window")
    every = r.number("sliding_window_pattern", pattern)
    return ["window" if every and (i + 1) % every else "full" for i in range(layers)]


def window_of(r: Reader) -> int | None:
    """The sliding window [tokens], where there is one."""
    for key in ("sliding_window", "attention_window_size", "window_size"):
        value = r.config.get(key)
        if value is not None and not (value == 0 and key == "sliding_window"):
            return r.number(key, value, at_least=1)
    return None


def attention(r: Reader, kind: str, layer: int) -> Block:
    """The attention of a layer that is `full`, `window` or `chunk`."""
    if r.kind.latent:
        return latent(r, layer)
    own = _overrides(r, kind, layer)
    heads = own.get("heads") or r.count("heads")
    kv_heads, head_dim = own.get("kv_heads") or _kv_heads(r, heads), own.get("head_dim") or r.head_dim(heads)
    if heads % kv_heads:
        raise r.fail(f"num_attention_heads={heads} is not a multiple of num_key_value_heads={kv_heads}")
    window = chunk = None
    if kind == "window":
        window = window_of(r)
        if window is None:
            raise r.fail("layer_types names 'sliding_attention', and sliding_window is missing")
    if kind == "chunk":
        chunk = r.number("attention_chunk_size", r.config.get("attention_chunk_size"), at_least=1)
    normed = r.kind.qk_norm is not None and (r.kind.qk_norm_said is None or r.said(r.kind.qk_norm_said))
    return Attention(
        heads=heads, kv_heads=kv_heads, head_dim=head_dim, value_dim=own.get("value_dim"), window=window, chunk=chunk,
        qkv_bias=r.said(r.kind.qkv_bias), o_bias=r.said(r.kind.o_bias), qk_norm=r.kind.qk_norm if normed else None,
        output_gate=r.kind.output_gate,
        sinks=r.kind.sinks, extra_norms=2 * head_dim if normed and r.kind.qk_norm_biased else 0,
        values_are_keys=kind == "full" and r.kind.shapes and r.flag("attention_k_eq_v"), owns_kv=not shares_kv(r, layer),
    )  # fmt: skip


def shares_kv(r: Reader, layer: int) -> bool:
    """Whether a layer reads the cache of an earlier one: the last `num_kv_shared_layers` do."""
    return r.kind.shapes and layer >= r.layers() - r.named("num_kv_shared_layers", 0)


def _overrides(r: Reader, kind: str, layer: int) -> dict[str, int]:
    """Sizes one layer has that are not the model's: listed layer by layer, or told for layers that attend to everything."""
    if not r.kind.shapes:
        return {}
    listed = r.config.get("per_layer_config")
    if listed is not None:
        own = listed.get(str(layer), {}) if isinstance(listed, dict) else None
        if not isinstance(own, dict) or not set(own) <= set(OVERRIDES):
            raise r.fail(f"per_layer_config={short(own)} of layer {layer} is not understood")
        return {OVERRIDES[key]: r.number(key, value, at_least=1) for key, value in own.items()}
    if kind != "full":
        return {}
    own = {"head_dim": r.named("global_head_dim")}
    if r.flag("attention_k_eq_v") and r.config.get("num_global_key_value_heads") is not None:
        own["kv_heads"] = r.number("num_global_key_value_heads", r.config["num_global_key_value_heads"], at_least=1)
    return own


OVERRIDES = {"head_dim": "head_dim", "num_key_value_heads": "kv_heads", "num_attention_heads": "heads"}


def _kv_heads(r: Reader, heads: int) -> int:
    how = r.kind.kv_heads
    if how == "heads" or (how == "heads by default" and not r.has("kv_heads")):
        return heads
    if how == "one if multi_query":
        return 1 if r.flag("multi_query", True) else heads
    if how == "falcon" and not r.flag("new_decoder_architecture"):
        return 1 if r.flag("multi_query", True) else heads
    if how == "said if grouped" and not r.flag("multi_query_attention"):
        return heads
    return r.count("kv_heads")


def latent(r: Reader, layer: int) -> LatentAttention:
    """Multi-head latent attention, with an indexer where the kind has one."""
    indexer, indexed = None, True
    if r.kind.indexer:
        indexer = Indexer(heads=r.count("index_heads"), head_dim=r.count("index_dim"), top_k=r.count("index_top_k"))
        types = r.listed("indexer_types", r.layers())
        if types is not None:
            if types[layer] not in ("full", "shared"):
                raise r.fail(f"indexer_types names {short(types[layer])}, which is not understood")
            indexed = types[layer] == "full"
        elif r.config.get("index_topk_freq") not in (None, 1):
            raise r.fail("index_topk_freq needs indexer_types to say which layers have an indexer")
    return LatentAttention(
        heads=r.count("heads"), q_rank=r.count("q_rank") if r.has("q_rank") else None, kv_rank=r.count("kv_rank"),
        nope_dim=r.count("nope_dim"), rope_dim=r.count("rope_dim"), v_dim=r.count("v_dim"), bias=r.said(r.kind.qkv_bias),
        indexer=indexer, indexed=indexed,
    )  # fmt: skip
