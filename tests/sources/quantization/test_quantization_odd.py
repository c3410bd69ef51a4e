"""Quantisation configs that are not understood ask for a format; whatever they hold, nothing else ever happens."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources.quantization.quantised import (
    AWQ64,
    BLOCKS,
    FP8_ACT,
    FP8_DYNAMIC,
    GPT_OSS,
    LLAMA_8B,
    MINIMAX,
    NANO,
    QWEN3_MOE,
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
from sol.sources.quantization.quantization import cache_format, weight_format
from sol.specs.formats import NumberFormat

GATES = per_layer("model.layers.{}.mlp.gate", layers=94)
W4 = {"strategy": "group", "group_size": 128}
G16, G32 = {"strategy": "tensor_group", "group_size": 16}, {"strategy": "group", "group_size": 32}
FP4_ACT, INT8_ACT = {"num_bits": 4, "type": "float"}, {"num_bits": 8, "type": "int"}
SQUARE = {"strategy": "block", "block_structure": [128, 128]}
W4A16 = compressed(4, "int", "pack-quantized", ["lm_head"], **W4)
LINEAR = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}, "input_activations": FP8_ACT}


def changed(quant: Facts, **change: Any) -> dict[str, Any]:
    return {**quant, **change}


def mx(act: Any, **more: Any) -> dict[str, Any]:
    part = {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}
    given = {"weight": part, "input_tensors": part if act == "fp4" else act}
    return {"quant_method": "quark", "global_quant_config": given, "exclude": ["lm_head"], **more}


FP8_IN = {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}


@pytest.mark.truth
@pytest.mark.parametrize(
    ("quant", "bits", "compute"),
    [
        (W4A16, 4 + 16 / 128, "16-bit"),
        (compressed(4, "int", "pack-quantized", ["lm_head"], symmetric=False, **W4), 4 + 20 / 128, "16-bit"),
        (compressed(8, "int", "pack-quantized", ["lm_head"], strategy="channel"), 8 + 16 / 4096, "16-bit"),
        (compressed(8, "int", "int-quantized", ["lm_head"], INT8_ACT, strategy="channel"), 8 + 16 / 4096, "int8"),
        (compressed(4, "int", "pack-quantized", ["lm_head"], FP8_ACT, **W4), 4 + 16 / 128, "fp8"),
        (compressed(8, "float", "float-quantized", ["lm_head"], FP8_ACT, strategy="tensor"), 8, "fp8"),
        (compressed(8, "float", "float-quantized", ["lm_head"], None, strategy="tensor"), 8, "16-bit"),
        (compressed(8, "float", "float-quantized", ["lm_head"], FP8_ACT, **SQUARE), 8 + 16 / 16384, "fp8"),
        (compressed(4, "float", "nvfp4-pack-quantized", ["lm_head"], FP4_ACT, **G16), 4.5, "fp4"),
        (compressed(4, "float", "nvfp4-pack-quantized", ["lm_head"], **G16), 4.5, "16-bit"),
        (compressed(4, "float", "mxfp4-pack-quantized", ["lm_head"], scale_dtype="torch.uint8", **G32), 4.25, "16-bit"),
        (compressed(8, "float", "mxfp8-quantized", ["lm_head"], FP8_ACT, **G32), 8.25, "fp8"),
        ({"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}, 8, "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8 + 32 / 4096, "int8"),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": True}, 4 + 16 / 4096, "16-bit"),
        (mx("fp4"), 4.25, "fp4"),
        (mx(FP8_IN), 4.25, "fp8"),
        (mx(None), 4.25, "16-bit"),
    ],
)  # fmt: skip
def test_bits_and_compute_of_each_method(quant: Facts, bits: float, compute: str) -> None:
    """Of rows of 4,096 elements; no unit for 4 bits means 16."""
    fmt = described(LLAMA_8B, quant)
    assert fmt is not None
    assert fmt.bytes_of("q_proj", 4096, 32, 0) * 8 == pytest.approx(bits, rel=1e-12)
    assert fmt.compute == compute
    assert fmt.otherwise == ("16-bit" if compute == "fp4" else None)
    assert fmt.covering("down_proj")
    assert not fmt.covering("lm_head")


@pytest.mark.parametrize(
    ("config", "quant", "side"),
    [
        # ModelOpt: no list of what is left out; two places that differ; sizes and algorithms it does not have
        (NANO, None, modelopt("FP8")),
        (LLAMA_8B, {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}, modelopt("NVFP4", ["lm_head"], group_size=16)),
        (LLAMA_8B, {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": []}, modelopt("FP8", ["lm_head"])),
        (LLAMA_8B, BLOCKS, modelopt("FP8", ["lm_head"])),
        (LLAMA_8B, None, modelopt("NVFP4", ["lm_head"], group_size=32)),
        (LLAMA_8B, None, modelopt("W4A16_AWQ", ["lm_head"], group_size=128)),
        (LLAMA_8B, None, {"quantization": None}),
        (LLAMA_8B, None, []),
        (LLAMA_8B, None, modelopt("MIXED_PRECISION", [])),
        (LLAMA_8B, None, modelopt("MIXED_PRECISION", [], quantized_layers={"model.layers.0.mlp.w1": {"quant_algo": "FP8"}})),
        # A router that may be quantised, a tied head that would be
        (QWEN3_MOE, None, modelopt("NVFP4", ["lm_head"], group_size=16)),
        (QWEN3_MOE, compressed(4, "int", "pack-quantized", ["lm_head", *GATES[1:]], **W4), None),
        ({**LLAMA_8B, "tie_word_embeddings": True}, compressed(4, "int", "pack-quantized", [], **W4), None),
        # Names of no module, names read differently by different tools, some experts only
        (LLAMA_8B, None, modelopt("FP8", ["lm_head", "model.layers.*.attention.*"])),
        (LLAMA_8B, compressed(4, "int", "pack-quantized", ["lm_head", "model.layers.0.self_attn"], **W4), None),
        (LLAMA_8B, compressed(4, "int", "pack-quantized", ["lm_head", "re:layers.0.*"], **W4), None),
        (LLAMA_8B, {**AWQ64, "modules_to_not_convert": ["q_pro"]}, None),
        (LLAMA_8B, {**BLOCKS, "modules_to_not_convert": ["lm_head", "model.layers.1"]}, None),
        (LLAMA_8B, {**BLOCKS, "modules_to_not_convert": ["model.norm"]}, None),
        (V3, {**AWQ64, "modules_to_not_convert": ["gate"]}, None),
        (MINIMAX, None, modelopt("NVFP4", ["lm_head", "*.gate", "model.layers.0.block_sparse_moe.experts.7.w1"], group_size=16)),
        (GPT_OSS, {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head", "model.layers.*.mlp.router"]}, None),
        # Expressions that could take forever
        *((LLAMA_8B, compressed(4, "int", "pack-quantized", ["lm_head", p], **W4), None)
          for p in ("re:(a+)+$", "re:(.*)*x", r"re:(\w|a)*q", "re:" + ".*a" * 30, "re:[", "re:(", "re:" + "a" * 999)),
        (LLAMA_8B, None, modelopt("FP8", ["lm_head", "*a" * 20])),
        # compressed-tensors: not compressed, sparse, rotated, layouts and widths that hold something else
        *((LLAMA_8B, changed(W4A16, **change), None) for change in (
            {"quantization_status": "frozen"}, {"sparsity_config": {"format": "sparse-24-bitmask"}}, {"transform_config": {"R1": {}}},
            {"format": "marlin-24"}, {"format": "dense"}, {"format": None}, {"ignore": "lm_head"}, {"config_groups": {}},
            {"config_groups": []}, {"config_groups": {"a": {"targets": ["Embedding"]}}},
            {"config_groups": {**W4A16["config_groups"], "b": LINEAR}},
        )),
        *((LLAMA_8B, compressed(bits, kind, layout, ["lm_head"], act, **weights), None) for bits, kind, layout, act, weights in (
            (3, "int", "pack-quantized", None, W4), (4, "int", "int-quantized", None, W4), (8, "float", "pack-quantized", None, W4),
            (4, "int", "pack-quantized", {"num_bits": 4, "type": "int"}, W4), (4, "int", "pack-quantized", None, {"strategy": "group"}),
            (4, "int", "pack-quantized", None, {**W4, "dynamic": True}), (4, "int", "pack-quantized", None, {**W4, "symmetric": None}),
            (8, "float", "float-quantized", INT8_ACT, {"strategy": "channel"}),
            (4, "float", "nvfp4-pack-quantized", None, G32), (4, "float", "nvfp4-pack-quantized", INT8_ACT, G16),
            (4, "float", "mxfp4-pack-quantized", None, {**G32, "scale_dtype": "torch.bfloat16"}),
        )),
        # Others
        (LLAMA_8B, {"quant_method": "fp8"}, None),
        (LLAMA_8B, {**BLOCKS, "fmt": "e5m2"}, None),
        (LLAMA_8B, {**BLOCKS, "scale_fmt": "ue8m0"}, None),
        (LLAMA_8B, {**AWQ64, "version": "gemv"}, None),
        (LLAMA_8B, mx("fp4", layer_quant_config={"lm_head": {}}), None),
        (LLAMA_8B, mx({"dtype": "int8"}), None),
        (LLAMA_8B, {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": True}, None),
    ],
)  # fmt: skip
def test_what_is_not_understood_has_no_format(config: Facts, quant: Any, side: Any) -> None:
    assert described(config, quant, side) is None


@pytest.mark.law
def test_the_same_modules_left_out_in_other_words_are_the_same_bits() -> None:
    """Layer 0 by names, by expressions from the root or from anywhere, by a wildcard, by a part of its names."""
    names = per_layer(*(f"model.layers.{{}}.{m}_proj" for m in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o")), layers=1)
    names += per_layer(*(f"model.layers.{{}}.mlp.{m}_proj" for m in ("gate", "up", "down")), layers=1)
    expected = (31 * 4.5 + 16) / 32
    for left in (names, [r"re:.*\.layers\.0\..*"], [r"re:model\.layers\.0\."], [r"re:^model.layers.0.(self_attn|mlp)\..*$"]):
        fmt = described(LLAMA_8B, compressed(4, "int", "pack-quantized", ["lm_head", *left], **G32))
        assert fmt is not None
        assert fmt.bytes_of("down_proj", 14336, 32, 0) * 8 == pytest.approx(expected, rel=1e-12)
    glob = described(LLAMA_8B, None, modelopt("NVFP4", ["lm_head", "model.layers.0.*"], group_size=16))
    part = described(LLAMA_8B, {**AWQ64, "modules_to_not_convert": ["model.layers.0"]})
    assert glob is not None
    assert part is not None
    assert glob.bytes_of("q_proj", 4096, 32, 0) * 8 == pytest.approx(expected, rel=1e-12)
    assert part.bytes_of("q_proj", 4096, 32, 0) * 8 == pytest.approx((31 * (4 + 20 / 64) + 16) / 32, rel=1e-12)


def test_a_head_nothing_leaves_out_is_covered() -> None:
    for quant, side in ((compressed(4, "int", "pack-quantized", [], **W4), None), (None, modelopt("NVFP4", [], group_size=16))):
        fmt = described(LLAMA_8B, quant, side)
        assert fmt is not None
        assert fmt.covering("lm_head")


def test_without_the_names_of_modules_only_a_whole_model_is_understood() -> None:
    """As read where the kind's modules have no names here: every linear layer, or nothing."""
    for quant, understood in (
        (W4A16, True), (FP8_DYNAMIC, False), (changed(W4A16, ignore=["lm_head", "re:.*self_attn.*"]), False),
        (changed(W4A16, ignore=[]), False), (mx(None), True), ({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, False),
    ):  # fmt: skip
        assert (weight_format(quant, 0, SOURCE) is not None) is understood


def test_both_places_of_a_statement_may_say_it() -> None:
    left = ["lm_head", "model.layers.0.self_attn*"]
    inside = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": left[::-1], "group_size": 16}
    both, one = described(LLAMA_8B, inside, modelopt("NVFP4", left, group_size=16)), described(LLAMA_8B, inside)
    assert both is not None
    assert one is not None
    assert both.model_dump(exclude={"mix"}) == one.model_dump(exclude={"mix"})


@pytest.mark.parametrize(
    ("quant", "side", "cache"),
    [
        (W4A16, None, None),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "float", "strategy": "tensor"}}, None, "fp8"),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "int"}}, None, "int8"),
        ({"kv_cache_scheme": "static"}, None, "fp8"),
        ({"kv_cache_quant_algo": None}, {"quantization": {"kv_cache_quant_algo": "FP8"}}, "fp8"),
        (None, {"quantization": {"kv_cache_quant_algo": "NVFP4"}}, "nvfp4"),
        ({"kv_cache_scheme": "FP8"}, {"quantization": {"kv_cache_quant_algo": "NVFP4"}}, "fp8 or nvfp4"),
        ({"kv_cache_scheme": {"num_bits": [3]}}, None, "(None, [3])"),
        (7, [], None),
    ],
)
def test_what_is_said_of_the_cache(quant: Any, side: Any, cache: str | None) -> None:
    assert cache_format(quant, side) == cache


