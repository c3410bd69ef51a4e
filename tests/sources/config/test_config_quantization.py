"""config.json files of quantised checkpoints: their format, exactly, or an error that asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sources.config.test_config_json import LLAMA, written

from sol import BadFile, MissingSpec, floor, load_model, memory


def test_a_quantised_checkpoint_asks_for_its_format(tmp_path: Path) -> None:
    path = written(tmp_path, {**LLAMA, "quantization_config": {"quant_method": "awq"}})
    with pytest.raises(MissingSpec, match="quantised by awq"):
        floor(path, "h100", ctx=1)
    assert floor(path, "h100", ctx=1, dtype="w4a16").moved_bytes > 0


WIDE = {**LLAMA, "hidden_size": 256, "intermediate_size": 384}
"""Whole groups of 128 in every row."""
SKIPPED = ["lm_head", "model.layers.0.input_layernorm", "model.embed_tokens", "model.norm"]


@pytest.mark.truth
@pytest.mark.parametrize(
    ("quant", "bits"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}, 4 + 16 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": 32, "sym": False}, 8 + (16 + 8) / 32),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}, 4 + (16 + 4) / 128),
        ({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "modules_to_not_convert": SKIPPED}, 8 + 32 / 128**2),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, 4 + 32 / 64),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
            4 + 8 / 64 + 32 / 64 / 256,
        ),
    ],
)
def test_bits_of_a_quantised_checkpoint(tmp_path: Path, quant: dict, bits: float) -> None:
    model = load_model(written(tmp_path, {**WIDE, "quantization_config": quant}))
    assert model.weight_format is not None
    linear = 2 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 384)  # elements of the layers, without norms: what is quantised
    moved = linear * bits / 8 + (100 * 256 + 256 + 2 * 2 * 256) * 2 + 256 * 2  # the rest in 16 bits, one embedding row
    f = floor(model, "h100", ctx=1)
    assert f.moved_weight_bytes == pytest.approx(moved, rel=1e-12)
    assert any("as its config says" in line for line in f.assumptions)
    assert floor(model, "h100", ctx=1, dtype="bf16").moved_weight_bytes > f.moved_weight_bytes
    resident = linear * bits / 8 + (2 * 100 * 256 + 256 + 2 * 2 * 256) * 2
    assert memory(model, ctx=0).weight_bytes == pytest.approx(resident, rel=1e-12)


@pytest.mark.truth
def test_bytes_of_a_published_block_fp8_checkpoint(tmp_path: Path) -> None:
    """Qwen/Qwen3-30B-A3B-FP8: the Hub counts 30,533,947,392 stored elements, the scales of 128 x 128 blocks among them."""
    config = {
        "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
        "head_dim": 128, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
        "vocab_size": 151936, "torch_dtype": "bfloat16", "quantization_config": {
            "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128],
            "modules_to_not_convert": ["lm_head", *(f"model.layers.{i}.mlp.gate" for i in range(48)), "model.layers.0.input_layernorm"],
        },
    }  # fmt: skip
    model = load_model(written(tmp_path, config))
    scales = 30_533_947_392 - model.parameters
    narrow = scales * 128 * 128  # one byte each; four a scale, two for all the rest
    assert memory(model, ctx=0).weight_bytes == narrow + 4 * scales + 2 * (model.parameters - narrow)


@pytest.mark.parametrize(
    "quant",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": -2, "sym": True},
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "dynamic": {"-:.*down.*": {}}},
        {"quant_method": "gptq", "bits": True, "group_size": 128, "sym": True},
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "modules_to_not_convert": ["self_attn.q_pro"]},
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "modules_to_not_convert": "lm_head"},
        {"quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
        {"quant_method": "fp8", "weight_block_size": [128, 0]},
        {"quant_method": "fp8"},
        {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": True},
        {"quant_method": ["awq"]},
        {"quant_method": "quark"},
        "awq",
    ],
)
def test_a_quantisation_not_understood_asks_for_its_format(tmp_path: Path, quant: Any) -> None:
    model = load_model(written(tmp_path, {**LLAMA, "quantization_config": quant}))
    with pytest.raises(MissingSpec, match="give its weight format"):
        floor(model, "h100", ctx=1)


def test_a_quantised_moe_must_say_that_its_router_is_not(tmp_path: Path) -> None:
    moe = {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    assert load_model(written(tmp_path, {**moe, "quantization_config": awq})).weight_format is None
    for skipped, understood in (
        (["gate"], True),
        (["model.layers.0.block_sparse_moe.gate"], False),  # of one layer: the other's may be quantised
        ([f"model.layers.{i}.block_sparse_moe.gate" for i in range(2)], True),
        (["model.layers.0.block_sparse_moe.gate"] * 2, False),
    ):
        awq["modules_to_not_convert"] = skipped
        assert (load_model(written(tmp_path, {**moe, "quantization_config": awq})).weight_format is not None) is understood


def test_a_list_of_what_is_not_quantised_must_name_the_head(tmp_path: Path) -> None:
    nf4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    for quant, key in ((nf4, "llm_int8_skip_modules"), (fp8, "modules_to_not_convert")):
        for skipped, understood in ((None, True), (["lm_head"], True), (["model.norm"], False), ([], False)):
            config = {**LLAMA, "quantization_config": {**quant, key: skipped}}
            assert (load_model(written(tmp_path, config)).weight_format is not None) is understood


def test_the_file_beside_the_config_says_what_modelopt_quantised(tmp_path: Path) -> None:
    """fp8 in every linear layer but the head, and an fp8 cache: as NVIDIA's checkpoints put it."""
    path = written(tmp_path, WIDE)
    side = tmp_path / "hf_quant_config.json"
    side.write_text(json.dumps({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}))
    model = load_model(path)
    assert (model.quantization, model.cache_format) == ("modelopt", "fp8")
    assert model.weight_format is not None
    assert model.weight_format.bits_per_weight == 8
    f = floor(model, "h100", ctx=100)
    assert (f.question.storage.cache.id, f.question.storage.weights.compute) == ("fp8", "fp8")
    assert any(line == "kv cache fp8 (as its config says)" for line in f.assumptions)
    assert floor(model, "h100", ctx=100, kv_dtype="bf16").moved_kv_bytes == 2 * f.moved_kv_bytes
    side.write_text(json.dumps({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}))
    assert floor(load_model(path), "h100", ctx=100).question.storage.cache.bits_per_weight == 4.5
    side.write_text(json.dumps({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "NF3", "exclude_modules": ["lm_head"]}}))
    with pytest.raises(MissingSpec, match="kv_dtype"):
        floor(load_model(path), "h100", ctx=100)
    side.write_text("{")
    with pytest.raises(BadFile, match="hf_quant_config"):
        load_model(path)
