"""Formats of quantised checkpoints as published ones describe them: bytes and elements exact, coverage module by module.

Counts of stored elements are the Hub's safetensors totals.
"""

from __future__ import annotations

from typing import Any

import pytest
from sources.quantization.quantised import (
    AWQ64,
    BLOCKS,
    FP8_ACT,
    FP8_DYNAMIC,
    GEMMA4,
    GEMMA4_31B,
    GLM5,
    GPT_OSS,
    INDEX,
    KIMI,
    LLAMA_8B,
    LLAMA_70B,
    LLAMA_405B,
    MINIMAX,
    NANO,
    QWEN3_5,
    QWEN3_5_MOE,
    QWEN3_32B,
    QWEN3_MOE,
    SCOUT,
    SOURCE,
    V3,
    Facts,
    checkpoint,
    compressed,
    described,
    modelopt,
    per_layer,
    quantised,
)  # fmt: skip

from sol import floor, memory
from sol.sources.config.config_json import read_config
from sol.sources.quantization.linear_modules import NAMES
from sol.sources.quantization.quantization import cache_format, weight_format
from sol.specs.formats import FAMILY

# Bytes


@pytest.mark.truth
def test_bytes_of_a_published_awq_checkpoint() -> None:
    """DeepSeek-V3, AWQ in groups of 64: total_size of model.safetensors.index.json in github.com/kvcache-ai/sglang_awq@1e697f1."""
    assert memory(quantised(V3, AWQ64), ctx=0).weight_bytes == 364_589_799_936


@pytest.mark.truth
def test_bytes_of_a_published_gptq_checkpoint() -> None:
    """Qwen/Qwen-VL-Chat-Int4: total_size of its index (github.com/x1ngzai/Qwen-VL-Chat-Int4@1cd721a), vision tower included."""
    d, f, layers, vocab = 4096, 11008, 32, 151936
    fmt = weight_format({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}, 0, SOURCE)
    assert fmt is not None
    linear = layers * (4 * d * d + 3 * d * f)
    unread = linear * 4 / 128 / 8 + 4 * layers * (4 * d + f)  # zeros, all alike, and the group of each input channel
    rest = 2 * (2 * vocab * d + (2 * layers + 1) * d + layers * (5 * d + 2 * f))  # tables, norms, biases
    w, wide, patches = 1664, 8192, 256
    layer = 4 * w * w + 4 * w + 2 * w * wide + wide + w + 4 * w
    pool = 2 * patches * d + d * w + 4 * d * d + 4 * d + 4 * d
    tower = 2 * (48 * layer + 3 * 14 * 14 * w + patches * w + 2 * w + 2 * d + d * d + pool)
    assert linear * fmt.bytes_per_weight + unread + rest + tower == 9_731_786_240


# Elements: 8-bit weights count one each, 4-bit ones one for two, scales one each, those of a tensor none


@pytest.mark.truth
@pytest.mark.parametrize(
    ("config", "quant", "elements", "scale"),
    [
        (LLAMA_8B, FP8_DYNAMIC, 8_031_637_504, 2),  # RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic
        (LLAMA_70B, FP8_DYNAMIC, 70_560_423_936, 2),  # RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic
    ],
)
def test_scales_a_row_are_those_the_hub_counts(config: Facts, quant: Facts, elements: int, scale: int) -> None:
    model = quantised(config, quant)
    kept = 2 * (model.vocab * model.hidden) + model.hidden * (2 * model.layers + 1)
    expected = (model.parameters - kept) + 2 * kept + scale * (elements - model.parameters)
    assert memory(model, ctx=0).weight_bytes == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth
