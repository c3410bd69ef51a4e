"""The traits of each kind of model (`model_type`) that its config does not state.

Every row is a set of traits, read by a small reader per mechanism; there is no code for a name. A
trait that a config switches is written as its key, with "=true" where an absent key means yes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

DEFAULT_HEADS: Literal["heads by default"] = "heads by default"
"""As many KV heads as heads where a config does not say."""
Switch = bool | str
"""True, False, or the key that says so: "key" (absent: no) or "key=true" (absent: yes)."""


class Kind(NamedTuple):
    """Traits of one `model_type`; the defaults are those of a plain llama.

    `needs`: keys without which nothing is assumed; `requires`: switches that must be on; `reads`: further
    keys the kind understands. `norms` and `norm_vectors` as in `LayerGroup`; `parallel`: attention
    and feed-forward block side by side. `shapes`: layers may differ in heads and widths, share a cache and have
    inputs of their own. `state`: the recurrent mixer of layers that do not attend, by its name in
    `states.STATES`, `parallel_state`: or that do.
    `layout`: what a layer is made of. `window`: which layers have the window, where `layer_types` does not say. `shared`: how the width of
    shared experts is told. `mtp`: whether the layers for multi-token prediction the config names are
    stored, and how many tables with them.
    """

    needs: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    tied: Switch = "tie_word_embeddings"
    # Layers
    layout: Literal["mixer and feed-forward", "one block", "mixer only", "listed"] = "mixer and feed-forward"
    norms: int = 2
    norm_vectors: int = 1
    affine: Switch = True
    pre_norm: Switch = True
    parallel: Switch = False
    parallel_norms: Literal["as ever", "one", "by architecture"] = "as ever"
    scalars: int = 0
    embedding_vectors: int = 0
    positions: int | None = None
    head_bias: Switch = False
    # Attention
    latent: bool = False
    qkv_bias: Switch = False
    o_bias: Switch = False
    qk_norm: Literal["head", "width"] | None = None
    qk_norm_said: str | None = None
    qk_norm_biased: bool = False
    output_gate: bool = False
    sinks: bool = False
    kv_heads: Literal["said", "heads by default", "heads", "falcon", "one if multi_query", "said if grouped"] = "said"
    window: Literal["typed", "all", "even", "pattern", "upper", "chunks", "cycles"] = "typed"
    pattern: int | None = None
    state: str | None = None
    state_bias: Switch = "mamba_proj_bias"
    conv_bias: Switch = "mamba_conv_bias=true"
    gated_norm: Switch = True
    inner_norms: bool = False
    parallel_state: bool = False
    indexer: bool = False
    shapes: bool = False
    # Feed-forward
    gated: bool = True
    mlp_bias: Switch = False
    ffn_over_hidden: int | None = None
    ffn_divisor: int = 1
    ffn_key: str | None = None
    ffn_adjusted: bool = False
    moe: Literal["all", "if said"] | None = None
    dense: tuple[str, ...] = ()
    shared: Literal["count", "width", "expert width", "dense"] | None = None
    shared_gate: bool = False
    shared_bias: Switch = False
    least_experts: int = 1
    correction: Switch = False
    router_bias: bool = False
    expert_bias: bool = False
    experts_gated: bool = True
    mtp: bool = False
    mtp_tables: int = 0


ATT = {"qkv_bias": "attention_bias", "o_bias": "attention_bias"}
"""The usual switch for biases of all four projections."""
LLAMA = {**ATT, "mlp_bias": "mlp_bias"}
OLD = {"norm_vectors": 2, "gated": False, "mlp_bias": True, "kv_heads": "heads"}
"""Layer norms with a weight and a bias, a plain MLP with biases, every head its own keys."""
DEEP = {"latent": True, "qkv_bias": "attention_bias", "moe": "all", "dense": ("first_k_dense_replace", "moe_layer_freq"), "shared": "count"}
HYBRID = {"state": "mamba2"}
SIMPLE = {"state_bias": "use_bias", "conv_bias": "use_conv_bias=true"}
"""Recurrent mixers whose switches carry no prefix."""


def _kind(*parts: Mapping[str, Any], **traits: Any) -> Mapping[str, Any]:
    merged: dict[str, Any] = {}
    for part in (*parts, traits):
        merged |= part
    return merged


TIED = {"tied": "tie_word_embeddings=true"}
QWEN2_WINDOW = {"window": "upper"}
DELTA = {"state": "gated_delta", "output_gate": True, "qk_norm": "head", **ATT}

KINDS: Mapping[str, Mapping[str, Any]] = {
    # Dense, with rotary positions and gated feed-forward blocks.
    "llama": _kind(LLAMA, kv_heads=DEFAULT_HEADS),
    "mistral": _kind(window="all", needs=("sliding_window",)),
    "ministral": _kind(window="all"),
    "ministral3": _kind(window="all"),
    "qwen": _kind(qkv_bias=True, kv_heads="heads", ffn_divisor=2, requires=("no_bias",)),
    "qwen2": _kind(QWEN2_WINDOW, qkv_bias=True, reads=("attention_bias",)),
    "qwen3": _kind(QWEN2_WINDOW, ATT, qk_norm="head", needs=("head_dim",)),
    "gemma": _kind(ATT, TIED, needs=("head_dim",)),
    "gemma2": _kind(ATT, TIED, norms=4, window="even", needs=("head_dim",)),
    "gemma3_text": _kind(ATT, TIED, norms=4, qk_norm="head", window="pattern", pattern=6, needs=("head_dim",)),
    "gemma4_text": _kind(ATT, TIED, norms=4, qk_norm="head", scalars=1, shapes=True, moe="if said", shared="dense", correction=True,
                         needs=("head_dim", "layer_types", "hidden_size_per_layer_input")),
    "gemma4_unified_text": _kind(ATT, TIED, norms=4, qk_norm="head", scalars=1, shapes=True, needs=("head_dim", "layer_types")),
    "vaultgemma": _kind(ATT, TIED, window="even", needs=("head_dim",)),
    "phi3": _kind(window="all", kv_heads=DEFAULT_HEADS),
    "granite": _kind(LLAMA, kv_heads=DEFAULT_HEADS),
    "smollm3": _kind(LLAMA, TIED),
    "glm": _kind(qkv_bias="attention_bias", needs=("head_dim",)),
    "glm4": _kind(qkv_bias="attention_bias", norms=4, needs=("head_dim",)),
    "chatglm": _kind(
        qkv_bias="add_qkv_bias", kv_heads="said if grouped", o_bias="add_bias_linear", mlp_bias="add_bias_linear",
                        needs=("multi_query_attention",),
        requires=("rmsnorm", "post_layer_norm"),
    ),
    "internlm": _kind(qkv_bias="bias", o_bias="bias"),
    "internlm2": _kind(qkv_bias="bias", o_bias="bias"),
    "internlm3": _kind(qkv_bias="qkv_bias", o_bias="bias", mlp_bias="bias"),
    "helium": _kind(qkv_bias="attention_bias", mlp_bias="mlp_bias"),
    "seed_oss": _kind(qkv_bias="attention_bias=true", o_bias="attention_out_bias", mlp_bias="mlp_bias", needs=("head_dim",)),
    "arcee": _kind(LLAMA, gated=False),
    "apertus": _kind(ATT, gated=False, qk_norm="head", scalars=4),
    "exaone4": _kind(qk_norm="head", window="pattern"),
    "ernie4_5": _kind(qkv_bias="use_bias", o_bias="use_bias", mlp_bias="use_bias", tied="tie_word_embeddings=true"),
    "hunyuan_v1_dense": _kind(ATT, qk_norm="head"),
    "olmo": _kind(ATT, norm_vectors=0, kv_heads=DEFAULT_HEADS),
    "olmo2": _kind(ATT, qk_norm="width", kv_heads=DEFAULT_HEADS),
    "olmo3": _kind(ATT, qk_norm="width", kv_heads=DEFAULT_HEADS, window="pattern", pattern=4),
    "cohere": _kind(ATT, TIED, norms=1, parallel=True, qk_norm="width", qk_norm_said="use_qk_norm", kv_heads=DEFAULT_HEADS),
    "cohere2": _kind(ATT, TIED, norms=1, parallel=True, window="pattern", pattern=4),
    "nemotron": _kind(LLAMA, norm_vectors=2, gated=False),
    "stablelm": _kind(
        qkv_bias="use_qkv_bias", norm_vectors=2, parallel="use_parallel_residual", parallel_norms="one", qk_norm="width",
                        qk_norm_said="qk_layernorm",
    ),
    "starcoder2": _kind(TIED, qkv_bias="use_bias=true", o_bias="use_bias=true", mlp_bias="use_bias=true", norm_vectors=2, gated=False,
                        window="all"),
    "nemotron-nas": _kind(layout="listed", reads=("block_configs",), kv_heads=DEFAULT_HEADS),
    # Older ones: layer norms, plain feed-forward blocks, biases.
    "gpt2": _kind(OLD, TIED, qkv_bias=True, o_bias=True, positions=0, ffn_over_hidden=4),
    "gpt_bigcode": _kind(OLD, TIED, qkv_bias=True, o_bias=True, positions=0, ffn_over_hidden=4, kv_heads="one if multi_query"),
    "gpt_neo": _kind(OLD, TIED, o_bias=True, window="cycles", positions=0, ffn_over_hidden=4, reads=("window_size", "attention_types")),
    "gpt_neox": _kind(OLD, parallel="use_parallel_residual=true", qkv_bias="attention_bias=true", o_bias="attention_bias=true"),
    "gptj": _kind(OLD, parallel=True, norms=1, head_bias=True, ffn_over_hidden=4),
    "codegen": _kind(OLD, parallel=True, norms=1, head_bias=True, ffn_over_hidden=4),
    "phi": _kind(OLD, parallel=True, norms=1, qkv_bias=True, o_bias=True, head_bias=True, kv_heads=DEFAULT_HEADS, qk_norm="head",
                 qk_norm_said="qk_layernorm", qk_norm_biased=True),
    "phi-msft": _kind(OLD, parallel=True, norms=1, qkv_bias=True, o_bias=True, head_bias=True, kv_heads=DEFAULT_HEADS,
                     ffn_over_hidden=4),
    "opt": _kind(OLD, TIED, qkv_bias="enable_bias=true", o_bias="enable_bias=true", mlp_bias="enable_bias=true", positions=2,
                        affine="layer_norm_elementwise_affine=true", pre_norm="do_layer_norm_before=true",
                 reads=("word_embed_proj_dim",)),
    "bloom": _kind(OLD, TIED, qkv_bias=True, o_bias=True, embedding_vectors=2, ffn_over_hidden=4),
    "falcon": _kind(TIED, qkv_bias="bias", o_bias="bias", mlp_bias="bias", norm_vectors=2, gated=False, kv_heads="falcon",
                    parallel="parallel_attn=true", parallel_norms="by architecture",
                    ffn_over_hidden=4, reads=("alibi",)),
    # Experts.
    "mixtral": _kind(window="all", moe="all"),
    "phimoe": _kind(ATT, window="all", norm_vectors=2, head_bias="lm_head_bias", moe="all"),
    "gpt_oss": _kind(qkv_bias="attention_bias=true", o_bias="attention_bias=true", sinks=True, window="even", moe="all", router_bias=True,
                     expert_bias=True, needs=("head_dim",)),
    "granitemoe": _kind(ATT, kv_heads=DEFAULT_HEADS, moe="all"),
    "granitemoeshared": _kind(ATT, kv_heads=DEFAULT_HEADS, moe="all", shared="width"),
    "olmoe": _kind(ATT, qk_norm="width", kv_heads=DEFAULT_HEADS, moe="all"),
    "qwen2_moe": _kind(QWEN2_WINDOW, qkv_bias="qkv_bias=true", moe="all", dense=("decoder_sparse_step", "mlp_only_layers"), shared="width",
                       shared_gate=True),
    "qwen3_moe": _kind(QWEN2_WINDOW, ATT, qk_norm="head", moe="all", dense=("decoder_sparse_step", "mlp_only_layers")),
    "minimax_m2": _kind(qk_norm="width", qk_norm_said="use_qk_norm=true", moe="all", correction="use_routing_bias=true",
                        reads=("num_mtp_modules",)),
    "llama4_text": _kind(ATT, window="chunks", ffn_key="intermediate_size_mlp", moe="all", dense=("interleave_moe_layer_step",
                        "moe_layers"), shared="expert width",
                         reads=("attention_chunk_size", "use_qk_norm")),
    "deepseek": _kind(ATT, moe="all", dense=("first_k_dense_replace", "moe_layer_freq"), shared="count"),
    "glm4_moe": _kind(qkv_bias="attention_bias", qk_norm="head", qk_norm_said="use_qk_norm", moe="all", dense=("first_k_dense_replace",),
                      shared="count", correction=True, mtp=True),
    "dots1": _kind(QWEN2_WINDOW, ATT, qk_norm="head", moe="all", dense=("first_k_dense_replace",), shared="count", correction=True),
    "ernie4_5_moe": _kind(qkv_bias="use_bias", o_bias="use_bias", mlp_bias="use_bias", head_bias="use_bias", shared_bias="use_bias",
                          tied="tie_word_embeddings=true", moe="all",
                          dense=("moe_layer_start_index", "moe_layer_end_index", "moe_layer_interval"), shared="count", correction=True),
    "flex_olmo": _kind(ATT, qk_norm="width", kv_heads=DEFAULT_HEADS, moe="all"),
    "solar_open": _kind(moe="all", shared="count", correction=True, reads=("attention_bias",), needs=("head_dim",)),
    "exaone_moe": _kind(qk_norm="head", window="pattern", moe="all", dense=("first_k_dense_replace",), shared="count", correction=True),
    "hy_v3": _kind(LLAMA, qk_norm="head", moe="all", dense=("first_k_dense_replace",), shared="count", correction=True),
    # Latent attention.
    "deepseek_v2": _kind(DEEP),
    "deepseek_v3": _kind(DEEP, correction=True, mtp=True, mtp_tables=2),
    "kimi_k2": _kind(DEEP, correction=True, mtp=True, mtp_tables=2),
    "deepseek_v32": _kind(DEEP, correction=True, indexer=True, mtp=True, mtp_tables=2),
    "glm_moe_dsa": _kind(DEEP, correction=True, indexer=True, mtp=True),
    "glm4_moe_lite": _kind(DEEP, correction=True, mtp=True),
    "mistral4": _kind(DEEP),
    "minicpm3": _kind(latent=True, qkv_bias="attention_bias"),
    "youtu": _kind(TIED, latent=True, qkv_bias="attention_bias"),
    # Recurrent states, alone or beside attention.
    "mamba": _kind(TIED, SIMPLE, state="mamba", layout="mixer only", norms=1),
    "falcon_mamba": _kind(TIED, SIMPLE, state="mamba", layout="mixer only", norms=1),
    "mamba2": _kind(HYBRID, SIMPLE, layout="mixer only", norms=1),
    "jamba": _kind(TIED, state="mamba", inner_norms=True, moe="if said", least_experts=2, dense=("expert_layer_period",)),
    "bamba": _kind(LLAMA, HYBRID),
    "granitemoehybrid": _kind(ATT, HYBRID, moe="if said", shared="width"),
    "nemotron_h": _kind(HYBRID, SIMPLE, layout="one block", tied=False, mlp_bias="mlp_bias",
                        reads=("attention_bias", "num_nextn_predict_layers"), gated=False,
                        experts_gated=False, moe="if said", shared="width", correction=True, norms=1),
    "falcon_h1": _kind(LLAMA, HYBRID, gated_norm="mamba_rms_norm=true", parallel_state=True),
    "qwen3_next": _kind(DELTA, moe="all", dense=("decoder_sparse_step", "mlp_only_layers"), shared="width", shared_gate=True, mtp=True,
                        needs=("head_dim",)),
    "qwen3_5_text": _kind(DELTA, mtp=True, needs=("head_dim",)),
    "qwen3_5_moe_text": _kind(DELTA, moe="all", shared="width", shared_gate=True, mtp=True, needs=("head_dim",)),
    "lfm2": _kind(TIED, state="short_conv", qk_norm="head", ffn_adjusted=True),
    "lfm2_moe": _kind(TIED, state="short_conv", qk_norm="head", moe="all", dense=("num_dense_layers",), correction="use_expert_bias=true"),
    "recurrent_gemma": _kind(TIED, state="gated_recurrence", qkv_bias="attention_bias", o_bias=True, mlp_bias=True, ffn_divisor=2,
                             window="all", kv_heads=DEFAULT_HEADS),
}  # fmt: skip

SAME_AS: Mapping[str, str] = {
    # Other names of the same traits: remote-code names, and the language models of multimodal ones.
    "RefinedWeb": "falcon", "RefinedWebModel": "falcon", "qwen2_vl": "qwen2", "qwen2_vl_text": "qwen2", "qwen2_5_vl": "qwen2",
    "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3", "qwen3_vl": "qwen3", "qwen3_vl_moe_text": "qwen3_moe",
    "qwen3_vl_moe": "qwen3_moe", "qwen3_5": "qwen3_5_text", "qwen3_5_moe": "qwen3_5_moe_text", "gemma3": "gemma3_text",
    "gemma4": "gemma4_text", "llama4": "llama4_text", "mistral3": "mistral", "deepseek_v3_2": "deepseek_v32",
}  # fmt: skip


@lru_cache(maxsize=256)
def kind_of(name: str) -> Kind:
    """The traits of a kind of `KINDS`."""
    return Kind(**KINDS[name])
