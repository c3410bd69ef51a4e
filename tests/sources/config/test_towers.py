"""What a multimodal checkpoint holds beside its language model: against transformers' classes, and against published totals."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from sol import BadFile
from sol.sources.config.towers import TOWERS, tower_parameters

FIXTURES = Path(__file__).parents[2] / "fixtures"
CASES = json.loads((FIXTURES / "transformers_towers.json").read_text())["cases"]
NESTED = [c for c in json.loads((FIXTURES / "transformers_kinds.json").read_text())["cases"] if "text_parameters" in c]


def named(case: dict[str, Any]) -> str:
    return f"{case['kind']}-{case['case']}"


def test_every_kind_has_a_case() -> None:
    assert {c["kind"] for c in CASES} == set(TOWERS)
    assert {c["kind"] for c in NESTED} <= set(TOWERS)


@pytest.mark.truth
@pytest.mark.parametrize("case", CASES, ids=named)
def test_towers_are_those_of_the_class(case: dict[str, Any]) -> None:
    assert tower_parameters(case["config"], "fixture") == case["tower_parameters"] + case.get("vectors", 0)


@pytest.mark.truth
@pytest.mark.parametrize("case", NESTED, ids=named)
def test_towers_are_what_the_language_model_leaves(case: dict[str, Any]) -> None:
    for config in (case["config"], case.get("given")):
        if config is not None:
            assert tower_parameters(config, "fixture") == case["parameters"] - case["text_parameters"]


SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "num_attention_heads": 16,
    "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
GEMMA4 = {
    "model_type": "gemma4_vision", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
    "num_key_value_heads": 16, "head_dim": 72, "patch_size": 16, "position_embedding_size": 10240, "standardize": True,
    "use_clipped_linears": False,
}  # fmt: skip
GEMMA4_SMALL = {
    "vision_config": {
        "model_type": "gemma4_vision", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 16, "num_attention_heads": 12,
        "num_key_value_heads": 12, "head_dim": 64, "patch_size": 16, "position_embedding_size": 10240, "standardize": False,
        "use_clipped_linears": True,
    },
    "audio_config": {
        "model_type": "gemma4_audio", "hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 8, "conv_kernel_size": 5,
        "subsampling_conv_channels": [128, 32], "output_proj_dims": 1536, "use_clipped_linears": True,
    },
}  # fmt: skip
QWEN2 = {
    "depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3, "patch_size": 14, "spatial_merge_size": 2,
    "spatial_patch_size": 14, "temporal_patch_size": 2,
}  # fmt: skip
QWEN25 = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "in_chans": 3, "patch_size": 14, "spatial_merge_size": 2,
    "spatial_patch_size": 14, "temporal_patch_size": 2,
}  # fmt: skip
QWEN3 = {
    "depth": 27, "hidden_size": 1152, "in_channels": 3, "intermediate_size": 4304, "num_heads": 16, "num_position_embeddings": 2304,
    "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "deepstack_visual_indexes": [8, 16, 24],
}  # fmt: skip
QWEN3_SMALL = {**QWEN3, "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]}
QWEN35 = {**QWEN3, "deepstack_visual_indexes": []}
LLAMA4 = {
    "model_type": "llama4_vision_model", "hidden_size": 1408, "image_size": 336, "intermediate_size": 5632, "num_attention_heads": 16,
    "num_channels": 3, "num_hidden_layers": 34, "patch_size": 14, "pixel_shuffle_ratio": 0.5, "projector_input_dim": 4096,
    "projector_output_dim": 4096, "vision_output_dim": 4096, "multi_modal_projector_bias": False,
}  # fmt: skip
MLLAMA = {
    "model_type": "mllama_vision_model", "hidden_size": 1280, "attention_heads": 16, "image_size": 560, "intermediate_size": 5120,
    "num_hidden_layers": 32, "num_global_layers": 8, "patch_size": 14, "max_num_tiles": 4, "vision_output_dim": 7680,
    "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
}  # fmt: skip
PIXTRAL = {
    "model_type": "pixtral", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "head_dim": 64, "image_size": 1540, "num_channels": 3, "patch_size": 14,
}  # fmt: skip
CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "num_attention_heads": 16,
    "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768, "vocab_size": 32000,
}  # fmt: skip
INTERN = {
    "model_type": "internvl_vision", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "attention_bias": True, "use_qk_norm": False, "norm_type": "layer_norm", "image_size": [448, 448], "patch_size": [14, 14],
}  # fmt: skip
KIMI = {
    "vt_hidden_size": 1152, "vt_intermediate_size": 4304, "vt_num_attention_heads": 16, "vt_num_hidden_layers": 27, "patch_size": 14,
    "init_pos_emb_height": 64, "init_pos_emb_width": 64, "init_pos_emb_time": 4, "pos_emb_type": "divided_fixed", "merge_type": "sd2_tpool",
    "merge_kernel_size": [2, 2], "mm_projector_type": "patchmerger", "mm_hidden_size": 1152, "text_hidden_size": 7168,
}  # fmt: skip


def beside(tower: dict[str, Any], hidden: int, **keys: Any) -> dict[str, Any]:
    return {"text_config": {"hidden_size": hidden}, "vision_config": {**tower, **keys}}


# Totals: the Hub's safetensors metadata, or what those who loaded a checkpoint counted. The language model's parameters: as transformers
# 5.23.0 builds it with its lm_head on torch's meta device; those of Qwen-VL and Mistral are also published totals of text models alone
# (Qwen2.5-1.5B, 3B, 7B and 72B, Qwen3-1.7B, 4B and 235B-A22B, Mistral-Small-24B). Then what its config.json says of the rest.
PUBLISHED = (
    ("google/gemma-3-4b-it", "gemma3", 4_300_079_472, 3_880_263_168, beside(SIGLIP, 2560)),
    ("google/gemma-3-12b-it", "gemma3", 12_187_325_040, 11_766_034_176, beside(SIGLIP, 3840)),
    ("google/gemma-3-27b-it", "gemma3", 27_432_406_640, 27_009_346_304, beside(SIGLIP, 5376)),
    # Gemma 4: a stored number for each layer counts as text. So do the keys and values of layers that use those of others, which E2B
    # and E4B store and the class does not build: two matrices and a norm, for 4 full and 16 local layers, and for 3 and 15.
    ("google/gemma-4-31B-it", "gemma4", 31_273_088_876, 30_697_345_280 + 60, beside(GEMMA4, 5376)),
    ("google/gemma-4-26B-A4B-it", "gemma4", 25_805_936_206, 25_233_141_760 + 30, beside(GEMMA4, 2816)),
    (
        "google/gemma-4-E2B-it", "gemma4", 5_123_178_051,
        4_628_569_344 + 35 + 4 * (2 * 1536 * 512 + 512) + 16 * (2 * 1536 * 256 + 256),
        GEMMA4_SMALL | {"text_config": {"hidden_size": 1536}},
    ),
    (
        "google/gemma-4-E4B-it", "gemma4", 7_996_156_490,
        7_463_013_376 + 42 + 3 * (2 * 2560 * 1024 + 512) + 15 * (2 * 2560 * 512 + 256),
        GEMMA4_SMALL | {"text_config": {"hidden_size": 2560}},
    ),
    ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4", 108_641_793_536, 107_769_861_120, beside(LLAMA4, 5120)),
    ("meta-llama/Llama-3.2-11B-Vision-Instruct", "mllama", 10_670_220_835, 9_775_192_080, beside(MLLAMA, 4096)),
    ("Qwen/Qwen2-VL-2B-Instruct", "qwen2_vl", 2_208_985_600, 1_543_714_304, beside(QWEN2, 1536, hidden_size=1536)),
    ("Qwen/Qwen2-VL-7B-Instruct", "qwen2_vl", 8_291_375_616, 7_615_616_512, beside(QWEN2, 3584, hidden_size=3584)),
    ("Qwen/Qwen2-VL-72B-Instruct", "qwen2_vl", 73_405_560_320, 72_706_203_648, beside(QWEN2, 8192, hidden_size=8192)),
    ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl", 3_754_622_976, 3_085_938_688, beside(QWEN25, 2048, out_hidden_size=2048)),
    ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", 8_292_166_656, 7_615_616_512, beside(QWEN25, 3584, out_hidden_size=3584)),
    ("Qwen/Qwen3-VL-2B-Instruct", "qwen3_vl", 2_127_532_032, 1_720_574_976, beside(QWEN3_SMALL, 2048, out_hidden_size=2048)),
    ("Qwen/Qwen3-VL-4B-Instruct", "qwen3_vl", 4_437_815_808, 4_022_468_096, beside(QWEN3_SMALL, 2560, out_hidden_size=2560)),
    ("Qwen/Qwen3-VL-235B-A22B-Instruct", "qwen3_vl_moe", 235_670_022_896, 235_093_634_560, beside(QWEN3, 4096, out_hidden_size=4096)),
    # Stored and not built: the block that predicts one more token, 424,699,392 (a layer of full attention, a matrix, norms).
    ("Qwen/Qwen3.5-27B", "qwen3_5", 27_781_427_952, 26_895_998_464 + 424_699_392, beside(QWEN35, 5120, out_hidden_size=5120)),
    ("llava-hf/llava-1.5-7b-hf", "llava", 7_063_427_072, 6_738_939_904, beside(CLIP, 4096)),
    ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistral3", 24_011_361_280, 23_572_403_200, beside(PIXTRAL, 5120)),
    # InternLM2.5-7B-chat, and nine rows more in each of its two tables.
    ("OpenGVLab/InternVL2_5-8B", "internvl", 8_075_365_376, 7_737_708_544 + 2 * 9 * 4096, beside(INTERN, 4096)),
    # Its 16-bit elements: the language model less its routed experts and the biases of its routers, and a scale for 32 expert weights.
    (
        "moonshotai/Kimi-K2.5", "kimi_k25", 43_902_267_888,
        1_026_408_232_448 - 60 * 384 - 60 * 384 * 3 * 7168 * 2048 * 31 // 32, beside(KIMI, 7168),
    ),
)  # fmt: skip


@pytest.mark.truth
@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row[0])
def test_a_tower_is_the_published_total_less_the_language_model(row: tuple) -> None:
    _, kind, total, text, config = row
    assert tower_parameters({"model_type": kind, **config}, "config.json") == total - text


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (
            "kimi_k25",
            {"vision_config": KIMI},
            {
                "vision_config": {
                    "hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27,
                    "pos_emb_height": 64, "pos_emb_width": 64, "patch_size": 14, "merge_kernel_size": [2, 2],
                },
                "projection_hidden_size": 1152,
            },
        ),
        (
            "step3p7",
            {"vision_config": {"width": 48, "layers": 2, "heads": 4, "patch_size": 14, "image_size": 56}},
            {"vision_config": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 14, "image_size": 56}},
        ),
        (
            "minimax_m3_vl",
            {
                "projector_hidden_size": 40,
                "vision_config": {
                    "model_type": "clip_vision_model", "hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2,
                    "intermediate_size": 72, "patch_size": 14,
                    "img_token_compression_config": {"spatial_merge_size": 3, "temporal_patch_size": 4},
                },
            },
            {
                "projector_hidden_size": 40, "img_token_compression_config": {"spatial_merge_size": 5, "temporal_patch_size": 4},
                "vision_config": {
                    "hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 72, "patch_size": 14,
                    "spatial_merge_size": 3,
                },
            },
        ),
        ("internvl", {"vision_config": INTERN}, {"vision_config": {**INTERN, "image_size": 448, "patch_size": 14}}),
        (
            "qwen2_vl",
            {"vision_config": {**QWEN2, "hidden_size": 7168}},
            {"text_config": None, "hidden_size": 7168, "vision_config": {**QWEN2, "hidden_size": 7168, "model_type": "qwen2_vl"}},
        ),
    ],
)  # fmt: skip
def test_two_ways_to_write_one_config(kind: str, one: dict, other: dict) -> None:
    base = {"model_type": kind, "text_config": {"hidden_size": 7168}}
    assert tower_parameters({**base, **one}, "x") == tower_parameters({**base, **other}, "x") > 0


BASE = {"model_type": "gemma3", **beside(SIGLIP, 2560)}


@pytest.mark.parametrize(
    ("change", "vision", "words"),
    [
        ({"model_type": "llama"}, {}, "model_type='llama' has no tower that is understood; understood: gemma3,"),
        ({"model_type": None}, {}, "model_type='' has no tower"),
        ({"model_type": ["gemma3"]}, {}, "model_type=['gemma3'] is not a word"),
        ({"model_type": "kimi_k3"}, {}, "model_type='kimi_k3' has no tower"),
        ({"vision_config": None}, {}, "vision_config is missing"),
        ({"vision_config": [1]}, {}, "vision_config=[1] is not the object"),
        ({"text_config": None}, {}, "hidden_size is missing"),
        ({"text_config": {}}, {}, "text_config.hidden_size is missing"),
        ({"text_config": 7}, {}, "text_config=7 is not the object"),
        ({"audio_config": {"hidden_size": 8}}, {}, "audio_config={'hidden_size': 8} is a mechanism a gemma3 model does not have"),
        ({}, {"model_type": "vivit"}, "vision_config.model_type='vivit' is no tower understood in a gemma3 model"),
        ({}, {"hidden_size": None}, "vision_config.hidden_size is missing, and no default is assumed"),
        ({}, {"hidden_size": -1152}, "vision_config.hidden_size=-1152 is not a size"),
        ({}, {"hidden_size": 1152.0}, "vision_config.hidden_size=1152.0 is not a whole number"),
        ({}, {"hidden_size": float("nan")}, "vision_config.hidden_size=nan is not a whole number"),
        ({}, {"hidden_size": "1152"}, "vision_config.hidden_size='1152' is not a whole number"),
        ({}, {"hidden_size": True}, "vision_config.hidden_size=True is not a whole number"),
        ({}, {"hidden_size": 10**5000}, "vision_config.hidden_size=a number beyond 1e30 is not a size"),
        ({}, {"hidden_size": 1150}, "vision_config.num_attention_heads=16 is no divisor of the hidden size 1150"),
        ({}, {"hidden_size": 2**30, "intermediate_size": 2**30}, "which no model has"),
        ({}, {"image_size": 13}, "vision_config.image_size=[13, 13] is smaller than a patch of 14 x 14"),
        ({}, {"image_size": [896, 896, 896]}, "vision_config.image_size=[896, 896, 896] is neither one number nor two"),
        ({}, {"patch_size": [14, 10**5000]}, "vision_config.patch_size=a number beyond 1e30 is not a size"),
        ({}, {"vision_use_head": "no"}, "vision_config.vision_use_head='no' is neither true nor false"),
        ({"model_type": "llava", "vision_feature_layer": []}, {}, "vision_feature_layer=[] is neither a layer nor a list of layers"),
        ({"model_type": "llava", "vision_feature_layer": [True]}, {}, "vision_feature_layer=[True] is neither"),
        ({"model_type": "llava", "multimodal_projector_bias": 1}, {}, "multimodal_projector_bias=1 is neither true nor false"),
    ],
)
def test_what_is_not_understood_is_named(change: dict, vision: dict, words: str) -> None:
    config = {**BASE, "vision_config": {**SIGLIP, **vision}, **change}
    with pytest.raises(BadFile) as error:
        tower_parameters(config, "some/config.json")
    assert str(error.value).startswith("some/config.json: ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("kind", "tower", "vision", "top", "words"),
    [
        (
            "kimi_k25",
            KIMI,
            {"mm_projector_type": "patchmergerv2"},
            {},
            "mm_projector_type='patchmergerv2' is not understood; understood: 'pat",
        ),
        ("kimi_k25", KIMI, {"mm_hidden_size": 1024}, {}, "vision_config.mm_hidden_size=1024 is not understood; understood: 1152"),
        ("kimi_k25", KIMI, {"text_hidden_size": 4096}, {}, "vision_config.text_hidden_size=4096 is not understood"),
        ("internvl", INTERN, {"use_mask_token": True}, {}, "vision_config.use_mask_token=True is not understood; understood: False"),
        ("internvl", INTERN, {"use_mask_token": 0}, {}, "vision_config.use_mask_token=0 is not understood"),
        ("internvl", INTERN, {"norm_type": "batch_norm"}, {}, "vision_config.norm_type='batch_norm' is not understood"),
        ("internvl", INTERN, {}, {"downsample_ratio": 2}, "downsample_ratio=2 is not a share of a side"),
        ("internvl", INTERN, {}, {"downsample_ratio": 5e-324}, "downsample_ratio=5e-324 is not a ratio"),
        ("internvl", INTERN, {}, {"downsample_ratio": float("nan")}, "downsample_ratio=nan is not a ratio"),
        ("qwen2_vl", QWEN2, {"mlp_ratio": "4"}, {}, "vision_config.mlp_ratio='4' is not a number"),
        (
            "qwen3_vl",
            QWEN3,
            {"deepstack_visual_indexes": None, "out_hidden_size": 7168},
            {},
            "vision_config.deepstack_visual_indexes is missing",
        ),
        ("qwen3_5", QWEN3, {}, {}, "vision_config.deepstack_visual_indexes=[8, 16, 24] is not understood; understood: []"),
        ("qwen3_5", QWEN35, {}, {"language_model_only": True}, "language_model_only=True is not understood"),
        ("gemma4", GEMMA4, {"attention_bias": True}, {}, "vision_config.attention_bias=True is not understood"),
        ("gemma4", GEMMA4, {}, {"audio_config": {"model_type": "usm"}}, "audio_config.model_type='usm' is not understood"),
        ("step3p7", {"width": 8}, {"use_ln_post": True}, {}, "vision_config.use_ln_post=True is not understood; understood: False"),
        ("mllama", MLLAMA, {"supported_aspect_ratios": 8}, {}, "vision_config.supported_aspect_ratios=8 is not a list"),
    ],
)
def test_what_a_kind_does_not_have_is_named(kind: str, tower: dict, vision: dict, top: dict, words: str) -> None:
    with pytest.raises(BadFile) as error:
        tower_parameters({"model_type": kind, **beside(tower, 7168, **vision), **top}, "x")
    assert words in str(error.value)


@pytest.mark.parametrize(("heads", "channels"), [(7, [128, 32]), (8, [128]), (8, ["a", 1]), (8, None)])
def test_odd_ears_are_named(heads: int, channels: Any) -> None:
    audio = {**GEMMA4_SMALL["audio_config"], "num_attention_heads": heads, "subsampling_conv_channels": channels}
    with pytest.raises(BadFile, match=r"audio_config\.(num_attention_heads|subsampling_conv_channels)"):
        tower_parameters({"model_type": "gemma4", "text_config": {"hidden_size": 64}, "audio_config": audio}, "x")


def test_whatever_a_config_says_it_is_counted_or_refused_in_one_line() -> None:
    """Thousands of configs with fields missing, of the wrong type, extreme or foreign; never another exception."""
    draw = random.Random(20262)
    odd = [None, True, False, 0, -1, 1, 3, 2**31, 2**40, 2**63, 10**400, 10**5000, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf")]
    odd += ["", "7", "\u2028", "a" * 5000, [], [1], [None] * 2, [10**5000, 1], [2, 3], [[1, 1]], {}, {"a": {}}]
    keys = sorted({k for c in (*CASES, *NESTED) for part in (c["config"], *sections(c["config"])) for k in part})
    counted = 0
    for _ in range(6000):
        config = copy.deepcopy(draw.choice((*CASES, *NESTED))["config"])
        for _ in range(draw.randrange(1, 4)):
            part = draw.choice((config, *sections(config)))
            key = draw.choice(sorted(part) if part and draw.random() < 0.8 else keys)
            part.pop(key, None)
            if draw.random() < 0.8:
                part[key] = draw.choice(odd)
        said = None
        try:
            count = tower_parameters(config, "x")
        except BadFile as error:
            said = str(error)
        if said is None:
            assert isinstance(count, int)
            assert 0 <= count <= 2**50
            counted += 1
        else:
            assert len(said) <= 500
            assert "\n" not in said
    assert counted > 1000


def sections(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for key, part in sorted(config.items()) if key.endswith("_config") and isinstance(part, dict)]