def test_layers_left_out_are_averaged() -> None:
    """meta-llama/Llama-3.1-405B-Instruct-FP8: attention and the first and last layer in 16 bits; 405,868,625,920 elements."""
    layers, d, f = 126, 16384, 53248
    left = [f"model.layers.{i}.mlp.{p}_proj" for i in (0, layers - 1) for p in ("gate", "up", "down")]
    left += per_layer(*(f"model.layers.{{}}.self_attn.{p}_proj" for p in "qkvo"), layers=layers)
    model = quantised(
        LLAMA_405B, {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head", *left]}
    )
    assert model.weight_format is not None
    assert set(model.weight_format.covers) == {"up_proj", "down_proj"}
    narrow = (layers - 2) * 3 * d * f
    expected = narrow + 2 * (model.parameters - narrow) + 4 * (405_868_625_920 - model.parameters)
    assert memory(model, ctx=0).weight_bytes == pytest.approx(expected, rel=1e-12)


@pytest.mark.truth
@pytest.mark.parametrize(
    ("config", "said", "elements", "kept"),
    [
        (V3, {}, 684_531_386_000, 0),  # deepseek-ai/DeepSeek-V3
        ({**V3, **INDEX}, {"scale_fmt": "ue8m0"}, 685_396_921_376, 64 * 7168),  # deepseek-ai/DeepSeek-V3.2: no scales of one projection
    ],
)
def test_blocks_begun_count_whole(config: Facts, said: Facts, elements: int, kept: int) -> None:
    """What the Hub counts beyond parameters is the scales of 128 x 128 blocks; the draft layer is one more of the last layer's kind."""
    full = read_config({**config, "num_nextn_predict_layers": 1}, "test", model_id="test", source=SOURCE)
    more = {**config, "num_hidden_layers": 62}
    fmt = described(more, {**BLOCKS, **said})
    assert fmt is not None
    bits = sum(n * (fmt.bytes_of(t, 1, 62, 256) * 8 - 8) for t, n in linear_elements(more).items())
    scales = (bits - 62 * kept * 8) / 32
    assert scales == pytest.approx(elements - full.parameters - full.mtp_parameters, abs=1)


def linear_elements(config: Facts) -> dict[Any, int]:
    """Elements of each tensor class in the model's layers, from the model alone."""
    model = read_config(config, "test", model_id="test", source=SOURCE)
    found: dict[Any, int] = {}
    for group in model.groups:
        for block in group.blocks:
            own = [(m, 1) for m in block.matrices(model.hidden)]
            own += [(m, block.experts) for m in getattr(block, "expert_matrices", lambda _: ())(model.hidden)]
            for m, times in own:
                found[m.tensor] = found.get(m.tensor, 0) + group.count * times * m.weights
    return {t: n for t, n in found.items() if t in FAMILY}


MLA_KEPT = per_layer(*(f"model.layers.{{}}.self_attn.{p}" for p in ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")), layers=61)
BEFORE_ATTENTION = (4, 11, 18, 25, 32, 41)
NANO_KEPT = [
    "lm_head", *(f"backbone.layers.{i}.mixer.{p}_proj" for i in BEFORE_ATTENTION for p in ("in", "out")),
    *(f"backbone.layers.{i + 1}.mixer.{p}_proj" for i in BEFORE_ATTENTION for p in "qkvo"),
    *(f"backbone.layers.{i}.mixer.conv1d" for i, kind in enumerate(NANO["hybrid_override_pattern"]) if kind == "M"),
]  # fmt: skip


@pytest.mark.truth
@pytest.mark.parametrize(
    ("config", "exclude", "elements", "draft"),
    [
        (V3, ["lm_head", *MLA_KEPT, "model.layers.61*"], 393_632_819_968, True),  # nvidia/DeepSeek-V3.1-NVFP4
        ({**V3, **INDEX}, ["lm_head", *MLA_KEPT, *per_layer("model.layers.{}.self_attn.indexer*", layers=61), "model.layers.61*"],
         394_498_304_256, True),  # nvidia/DeepSeek-V3.2-NVFP4
        (NANO, NANO_KEPT, 18_237_772_608, False),  # nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4
    ],
)  # fmt: skip
def test_what_a_published_nvfp4_checkpoint_covers(config: Facts, exclude: list[str], elements: int, draft: bool) -> None:
    """A covered element is stored as 1/2 of a byte and 1/16 of a scale; the draft layer, in 16 bits, is stored too."""
    model = quantised(config, None, modelopt("NVFP4", exclude, group_size=16))
    full = read_config({**config, "num_nextn_predict_layers": 1} if draft else config, "test", model_id="test", source=SOURCE)
    stored = full.parameters + (full.mtp_parameters if draft else 0)
    covered = (stored - elements) / (1 - 1 / 2 - 1 / 16)
    assert covered == int(covered)
    expected = covered * 4.5 / 8 + 2 * (model.parameters - covered)
    assert memory(model, ctx=0).weight_bytes == pytest.approx(expected, rel=1e-12)


# Coverage, bits, compute and cache of published configs

NVFP4, MIXED = "NVFP4", "MIXED_PRECISION"
DELTA_LAYERS = [i for i in range(64) if i % 4 != 3]
QWEN36_LAYERS = {
    **{f"model.language_model.layers.{i}.linear_attn.{p}": {"quant_algo": "FP8"}
       for i in DELTA_LAYERS for p in ("in_proj_qkv", "in_proj_z", "out_proj")},
    **{f"model.language_model.layers.{i}.self_attn.{p}_proj": {"quant_algo": "FP8"} for i in range(3, 64, 4) for p in "qkvo"},
    **{f"model.language_model.layers.{i}.mlp.{p}_proj": {"quant_algo": "W4A16_NVFP4", "group_size": 16}
       for i in range(64) for p in ("gate", "up", "down")},
    "lm_head": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
}  # fmt: skip
QWEN3_6_MOE = {**QWEN3_5_MOE, "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16, "linear_num_value_heads": 32,
               "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512}  # fmt: skip
QWEN36_MOE_LAYERS = {
    **{name: form for name, form in QWEN36_LAYERS.items() if ".mlp." not in name and (name == "lm_head" or int(name.split(".")[3]) < 40)},
    **{f"model.language_model.layers.{i}.mlp.{part}": {"quant_algo": "W4A16_NVFP4", "group_size": 16} for i in range(40)
       for part in ("experts", *(f"shared_expert.{p}_proj" for p in ("gate", "up", "down")))},
}  # fmt: skip
GLM51_KEPT = [
    "lm_head", "model.layers.0*", "model.layers.1.*", "model.layers.2.*", "model.layers.78*",
    *per_layer("model.layers.{}.mlp.shared_experts*", "model.layers.{}.self_attn*", first=3, layers=78),
]  # fmt: skip
KIMI_INT4 = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"]
SCOUT_KEPT = [
    "vision_model.patch_embedding.linear", "vision_model.model.layers.0.self_attn.q_proj", "multi_modal_projector.linear_1",
    *per_layer(*(f"language_model.model.layers.{{}}.self_attn.{p}_proj" for p in "qkvo"), layers=48),
    *per_layer("language_model.model.layers.{}.feed_forward.router", layers=48), "language_model.lm_head",
]  # fmt: skip
GLM5_FP8_KEPT = [
    "lm_head", "model.embed_tokens", "model.norm", "model.layers.78.eh_proj", "model.layers.78.shared_head.norm",
    *per_layer("model.layers.{}.mlp.gate", "model.layers.{}.mlp.gate.e_score_correction_bias", first=3, layers=79),
    *per_layer("model.layers.{}.input_layernorm", "model.layers.{}.self_attn.indexers_proj", "model.layers.{}.self_attn.kv_a_layernorm",
               "model.layers.{}.self_attn.indexer.k_norm.bias", layers=79),
]  # fmt: skip
MINIMAX_KEPT = ["lm_head", *per_layer("model.layers.{}.block_sparse_moe.gate", "model.layers.{}.self_attn*", layers=62)]
ALL = {"linear", "experts"}
LATENT = {"q_proj", "k_proj", "o_proj", "up_proj", "down_proj", "experts_up", "experts_down"}

CASES: dict[str, tuple[Facts, Any, Any, set[str], dict[str, float], str, str | None]] = {
    # Hub id: architecture, quantization_config, side file; covered, bits of some classes, compute and cache.
    "nvidia/Llama-3.1-70B-Instruct-FP8": (LLAMA_70B, None, modelopt("FP8", ["lm_head"]), {"linear"}, {"q_proj": 8}, "fp8", "fp8"),
    "Qwen/Qwen3-32B-FP8-Static-PerTensor": (
        QWEN3_32B, {"quant_algo": "FP8", "kv_cache_scheme": "FP8", "ignore": ["lm_head"], "producer": {"name": "modelopt"}},
        modelopt("FP8", ["lm_head"]), {"linear"}, {"down_proj": 8}, "fp8", "fp8"),
    "Qwen/Qwen3-32B-FP8": (QWEN3_32B, BLOCKS, None, {"linear"}, {"q_proj": 8 + 32 / 128**2}, "fp8", None),
    "nvidia/Qwen3-235B-A22B-NVFP4": (
        QWEN3_MOE, None, modelopt(NVFP4, ["lm_head", *per_layer("model.layers.{}.mlp.gate", layers=94)], group_size=16), ALL,
        {"experts_up": 4.5, "q_proj": 4.5}, "fp4", "fp8"),
    "nvidia/MiniMax-M2.5-NVFP4": (
        MINIMAX, None, modelopt(NVFP4, MINIMAX_KEPT, group_size=16), {"experts"}, {"experts_down": 4.5}, "fp4", "fp8"),
    "MiniMaxAI/MiniMax-M2.7": (
        MINIMAX, {**BLOCKS, "fmt": "float8_e4m3fn", "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"]}, None, ALL,
        {"experts_up": 8 + 32 / 128**2}, "fp8", None),
    "moonshotai/Kimi-K2.5": (
        KIMI, compressed(4, "int", "pack-quantized", KIMI_INT4, strategy="group", group_size=32), None, {"experts"},
        {"experts_up": 4 + 16 / 32}, "16-bit", None),
    "nvidia/Kimi-K2.5-NVFP4": (
        KIMI, {"quant_method": "modelopt", "quant_algo": NVFP4, "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
               "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}, "targets": ["Linear"]}},
               "ignore": ["language_model.lm_head", *per_layer("language_model.model.layers.{}.self_attn*", layers=61), "mm_projector*",
                          "vision_tower*"]},
        None, {"up_proj", "down_proj", "experts"}, {"up_proj": 4.5}, "fp4", "fp8"),
    "nvidia/GLM-5.1-NVFP4": (GLM5, None, modelopt(NVFP4, GLM51_KEPT, group_size=16), {"experts"}, {"experts_up": 4.5}, "fp4", "fp8"),
    "deepseek-ai/DeepSeek-V3.2": (
        {**V3, **INDEX}, {**BLOCKS, "scale_fmt": "ue8m0"}, None, LATENT,
        {"o_proj": 8 + 32 / 128**2}, "fp8", None),
    "zai-org/GLM-5-FP8": (
        GLM5, {**BLOCKS, "modules_to_not_convert": GLM5_FP8_KEPT}, None, LATENT,
        {"o_proj": 8 + 32 / 128**2}, "fp8", None),
    "openai/gpt-oss-120b": (
        GPT_OSS, {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
        "model.embed_tokens", "lm_head"]}, None, {"experts"}, {"experts_up": 4.25}, "fp4", None),
    "RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic": (
        SCOUT, compressed(8, "float", "float-quantized", SCOUT_KEPT, FP8_ACT, strategy="channel"), None,
        {"up_proj", "down_proj", "experts_up", "experts_down"}, {"experts_up": 8 + 16 / 5120, "experts_down": 8 + 16 / 8192}, "fp8", None),
    "nvidia/Gemma-4-26B-A4B-NVFP4": (
        GEMMA4, None, modelopt(NVFP4, ["lm_head", "model.embed_vision*", "model.vision_tower*", *per_layer(*(
        f"model.language_model.layers.{{}}.{p}*" for p in ("mlp", "router", "self_attn")), layers=30)], group_size=16), {"experts"},
        {"experts_up": 4.5}, "fp4", "fp8"),
    "nvidia/Gemma-4-31B-IT-NVFP4": (
        GEMMA4_31B, None, modelopt(NVFP4, ["lm_head", "model.embed_vision*", "model.vision_tower*",
        *per_layer("model.language_model.layers.{}.self_attn*", layers=60)], group_size=16), {"up_proj", "down_proj"}, {"up_proj": 4.5},
        "fp4", "fp8"),
    "nvidia/Qwen3.5-122B-A10B-NVFP4": (
        QWEN3_5_MOE, None, modelopt(NVFP4, ["lm_head", "model.visual*", "mtp*", "mtp.layers.0*", *(
        f"model.language_model.layers.{i}.{'self' if i % 4 == 3 else 'linear'}_attn*" for i in range(48)), *per_layer(
        "model.language_model.layers.{}.mlp.shared_expert*", "model.language_model.layers.{}.mlp.shared_expert_gate", layers=48)],
        group_size=16), {"experts"}, {"experts_down": 4.5}, "fp4", "fp8"),
    "nvidia/Qwen3.6-27B-NVFP4": (
        QWEN3_5, None, modelopt(MIXED, ["mtp*", "mtp.layers.0*"], quantized_layers=QWEN36_LAYERS), {"lm_head", "q_proj", "k_proj", "v_proj",
        "o_proj", "up_proj", "down_proj"}, {"up_proj": 4.5, "lm_head": 4.5, "o_proj": 8, "v_proj": 8}, "fp8", "fp8"),
    "nvidia/Qwen3.6-35B-A3B-NVFP4": (
        QWEN3_6_MOE, None, modelopt(MIXED, ["mtp*"], quantized_layers=QWEN36_MOE_LAYERS), {*LATENT, "v_proj", "lm_head"},
        {"experts_up": 4.5, "up_proj": 4.5, "k_proj": 8}, "fp8", "fp8"),
}  # fmt: skip


@pytest.mark.truth
@pytest.mark.parametrize("name", CASES)
def test_what_a_published_config_says(name: str) -> None:
    config, quant, side, covers, bits, compute, cache = CASES[name]
    fmt = described(config, quant, side)
    assert fmt is not None
    assert set(fmt.covers) == covers
    assert {t: fmt.bytes_of(t, 16, 94, 128) * 8 for t in bits} == pytest.approx(bits, rel=1e-12)
    assert fmt.compute == compute
    assert cache_format(quant, side) == cache
    model = quantised(config, quant, side)
    answers = [floor(model, "b200", ctx=[1], dtype=dtype) for dtype in (None, "bf16")]
    assert 0 < answers[0].moved_weight_bytes[0] < answers[1].moved_weight_bytes[0]
    kept = next(line for line in answers[0].assumptions if " stay bf16" in line).split(" stay ")[0].split(", ")
    wide = {FAMILY.get(t, t) for t in covers} | covers
    assert {t for t in linear_elements(config) if t not in covers and FAMILY[t] not in covers} == {
        t for t in linear_elements(config) if t in kept or (FAMILY[t] in kept and FAMILY[t] not in wide)
    }


@pytest.mark.truth
def test_small_gates_in_16_bits_are_averaged_in() -> None:
    """nvidia/Qwen3.6-27B-NVFP4: of the projections into the state, the two gates a value head have no format."""
    fmt = described(QWEN3_5, None, modelopt(MIXED, ["mtp*"], quantized_layers=QWEN36_LAYERS))
    assert fmt is not None
    d, gates, rest, queries = 5120, 2 * 48, 2 * 16 * 128 + 2 * 48 * 128, 2 * 24 * 256
    expected = (48 * d * (16 * gates + 8 * rest) + 16 * d * 8 * queries) / (48 * d * (gates + rest) + 16 * d * queries)
    assert fmt.bytes_of("q_proj", d, 64, 0) * 8 == pytest.approx(expected, rel=1e-12)


@pytest.mark.contract
def test_every_kind_whose_modules_are_named_has_all_of_them_named() -> None:
    for config in (
        LLAMA_8B,
        QWEN3_32B,
        QWEN3_MOE,
        V3,
        {**V3, **INDEX},
        KIMI,
        GLM5,
        MINIMAX,
        NANO,
        QWEN3_5,
        QWEN3_5_MOE,
        GPT_OSS,
        GEMMA4,
        SCOUT,
    ):
        known = checkpoint(config)
        assert known is not None
        named: dict[str, int] = {}
        for module in known.modules:
            named[module.tensor] = named.get(module.tensor, 0) + module.elements
        assert {t: n for t, n in named.items() if t in FAMILY} == linear_elements(config)
    assert checkpoint({**LLAMA_8B, "model_type": "granite"}) is not None
    assert "falcon" not in NAMES
