"""Folders of safetensors as models: the bytes of the headers are the bytes of the model, and the elements of every part agree."""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sources.checkpoints.laying import Told, bytes_of, expanded, lay_folder, lay_safetensors
from sources.tensors.headers import mutated

from sol import BadFile, MissingSpec, SolError, floor, load_gpu, load_model, memory
from sol.answers.question.formats import resolve_formats
from sol.physics.memory.capacity import resident_weight_bytes
from sol.sources.config.config_json import load_config, read_config
from sol.sources.config.kinds import KINDS
from sol.sources.database.database import model_ids
from sol.sources.tensors.tensor_names import scaled, tensor_class
from sol.specs.model import Model
from sol.specs.record import Source

FIXTURES = Path(__file__).parents[2] / "fixtures"
CASES = json.loads((FIXTURES / "transformers_tensors.json").read_text())["cases"]
CONFIGS = {(c["kind"], c["case"]): c for c in json.loads((FIXTURES / "transformers_kinds.json").read_text())["cases"]}
REMOTE = {"qwen", "phi-msft", "chatglm", "internlm", "internlm2", "deepseek", "kimi_k2", "nemotron-nas"}
"""Kinds whose classes came with their checkpoints."""


def resident(model: Model, gpu: str = "h200") -> float:
    return resident_weight_bytes(model, resolve_formats(model, load_gpu(gpu), None, None)[0])


def assumed(model: Model) -> str:
    return " · ".join(resolve_formats(model, load_gpu("h200"), None, None)[2])


# every kind, as transformers saves it


def read_cases() -> list[dict[str, Any]]:
    kept = []
    for case in CASES:
        config = CONFIGS[case["kind"], case["case"]]["config"]
        try:
            read_config(config, "x", model_id="x", source=Source(title="x", kind="user"))
        except BadFile:
            continue
        kept.append(case)
    return kept


READ = read_cases()


@pytest.mark.truth
def test_every_kind_has_a_checkpoint() -> None:
    assert set(KINDS) - {c["kind"] for c in READ} == REMOTE


@pytest.mark.truth
@pytest.mark.parametrize("case", READ, ids=lambda c: f"{c['kind']}-{c['case']}")
def test_what_transformers_saves_is_the_model_of_its_config(case: dict[str, Any], tmp_path: Path) -> None:
    config = {**CONFIGS[case["kind"], case["case"]]["config"], "torch_dtype": "bfloat16"}
    tensors = expanded(case["tensors"])
    stored = load_model(lay_folder(tmp_path / "m", config, tensors))
    said = load_config(tmp_path / "m" / "config.json")
    assert resident(stored) == sum(map(bytes_of, tensors))
    assert stored.parameters == sum(math.prod(shape) for _, _, shape in tensors)
    assert stored.parameters - stored.tower_parameters == said.parameters - said.tower_parameters
    if {dtype for _, dtype, _ in tensors} == {"BF16"}:  # so nothing but the file's word for bf16 is there
        assert stored.weight_format is None
        assert floor(stored, "h100", ctx=100).latency_s == floor(said, "h100", ctx=100).latency_s
        assert floor(stored, "h100", ctx=100).assumptions == floor(said, "h100", ctx=100).assumptions


@pytest.mark.law
def test_elements_by_class_are_all_parameters() -> None:
    models = [load_model(name) for name in model_ids()]
    for kind, case in CONFIGS:
        with contextlib.suppress(BadFile):  # kinds that are not read
            models.append(read_config(CONFIGS[kind, case]["config"], case, model_id=kind, source=Source(title="x", kind="user")))
    assert len(models) > 200
    for model in models:
        assert sum(model.elements.values()) + model.tower_parameters == model.parameters
        assert sum(model.mtp_elements.values()) == model.mtp_parameters


# one dense model, stored in every way

