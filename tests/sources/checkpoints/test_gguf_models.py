"""GGUF files as models: against what llama.cpp's own converter writes, against published files, and against every way they can be wrong."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from sources.checkpoints.laying import Told, expanded, gguf_bytes, lay_gguf
from sources.tensors.headers import mutated

from sol import BadFile, SolError, floor, load_gpu, load_model
from sol.answers.question.formats import resolve_formats
from sol.physics.memory.capacity import resident_weight_bytes
from sol.sources.checkpoints.gguf_keys import ARCHS
from sol.sources.config.config_json import read_config
from sol.specs.model import Model
from sol.specs.record import Source
from sol.specs.step import Storage

FIXTURES = Path(__file__).parents[2] / "fixtures"
CASES = json.loads((FIXTURES / "gguf_headers.json").read_text())["cases"]
CONFIGS = {(c["kind"], c["case"]): c for c in json.loads((FIXTURES / "transformers_kinds.json").read_text())["cases"]}
UNREAD = {"afmoe", "gemma3n"}  # architectures whose kinds are not read
MISWRITTEN = {"phi2", "chatglm"}  # the converter writes widths that follow from others (4·hidden, hidden / heads) in every published model
NOT_SAID = {
    # What the file does not say and llama.cpp takes as its own constant, or leaves out: the tiny model has another.
    ("qwen2", "llava"): None, ("llama4", "llama4"): "chunk", ("llama4", "llama4_text"): "chunk", ("llama", "mistral"): "window",
    ("apertus", "apertus"): "scalars", ("gpt-oss", "gpt_oss"): "pattern", ("cohere2", "cohere2"): "pattern",
    ("gemma3", "gemma3"): "pattern",
}  # fmt: skip


def storage(model: Model) -> Storage:
    return resolve_formats(model, load_gpu("h200"), None, None)[0]


def layers(model: Model) -> list[Any]:
    return [group.model_dump() for group in model.groups]


@pytest.mark.truth
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['keys']['general.architecture']}-{c['kind']}")
def test_a_converted_model_is_the_model_of_its_config(case: dict[str, Any], tmp_path: Path) -> None:
    arch = case["keys"]["general.architecture"]
    tensors = expanded(case["tensors"])
    path = lay_gguf(tmp_path / "tiny.gguf", case["keys"], tensors)
    if arch in UNREAD:
        with pytest.raises(BadFile, match=f"architecture '{arch}' is not understood"):
            load_model(path)
        return
    if arch in MISWRITTEN:
        with pytest.raises(BadFile, match=r"elements of bias, its architecture has"):
            load_model(path)
        return
    model = load_model(path)
    buffers = sum(gguf_bytes(t) for t in tensors if t[0].startswith("rope_f"))
    assert resident_weight_bytes(model, storage(model)) == sum(map(gguf_bytes, tensors)) - buffers
    known = CONFIGS[case["kind"], case["case"]]
    config = {"torch_dtype": "bfloat16", **known.get("given", known["config"])}
    expected = read_config(config, "fixture", model_id="tiny", source=Source(title="transformers", kind="user"))
    missing = NOT_SAID.get((arch, case["kind"]))
    assert model.parameters == expected.parameters - expected.tower_parameters - (16 if missing == "scalars" else 0)
    assert model.tied_embeddings == expected.tied_embeddings
    if missing is None:
        assert layers(model) == layers(expected)


@pytest.mark.truth
def test_most_architectures_were_written_by_the_converter() -> None:
    written = {c["keys"]["general.architecture"] for c in CASES} - UNREAD
    by_hand = set(ARCHS) - written  # of remote code, or the name of another's traits
    assert by_hand == {"baichuan", "minicpm", "xverse", "exaone", "mistral3", "mistral4", "qwen", "internlm2", "deepseek"}


def dense(model: str, name: str) -> dict[str, Any]:
    """The keys llama.cpp writes for a built-in dense model."""
    m = load_model(model)
    attention, mlp = m.groups[0].blocks
    sizes = {"block_count": m.layers, "embedding_length": m.hidden, "feed_forward_length": mlp.ffn,  # type: ignore[attr-defined]
             "attention.head_count": attention.heads, "attention.head_count_kv": attention.kv_heads,  # type: ignore[attr-defined]
             "context_length": m.max_ctx}  # fmt: skip
    return {"general.architecture": name, "general.file_type": 15, **{f"{name}.{k}": v for k, v in sizes.items()}}


QWEN_7B = {"layers": 28, "hidden": 3584, "ffn": 18944, "q": 3584, "kv": 512, "vocab": 152064, "biases": True}


def q4_k_m(layers: int, hidden: int, ffn: int, q: int, kv: int, vocab: int, *, biases: bool) -> list[Told]:
    """The tensors of a dense model as llama-quant.cpp chooses their types: half of the values and of ffn_down in Q6_K, and the head."""
    tensors: list[Told] = [("token_embd.weight", "Q4_K", (vocab, hidden)), ("output.weight", "Q6_K", (vocab, hidden)),
                           ("output_norm.weight", "F32", (hidden,))]  # fmt: skip
    for i in range(layers):
        more = "Q6_K" if i < layers // 8 or i >= 7 * layers // 8 or (i - layers // 8) % 3 == 2 else "Q4_K"
        shapes = {"attn_q": (q, hidden), "attn_k": (kv, hidden), "attn_v": (kv, hidden), "attn_output": (hidden, q),
                  "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden), "ffn_down": (hidden, ffn)}  # fmt: skip
        tensors += [(f"blk.{i}.{n}.weight", more if n in ("attn_v", "ffn_down") else "Q4_K", s) for n, s in shapes.items()]
        tensors += [(f"blk.{i}.{n}.bias", "F32", s[:1]) for n, s in shapes.items() if biases and n in ("attn_q", "attn_k", "attn_v")]
        tensors += [(f"blk.{i}.{n}.weight", "F32", (hidden,)) for n in ("attn_norm", "ffn_norm")]
    return tensors


@pytest.mark.truth
def test_published_files_to_the_byte(tmp_path: Path) -> None:
    # Qwen/Qwen2.5-Coder-7B-Instruct-GGUF, qwen2.5-coder-7b-instruct-q4_k_m.gguf: 4,683,073,536 bytes, of which 5,953,536 before the data.
    qwen = lay_gguf(tmp_path / "qwen.gguf", dense("qwen2.5-coder-7b", "qwen2"), q4_k_m(**QWEN_7B))
    model = load_model(qwen)
    assert resident_weight_bytes(model, storage(model)) == 4_683_073_536 - 5_953_536
    asked, own = (floor(m, "rtx-4090", ctx=2048, dtype=d) for m, d in (("qwen2.5-coder-7b", "q4_k_m"), (model, None)))
    assert own.latency_s == pytest.approx(asked.latency_s, rel=1e-12)
    assert own.question.rates.formats == asked.question.rates.formats
    # bartowski/Meta-Llama-3.1-8B-Instruct-GGUF, Q4_K_M: 292 tensors, 4685.30 MiB as llama.cpp prints it, 64 rope factors among them.
    tensors = [*q4_k_m(32, 4096, 14336, 4096, 1024, 128256, biases=False), ("rope_freqs.weight", "F32", (64,))]
    assert len(tensors) == 292
    llama = load_model(lay_gguf(tmp_path / "llama.gguf", dense("llama-3.1-8b", "llama"), tensors))
    assert resident_weight_bytes(llama, storage(llama)) == 4_912_898_304 - 256
    assert "left out: 256 B of buffers" in resolve_formats(llama, load_gpu("h100"), None, None)[2]


SMALL = {"layers": 2, "hidden": 256, "ffn": 512, "q": 256, "kv": 128, "vocab": 320, "biases": False}
KEYS = {"general.architecture": "llama", "general.file_type": 15, "llama.block_count": 2, "llama.embedding_length": 256,
        "llama.feed_forward_length": 512, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2}  # fmt: skip


def small(path: Path, keys: dict[str, Any] | None = None, drop: str = " ", more: list[Told] | None = None, **change: Any) -> Path:
    """A small file with changed keys or sizes, without tensors whose name begins with `drop`, with `more` of them."""
    said = {k: v for k, v in {**KEYS, **(keys or {})}.items() if v is not None}
    return lay_gguf(path, said, [t for t in q4_k_m(**{**SMALL, **change}) if not t[0].startswith(drop)] + (more or []))


def test_bits_of_each_class_are_those_of_its_tensors(tmp_path: Path) -> None:
    model = load_model(small(tmp_path / "a.gguf"))
    fmt = model.weight_format
    assert fmt is not None
    assert (fmt.id, fmt.compute, fmt.otherwise) == ("gguf-q4_k_m", "int8", "16-bit")
    assert dict(fmt.class_bits) == {"q_proj": 4.5, "k_proj": 4.5, "o_proj": 4.5, "up_proj": 4.5, "embedding": 4.5, "lm_head": 6.5625,
                                    "v_proj": 5.53125, "down_proj": 5.53125, "norm": 32}  # fmt: skip  # of two layers, the last one in Q6_K
    assert repr(fmt) == f"<NumberFormat gguf-q4_k_m: {fmt.bits:g} bits per weight>"


def test_the_products_of_wide_tensors_run_wide(tmp_path: Path) -> None:
    model = load_model(small(tmp_path / "a.gguf"))
    roles = {c: storage(model).role(c) for c in ("q_proj", "lm_head", "norm")}  # type: ignore[arg-type]
    assert roles == {"q_proj": "weights", "lm_head": "weights", "norm": "rest"}
    tensors: list[Told] = [(n, "F16" if d != "F32" else d, s) for n, d, s in q4_k_m(**SMALL)]
    sixteen = load_model(lay_gguf(tmp_path / "f16.gguf", {**KEYS, "general.file_type": 1}, tensors))
    assert sixteen.weight_format is not None
    assert (sixteen.weight_format.id, sixteen.weight_format.compute) == ("gguf-f16", "16-bit")


def test_a_file_without_a_head_is_tied(tmp_path: Path) -> None:
    model = load_model(small(tmp_path / "a.gguf", drop="output.weight"))
    assert model.tied_embeddings
    assert model.weight_format is not None
    assert model.weight_format.class_bits["lm_head"] == 4.5
    assert "embedding" not in model.weight_format.class_bits


def test_a_split_is_one_model(tmp_path: Path) -> None:
    whole = small(tmp_path / "a.gguf")
    tensors = q4_k_m(**SMALL)
    for i, part in enumerate((tensors[:5], tensors[5:])):
        keys = {**(KEYS if i == 0 else {}), "split.no": i, "split.count": 2, "split.tensors.count": len(tensors)}
        lay_gguf(tmp_path / f"s-0000{i + 1}-of-00002.gguf", keys, part)
    halves = load_model(str(tmp_path / "s-00002-of-00002.gguf"))
    assert halves.id == "s"
    one = load_model(whole)
    assert floor(halves, "h100", ctx=1).latency_s == floor(one, "h100", ctx=1).latency_s


def test_prediction_layers_stand_behind_the_others(tmp_path: Path) -> None:
    """block_count counts them; they are resident, and not read."""
    case = next(c for c in CASES if c["kind"] == "glm4_moe")
    tensors = expanded(case["tensors"])
    plain = load_model(lay_gguf(tmp_path / "a.gguf", case["keys"], tensors))
    last, hidden = plain.layers, plain.hidden
    ahead = [(n.replace(f"blk.{last - 1}.", f"blk.{last}."), d, s) for n, d, s in tensors if n.startswith(f"blk.{last - 1}.")]
    ahead += [(f"blk.{last}.nextn.{n}.weight", "F32", (hidden,)) for n in ("enorm", "hnorm", "shared_head_norm")]
    ahead += [(f"blk.{last}.nextn.eh_proj.weight", "F16", (hidden, 2 * hidden))]
    keys = {**case["keys"], "glm4moe.block_count": last + 1, "glm4moe.nextn_predict_layers": 1}
    model = load_model(lay_gguf(tmp_path / "b.gguf", keys, [*tensors, *ahead]))
    assert (model.layers, plain.mtp, len(model.mtp)) == (last, (), 1)
    more = resident_weight_bytes(model, storage(model)) - resident_weight_bytes(plain, storage(plain))
    assert more == sum(map(gguf_bytes, ahead))
    assert floor(model, "h100", ctx=1).moved_bytes == floor(plain, "h100", ctx=1).moved_bytes


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"keys": {"general.architecture": "rwkv7"}}, "architecture 'rwkv7' is not understood; understood: llama, "),
    "no architecture": ({"keys": {"general.architecture": None}}, "general.architecture is missing"),
    "a tower's file": ({"keys": {"general.architecture": "clip"}}, "architecture 'clip' is not understood"),
    "no layers": ({"keys": {"llama.block_count": None}}, "llama.block_count is missing"),
    "negative layers": ({"keys": {"llama.block_count": -1}}, "llama.block_count=-1 is not a whole number"),
    "many layers": ({"keys": {"llama.block_count": 2**31}}, "llama.block_count says 2147483648 layers"),
    "more layers": ({"keys": {"llama.block_count": 3}}, "elements of"),
    "no width": ({"keys": {"llama.embedding_length": None}}, "hidden_size"),
    "text": ({"keys": {"llama.embedding_length": "256"}}, "hidden_size='256' is not a whole number"),
    "fraction": ({"keys": {"llama.attention.head_count": 4.5}}, "num_attention_heads=4.5"),
    "heads": ({"keys": {"llama.attention.head_count_kv": 3}}, "is not a multiple of num_key_value_heads=3"),
    "kv heads": ({"keys": {"llama.attention.head_count_kv": 4}}, "elements of k_proj + q_proj + v_proj, its architecture has 393,216"),
    "two widths": ({"keys": {"llama.attention.key_length": 64, "llama.attention.value_length": 32}}, "value_length=32 is not the key"),
    "a list": ({"keys": {"llama.feed_forward_length": [512, 256]}}, "llama.feed_forward_length differs from layer to layer ([256, 512])"),
    "feed-forward": ({"keys": {"llama.feed_forward_length": 768}}, "262,144 elements of down_proj, its architecture has 393,216"),
    "no table": ({"drop": "token_embd"}, "token_embd.weight is missing"),
    "a norm": ({"drop": "blk.1.ffn_norm"}, "1,024 elements of norm, its architecture has 1,280"),
    "a stranger": ({"more": [("blk.0.laurel_l.weight", "F32", (32,))]}, "tensor 'blk.0.laurel_l.weight' belongs to no known part"),
    "experts": ({"keys": {"llama.expert_count": 4, "llama.expert_used_count": 2}}, "elements of"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_hang_together_is_refused(what: str, tmp_path: Path) -> None:
    change, words = REFUSED[what]
    with pytest.raises(BadFile) as error:
        load_model(small(tmp_path / "x.gguf", **change))
    line = str(error.value)
    assert words in line, line
    assert line.startswith(str(tmp_path / "x.gguf"))
    assert line.isprintable()


def test_a_folder_with_only_a_gguf_file_says_so(tmp_path: Path) -> None:
    small(tmp_path / "x.gguf")
    with pytest.raises(BadFile, match=r"no config\.json in this folder, but x\.gguf; give the path of that file"):
        load_model(tmp_path)


@pytest.mark.slow
@pytest.mark.law
def test_mutated_files_are_models_or_refused(tmp_path: Path) -> None:
    path = small(tmp_path / "x.gguf", keys={"tokenizer.ggml.tokens": ["a", "b"]})
    raw, dice, refused = path.read_bytes(), random.Random(6), 0
    head = raw[: len(raw) - sum(-(-gguf_bytes(t) // 32) * 32 for t in q4_k_m(**SMALL))]
    for _ in range(1500):
        path.write_bytes(mutated(head, dice) + bytes(len(raw) - len(head)))
        line = ""
        try:
            load_model(path)
        except SolError as error:
            line = str(error)
        assert line.isprintable()
        assert len(line) < 1000 + len(str(path))
        refused += bool(line)
    assert refused > 500
    assert [p.name for p in tmp_path.iterdir()] == ["x.gguf"]


def case_of(arch: str, kind: str) -> tuple[dict[str, Any], list[Told]]:
    case = next(c for c in CASES if (c["keys"]["general.architecture"], c["kind"]) == (arch, kind))
    return case["keys"], expanded(case["tensors"])


def renamed(keys: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {**{k.replace(f"{old}.", f"{new}.", 1): v for k, v in keys.items()}, "general.architecture": new}


@pytest.mark.parametrize("arch", ["baichuan", "minicpm", "xverse", "exaone", "mistral3", "internlm2"])
def test_an_architecture_that_is_anothers(arch: str, tmp_path: Path) -> None:
    """As llama.cpp's loaders take them: the tensors of a llama."""
    keys, tensors = case_of("llama", "llama")
    plain = load_model(lay_gguf(tmp_path / "a.gguf", keys, tensors))
    other = load_model(lay_gguf(tmp_path / "b.gguf", renamed(keys, "llama", arch), tensors))
    assert layers(other) == layers(plain)


