"""config.json files: the kinds that are read, exactly; everything else one line with file, field and value."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from sol import Attention, BadFile, MissingSpec, Model, floor, load_model, memory
from sol.sources.config.config_json import read_config
from sol.sources.config.keys import FOREIGN, KEYS
from sol.sources.config.kinds import KINDS
from sol.specs.record import Source

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 100, "torch_dtype": "bfloat16",
}  # fmt: skip


def written(folder: Path, config: Any) -> Path:
    path = folder / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def total(folder: Path, **change: Any) -> int:
    config = {k: v for k, v in {**LLAMA, **change}.items() if v != "absent"}
    return load_model(written(folder, config)).parameters


LAYER = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64  # q and o, k and v, gate up down, norms
TABLES = 2 * 100 * 64 + 64


@pytest.mark.truth
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 2 * LAYER + TABLES),
        ({"num_key_value_heads": "absent"}, 2 * (LAYER + 2 * 64 * 32) + TABLES),
        ({"head_dim": 32}, 2 * (LAYER + 2 * 64 * 64 + 2 * 64 * 32) + TABLES),
        ({"tie_word_embeddings": True}, 2 * LAYER + TABLES - 100 * 64),
        ({"attention_bias": True}, 2 * (LAYER + 64 + 64 + 64) + TABLES),
        ({"mlp_bias": True}, 2 * (LAYER + 2 * 96 + 64) + TABLES),
        ({"model_type": "qwen2"}, 2 * (LAYER + 64 + 64) + TABLES),
        ({"model_type": "qwen3", "head_dim": 16}, 2 * (LAYER + 2 * 16) + TABLES),
        ({"model_type": "mistral", "sliding_window": None}, 2 * LAYER + TABLES),
        ({"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}, 2 * (LAYER + 3 * 3 * 64 * 96 + 64 * 4) + TABLES),
        (
            {
                "model_type": "qwen3_moe",
                "head_dim": 16,
                "num_experts": 4,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 8,
                "mlp_only_layers": [0],
            },
            (LAYER + 32) + (LAYER + 32 - 3 * 64 * 96 + 4 * 3 * 64 * 8 + 64 * 4) + TABLES,
        ),
        (
            {
                "model_type": "qwen3_moe",
                "head_dim": 16,
                "num_experts": 4,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 8,
                "decoder_sparse_step": 2,
            },
            (LAYER + 32) + (LAYER + 32 - 3 * 64 * 96 + 4 * 3 * 64 * 8 + 64 * 4) + TABLES,
        ),
    ],
)
def test_parameters_added_up_by_hand(tmp_path: Path, change: dict, expected: int) -> None:
    assert total(tmp_path, **change) == expected


def spans(model: Model) -> dict[int | None, int]:
    """How many layers keep how many tokens."""
    found: dict[int | None, int] = {}
    for group in model.groups:
        for block in group.blocks:
            if isinstance(block, Attention):
                found[block.span] = found.get(block.span, 0) + group.count
    return found


@pytest.mark.parametrize(
    ("change", "windows"),
    [
        ({"model_type": "mistral", "sliding_window": 8}, {8: 2}),
        ({"model_type": "mistral", "sliding_window": None}, {None: 2}),
        ({"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": False}, {None: 2}),
        ({"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1}, {None: 1, 8: 1}),
        (
            {"model_type": "qwen3", "head_dim": 16, "sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"]},
            {None: 1, 8: 1},
        ),
    ],
)
def test_windows_are_where_the_config_puts_them(tmp_path: Path, change: dict, windows: dict) -> None:
    model = load_model(written(tmp_path, {**LLAMA, **change}))
    assert spans(model) == windows


PUBLISHED = (
    # The sizes its config.json gives, and the totals of parameters their safetensors files publish on the Hub.
    ("phi3", "microsoft/Phi-3-mini-4k-instruct", 3_821_079_552, 3072, 32, 32, 32, 8192, 32064, {"sliding_window": 2047}),
    ("gemma", "google/gemma-2b", 2_506_172_416, 2048, 18, 8, 1, 16384, 256000, {"head_dim": 256}),
    ("internlm2", "internlm/internlm2_5-7b-chat", 7_737_708_544, 4096, 32, 32, 8, 14336, 92544, {"bias": False}),
    ("smollm3", "HuggingFaceTB/SmolLM3-3B", 3_075_098_624, 2048, 36, 16, 4, 11008, 128256, {}),
)


@pytest.mark.truth
@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row[1])
def test_published_totals(tmp_path: Path, row: tuple) -> None:
    kind, _, expected, hidden, layers, heads, kv_heads, ffn, vocab, more = row
    config = {
        "model_type": kind, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": ffn, "vocab_size": vocab, "torch_dtype": "bfloat16", **more,
    }  # fmt: skip
    model = load_model(written(tmp_path, config))
    assert model.parameters == expected
    assert set(spans(model)) == {more.get("sliding_window")}


def test_a_folder_or_a_file_and_the_name_it_gets(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    path = written(folder, LLAMA)
    assert load_model(folder).id == load_model(str(path)).id == "my-model"
    assert load_model(path).cites["architecture"].source.document == str(path)


def test_a_path_answers_like_the_built_in_model(tmp_path: Path) -> None:
    qwen = {
        "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18944, "vocab_size": 152064, "torch_dtype": "bfloat16",
    }  # fmt: skip
    assert floor(written(tmp_path, qwen), "h100", ctx=2048).latency_s == floor("qwen2.5-7b", "h100", ctx=2048).latency_s


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "t5"}, "model_type='t5' is not understood"),
        ({"model_type": "absent"}, "model_type is missing"),
        ({"model_type": "gemma"}, "head_dim is missing"),
        ({"model_type": "smollm3", "sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1}, "needs layer_types"),
        ({"model_type": "granite", "num_local_experts": 4}, "num_local_experts=4 is a mechanism"),
        ({"hidden_size": "absent"}, "hidden_size or n_embd or n_embed or d_model is missing"),
        ({"hidden_size": -64}, "hidden_size=-64"),
        ({"hidden_size": 64.5}, "hidden_size=64.5"),
        ({"hidden_size": "64"}, "hidden_size='64'"),
        ({"hidden_size": True}, "hidden_size=True"),
        ({"hidden_size": 10**30}, "hidden_size=1000"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000"),
        ({"num_attention_heads": 5, "num_key_value_heads": 5}, "hidden_size=64 is not a multiple of num_attention_heads=5"),
        ({"num_key_value_heads": 3}, "num_attention_heads=4 is not a multiple of num_key_value_heads=3"),
        ({"sliding_window": -1, "model_type": "mistral"}, "sliding_window=-1"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries for 2 layers"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ({"kv_lora_rank": 512}, "kv_lora_rank=512"),
        ({"num_local_experts": 8}, "num_local_experts=8"),
        ({"model_type": "mistral"}, "sliding_window is missing"),
        ({"model_type": "qwen3"}, "head_dim is missing"),
        (
            {"model_type": "qwen2", "num_key_value_heads": "absent"},
            "num_key_value_heads or n_head_kv or num_kv_heads or multi_query_group_num is missing",
        ),
        ({"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": True}, "max_window_layers is missing"),
        ({"model_type": []}, "model_type=[]"),
        ({"model_type": {}}, "model_type={}"),
        ({"model_type": "mistral", "sliding_window": 10**400}, "sliding_window=a number beyond"),
        ({"vocab_size": 10**4000}, "vocab_size=a number beyond"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "num_experts_per_tok=3 exceeds the 2 experts"),
        ({"model_type": "mixtral"}, "num_local_experts or num_experts or n_routed_experts or moe_num_experts is missing"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings='yes'"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(BadFile) as error:
        total(tmp_path, **change)
    assert words in str(error.value)
    assert "config.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"hidden_size": NaN}', '{"hidden_size": Infinity}', "[" * 100_000, "\x00", "3"])
def test_what_is_not_a_config_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadFile) as error:
        load_model(written(tmp_path, text))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_missing_paths_and_bytes(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path, "./none.json"):
        with pytest.raises(BadFile, match="no file"):
            load_model(path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(BadFile, match="UTF-8"):
        load_model(tmp_path)


def test_an_unknown_dtype_asks_for_one(tmp_path: Path) -> None:
    path = written(tmp_path, {**LLAMA, "torch_dtype": "float32"})
    with pytest.raises(MissingSpec, match="float32"):
        floor(path, "h100", ctx=1)
    assert floor(path, "h100", ctx=1, dtype="bf16").moved_bytes > 0


@pytest.mark.slow
def test_whatever_a_config_says_it_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    """Thousands of configs with fields missing, of the wrong type, extreme or foreign; never another exception."""
    draw = random.Random(20261)
    odd = [None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, "", "7", "\u2028", [], [1], [None] * 2, {}, {"a": {}}]
    odd += [["full_attention", "sliding_attention"], [["x"]], "bfloat16", "a" * 5000, {"quant_method": 3}]
    base = {**LLAMA, "head_dim": 16, "sliding_window": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    keys = sorted({
        *(k for names in KEYS.values() for k in names), *base, *FOREIGN, "layer_types", "use_sliding_window", "max_window_layers",
        "decoder_sparse_step", "mlp_only_layers", "attention_bias", "mlp_bias", "tie_word_embeddings", "quantization_config", "dtype",
    })  # fmt: skip
    read = 0
    for _ in range(4000):
        config = {**base, "model_type": draw.choice(sorted(KINDS))}
        if not KINDS[config["model_type"]].get("moe"):
            del config["num_experts"], config["num_experts_per_tok"]
        for key in draw.sample(keys, draw.randrange(4)):
            config.pop(key, None)
            if draw.random() < 0.8:
                config[key] = draw.choice(odd)
        said = None
        try:
            model = read_config(config, "x", model_id="x", source=Source(title="x", kind="user"))
        except BadFile as error:
            said = str(error)
        if said is None:
            read += 1
            assert model.parameters >= model.active_parameters > 0
            f = floor(model, "h100", dtype="bf16", ctx=[64])  # a sweep: what does not fit has an answer too
            assert 0 < f.latency_s[0] <= f.serial_s[0] < float("inf")
        else:
            assert said.startswith("x: ")
            assert said.isprintable()
            assert len(said) < 250
    assert 400 < read < 3600  # both outcomes are exercised


@pytest.mark.truth
def test_layers_of_their_own_widths(tmp_path: Path) -> None:
    """Nemotron-NAS: heads / group KV heads, ⌈⌊2·mult·hidden/3⌋⌉ to 256, and a block left out takes its norm with it; 49B's 70B layers."""
    attend = {"n_heads_in_group": 8, "no_op": False, "replace_with_linear": False}
    nothing = {"n_heads_in_group": None, "no_op": True, "replace_with_linear": False}
    wide, narrow = ({"ffn_mult": m, "no_op": False, "replace_with_linear": False} for m in (5.25, 2.625))
    linear = {"ffn_mult": None, "no_op": False, "replace_with_linear": True}
    blocks = [{"attention": a, "ffn": f} for a, f in ((attend, wide), (nothing, narrow), (attend, linear), (attend, wide))]
    config = {
        "model_type": "nemotron-nas", "hidden_size": 8192, "num_hidden_layers": 4, "num_attention_heads": 64, "vocab_size": 1000,
        "block_configs": blocks, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    model = load_model(written(tmp_path, config))
    attention, square = 2 * 8192 * 8192 + 2 * 8192 * 1024, 8192 * 8192
    ffn = 3 * 8192 * 28672 * 2 + 3 * 8192 * 14336 + square
    assert model.parameters == 3 * attention + ffn + (2 + 1 + 2 + 2) * 8192 + 8192 + 2 * 1000 * 8192
    assert spans(model) == {None: 3}
    assert memory(model, ctx=1).kv_bytes == 3 * 2 * 1024 * 2
    for broken, words in (
        ([{}], "block_configs has 1 entries"),
        ([{"attention": 1, "ffn": wide}] * 4, "block_configs[0]"),
        ([{"attention": {**attend, "n_heads_in_group": 7}, "ffn": wide}] * 4, "does not divide"),
        ([{"attention": attend, "ffn": {**wide, "ffn_mult": -1}}] * 4, "ffn_mult=-1"),
    ):
        with pytest.raises(BadFile, match=re.escape(words)):
            load_model(written(tmp_path, {**config, "block_configs": broken}))


@pytest.mark.truth
def test_the_rank_of_a_step_size_is_rounded_up(tmp_path: Path) -> None:
    """transformers' MambaConfig: "auto" is ⌈hidden_size / 16⌉; of 72 it is 5, by which x_proj and dt_proj have 144·(5 + 32) and 5·144."""
    config = {
        "model_type": "mamba", "hidden_size": 72, "num_hidden_layers": 1, "state_size": 16, "expand": 2, "conv_kernel": 4,
        "time_step_rank": "auto", "vocab_size": 100, "intermediate_size": 144, "use_bias": False, "use_conv_bias": True,
        "tie_word_embeddings": True,
    }  # fmt: skip
    mixer = 72 * 288 + 144 * 5 + 144 * (5 + 32) + 5 * 144 + 144 + 144 * 16 + 144 + 144 * 72  # in, conv, x, dt and its bias, A, D, out
    assert load_model(written(tmp_path, config)).parameters == mixer + 72 + 72 + 100 * 72
