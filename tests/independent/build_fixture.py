"""The independent route: count tiny models of every kind with `transformers` and write `fixtures/transformers_kinds.json`.

Not run in CI, which only reads the file written. Last run on the CPU, Python 3.11, with

    torch==2.13.0
    transformers==5.23.0

in an environment of its own (`pip install torch==2.13.0 transformers==5.23.0`, then `python tests/independent/build_fixture.py`).
Nothing here imports `sol`: parameters are counted on torch's meta device from the classes that users run, and FLOPs by torch's
`FlopCounterMode` over one real forward pass. Every config written is read back and counted again before it is kept.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

PINNED = {"torch": "2.13.0", "transformers": "5.23.0"}
FIXTURE = Path(__file__).parent.parent / "fixtures" / "transformers_kinds.json"
TOKENS = 24  # below every window and chunk used here, so no mask makes the square smaller than it is counted
MAX_BYTES = 150_000

NOTE = (
    "Written by tests/independent/build_fixture.py; do not edit. parameters: elements of distinct nn.Parameters of the CausalLM class "
    "(a tied table once), without the MTP layers that num_nextn_predict_layers declares; stored_buffers: elements of persistent "
    "buffers, by name, which checkpoints hold as well (router correction biases), not in parameters; inv_freq and other "
    "non-persistent buffers nowhere. lm_head_parameters: 0 when tied. tables: embeddings other than the input's (positions, per-layer). "
    "config: what config.to_dict() saves, trimmed; given: the same model in the keys its published config.json uses, where saving "
    "renames or unrolls them. flops.total: FlopCounterMode over one forward of `tokens` tokens, eager attention and eager experts, "
    "logits of every token, without the cos/sin tables of rotary embeddings; it counts square attention, 4*n*n*heads*head_dim per "
    "layer (2*n*n*heads*(qk+v) where they differ), not the causal half: flops.attention is that part of the total. Lengths stay below "
    "every window. nested: the whole model's parameters, text_parameters those of the language model with its lm_head."
)

# Keys that shape neither parameters nor attention.
DROPPED = {
    "activation", "activation_function", "activation_sparsity_pattern", "add_cross_attention", "altup_active_idx", "altup_coef_clip",
    "altup_correct_scale", "architectures", "attention_in_multiplier", "attention_multiplier", "attention_out_multiplier",
    "attention_softmax_in_fp32", "attention_value_scale", "attn_logit_softcapping", "attn_pdrop", "attn_scale",
    "attn_temperature_tuning", "attn_uses_sequence_id", "chunk_size", "chunk_size_feed_forward", "clip_qkv", "compress_rope_theta",
    "dim_model_base", "dtype", "emb_pdrop", "embd_pdrop", "embedding_fraction", "embedding_initializer_range", "embedding_multiplier",
    "enable_moe_fp32_combine", "ffn_act_fn", "final_logit_softcapping", "final_w_init_variance_scale", "floor_scale",
    "full_attn_alpha_factor", "full_attn_beta_factor", "hc_eps", "hc_sinkhorn_iters", "hidden_activation", "hidden_mamba_act",
    "id2label", "ignore_keys_at_rope_validation", "image_seq_length", "init_device", "init_std", "input_jitter_noise", "is_decoder",
    "is_encoder_decoder", "key_multiplier", "label2id", "lambda_std_dev", "layer_norm_eps", "layer_norm_epsilon", "layerdrop",
    "linear_allow_neg_eigval", "linear_attn_alpha_factor", "linear_attn_beta_factor", "lm_head_multiplier", "logit_scale",
    "logits_scaling", "logits_soft_cap", "mamba_chunk_size", "mamba_hidden_act", "mamba_norm_before_gate", "mixer_rms_eps",
    "mlp_alpha_factor", "mlp_beta_factor", "mlp_hidden_act", "mlp_multipliers", "model_max_length", "moe_jitter_eps",
    "moe_loss_weight", "moe_norm_min", "moe_renormalize", "moe_shared_expert_overlap", "mtp_layers_block_type", "mup_enabled",
    "norm_eps", "norm_epsilon", "norm_topk_prob", "norm_type", "num_logits_to_keep", "original_max_position_embeddings",
    "output_attentions", "output_hidden_states", "output_router_logits", "pretraining_tp", "problem_type", "projector_hidden_act",
    "query_pre_attn_scalar", "reorder_and_upcast_attn", "rescale_prenorm_residual", "resid_pdrop", "residual_in_fp32",
    "residual_multiplier", "return_dict", "rms_norm_eps", "rope_interleave", "rope_theta", "route_scale", "routed_scaling_factor",
    "router_aux_loss_coef", "router_jitter_noise", "router_scaling_factor", "scale_attention_softmax_in_fp32",
    "scale_attn_by_inverse_layer_idx", "scale_attn_weights", "scale_depth", "scale_emb", "scale_embedding", "slow_but_exact",
    "softmax_scale", "ssm_in_multiplier", "ssm_multipliers", "ssm_out_multiplier", "standardize", "summary_activation",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "swiglu_alpha", "swiglu_limit", "transformers_version",
    "use_associative_scan", "use_bidirectional_attention", "use_cache", "use_clipped_linears", "use_mamba_kernels", "use_mambapy",
    "vision_feature_layer", "vision_feature_select_strategy", "w_init_variance_scale", "z_loss_coefficient",
}  # fmt: skip
DROPPED_ENDINGS = ("_token_id", "_token_index", "_token_ids", "dropout", "initializer_range", "_cache_dtype")
DROPPED_STARTS = ("time_step_m", "time_step_floor", "time_step_limit", "time_step_scale", "time_step_init", "linear_a_log", "linear_dt")

GENERIC: dict[str, Any] = {k: v for k, v in PreTrainedConfig().to_dict().items() if k != "tie_word_embeddings"}
PLAIN_ACTIVATIONS = {"silu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu"}  # others may have weights of their own (xielu)

# The class computes more than the architecture needs: every expert for every token; values twice; products between residual streams.
NOT_AS_COUNTED = ("llama4_text", "diffllama", "gemma3n_text")
NOT_ALL_ATTENTION = ("mamba", "ssm", "state_size", "linear_", "conv", "recurrent", "index_", "compress")

Keys = dict[str, Any]
BASE: Keys = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 112,
    "vocab_size": 256, "max_position_embeddings": 128,
}  # fmt: skip
MHA: Keys = {k: v for k, v in BASE.items() if k != "num_key_value_heads"}
GPT2: Keys = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 128, "vocab_size": 256}
MLA: Keys = BASE | {
    "num_key_value_heads": 4, "kv_lora_rank": 32, "q_lora_rank": 48, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 20,
}  # fmt: skip
DEEPSEEK: Keys = MLA | {
    "moe_intermediate_size": 40, "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1,
    "first_k_dense_replace": 1,
}  # fmt: skip
INDEXER: Keys = {"index_n_heads": 3, "index_head_dim": 12, "index_topk": 16}
DELTA: Keys = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 12, "linear_value_head_dim": 20,
    "linear_conv_kernel_dim": 4,
}  # fmt: skip
SSM: Keys = {"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2}
SSD: Keys = SSM | {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 2, "mamba_chunk_size": 16}
# Kinds whose class has a head width of its own (128 or 256) where the config gives none; helium's o_proj is hidden x hidden regardless.
WIDE = ("qwen3", "seed_oss", "helium", "internlm3", "gemma", "gemma2", "gemma3_text", "vaultgemma", "ernie4_5", "nemotron")
TOWER: Keys = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 72, "patch_size": 14}
FIRST_DENSE = ["dense", "sparse", "sparse", "sparse"]
WIDER: Keys = {"head_dim": 24}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
LOCAL: Keys = {"sliding_window": 32}
FULL_AND_LOCAL: Keys = LOCAL | {"layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]}


def without(keys: Keys, *names: str) -> Keys:
    """The keys, some left out."""
    return {k: v for k, v in keys.items() if k not in names}


VARIANTS: Mapping[str, str] = {  # a variant of many plain kinds: the kinds it is counted for
    "gqa": "llama mistral qwen3 granite arcee seed_oss smollm3 helium internlm3 bitnet",
    "mha": "llama qwen2 olmo olmo2 stablelm phi3 persimmon gpt_neox phi cohere apertus",
    "head dim": "llama mistral qwen3 glm exaone4 ernie4_5 hunyuan_v1_dense gemma gemma2 gemma3_text vaultgemma ministral3 nemotron",
    "tied": "llama qwen2 qwen3 phi3 gpt_neox nemotron",
    "untied": "gemma gemma3_text starcoder2 cohere ernie4_5 smollm3",
    "biases": "llama qwen3 granite helium olmo2 gemma2 cohere apertus nemotron",
}


def variant(kind: str, name: str) -> Keys:
    """The keys of a variant that many kinds have."""
    keys = MHA if name == "mha" or kind == "gpt_neox" else BASE
    if name == "mha" and kind in ("qwen2", "stablelm"):  # absent means 32 to these classes
        keys = BASE | {"num_key_value_heads": 4}
    if kind in WIDE:
        keys = keys | {"head_dim": 16}
    own = {"head dim": {"head_dim": 24}, "tied": TIED, "untied": UNTIED, "biases": {"attention_bias": True}}.get(name, {})
    if name == "biases" and kind in ("llama", "granite", "helium", "nemotron"):
        own = own | {"mlp_bias": True}
    return keys | own


def kinds() -> Iterator[tuple[str, str, Keys]]:
    """Every case as (model_type, short name, the keys of its config.json, as its models publish them)."""
    for name, names in VARIANTS.items():
        for kind in names.split():
            yield kind, name, variant(kind, name)
    yield from dense()
    yield from mixtures()
    yield from latent()
    yield from older()
    yield from linear()
    yield from states()


def dense() -> Iterator[tuple[str, str, Keys]]:
    """One kind of layer, or windows among full attention."""
    yield "llama", "one kv head", BASE | {"num_key_value_heads": 1}
    yield "mistral", "window", BASE | LOCAL
    yield "ministral", "window", BASE | LOCAL | WIDER
    yield "ministral", "layer types", BASE | FULL_AND_LOCAL | {"head_dim": 16}
    yield "qwen2", "gqa", BASE
    yield "qwen2", "window keys without a window", BASE | LOCAL | {"use_sliding_window": False, "max_window_layers": 2}
    yield "qwen2", "window from layer 2", BASE | LOCAL | {"use_sliding_window": True, "max_window_layers": 2}
    yield "qwen3", "biases, tied", BASE | TIED | WIDER | {"attention_bias": True}
    yield "gemma2", "window", BASE | LOCAL | WIDER
    yield "gemma3_text", "pattern 6", BASE | LOCAL | WIDER | {"sliding_window_pattern": 6, "num_hidden_layers": 7}
    yield "gemma3_text", "layer types, bias", BASE | FULL_AND_LOCAL | WIDER | {"attention_bias": True}
    per_layer = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 200}
    gemma3n = BASE | LOCAL | WIDER | per_layer | {"laurel_rank": 10, "altup_num_inputs": 4, "intermediate_size": [112] * 4}
    gemma3n |= {"layer_types": ["sliding_attention", "full_attention"] * 2, "activation_sparsity_pattern": [0.0] * 4}
    yield "gemma3n_text", "per-layer inputs", gemma3n | {"num_kv_shared_layers": 0}
    yield "gemma3n_text", "shared kv", gemma3n | {"num_kv_shared_layers": 2}
    gemma4 = BASE | LOCAL | WIDER | {"global_head_dim": 40, "num_hidden_layers": 6, "hidden_size_per_layer_input": 0}
    gemma4 |= {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2}
    yield "gemma4_text", "global head dim", gemma4
    yield "gemma4_text", "per-layer inputs", gemma4 | per_layer
    yield "gemma4_text", "shared kv", gemma4 | per_layer | {"num_kv_shared_layers": 3}
    yield "gemma4_text", "shared kv, double wide", gemma4 | per_layer | {"num_kv_shared_layers": 3, "use_double_wide_mlp": True}
    yield "gemma4_text", "k is v", gemma4 | {"attention_k_eq_v": True, "num_global_key_value_heads": 1}
    yield "gemma4_text", "experts", gemma4 | {"enable_moe_block": True, "num_experts": 6, "top_k_experts": 2, "moe_intermediate_size": 40}
    yield "gemma4_unified_text", "global head dim", without(gemma4, "hidden_size_per_layer_input")
    yield "phi", "gqa, qk norms", BASE | {"qk_layernorm": True, "partial_rotary_factor": 0.5}
    yield "phi3", "gqa, window", BASE | LOCAL | {"partial_rotary_factor": 0.5}
    yield "glm", "no bias", BASE | {"attention_bias": False, "head_dim": 16}
    yield "glm4", "bias", BASE | {"attention_bias": True, "head_dim": 16}
    yield "cohere", "qk norms", BASE | {"use_qk_norm": True}
    yield "cohere2", "window", BASE | LOCAL | WIDER
    yield "cohere2", "pattern 2", BASE | LOCAL | {"sliding_window_pattern": 2}
    yield "starcoder2", "biases", BASE
    yield "starcoder2", "no bias, window", BASE | LOCAL | {"use_bias": False}
    yield "stablelm", "bias, qk norms", BASE | {"use_qkv_bias": True, "qk_layernorm": True}
    yield "stablelm", "parallel", BASE | {"use_parallel_residual": True}
    yield "olmo3", "window", BASE | LOCAL
    yield "olmo3", "layer types, mha", MHA | FULL_AND_LOCAL
    yield "apertus", "xielu", BASE
    yield "seed_oss", "all biases", BASE | WIDER | {"attention_bias": True, "attention_out_bias": True, "mlp_bias": True}
    yield "seed_oss", "no bias", BASE | WIDER | {"attention_bias": False}
    yield "exaone4", "window", BASE | LOCAL | {"sliding_window_pattern": 4}
    yield "exaone4", "full", BASE | TIED | {"sliding_window": None, "layer_types": ["full_attention"] * 4}
    yield "ernie4_5", "bias", BASE | {"use_bias": True, "head_dim": 16}
    yield "smollm3", "no rope layers", BASE | {"no_rope_layers": [1, 1, 0, 1], "num_key_value_heads": 1}
    yield "hunyuan_v1_dense", "tied", BASE | TIED | {"head_dim": 16}
    yield "nanochat", "gqa", BASE
    yield "diffllama", "gqa", BASE


def mixtures() -> Iterator[tuple[str, str, Keys]]:
    """Experts: which layers have them, how wide, what is shared."""
    local = BASE | {"num_local_experts": 6, "num_experts_per_tok": 2}
    yield "mixtral", "experts", local
    yield "mixtral", "head dim, window", local | LOCAL | WIDER | TIED
    yield "phimoe", "experts", local
    yield "phimoe", "biases", local | {"attention_bias": True, "lm_head_bias": True}
    yield "gpt_oss", "sinks", local | LOCAL | WIDER
    yield "gpt_oss", "no bias", local | FULL_AND_LOCAL | {"head_dim": 16, "attention_bias": False}
    yield "granitemoe", "experts", local
    yield "granitemoe", "bias, tied", local | TIED | {"attention_bias": True}
    yield "granitemoeshared", "shared expert", local | {"shared_intermediate_size": 56}
    yield "minimax_m2", "qk norms", local | WIDER | {"use_qk_norm": True, "rotary_dim": 12}
    numbered = BASE | {"num_experts": 6, "num_experts_per_tok": 2}
    yield "olmoe", "experts", numbered
    yield "olmoe", "bias, tied", numbered | TIED | {"attention_bias": True}
    yield "flex_olmo", "experts", numbered
    qwen = numbered | {"moe_intermediate_size": 40}
    shared = qwen | {"shared_expert_intermediate_size": 56}
    yield "qwen2_moe", "shared expert", shared
    yield "qwen2_moe", "every second layer", shared | TIED | {"decoder_sparse_step": 2}
    yield "qwen2_moe", "no bias, dense layer 1", shared | {"qkv_bias": False, "mlp_only_layers": [1]}
    yield "qwen3_moe", "experts", qwen | WIDER
    yield (
        "qwen3_moe",
        "every second layer, dense layer 3",
        qwen | {"decoder_sparse_step": 2, "mlp_only_layers": [3], "attention_bias": True},
    )
    llama4 = BASE | WIDER | {"intermediate_size_mlp": 160, "num_local_experts": 4, "num_experts_per_tok": 1, "attention_chunk_size": 32}
    yield "llama4_text", "every layer", llama4 | {"interleave_moe_layer_step": 1}
    yield "llama4_text", "every second layer", llama4 | {"interleave_moe_layer_step": 2, "use_qk_norm": False, "attention_bias": True}
    yield "llama4_text", "layers named, tied", llama4 | TIED | {"moe_layers": [2], "no_rope_layer_interval": 2}
    routed = {
        "moe_intermediate_size": 40,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
    }
    glm = BASE | WIDER | routed | {"first_k_dense_replace": 1, "partial_rotary_factor": 0.5}
    yield "glm4_moe", "qk norms", glm | {"use_qk_norm": True}
    yield "glm4_moe", "bias", glm | TIED | {"use_qk_norm": False, "attention_bias": True, "first_k_dense_replace": 2}
    yield "solar_open", "experts", BASE | WIDER | routed
    dots = BASE | WIDER | routed | {"first_k_dense_replace": 1}
    yield "dots1", "experts", dots | {"n_shared_experts": 2}
    dots |= {"first_k_dense_replace": 2, "attention_bias": True}
    yield "dots1", "window, bias", dots | LOCAL | TIED | {"max_window_layers": 2, "use_sliding_window": True}
    mimo = without(BASE | WIDER | LOCAL | routed, "n_shared_experts") | {
        "v_head_dim": 16, "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "mlp_layer_types": FIRST_DENSE, "hybrid_layer_pattern": [0, 1, 1, 0], "moe_layer_freq": [0, 1, 1, 1],
        "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_head_dim": 24, "swa_v_head_dim": 16,
    }  # fmt: skip
    yield "mimo_v2_flash", "two head dims, windows with more kv heads", mimo
    deeper = qwen | WIDER | {"num_shared_experts": 1}
    yield "hy_v3", "experts", deeper | {"mlp_layer_types": FIRST_DENSE}
    yield "afmoe", "experts", deeper | LOCAL | {"num_dense_layers": 1, "global_attn_every_n_layers": 4}
    exaone = without(deeper, "head_dim") | LOCAL | {"first_k_dense_replace": 1, "sliding_window_pattern": 4}
    yield "exaone_moe", "experts", exaone | {"num_experts": 8, "n_group": 1, "topk_group": 1}
    ernie = BASE | {"moe_intermediate_size": 40, "moe_num_experts": 6, "moe_k": 2, "moe_num_shared_experts": 2, "num_hidden_layers": 5}
    ernie |= {"moe_layer_start_index": 1, "head_dim": 16}
    yield "ernie4_5_moe", "from layer 1", ernie | {"moe_layer_end_index": 4, "moe_layer_interval": 1}
    yield "ernie4_5_moe", "every second, bias", ernie | UNTIED | {"moe_layer_end_index": 3, "moe_layer_interval": 2, "use_bias": True}
    yield "ernie4_5_moe", "no shared", ernie | {"moe_layer_end_index": -1, "moe_num_shared_experts": 0}
    yield "hunyuan_v1_moe", "experts", BASE | WIDER | {"num_experts": 6, "moe_topk": 2}


def latent() -> Iterator[tuple[str, str, Keys]]:
    """Latent attention, indexers, compression."""
    more = {"first_k_dense_replace": 2, "n_shared_experts": 2, "attention_bias": True}
    for kind in ("deepseek_v2", "deepseek_v3", "mistral4"):
        yield kind, "q lora", DEEPSEEK
        yield kind, "no q lora", DEEPSEEK | TIED | {"q_lora_rank": None}
        yield kind, "two dense, two shared", DEEPSEEK | more
    yield "deepseek_v32", "indexer", DEEPSEEK | INDEXER
    yield "deepseek_v32", "two dense, two shared", DEEPSEEK | INDEXER | more
    yield "glm4_moe_lite", "one dense", DEEPSEEK
    typed = without(DEEPSEEK, "first_k_dense_replace") | {"mlp_layer_types": ["dense", "sparse", "dense", "sparse"]}
    yield "glm4_moe_lite", "mlp layer types", typed | {"n_shared_experts": 2}
    yield "glm_moe_dsa", "indexers everywhere", DEEPSEEK | INDEXER
    every_second = {"num_hidden_layers": 6, "index_topk_freq": 2, "index_skip_topk_offset": 1}
    yield "glm_moe_dsa", "every second indexer", DEEPSEEK | INDEXER | every_second
    some = {"indexer_types": ["full", "shared", "shared", "full"], "attention_bias": True}
    yield "glm_moe_dsa", "shared indexers", DEEPSEEK | INDEXER | some
    yield "deepseek_v4", "windowed and compressed", without(BASE, "intermediate_size") | INDEXER | LOCAL | {
        "num_key_value_heads": 1, "head_dim": 24, "q_lora_rank": 48, "qk_rope_head_dim": 8, "moe_intermediate_size": 40,
        "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "o_groups": 2, "o_lora_rank": 20, "hc_mult": 4,
        "num_hash_layers": 1, "compress_ratios": [0, 128, 4, 128],
    }  # fmt: skip
    yield "minicpm3", "mla", MLA
    yield "minicpm3", "untied", MLA | UNTIED
    yield "youtu", "mla", MLA
    yield "kimi_linear", "delta and mla", without(MLA, "max_position_embeddings") | {
        "q_lora_rank": None, "num_experts": 8, "num_experts_per_token": 2, "num_shared_experts": 1, "moe_intermediate_size": 40,
        "num_expert_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "linear_attn_config": {
            "full_attn_layers": [4], "kda_layers": [1, 2, 3], "head_dim": 12, "num_heads": 4, "short_conv_kernel_size": 4,
        },
    }  # fmt: skip
    minimax = BASE | WIDER | {
        "num_local_experts": 6, "num_experts_per_tok": 2, "dense_intermediate_size": 112, "intermediate_size": 40, "rotary_dim": 12,
        "shared_intermediate_size": 56,
    }  # fmt: skip
    index = {"index_n_heads": 2, "index_head_dim": 12, "index_block_size": 8, "index_topk_blocks": 2}
    sparse = {"layer_types": ["full_attention", *["minimax_m3_sparse"] * 3], "mlp_layer_types": FIRST_DENSE}
    yield "minimax_m3_vl_text", "indexers", minimax | index | sparse
    names = ("sparse_num_index_heads", "sparse_index_dim", "sparse_block_size", "sparse_topk_blocks")
    published = dict(zip(names, index.values(), strict=True)) | {"sparse_attention_freq": [0, 0, 1, 1]}
    yield "minimax_m3_vl_text", "as published", minimax | {"moe_layer_freq": [0, 0, 1, 1], "sparse_attention_config": published}


def older() -> Iterator[tuple[str, str, Keys]]:
    """Models before llama, with names of their own for the same things."""
    yield "gpt2", "default", GPT2
    yield "gpt2", "inner, untied", GPT2 | UNTIED | {"n_inner": 112}
    yield "gpt_bigcode", "mqa", GPT2 | {"multi_query": True}
    yield "gpt_bigcode", "mha, inner", GPT2 | {"multi_query": False, "n_inner": 112}
    for kind in ("gptj", "codegen"):
        yield kind, "default", GPT2 | {"rotary_dim": 8}
        yield kind, "inner", GPT2 | {"rotary_dim": 8, "n_inner": 112}
    gpt_neo = {"hidden_size": 64, "num_layers": 4, "num_heads": 4, "vocab_size": 256, "max_position_embeddings": 128}
    gpt_neo |= {"attention_types": [[["global", "local"], 2]], "window_size": 32}
    yield "gpt_neo", "local", gpt_neo
    yield "gpt_neo", "inner", gpt_neo | {"intermediate_size": 112}
    yield "gpt_neox", "serial, no bias", MHA | {"use_parallel_residual": False, "attention_bias": False, "rotary_pct": 0.25}
    falcon = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 256}
    yield "falcon", "mqa", falcon | {"multi_query": True, "parallel_attn": True, "new_decoder_architecture": False, "bias": False}
    yield "falcon", "mqa, untied", falcon | UNTIED | {"multi_query": True}
    newer = falcon | {"new_decoder_architecture": True, "num_kv_heads": 2}
    yield "falcon", "new decoder", newer | {"bias": False}
    yield "falcon", "new decoder, one norm", newer | {"num_ln_in_parallel_attn": 1, "bias": True}
    serial = {"multi_query": False, "parallel_attn": False, "alibi": True, "bias": True, "ffn_hidden_size": 112}
    yield "falcon", "serial, alibi, bias", falcon | serial
    opt = without(MHA, "intermediate_size") | {"ffn_dim": 112, "word_embed_proj_dim": 64}
    yield "opt", "pre norm", opt
    yield "opt", "untied", opt | UNTIED
    yield "opt", "projected, post norm", opt | {"word_embed_proj_dim": 40, "do_layer_norm_before": False}
    yield "opt", "no bias, no affine norms", opt | {"enable_bias": False, "layer_norm_elementwise_affine": False}
    bloom = {"hidden_size": 64, "n_layer": 4, "n_head": 4, "vocab_size": 256}
    yield "bloom", "tied", bloom
    yield "bloom", "untied", bloom | UNTIED
    xglm = {"d_model": 64, "num_layers": 4, "attention_heads": 4, "ffn_dim": 112, "vocab_size": 256, "max_position_embeddings": 128}
    yield "xglm", "tied", xglm
    yield "biogpt", "tied", MHA
    mpt = {"d_model": 64, "n_heads": 4, "n_layers": 4, "max_seq_len": 128, "vocab_size": 256, "expansion_ratio": 4}
    yield "mpt", "alibi", mpt | {"attn_config": {"alibi": True}}
    yield "persimmon", "no qk norms", MHA | {"qk_layernorm": False, "partial_rotary_factor": 0.5}


def linear() -> Iterator[tuple[str, str, Keys]]:
    """Linear attention among full attention."""
    delta_moe = BASE | DELTA | WIDER | {
        "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "shared_expert_intermediate_size": 56,
    }  # fmt: skip
    yield "qwen3_next", "interval 4", delta_moe | {"full_attention_interval": 4, "partial_rotary_factor": 0.25}
    sparser = delta_moe | TIED | {"full_attention_interval": 3, "decoder_sparse_step": 2, "num_hidden_layers": 6}
    yield "qwen3_next", "interval 3, every second layer", sparser
    typed = delta_moe | {"mlp_only_layers": [0], "attention_bias": True, "layer_types": ["full_attention", "linear_attention"] * 2}
    yield "qwen3_next", "dense layer 0, bias", typed
    for kind, keys in (("qwen3_5_text", BASE | DELTA | WIDER), ("qwen3_5_moe_text", without(delta_moe, "intermediate_size"))):
        yield kind, "interval 4", keys | {"full_attention_interval": 4}
        yield kind, "interval 2, tied", keys | TIED | {"full_attention_interval": 2, "linear_num_value_heads": 2}
    yield "olmo_hybrid", "delta", BASE | DELTA | {"linear_num_key_heads": 4}
    minimax = BASE | WIDER | {"num_local_experts": 6, "num_experts_per_tok": 2}
    yield "minimax", "linear and full", minimax | {"layer_types": ["linear_attention", "full_attention"] * 2}


def states() -> Iterator[tuple[str, str, Keys]]:
    """State spaces, convolutions, gated recurrences; alone or among attention."""
    mamba = {"hidden_size": 64, "num_hidden_layers": 4, "state_size": 16, "vocab_size": 256, "conv_kernel": 4, "expand": 2}
    other = {"use_bias": True, "use_conv_bias": False}
    for kind in ("mamba", "falcon_mamba"):
        yield kind, "default", mamba
        yield kind, "biases, untied, step rank", mamba | UNTIED | other | {"time_step_rank": 6, "expand": 3}
    mamba2 = mamba | {"num_heads": 8, "head_dim": 16, "n_groups": 2, "chunk_size": 16}
    yield "mamba2", "default", mamba2
    yield "mamba2", "biases, tied", mamba2 | TIED | other
    jamba = BASE | SSM | {"num_hidden_layers": 6, "num_experts": 4, "num_experts_per_tok": 2, "use_mamba_kernels": False}
    jamba |= {"expert_layer_period": 2, "expert_layer_offset": 1, "attn_layer_period": 3, "attn_layer_offset": 1}
    yield "jamba", "experts", jamba
    other = {"mamba_proj_bias": True, "mamba_conv_bias": False}
    yield "jamba", "one expert, biases, tied", jamba | TIED | other | {"num_experts": 1, "num_experts_per_tok": 1, "mamba_dt_rank": 6}
    yield "bamba", "attention at 2", BASE | SSD | {"attn_layer_indices": [2]}
    yield "bamba", "biases, tied", BASE | SSD | TIED | other | {"attn_layer_indices": [1, 3], "attention_bias": True, "mlp_bias": True}
    granite = BASE | SSD | {"shared_intermediate_size": 56, "layer_types": ["mamba", "mamba", "attention", "mamba"]}
    experts = {"num_local_experts": 6, "num_experts_per_tok": 2}
    yield "granitemoehybrid", "experts", granite | experts
    yield "granitemoehybrid", "dense", granite | TIED | {"num_local_experts": 0, "num_experts_per_tok": 0}
    yield "granitemoehybrid", "biases", granite | experts | other | {"attention_bias": True}
    nemotron = without(BASE, "num_hidden_layers") | WIDER | {
        "ssm_state_size": 16, "mamba_num_heads": 8, "mamba_head_dim": 12, "n_groups": 2, "conv_kernel": 4, "expand": 2, "chunk_size": 16,
    }  # fmt: skip
    biases = {"attention_bias": True, "mlp_bias": True, "use_bias": True, "use_conv_bias": False, "mamba_proj_bias": True}
    yield "nemotron_h", "mlp layers", nemotron | {"hybrid_override_pattern": "M-M*M-"}
    yield "nemotron_h", "biases, tied", nemotron | TIED | biases | {"hybrid_override_pattern": "M-M*M-"}
    nemotron |= {"n_routed_experts": 8, "n_shared_experts": 1, "moe_intermediate_size": 40, "moe_shared_expert_intermediate_size": 56}
    nemotron |= {"num_experts_per_tok": 2, "hybrid_override_pattern": "MEM*ME"}
    yield "nemotron_h", "experts", nemotron
    yield "nemotron_h", "latent experts", nemotron | {"moe_latent_size": 28}
    falcon = BASE | SSD | {"mamba_d_ssm": 128}
    yield "falcon_h1", "parallel", falcon
    biases = {"mamba_rms_norm": True, "projectors_bias": True, "attention_bias": True, "mlp_bias": True}
    yield "falcon_h1", "gated norm, biases, tied", falcon | TIED | other | biases
    lfm2 = BASE | {"conv_L_cache": 3, "block_multiple_of": 16, "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": True}
    yield "lfm2", "adjusted width", lfm2 | {"full_attn_idxs": [2]}
    typed = {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False}
    yield "lfm2", "conv bias", lfm2 | UNTIED | typed | {"conv_bias": True}
    lfm2_moe = BASE | {"conv_L_cache": 3, "layer_types": ["conv", "conv", "full_attention", "conv"], "use_expert_bias": True}
    lfm2_moe |= {"moe_intermediate_size": 40, "num_dense_layers": 1, "num_experts": 6, "num_experts_per_tok": 2}
    yield "lfm2_moe", "experts", lfm2_moe
    gemma = BASE | {"num_hidden_layers": 5, "attention_window_size": 32, "conv1d_width": 4, "num_key_value_heads": 1}
    yield "recurrent_gemma", "lru width", gemma | {"lru_width": 72, "block_types": ["recurrent", "recurrent", "attention"]}
    wider = {"lru_width": 64, "head_dim": 24, "attention_bias": True, "block_types": ["recurrent", "attention"]}
    yield "recurrent_gemma", "head dim, bias", gemma | wider


def nested() -> Iterator[tuple[str, str, Keys]]:
    """Vision-language models: the text part under `text_config`, a small tower beside it."""
    clip = TOWER | {"model_type": "clip_vision_model", "image_size": 28, "projection_dim": 48}
    yield "llava", "llama and clip", {"text_config": BASE | {"model_type": "llama"}, "vision_config": clip}
    yield "llava", "qwen2, tied", {"text_config": BASE | TIED | {"model_type": "qwen2"}, "vision_config": clip} | TIED
    pixtral = TOWER | {"model_type": "pixtral", "image_size": 56, "head_dim": 12}
    yield (
        "mistral3",
        "mistral, pixtral",
        {"text_config": BASE | {"model_type": "mistral", "head_dim": 24}, "vision_config": pixtral} | UNTIED,
    )
    internvl = TOWER | {"image_size": [28, 28], "patch_size": [14, 14]}
    yield "internvl", "qwen2", {"text_config": BASE | {"model_type": "qwen2"}, "vision_config": internvl} | UNTIED
    gemma3 = BASE | LOCAL | {"head_dim": 24, "sliding_window_pattern": 2}
    yield "gemma3", "siglip", {"text_config": gemma3, "vision_config": TOWER | {"image_size": 56}, "mm_tokens_per_image": 4}
    gemma4 = BASE | LOCAL | {"head_dim": 24, "global_head_dim": 40, "layer_types": ["sliding_attention", "full_attention"] * 2}
    gemma4_vision = TOWER | {"num_key_value_heads": 4, "head_dim": 12, "patch_size": 8}
    yield "gemma4", "global head dim", {"text_config": gemma4 | {"hidden_size_per_layer_input": 0}, "vision_config": gemma4_vision}

    qwen2_vision = {"depth": 2, "embed_dim": 48, "num_heads": 4, "hidden_size": 64, "mlp_ratio": 2}
    yield "qwen2_vl", "default", {"text_config": BASE, "vision_config": qwen2_vision}
    vision = {"depth": 2, "hidden_size": 48, "num_heads": 4, "intermediate_size": 72, "patch_size": 14, "out_hidden_size": 64}
    yield "qwen2_5_vl", "default", {"text_config": BASE, "vision_config": vision}
    yield "qwen2_5_vl", "tied", {"text_config": BASE | TIED, "vision_config": vision} | TIED
    vision = vision | {"num_position_embeddings": 16}
    deepstack = vision | {"deepstack_visual_indexes": [0]}
    moe = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "head_dim": 24}
    yield "qwen3_vl", "head dim", {"text_config": BASE | {"head_dim": 24}, "vision_config": deepstack}
    yield "qwen3_vl_moe", "experts", {"text_config": BASE | UNTIED | moe, "vision_config": deepstack} | UNTIED
    delta = BASE | UNTIED | DELTA | {"head_dim": 24, "full_attention_interval": 4}
    yield "qwen3_5", "delta", {"text_config": delta, "vision_config": vision} | UNTIED
    delta_moe = {k: v for k, v in delta.items() if k != "intermediate_size"} | moe | {"shared_expert_intermediate_size": 56}
    yield "qwen3_5_moe", "delta, experts", {"text_config": delta_moe, "vision_config": vision} | UNTIED

    kimi = DEEPSEEK | UNTIED | {"model_type": "kimi_k2", "n_group": 1}
    kimi_vision = {k: v for k, v in TOWER.items() if k != "patch_size"} | {"pos_emb_height": 4, "pos_emb_width": 4}
    yield "kimi_k25", "kimi_k2", {"text_config": kimi, "vision_config": kimi_vision, "projection_hidden_size": 48} | UNTIED
    step = BASE | LOCAL | {
        "moe_intermediate_size": 40, "n_routed_experts": 6, "num_experts_per_tok": 2, "share_expert_dim": 56, "head_dim": 24,
        "layer_types": ["full_attention", "sliding_attention"] * 2, "num_sliding_attention_heads": 6,
    }  # fmt: skip
    step_vision = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 56, "mlp_ratio": 1.5}
    yield "step3p7", "windows", {"text_config": step, "vision_config": step_vision | {"max_position_embeddings": 16}}
    mllama_vision = {
        "hidden_size": 48, "num_hidden_layers": 2, "num_global_layers": 1, "attention_heads": 4, "intermediate_size": 72, "image_size": 28,
        "patch_size": 14, "vision_output_dim": 96, "max_num_tiles": 2, "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
        "intermediate_layers_indices": [1],
    }  # fmt: skip
    mllama = BASE | {"num_hidden_layers": 6, "cross_attention_layers": [1, 4]}
    yield "mllama", "cross attention", {"text_config": mllama, "vision_config": mllama_vision}
    llama4 = BASE | {"intermediate_size_mlp": 160, "num_local_experts": 4, "interleave_moe_layer_step": 2, "head_dim": 16}
    llama4_vision = TOWER | {"intermediate_size": 192, "image_size": 56}
    llama4_vision |= {"projector_input_dim": 64, "projector_output_dim": 64, "vision_output_dim": 64}
    yield "llama4", "every second layer", {"text_config": llama4, "vision_config": llama4_vision}


def configured(kind: str, keys: Mapping[str, Any]) -> PreTrainedConfig:
    """The config class of a kind, read from keys as it would be from a `config.json`."""
    keys = json.loads(json.dumps(keys)) | {"pad_token_id": 0}  # some defaults lie beyond a tiny vocabulary
    if "text_config" in keys:
        keys["text_config"]["pad_token_id"] = 0
    config = CONFIG_MAPPING[kind].from_dict(keys)
    config._attn_implementation = "eager"
    return config


def built(config: PreTrainedConfig, device: str, whole: bool = False) -> PreTrainedModel:
    """The model users run, with meta tensors or random ones; `whole` with its vision tower."""
    torch.manual_seed(0)
    with torch.device(device):
        causal = not whole and type(config) in AutoModelForCausalLM._model_mapping
        model = (AutoModelForCausalLM if causal else AutoModelForImageTextToText).from_config(config, attn_implementation="eager")
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    return model.eval()


def elements(parameters: Any) -> int:
    """Elements of distinct parameters: a table used twice counts once."""
    return sum({id(p): p.numel() for p in parameters}.values())


def counted(model: PreTrainedModel) -> Keys:
    """What the class holds: all parameters, the input table, the head beside it, other tables, buffers that are saved."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    head_own = [p for p in head.parameters() if p is not table.weight] if head is not None else []
    saved = set(model.state_dict())
    buffers = Counter()
    for name, buffer in model.named_buffers():
        if name in saved:
            buffers[name.rsplit(".", 1)[-1]] += buffer.numel()
    learned = {name.removesuffix(".weight") for name, _ in model.named_parameters()}
    embeddings = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Embedding) and m is not table and n in learned]
    return {
        "parameters": elements(model.parameters()),
        "embedding_parameters": table.weight.numel(),
        "lm_head_parameters": elements(head_own),
        "tables": {name: module.weight.numel() for name, module in embeddings},
        "stored_buffers": dict(buffers),
    }