def test_matrices_stored_as_one_or_apart(tmp_path: Path) -> None:
    """Fused and split tensors of converters of all years are the same model."""
    keys, tensors = case_of("llama", "mixtral")
    model = load_model(lay_gguf(tmp_path / "a.gguf", keys, tensors))
    fused: list[Told] = []
    for name, dtype, shape in tensors:
        block = name.removesuffix(".weight").rpartition(".")[0]
        if name.endswith("attn_q.weight"):
            rows = sum(s[0] for n, _, s in tensors if n in (f"{block}.attn_{part}.weight" for part in "qkv"))
            fused.append((f"{block}.attn_qkv.weight", dtype, (rows, shape[1])))
        elif name.endswith("ffn_gate_exps.weight"):
            fused.append((f"{block}.ffn_gate_up_exps.weight", dtype, (shape[0], 2 * shape[1], shape[2])))
        elif name.endswith("ffn_down_exps.weight"):
            fused += [(f"{block}.ffn_down.{e}.weight", dtype, shape[1:]) for e in range(shape[0])]  # as in files of 2023
        elif not name.endswith(("attn_k.weight", "attn_v.weight", "ffn_up_exps.weight")):
            fused.append((name, dtype, shape))
    other = load_model(lay_gguf(tmp_path / "b.gguf", keys, fused))
    assert layers(other) == layers(model)
    assert resident_weight_bytes(other, storage(other)) == resident_weight_bytes(model, storage(model))
    # Latent attention before llama.cpp split kv_b, and said so.
    keys, tensors = case_of("deepseek2", "deepseek_v2")
    model = load_model(lay_gguf(tmp_path / "c.gguf", keys, tensors))
    old = {k: v for k, v in keys.items() if not k.endswith("_mla")}
    old |= {"deepseek2.attention.key_length": keys["deepseek2.attention.key_length_mla"],
            "deepseek2.attention.value_length": keys["deepseek2.attention.value_length_mla"]}  # fmt: skip
    whole: list[Told] = []
    for name, dtype, shape in tensors:
        if name.endswith("attn_k_b.weight"):  # heads, rank, keys; and of values heads, values, rank
            heads, rank, wide = shape
            values = next(s for n, _, s in tensors if n == name.replace("_k_b", "_v_b"))[1]
            whole.append((name.replace("_k_b", "_kv_b"), dtype, (heads * (wide + values), rank)))
        elif not name.endswith("attn_v_b.weight"):
            whole.append((name, dtype, shape))
    older = load_model(lay_gguf(tmp_path / "d.gguf", old, whole))
    assert layers(older) == layers(model)
    mistral4 = load_model(lay_gguf(tmp_path / "e.gguf", renamed(keys, "deepseek2", "mistral4"), tensors))
    assert layers(mistral4) == layers(model)


