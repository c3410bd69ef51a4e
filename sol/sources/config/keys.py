"""Which key of a `config.json` means what: the one table of names, printed in the documentation."""

from __future__ import annotations

from collections.abc import Mapping

KEYS: Mapping[str, tuple[str, ...]] = {
    # Meaning: the keys that carry it, first found wins; two that disagree are refused.
    "hidden": ("hidden_size", "n_embd", "n_embed", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "kv_heads": ("num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num"),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels"),
    "ffn": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "vocab": ("padded_vocab_size", "vocab_size"),
    "max_ctx": ("max_position_embeddings", "n_positions", "seq_length", "max_sequence_length"),
    # Experts.
    "experts": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_k", "moe_topk"),
    "expert_ffn": ("moe_intermediate_size", "expert_ffn_hidden_size"),
    "shared_experts": ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    "shared_ffn": ("shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size"),
    "expert_groups": ("n_group",),
    "groups_per_token": ("topk_group",),
    "latent": ("moe_latent_size",),
    "dense_layers": ("first_k_dense_replace", "num_dense_layers"),
    # Latent attention and its indexer.
    "q_rank": ("q_lora_rank",),
    "kv_rank": ("kv_lora_rank",),
    "nope_dim": ("qk_nope_head_dim",),
    "rope_dim": ("qk_rope_head_dim",),
    "v_dim": ("v_head_dim",),
    "index_heads": ("index_n_heads",),
    "index_dim": ("index_head_dim",),
    "index_top_k": ("index_topk",),
    # Recurrent states.
    "state_heads": ("mamba_n_heads", "mamba_num_heads", "num_heads"),
    "state_head_dim": ("mamba_d_head", "mamba_head_dim", "head_dim"),
    "state": ("mamba_d_state", "ssm_state_size", "state_size"),
    "state_groups": ("mamba_n_groups", "n_groups"),
    "conv": ("mamba_d_conv", "conv_kernel", "linear_conv_kernel_dim", "conv_L_cache", "conv1d_width"),
    "expand": ("mamba_expand", "expand"),
    "dt_rank": ("mamba_dt_rank", "time_step_rank"),
    "key_heads": ("linear_num_key_heads",),
    "value_heads": ("linear_num_value_heads",),
    "key_dim": ("linear_key_head_dim",),
    "value_dim": ("linear_value_head_dim",),
    "lru_width": ("lru_width",),
    # Layers beyond the model's own.
    "mtp_layers": ("num_nextn_predict_layers", "mtp_num_hidden_layers"),
}

FOREIGN: Mapping[str, tuple[object, ...]] = {
    # Keys of mechanisms only some kinds have, and the values that say nothing: elsewhere any other value means that
    # a kind is not what it says, and is refused.
    **dict.fromkeys((
        "kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "index_topk", "linear_num_value_heads", "full_attention_interval",
        "mamba_d_state", "ssm_state_size", "state_size", "hybrid_override_pattern", "layers_block_type", "block_types",
        "attention_chunk_size", "moe_latent_size", "shared_expert_intermediate_size", "shared_intermediate_size",
        "moe_shared_expert_intermediate_size", "n_shared_experts", "num_shared_experts", "moe_num_shared_experts",
        "first_k_dense_replace", "num_dense_layers", "mlp_only_layers", "moe_layers", "expert_layer_period", "mlp_layer_types",
        "num_nextn_predict_layers", "mtp_num_hidden_layers", "block_configs", "cross_attention_layers", "attn_layer_indices",
        "attn_layer_period", "full_attn_idxs", "conv_L_cache", "lru_width", "linear_attn_config", "sparse_attention_config",
        "altup_num_inputs", "laurel_rank", "hidden_size_per_layer_input", "num_kv_shared_layers", "global_head_dim",
        "num_global_key_value_heads", "attention_k_eq_v", "per_layer_config", "hybrid_layer_pattern", "compress_ratios",
        "compress_rates", "attn_output_gate", "attention_bias", "attention_out_bias", "mlp_bias", "lm_head_bias", "use_qk_norm",
        "qk_layernorm", "add_swa_attention_sink_bias", "add_full_attention_sink_bias", "use_head_wise_attn_gate", "swa_head_dim",
        "use_double_wide_mlp", "enable_moe_block", "index_n_heads", "window_size", "attention_types",
    ), ()),
    "moe_layer_freq": (1,), "decoder_sparse_step": (1,), "interleave_moe_layer_step": (), "num_mtp_modules": (),
    "alibi": (), "word_embed_proj_dim": (),
}  # fmt: skip

HARMLESS: tuple[object, ...] = (None, False, 0, 0.0, "", [], {})
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16"}
NESTED = ("text_config", "llm_config", "language_config", "thinker_config", "llm")
"""Where multimodal configs keep the language model's own."""
