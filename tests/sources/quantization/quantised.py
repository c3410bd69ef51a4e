"""Quantised checkpoints as facts of our own form: architectures by Hub id, and what their configs say of formats.

Architectures are those of the checkpoints named in the tests; `compressed` and `modelopt` write what
llm-compressor and ModelOpt write into a config.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sol import Model
from sol.sources.config.config_json import read_config
from sol.sources.config.layers import feed_forward, mlp, moe
from sol.sources.config.mixers import attention, layer_types
from sol.sources.config.reader import Reader
from sol.sources.config.states import state
from sol.sources.quantization.linear_modules import Checkpoint, linear_modules
from sol.sources.quantization.quantization import weight_format
from sol.specs.formats import NumberFormat
from sol.specs.record import Source

SOURCE = Source(title="test", kind="user")
Facts = Mapping[str, Any]


def blocks(r: Reader) -> Iterable[tuple[Any, ...]]:
    """The blocks of each layer, first to last."""
    types = layer_types(r)
    alone = r.name == "nemotron_h"
    for i, (kind, feed) in enumerate(zip(types, [None] * len(types) if alone else feed_forward(r), strict=True)):
        made = {"mlp": mlp, "moe": moe, "state": state}.get(kind)
        yield (made(r) if made is not None else attention(r, kind, i), *(() if feed is None else (feed,)))


def checkpoint(config: Facts) -> Checkpoint | None:
    r = Reader(config, "test")
    return linear_modules(r.name, list(blocks(r)), r.count("hidden"), r.count("vocab"), tied=r.said(r.kind.tied))


def described(config: Facts, quant: Any, side: Any = None) -> NumberFormat | None:
    return weight_format(quant, 10**6, SOURCE, side, checkpoint(config))


def quantised(config: Facts, quant: Any, side: Any = None) -> Model:
    fmt = described(config, quant, side)
    assert fmt is not None
    model = read_config(config, "test", model_id="test", source=SOURCE)
    return model.model_copy(update={"weight_format": fmt, "quantization": "said"})


def per_layer(*patterns: str, layers: int, first: int = 0) -> list[str]:
    return [p.format(i) for i in range(first, layers) for p in patterns]


LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "vocab_size": 128256, "torch_dtype": "bfloat16",
}  # fmt: skip
LLAMA_70B = {**LLAMA_8B, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64, "intermediate_size": 28672}
LLAMA_405B = {**LLAMA_8B, "hidden_size": 16384, "num_hidden_layers": 126, "num_attention_heads": 128, "intermediate_size": 53248}
QWEN3_32B = {
    "model_type": "qwen3", "hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8,
    "head_dim": 128, "intermediate_size": 25600, "vocab_size": 151936, "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN3_MOE = {
    "model_type": "qwen3_moe", "hidden_size": 4096, "num_hidden_layers": 94, "num_attention_heads": 64, "num_key_value_heads": 4,
    "head_dim": 128, "intermediate_size": 12288, "moe_intermediate_size": 1536, "num_experts": 128, "num_experts_per_tok": 8,
    "vocab_size": 151936, "torch_dtype": "bfloat16",
}  # fmt: skip
V3 = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1,
    "first_k_dense_replace": 3, "vocab_size": 129280, "torch_dtype": "bfloat16",
}  # fmt: skip
INDEX = {"model_type": "deepseek_v32", "index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048}
KIMI = {
    **V3,
    "model_type": "kimi_k2",
    "num_attention_heads": 64,
    "num_key_value_heads": 64,
    "n_routed_experts": 384,
    "first_k_dense_replace": 1,
    "vocab_size": 163840,
}
GLM5 = {
    **V3, **INDEX, "model_type": "glm_moe_dsa", "hidden_size": 6144, "num_hidden_layers": 78, "num_attention_heads": 64,
    "num_key_value_heads": 64, "q_lora_rank": 2048, "qk_nope_head_dim": 192, "v_head_dim": 256,
    "intermediate_size": 12288, "index_n_heads": 32, "vocab_size": 154880,
}  # fmt: skip
MINIMAX = {
    "model_type": "minimax_m2", "hidden_size": 3072, "num_hidden_layers": 62, "num_attention_heads": 48, "num_key_value_heads": 8,
    "head_dim": 128, "intermediate_size": 1536, "num_local_experts": 256, "num_experts_per_tok": 8, "vocab_size": 200064,
}  # fmt: skip
NANO = {
    "model_type": "nemotron_h", "hidden_size": 2688, "num_hidden_layers": 52, "num_attention_heads": 32, "num_key_value_heads": 2,
    "head_dim": 128, "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", "intermediate_size": 1856,
    "mamba_num_heads": 64, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128, "conv_kernel": 4, "moe_intermediate_size": 1856,
    "moe_shared_expert_intermediate_size": 3712, "n_routed_experts": 128, "n_shared_experts": 1, "num_experts_per_tok": 6,
    "vocab_size": 131072,
}  # fmt: skip
QWEN3_5 = {
    "model_type": "qwen3_5_text", "hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 24, "num_key_value_heads": 4,
    "head_dim": 256, "intermediate_size": 17408, "vocab_size": 248320, "linear_num_key_heads": 16, "linear_num_value_heads": 48,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
}  # fmt: skip
QWEN3_5_MOE = {
    **{k: v for k, v in QWEN3_5.items() if k != "intermediate_size"}, "model_type": "qwen3_5_moe_text", "hidden_size": 3072,
    "num_hidden_layers": 48, "num_attention_heads": 32,
    "num_key_value_heads": 2, "linear_num_value_heads": 64, "num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 1024,
    "shared_expert_intermediate_size": 1024,
}  # fmt: skip
GPT_OSS = {
    "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 36, "num_attention_heads": 64, "num_key_value_heads": 8,
    "head_dim": 64, "intermediate_size": 2880, "num_local_experts": 128, "num_experts_per_tok": 4, "sliding_window": 128,
    "vocab_size": 201088,
}  # fmt: skip
GEMMA4 = {
    "model_type": "gemma4_text", "hidden_size": 2816, "num_hidden_layers": 30, "num_attention_heads": 16, "num_key_value_heads": 8,
    "head_dim": 256, "global_head_dim": 512, "num_global_key_value_heads": 2, "attention_k_eq_v": True, "enable_moe_block": True,
    "intermediate_size": 2112, "moe_intermediate_size": 704, "num_experts": 128, "top_k_experts": 8, "hidden_size_per_layer_input": 0,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5, "sliding_window": 1024, "vocab_size": 262144,
    "tie_word_embeddings": True,
}  # fmt: skip
GEMMA4_31B = {
    **GEMMA4, "hidden_size": 5376, "num_hidden_layers": 60, "num_attention_heads": 32, "num_key_value_heads": 16,
    "num_global_key_value_heads": 4, "enable_moe_block": False, "intermediate_size": 21504, "tie_word_embeddings": True,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
}  # fmt: skip
SCOUT = {
    "model_type": "llama4_text", "hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8,
    "head_dim": 128, "intermediate_size": 8192, "intermediate_size_mlp": 16384, "num_local_experts": 16, "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1, "vocab_size": 202048, "attention_chunk_size": 8192,
}  # fmt: skip

AWQ64 = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}
BLOCKS = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}


def compressed(bits: int, kind: str, layout: str, ignore: list[str], act: Facts | None = None, **weights: Any) -> dict[str, Any]:
    form = {"num_bits": bits, "type": kind, "symmetric": True, "dynamic": False, **weights}
    group = {"targets": ["Linear"], "weights": form, "input_activations": act, "output_activations": None}
    return {
        "quant_method": "compressed-tensors", "format": layout, "config_groups": {"group_0": group}, "ignore": ignore,
        "quantization_status": "compressed", "kv_cache_scheme": None,
    }  # fmt: skip


def modelopt(algo: str, exclude: list[str] | None = None, **more: Any) -> dict[str, Any]:
    said = {"quant_algo": algo, "kv_cache_quant_algo": "FP8", **({} if exclude is None else {"exclude_modules": exclude}), **more}
    return {"producer": {"name": "modelopt"}, "quantization": said}


FP8_ACT = {"num_bits": 8, "type": "float", "dynamic": True, "strategy": "token"}
FP8_DYNAMIC = compressed(8, "float", "float-quantized", ["lm_head"], FP8_ACT, strategy="channel")