def test_older_qwens_and_deepseeks(tmp_path: Path) -> None:
    """By their loaders in llama.cpp: Qwen's feed-forward length is that of both branches; DeepSeek's experts stand behind a dense layer."""
    keys = renamed({**KEYS, "llama.feed_forward_length": 1024, "llama.attention.head_count_kv": 4}, "llama", "qwen")
    tensors: list[Told] = [
        t for t in q4_k_m(**{**SMALL, "kv": 256}) if ".attn_k" not in t[0] and ".attn_v" not in t[0] and ".attn_q" not in t[0]
    ]
    for i in range(2):
        tensors += [(f"blk.{i}.attn_qkv.weight", "Q4_K", (768, 256)), (f"blk.{i}.attn_qkv.bias", "F32", (768,))]
    qwen = load_model(lay_gguf(tmp_path / "a.gguf", keys, tensors))
    assert qwen.groups[0].blocks[1].ffn == 512  # type: ignore[attr-defined]
    sizes = {
        "expert_count": 8,
        "expert_used_count": 2,
        "expert_shared_count": 2,
        "expert_feed_forward_length": 64,
        "leading_dense_block_count": 1,
    }
    keys = renamed({**KEYS, **{f"llama.{k}": v for k, v in sizes.items()}}, "llama", "deepseek")
    tensors = [t for t in q4_k_m(**SMALL) if not t[0].startswith(("blk.1.ffn_gate", "blk.1.ffn_up", "blk.1.ffn_down"))]
    tensors += [("blk.1.ffn_gate_inp.weight", "F32", (8, 256))]
    for name, shape in (("gate", (64, 256)), ("up", (64, 256)), ("down", (256, 64))):
        shared = (128, 256) if name != "down" else (256, 128)
        tensors += [(f"blk.1.ffn_{name}_exps.weight", "F16", (8, *shape)), (f"blk.1.ffn_{name}_shexp.weight", "F16", shared)]
    deepseek = load_model(lay_gguf(tmp_path / "b.gguf", keys, tensors))
    assert [type(g.blocks[1]).__name__ for g in deepseek.groups] == ["MLP", "MoE"]
    assert deepseek.parameters == sum(math.prod(s) for _, _, s in tensors)