@pytest.mark.law
@given(st.sets(st.tuples(st.integers(0, 2), st.sampled_from(["self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"]))))
def test_stored_bytes_are_the_sum_over_modules(left: set[tuple[int, str]]) -> None:
    """Whichever modules are left out, the model weighs what its modules weigh one by one."""
    d, kv, f, layers = 64, 32, 96, 3
    config = {**LLAMA_8B, "hidden_size": d, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": f, "vocab_size": 100,
              "num_hidden_layers": layers}  # fmt: skip
    shapes = {"self_attn.q_proj": (d, d), "self_attn.k_proj": (kv, d), "self_attn.v_proj": (kv, d), "self_attn.o_proj": (d, d),
              "mlp.gate_proj": (f, d), "mlp.up_proj": (f, d), "mlp.down_proj": (d, f)}  # fmt: skip
    ignore = ["lm_head", *(f"model.layers.{i}.{name}" for i, name in left)]
    model = quantised(config, compressed(8, "int", "int-quantized", ignore, INT8_ACT, strategy="channel"))
    stored = sum(
        rows * columns * 2 if (i, name) in left else rows * columns + 2 * rows
        for i in range(layers) for name, (rows, columns) in shapes.items()
    )  # fmt: skip
    rest = 2 * (2 * 100 * d + (2 * layers + 1) * d)
    assert memory(model, ctx=0).weight_bytes == pytest.approx(stored + rest, rel=1e-12)
    assert 0 < floor(model, "h100", ctx=1).moved_weight_bytes < stored + rest


ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 4, 8, 16, 128, 2**63, 10**400, 0.5, float("inf"), "", "7", "fp8", "re:", "re:.*", "*", "\u2028",
    "\ud800", [], [1], ["lm_head"], ["re:(("], [["x"]], [None] * 2, {}, {"a": {}}, {"": None}, "a" * 5000,
    ["model.layers.0.mlp.gate_proj*"] * 3,
]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of every entry of a nested config."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, part in inner for place in places(part, (*at, key)))]