def flops(config: PreTrainedConfig) -> Keys:
    """FLOPs of one forward pass, less the cos/sin tables of rotary embeddings, which torch multiplies out each time."""
    model = built(config, "cpu")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.arange(TOKENS).unsqueeze(0), use_cache=False)
    by_module = counter.get_flop_counts()
    tables = Counter()
    for name, ops in by_module.items():
        if "rotary" in name.rsplit(".", 1)[-1]:
            tables.update(ops)
    every = Counter(by_module["Global"])
    every.subtract(tables)
    batched = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
    return {"tokens": TOKENS, "total": sum(every.values()), "attention": sum(every[op] for op in batched)}


def trimmed(saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> Keys:
    """A saved config without the keys that shape nothing."""
    kept: Keys = {}
    for key, value in saved.items():
        absent_too = value is None and defaults.get(key) is None
        if absent_too or GENERIC.get(key, ...) == value or shapeless(key, value):
            continue
        if isinstance(value, dict) and key.endswith("_config"):
            kept[key] = trimmed(value, defaults.get(key) or {})
        elif key != "rope_parameters":
            kept[key] = value
        elif rotated := partial_rotary(value):
            kept[key] = rotated
    return kept


def shapeless(key: str, value: Any) -> bool:
    """Whether a key shapes neither parameters nor attention."""
    listed = key in DROPPED or key.startswith(("_", *DROPPED_STARTS)) or key.endswith(DROPPED_ENDINGS) or "dropout" in key
    return listed or (key == "hidden_act" and value in PLAIN_ACTIVATIONS)


def says(saved: Any, given: Any) -> bool:
    """Whether a saved config says all that was given, in the same keys."""
    if isinstance(given, dict):
        return isinstance(saved, dict) and all(k in saved and says(saved[k], v) for k, v in given.items())
    return bool(saved == given)


def partial_rotary(rope: Mapping[str, Any]) -> Keys:
    """Of the rope settings, the share of a head that is rotated."""
    if any(isinstance(v, dict) for v in rope.values()):  # one set per kind of layer: the class wants them whole, or not at all
        return dict(rope) if "partial_rotary_factor" in json.dumps(rope) else {}
    return {k: v for k, v in rope.items() if k == "partial_rotary_factor" and v != 1.0}


def case(kind: str, name: str, keys: Keys, whole: bool = False) -> Keys:
    """One case of the fixture, checked: what is written reads back to the same counts."""
    config = configured(kind, keys)
    saved = json.loads(config.to_json_string(use_diff=False))
    kept = trimmed(saved, json.loads(CONFIG_MAPPING[kind]().to_json_string(use_diff=False))) | {"model_type": kind}
    model = built(config, "meta", whole)
    counts = counted(model)
    if whole:
        counts.pop("tables")
    if not counts.get("tables"):  # positions are turned, not looked up: their number shapes nothing
        for part in (kept, kept.get("text_config", {})):
            part.pop("max_position_embeddings", None)
    again = counted(built(configured(kind, kept), "meta", whole))
    if any(again[k] != v for k, v in counts.items()):
        raise AssertionError(f"{kind}, {name}: trimmed to {kept}, it counts {again}, not {counts}")
    if whole:
        head = model.get_output_embeddings()
        language = getattr(model, "language_model", None) or model.model.language_model
        text = [*language.parameters(), *(head.parameters() if head is not None else ())]
        counts = {"parameters": counts.pop("parameters"), "text_parameters": elements(text)} | counts
    entry = {"kind": kind, "case": name, "config": kept} | {k: v for k, v in counts.items() if v != {}}
    if not says(saved, {k: v for k, v in keys.items() if k not in DROPPED and k != "partial_rotary_factor"}):
        entry["given"] = {"model_type": kind} | keys
    if not whole and kind not in NOT_AS_COUNTED and not any(word in json.dumps(kept) for word in NOT_ALL_ATTENTION):
        entry["flops"] = flops(config)
    return entry


def main() -> None:
    """Count every case and write the fixture; anything that cannot be counted stops it."""
    installed = {"torch": torch.__version__.split("+", maxsplit=1)[0], "transformers": transformers.__version__}
    if installed != PINNED:
        sys.exit(f"needs {PINNED}, finds {installed}")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    cases: dict[tuple[str, str], Keys] = {}
    for whole, source in ((False, kinds()), (True, nested())):
        for kind, name, keys in source:
            if (kind, name) in cases:
                raise ValueError(f"{kind}, {name}: named twice")
            try:
                cases[kind, name] = case(kind, name, keys, whole)
            except Exception as error:
                error.add_note(f"in {kind}, {name}")
                raise
    head = json.dumps({"note": NOTE, "versions": installed})[:-1]
    body = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases.values())
    text = f'{head}, "cases": [\n{body}\n]}}\n'
    if len(text) > MAX_BYTES:
        sys.exit(f"{len(text)} bytes, more than {MAX_BYTES}")
    FIXTURE.write_text(text)
    with_flops = sum("flops" in c for c in cases.values())
    print(f"{len(cases)} cases of {len({kind for kind, _ in cases})} kinds, {with_flops} with FLOPs, {len(text)} bytes")


if __name__ == "__main__":
    main()
