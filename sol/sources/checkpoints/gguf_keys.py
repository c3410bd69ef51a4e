"""Which key of a GGUF file is which key of a config.json, and which architecture is which kind: the one table of both.

As llama.cpp's converter writes them and its loader reads them (conversion/, src/models/, gguf-py/gguf/constants.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Arch(NamedTuple):
    """A value of `general.architecture`: the kind it is.

    `instead`: other kinds, by a mark: a key, or how a tensor's name begins; the first found counts. `said`: keys of
    config.json that every model of it has. `keys`: keys of its own, before those of `KEYS`; "" for one not read so.
    """

    kind: str
    instead: tuple[tuple[str, str], ...] = ()
    said: Mapping[str, Any] = {}
    keys: Mapping[str, str] = {}


SHARED = (("expert_shared_feed_forward_length", "granitemoeshared"),)
ARCHS: Mapping[str, Arch] = {
    "llama": Arch("llama", (("expert_count", "mixtral"),)),
    "llama4": Arch("llama4_text", said={"attention_chunk_size": 8192},  # no key says it: a constant of llama.cpp's loader
                   keys={"intermediate_size_mlp": "feed_forward_length", "intermediate_size": "expert_feed_forward_length"}),
    "baichuan": Arch("llama"), "minicpm": Arch("llama"), "xverse": Arch("llama"), "exaone": Arch("llama"),
    "mistral3": Arch("ministral3"), "mistral4": Arch("mistral4"),
    "falcon": Arch("falcon"), "falcon-h1": Arch("falcon_h1"),
    "gpt2": Arch("gpt2"), "gptneox": Arch("gpt_neox"), "starcoder": Arch("gpt_bigcode"), "starcoder2": Arch("starcoder2"),
    "bloom": Arch("bloom"), "stablelm": Arch("stablelm"), "phi2": Arch("phi"), "phi3": Arch("phi3"), "phimoe": Arch("phimoe"),
    "qwen": Arch("qwen", said={"no_bias": True}), "qwen2": Arch("qwen2"), "qwen2vl": Arch("qwen2"), "qwen2moe": Arch("qwen2_moe"),
    "qwen3": Arch("qwen3"), "qwen3vl": Arch("qwen3"), "qwen3moe": Arch("qwen3_moe"), "qwen3vlmoe": Arch("qwen3_moe"),
    "qwen3next": Arch("qwen3_next"), "qwen35": Arch("qwen3_5_text"), "qwen35moe": Arch("qwen3_5_moe_text"),
    "internlm2": Arch("internlm2"), "minicpm3": Arch("minicpm3"), "smollm3": Arch("smollm3"), "arcee": Arch("arcee"),
    "gemma": Arch("gemma"), "gemma2": Arch("gemma2", said={"sliding_window": 4096}), "gemma3": Arch("gemma3_text"),
    "gemma4": Arch("gemma4_text", keys={"head_dim": "attention.key_length_swa", "global_head_dim": "attention.key_length",
                                        "num_key_value_heads": "", "intermediate_size": ""}),
    "mamba": Arch("mamba"), "mamba2": Arch("mamba2"), "jamba": Arch("jamba"),
    "command-r": Arch("cohere"), "cohere2": Arch("cohere2"), "nemotron": Arch("nemotron"),
    "nemotron_h": Arch("nemotron_h"), "nemotron_h_moe": Arch("nemotron_h"),
    "olmo": Arch("olmo"), "olmo2": Arch("olmo2", (("attention.sliding_window", "olmo3"),)), "olmoe": Arch("olmoe"),
    "deepseek": Arch("deepseek"), "deepseek32": Arch("deepseek_v32"), "glm-dsa": Arch("glm_moe_dsa"),
    "deepseek2": Arch("youtu", (("exp_probs_b", "deepseek_v3"), ("ffn_gate_inp", "deepseek_v2"))),
    "chatglm": Arch("chatglm", said={"multi_query_attention": True, "rmsnorm": True, "post_layer_norm": True}),
    "glm4": Arch("glm4"), "glm4moe": Arch("glm4_moe"), "dots1": Arch("dots1"), "seed_oss": Arch("seed_oss"),
    "exaone4": Arch("exaone4", said={"sliding_window_pattern": 4}), "exaone-moe": Arch("exaone_moe"),
    "granite": Arch("granite"), "granitemoe": Arch("granitemoe", SHARED),
    "granitehybrid": Arch("bamba", (("expert_shared_feed_forward_length", "granitemoehybrid"),)),
    "ernie4_5": Arch("ernie4_5"), "ernie4_5-moe": Arch("ernie4_5_moe"), "hunyuan-dense": Arch("hunyuan_v1_dense"),
    "gpt-oss": Arch("gpt_oss"), "lfm2": Arch("lfm2", said={"block_auto_adjust_ff_dim": False}), "lfm2moe": Arch("lfm2_moe"),
    "minimax-m2": Arch("minimax_m2"), "apertus": Arch("apertus"),
    "hy_v3": Arch("hy_v3", keys={"n_shared_experts": "expert_shared_feed_forward_length/expert_feed_forward_length"}),
}  # fmt: skip

KEYS: Mapping[str, str] = {
    # Key of config.json: the key of GGUF, without the architecture before it; "a/b" is a quotient.
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "sliding_window": "attention.sliding_window",
    "use_parallel_residual": "use_parallel_residual",
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "n_group": "expert_group_count",
    "topk_group": "expert_group_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "n_shared_experts": "expert_shared_count",
    "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
    "moe_latent_size": "moe_latent_size",
    "q_lora_rank": "attention.q_lora_rank",
    "kv_lora_rank": "attention.kv_lora_rank",
    "index_n_heads": "attention.indexer.head_count",
    "index_head_dim": "attention.indexer.key_length",
    "index_topk": "attention.indexer.top_k",
    "num_nextn_predict_layers": "nextn_predict_layers",
    "hidden_size_per_layer_input": "embedding_length_per_layer_input",
    "num_kv_shared_layers": "attention.shared_kv_layers",
    "full_attention_interval": "full_attention_interval",
}

STATES: Mapping[str, Mapping[str, str]] = {
    # The same, of layers that keep a state.
    "mamba": {"mamba_d_state": "ssm.state_size", "mamba_d_conv": "ssm.conv_kernel", "mamba_dt_rank": "ssm.time_step_rank",
              "mamba_expand": "ssm.inner_size/embedding_length"},
    "mamba2": {"mamba_d_state": "ssm.state_size", "mamba_d_conv": "ssm.conv_kernel", "mamba_n_heads": "ssm.time_step_rank",
               "mamba_n_groups": "ssm.group_count", "mamba_d_head": "ssm.inner_size/ssm.time_step_rank"},
    "gated_delta": {"linear_conv_kernel_dim": "ssm.conv_kernel", "linear_key_head_dim": "ssm.state_size",
                    "linear_num_key_heads": "ssm.group_count", "linear_num_value_heads": "ssm.time_step_rank",
                    "linear_value_head_dim": "ssm.inner_size/ssm.time_step_rank"},
    "short_conv": {"conv_L_cache": "shortconv.l_cache"},
}  # fmt: skip

PRESENT: Mapping[str, tuple[str, ...]] = {
    # Trait of a kind: the tensors of a layer, or of the model, that are there where it holds.
    "qkv_bias": ("attn_q.bias", "attn_qkv.bias", "attn_q_a.bias"),
    "o_bias": ("attn_output.bias",),
    "mlp_bias": ("ffn_up.bias", "ffn_up_shexp.bias"),
    "head_bias": ("output.bias",),
    "correction": ("exp_probs_b.bias", "exp_probs_b"),
    "qk_norm_said": ("attn_q_norm.weight",),
}