def test_whatever_a_quantisation_config_says_it_is_a_format_or_none() -> None:
    """Thousands of configs with entries missing, of the wrong type, extreme or foreign; never an exception."""
    draw = random.Random(20262)
    bases = [
        W4A16, FP8_DYNAMIC, AWQ64, BLOCKS, mx("fp4"), {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True},
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, modelopt("NVFP4", ["lm_head"], group_size=16),
        modelopt("MIXED_PRECISION", [], quantized_layers={"model.layers.0.mlp.up_proj": {"quant_algo": "FP8"}}),
        {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, modelopt("FP8", ["lm_head", "model.layers.1.*"])["quantization"],
    ]  # fmt: skip
    known = [checkpoint({**LLAMA_8B, "num_hidden_layers": 2}), checkpoint({**MINIMAX, "num_hidden_layers": 2}), None]
    understood = 0
    for _ in range(6000):
        quant: Any = copy.deepcopy(draw.choice(bases))
        for _ in range(draw.randrange(4)):
            *way, last = draw.choice(places(quant)[1:] or [("",)])
            holder = quant
            for key in way:
                holder = holder[key]
            if isinstance(holder, dict) and draw.random() < 0.2:
                holder.pop(last, None)
            elif isinstance(holder, dict | list) and (isinstance(holder, dict) or last in range(len(holder))):
                holder[last] = copy.deepcopy(draw.choice(ODD))
        beside = isinstance(quant, dict) and "quantization" in quant
        side = quant if beside else draw.choice(ODD) if draw.random() < 0.2 else None
        given = None if side is quant else quant
        fmt = weight_format(given, draw.choice([0, 2]), SOURCE, side, draw.choice(known))
        assert fmt is None or isinstance(fmt, NumberFormat)
        cache = cache_format(given, side)
        assert cache is None or isinstance(cache, str)
        understood += fmt is not None
    assert 500 < understood < 5500  # both outcomes are exercised