CONFIG = {
    "model_type": "qwen2", "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 512, "vocab_size": 320, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
LINEARS = {"self_attn.q_proj": (256, 256), "self_attn.k_proj": (128, 256), "self_attn.v_proj": (128, 256), "self_attn.o_proj": (256, 256),
           "mlp.gate_proj": (512, 256), "mlp.up_proj": (512, 256), "mlp.down_proj": (256, 512)}  # fmt: skip
WEIGHTS = 2 * sum(r * c for r, c in LINEARS.values())


def rest(dtype: str = "BF16") -> list[Told]:
    """What stays as it is when the linear layers are quantised."""
    tensors: list[Told] = [("model.embed_tokens.weight", dtype, (320, 256)), ("lm_head.weight", dtype, (320, 256)),
                           ("model.norm.weight", dtype, (256,))]  # fmt: skip
    for i in range(2):
        tensors += [(f"model.layers.{i}.{n}.weight", dtype, (256,)) for n in ("input_layernorm", "post_attention_layernorm")]
        tensors += [(f"model.layers.{i}.self_attn.{n}_proj.bias", dtype, LINEARS[f"self_attn.{n}_proj"][:1]) for n in "qkv"]
    return tensors


def quantised(per: Mapping[str, Any]) -> list[Told]:
    """The linear layers, each as the tensors `per` makes of (rows, columns); names end in what it names."""
    return [(f"model.layers.{i}.{name}.{end}", dtype, shape(*size)) for i in range(2) for name, size in LINEARS.items()
            for end, (dtype, shape) in per.items()]  # fmt: skip


PLAIN = {"weight": ("BF16", lambda r, c: (r, c))}
GPTQ = {"qweight": ("I32", lambda r, c: (c // 8, r)), "qzeros": ("I32", lambda r, c: (c // 128, r // 8)),
        "scales": ("F16", lambda r, c: (c // 128, r)), "g_idx": ("I32", lambda r, c: (c,))}  # fmt: skip
AWQ = {"qweight": ("I32", lambda r, c: (c, r // 8)), "qzeros": ("I32", lambda r, c: (c // 128, r // 8)),
       "scales": ("F16", lambda r, c: (c // 128, r))}  # fmt: skip
FP8 = {"weight": ("F8_E4M3", lambda r, c: (r, c)), "weight_scale_inv": ("F32", lambda r, c: (r // 128, c // 128))}
NF4 = {"weight": ("U8", lambda r, c: (r * c // 2, 1)), "weight.absmax": ("F32", lambda r, c: (r * c // 64,)),
       "weight.quant_map": ("F32", lambda r, c: (16,)), "weight.quant_state.bitsandbytes__nf4": ("U8", lambda r, c: (90,))}  # fmt: skip
INT8 = {"weight": ("I8", lambda r, c: (r, c)), "weight_scale": ("BF16", lambda r, c: (r, 1))}
NVFP4 = {"weight": ("U8", lambda r, c: (r, c // 2)), "weight_scale": ("F8_E4M3", lambda r, c: (r, c // 16)),
         "weight_scale_2": ("F32", lambda r, c: ()), "input_scale": ("F32", lambda r, c: ())}  # fmt: skip
PACKED = {"weight_packed": ("I32", lambda r, c: (r, c // 8)), "weight_scale": ("BF16", lambda r, c: (r, c // 128)),
          "weight_shape": ("I64", lambda r, c: (2,))}  # fmt: skip
FLOATS = {"weight": ("F32", lambda r, c: (r, c))}
QUANT = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": False},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    "fp8": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "compressed": {"quant_method": "compressed-tensors"},
    "other": {"quant_method": "other"},
    None: None,
}
STORED = {
    # What is stored, the config's word: how its products are computed, and whether it runs where that is missing.
    "gptq": (GPTQ, "gptq", "BF16", "16-bit"), "awq": (AWQ, "awq", "F16", "16-bit"), "fp8": (FP8, "fp8", "BF16", "fp8"),
    "fp8, not described": (FP8, "other", "BF16", "fp8"), "nf4": (NF4, "bitsandbytes", "BF16", "16-bit"),
    "int8": (INT8, "compressed", "BF16", "int8"), "nvfp4": (NVFP4, "other", "BF16", "fp4"),
    "int4": (PACKED, "compressed", "BF16", "16-bit"),
    "fp32": (FLOATS, None, "F32", "16-bit"), "fp32 beside bf16": (FLOATS, None, "BF16", "16-bit"),
}  # fmt: skip


@pytest.mark.truth
@pytest.mark.parametrize("how", STORED)
def test_bytes_of_the_headers_are_the_bytes_of_the_model(how: str, tmp_path: Path) -> None:
    per, method, dtype, compute = STORED[how]
    tensors = quantised(per) + rest(dtype)
    model = load_model(lay_folder(tmp_path / "m", {**CONFIG, "quantization_config": QUANT[method]}, tensors))
    assert resident(model) == sum(map(bytes_of, tensors))
    assert model.weight_format is not None
    assert model.weight_format.compute == compute
    assert set(model.weight_format.covers) == {tensor for (tensor, _), n in model.elements.items() if n}
    assert "as its tensors are stored" in assumed(model)
    # With scales, zeros and group indices: what a layer's tensors take is what a layer's weights take.
    linear = sum(bytes_of(t) for t in quantised(per))
    streamed = floor(model, "b200", ctx=0).moved_weight_bytes
    others = sum(bytes_of(t) for t in rest(dtype)) - bytes_of(rest(dtype)[0])  # of the input table one row
    row = 256 * bytes_of(rest(dtype)[0]) / (320 * 256)
    assert streamed == pytest.approx(linear + others + row, rel=1e-12)
    narrow = floor(model, "b200", ctx=0).question.storage
    assert narrow.role("lm_head") == "rest"
    assert narrow.role("q_proj") == ("rest" if per is FLOATS else "weights")


@pytest.mark.truth
def test_headers_and_config_agree_to_the_byte_at_one_precision(tmp_path: Path) -> None:
    """Block FP8: a scale of 32 bits for 128 × 128 weights is what the config says, and what is there."""
    config = {**CONFIG, "quantization_config": QUANT["fp8"]}
    stored = load_model(lay_folder(tmp_path / "m", config, quantised(FP8) + rest()))
    said = load_config(tmp_path / "m")
    assert resident(stored) == resident(said) == WEIGHTS * (8 + 32 / 128**2) / 8 + 2 * (said.parameters - WEIGHTS)
    assert floor(stored, "h100", ctx=9, batch=64).latency_s == pytest.approx(floor(said, "h100", ctx=9, batch=64).latency_s, rel=1e-12)
    with pytest.raises(MissingSpec, match="a100"):
        floor(stored, "a100", ctx=1)
    assert memory(stored, ctx=0).weight_bytes == resident(stored)
    assert floor(stored, "h100", ctx=1, dtype="bf16").moved_weight_bytes > 1.5 * floor(stored, "h100", ctx=1).moved_weight_bytes


def gpt_oss(layers: int = 36, experts: int = 128) -> list[Told]:
    """The tensors of openai/gpt-oss-120b: MXFP4 experts as blocks of 16 bytes, each with a scale of one, everything else in 16 bits."""
    d, f, q, kv, vocab = 2880, 2880, 64 * 64, 8 * 64, 201_088
    tensors: list[Told] = [(n, "BF16", (vocab, d)) for n in ("model.embed_tokens.weight", "lm_head.weight")]
    tensors += [("model.norm.weight", "BF16", (d,))]
    for i in range(layers):
        plain = {"self_attn.q_proj": (q, d), "self_attn.k_proj": (kv, d), "self_attn.v_proj": (kv, d), "self_attn.o_proj": (d, q),
                 "mlp.router": (experts, d)}  # fmt: skip
        tensors += [(f"model.layers.{i}.{n}.weight", "BF16", s) for n, s in plain.items()]
        tensors += [(f"model.layers.{i}.{n}.bias", "BF16", s[:1]) for n, s in plain.items()]
        tensors += [(f"model.layers.{i}.{n}.weight", "BF16", (d,)) for n in ("input_layernorm", "post_attention_layernorm")]
        tensors += [(f"model.layers.{i}.self_attn.sinks", "BF16", (64,))]
        for name, rows, columns in (("gate_up_proj", 2 * f, d), ("down_proj", d, f)):
            stem = f"model.layers.{i}.mlp.experts.{name}"
            blocks = (experts, rows, columns // 32)
            tensors += [(f"{stem}_blocks", "U8", (*blocks, 16)), (f"{stem}_scales", "U8", blocks), (f"{stem}_bias", "BF16", blocks[:2])]
    return tensors


@pytest.mark.truth
def test_a_published_mxfp4_checkpoint_to_the_byte(tmp_path: Path) -> None:
    tensors = gpt_oss()
    assert sum(map(bytes_of, tensors)) == 65_248_815_744  # "total_size" of its index
    config = {
        "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 36, "num_attention_heads": 64, "num_key_value_heads": 8,
        "head_dim": 64, "intermediate_size": 2880, "num_local_experts": 128, "num_experts_per_tok": 4, "vocab_size": 201_088,
        "attention_bias": True, "sliding_window": 128, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
    }  # fmt: skip
    model = load_model(lay_folder(tmp_path / "gpt-oss-120b", config, tensors))
    assert resident(model) == 65_248_815_744 == resident(load_model("gpt-oss-120b"))
    assert model.parameters == load_model("gpt-oss-120b").parameters == 116_829_156_672
    assert model.weight_format is not None
    assert (model.weight_format.class_bits["experts_up"], model.weight_format.compute) == (4.25, "fp4")
    asked, own = (floor(m, "b200", ctx=2048, batch=8) for m in ("gpt-oss-120b", model))
    assert own.latency_s == pytest.approx(asked.latency_s, rel=1e-12)


def test_what_no_step_needs_is_left_out_and_said(tmp_path: Path) -> None:
    buffers: list[Told] = [(f"model.layers.{i}.self_attn.rotary_emb.inv_freq", "F32", (32,)) for i in range(2)]
    tied = [t for t in quantised(PLAIN) + rest() if not t[0].startswith("lm_head")]
    copy: list[Told] = [("lm_head.weight", "BF16", (320, 256))]
    config = {**CONFIG, "tie_word_embeddings": True}
    model = load_model(lay_folder(tmp_path / "a", config, tied + buffers + copy))
    assert resident(model) == sum(map(bytes_of, tied))
    assert "left out: 256 B of buffers, 163,840 B of a second copy of the tied table" in assumed(model)
    assert "left out" not in " ".join(floor(model, "h100", ctx=1, dtype="fp8").assumptions)
    assert floor(model, "h100", ctx=1).latency_s == floor(load_config(tmp_path / "a"), "h100", ctx=1).latency_s
    # A head alone is the table too.
    other = load_model(lay_folder(tmp_path / "b", config, [t for t in tied if "embed" not in t[0]] + copy))
    assert resident(other) == resident(model)
    # Early GPTQ writers: a bias of zeros beside every layer, of which this model has three.
    zeros: list[Told] = [(f"model.layers.{i}.{n}.bias", "F16", s[:1]) for i in range(2) for n, s in LINEARS.items()
                         if not n.endswith(("q_proj", "k_proj", "v_proj"))]  # fmt: skip
    gptq = {**CONFIG, "quantization_config": QUANT["gptq"]}
    padded = load_model(lay_folder(tmp_path / "c", gptq, quantised(GPTQ) + rest() + zeros))
    assert resident(padded) == sum(map(bytes_of, quantised(GPTQ) + rest()))
    assert f"{sum(map(bytes_of, zeros)):,} B of biases of layers that have none" in assumed(padded)
    cached: list[Told] = [("model.layers.0.self_attn.k_scale", "F32", ())]
    assert "4 B of scales of no weight" in assumed(load_model(lay_folder(tmp_path / "d", CONFIG, quantised(PLAIN) + rest() + cached)))


def test_prediction_layers_and_towers_are_those_that_are_stored(tmp_path: Path) -> None:
    case = next(c for c in READ if c["kind"] == "deepseek_v3")
    config, tensors = {**CONFIGS["deepseek_v3", case["case"]]["config"], "torch_dtype": "bfloat16"}, expanded(case["tensors"])
    assert config["num_nextn_predict_layers"] == 1
    layers, hidden, vocab = config["num_hidden_layers"], config["hidden_size"], config["vocab_size"]
    plain = load_model(lay_folder(tmp_path / "a", config, tensors))  # transformers saves none
    assert plain.mtp == ()
    last = [t for t in tensors if t[0].startswith(f"model.layers.{layers - 1}.")]
    ahead: list[Told] = [(n.replace(f".{layers - 1}.", f".{layers}.", 1), d, s) for n, d, s in last]
    ahead += [(f"model.layers.{layers}.{n}.weight", "BF16", (hidden,)) for n in ("enorm", "hnorm", "shared_head.norm")]
    ahead += [(f"model.layers.{layers}.eh_proj.weight", "BF16", (hidden, 2 * hidden))]
    tables: list[Told] = [(f"model.layers.{layers}.{n}.weight", "BF16", (vocab, hidden)) for n in ("embed_tokens", "shared_head.head")]
    for more in (ahead, ahead + tables, ahead + tables[:1]):
        model = load_model(lay_folder(tmp_path / "b", config, tensors + more))
        assert model.mtp_tables == len(more) - len(ahead)
        assert resident(model) - resident(plain) == sum(map(bytes_of, more))
        assert floor(model, "h100", ctx=1).moved_bytes == floor(plain, "h100", ctx=1).moved_bytes
    with pytest.raises(BadFile, match="elements of mtp, its architecture has"):
        load_model(lay_folder(tmp_path / "c", config, tensors + ahead[1:]))
    undescribed = load_model(lay_folder(tmp_path / "d", {**config, "num_nextn_predict_layers": 0}, tensors + ahead))
    assert resident(undescribed) == resident(plain)
    assert "layers for multi-token prediction that its config does not describe" in assumed(undescribed)
    vision: list[Told] = [("vision_tower.blocks.0.weight", "F32", (7, 3))]
    seeing = load_model(lay_folder(tmp_path / "e", CONFIG, quantised(PLAIN) + rest() + vision))
    assert (seeing.tower_parameters, resident(seeing)) == (21, sum(map(bytes_of, quantised(PLAIN) + rest() + vision)))


REFUSED: dict[str, tuple[dict[str, Any], list[Told], str]] = {
    "wider": ({"intermediate_size": 640}, quantised(PLAIN) + rest(), "262,144 elements of down_proj, its architecture has 327,680"),
    "a layer more": ({"num_hidden_layers": 3}, quantised(PLAIN) + rest(), "elements of bias, its architecture has"),
    "another vocabulary": ({"vocab_size": 300}, quantised(PLAIN) + rest(), "81,920 elements of embedding, its architecture has 76,800"),
    "no head": ({}, [t for t in quantised(PLAIN) + rest() if "lm_head" not in t[0]], "0 elements of lm_head, its architecture has 81,920"),
    "more heads": ({"num_key_value_heads": 4}, quantised(PLAIN) + rest(), "of bias, its architecture has 1,536"),
    "fewer bits": ({"quantization_config": {**QUANT["gptq"], "bits": 8}}, quantised(GPTQ) + rest(), "131,072 B of packed ones of down"),
    "many bits": ({}, quantised({"weight": ("I32", lambda r, c: (r, c))}) + rest(), "and 1,048,576 B of packed ones of down_proj"),
    "both": ({}, quantised(PLAIN) + quantised(GPTQ) + rest(), "262,144 elements and 131,072 B of packed ones of down_proj, its arch"),
    "a stranger": ({}, [*quantised(PLAIN), *rest(), ("score.head.bias2", "F32", (9,))], "tensor 'score.head.bias2' belongs to no known"),
    "another table": ({"tie_word_embeddings": True}, [*quantised(PLAIN), *rest()[:1], ("lm_head.weight", "BF16", (300, 256)), *rest()[2:]],
                      "elements of lm_head, its architecture has 81,920"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_disagreement_names_the_part_and_both_counts(what: str, tmp_path: Path) -> None:
    change, tensors, words = REFUSED[what]
    with pytest.raises(BadFile) as error:
        load_model(lay_folder(tmp_path / "m", {**CONFIG, **change}, tensors))
    line = str(error.value)
    assert words in line, line
    assert line.startswith(str(tmp_path / "m"))
    assert line.isprintable()


def test_where_a_checkpoint_is_looked_for(tmp_path: Path) -> None:
    folder = lay_folder(tmp_path / "m", {**CONFIG, "quantization_config": QUANT["gptq"]}, quantised(GPTQ) + rest())
    tensors = quantised(GPTQ) + rest()
    one = load_model(str(folder))
    assert one.id == "m"
    for path in (f"{folder}/", folder / "model.safetensors"):
        assert resident(load_model(path)) == resident(one)
    alone = load_model(folder / "config.json")  # the config's word
    assert alone.weight_format is not None
    assert not alone.weight_format.class_bits
    (folder / "model.safetensors").unlink()
    halves = {f"model-0000{i}-of-00002.safetensors": half for i, half in ((1, tensors[:9]), (2, tensors[9:]))}
    for name, half in halves.items():
        lay_safetensors(folder / name, half)
    index = {"metadata": {}, "weight_map": {t[0]: name for name, half in halves.items() for t in half}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for path in (folder, folder / "model-00002-of-00002.safetensors", folder / "model.safetensors.index.json"):
        assert resident(load_model(path)) == resident(one)
    (folder / "config.json").unlink()
    with pytest.raises(BadFile, match=r"no file '.*config\.json'; give the path of a model's config\.json or the folder it is in"):
        load_model(folder)


@pytest.mark.truth
def test_scales_belong_to_what_they_scale() -> None:
    layer = "model.layers.0.mlp"
    for name in (f"{layer}.up_proj.scales", f"{layer}.up_proj.qzeros", f"{layer}.up_proj.g_idx", f"{layer}.up_proj.weight_scale_inv",
                 f"{layer}.up_proj.weight_scale_2", f"{layer}.up_proj.input_scale", f"{layer}.up_proj.weight.absmax",
                 f"{layer}.up_proj.weight.quant_state.bitsandbytes__nf4", f"{layer}.up_proj.weight_zero_point", "blk.0.ffn_up.scale",
                 f"{layer}.up_proj.weight_shape", f"{layer}.up_proj.biases", f"{layer}.up_proj.SCB"):  # fmt: skip
        assert tensor_class(name) == "scale"
        assert scaled(name) == "up_proj"
    assert scaled(f"{layer}.experts.gate_up_proj_scales") == "experts_up"
    assert scaled(f"{layer}.experts.down_proj_scales") == "experts_down"
    assert scaled(f"{layer}.experts.7.down_proj.weight_scale") == "experts_down"
    assert scaled("lm_head.scales") == "lm_head"
    assert scaled("model.layers.0.self_attn.k_scale") is None


@pytest.mark.slow
@pytest.mark.law
def test_mutated_headers_are_models_or_refused(tmp_path: Path) -> None:
    folder = lay_folder(tmp_path / "m", {**CONFIG, "quantization_config": QUANT["gptq"]}, quantised(GPTQ) + rest())
    path = folder / "model.safetensors"
    raw, dice, refused = path.read_bytes(), random.Random(7), 0
    size = int.from_bytes(raw[:8], "little") + 8
    for _ in range(1500):
        path.write_bytes(mutated(raw[:size], dice) + raw[size:])
        line = ""
        try:
            load_model(folder)
        except SolError as error:
            line = str(error)
        assert line.isprintable()
        assert len(line) < 600 + len(str(path))
        refused += bool(line)
    assert refused > 500
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
