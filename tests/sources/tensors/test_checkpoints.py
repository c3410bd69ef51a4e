"""Checkpoint headers: exact bytes of every tensor, and every lie a header can tell refused in one line, quickly, in bounded memory."""

from __future__ import annotations

import gc
import json
import os
import random
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sol
from sol import BadFile
from sol.sources.checkpoints.tensor_counts import holdings
from sol.sources.tensors import gguf_file, safetensors_file
from sol.sources.tensors import tensor_files as stored
from sol.sources.tensors.gguf_file import read_gguf
from sol.sources.tensors.gguf_types import FILE_TYPES, TYPES
from sol.sources.tensors.safetensors_file import BITS, read_safetensors
from sol.sources.tensors.tensor_files import StoredTensor
from sol.sources.tensors.tensor_names import tensor_class

SOON_S = 0.05


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def framed(header: str | bytes | dict, data: int, claimed: int | None = None) -> bytes:
    text = json.dumps(header) if isinstance(header, dict) else header
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw) if claimed is None else claimed) + raw + bytes(data)


def saved(path: Path, tensors: dict[str, tuple[str, list[int]]], **extra: Any) -> Path:
    header, at = dict(extra), 0
    for name, (dtype, shape) in tensors.items():
        count = 1
        for n in shape:
            count *= n
        header[name] = entry(dtype, shape, at, at := at + count * BITS[dtype] // 8)
    path.write_bytes(framed(header, at))
    return path


@pytest.fixture
def refused() -> Iterator[Callable[..., str]]:
    """Reads what must be refused: one line, soon, in little memory, and no file left open; the line."""
    opened = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    def check(read: Callable[[Path], Any], path: Path) -> str:
        with pytest.raises(BadFile) as error:
            read(path)
        gc.disable()  # what other tests left is not this read's time
        started = time.process_time()
        with pytest.raises(BadFile):
            read(path)
        taken = time.process_time() - started
        gc.enable()
        assert taken < SOON_S
        tracemalloc.start()
        with pytest.raises(BadFile):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20, peak
        text = str(error.value)
        assert "\n" not in text
        assert text.isprintable()
        assert len(text) < 400 + len(str(path))
        assert ascii(path.name)[1:-1] in ascii(text)
        return text

    yield check
    if opened:
        assert len(os.listdir("/proc/self/fd")) == opened


# safetensors: what is read


@pytest.mark.truth
def test_every_dtype_takes_its_bits(tmp_path: Path) -> None:
    sizes = {
        "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1,
        "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
        "F4": 0.5, "F6_E2M3": 0.75, "F6_E3M2": 0.75,
    }  # fmt: skip
    assert sizes.keys() == BITS.keys()
    path = saved(tmp_path / "all.safetensors", {d: (d, [3, 8]) for d in sizes}, __metadata__={"format": "pt", "x": '{"a}": [1]}'})
    assert {t.name: t.bytes for t in read_safetensors(path)} == {d: 24 * size for d, size in sizes.items()}
    assert all(t.elements == 24 and t.shape == (3, 8) and t.dtype == t.name for t in read_safetensors(path))


def test_scalars_empty_tensors_spaces_escapes_and_order(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    first, empty, last = '{"shape":[],"dtype":"F32","data_offsets":[8,12]}', entry("F16", [0, 7], 0, 0), entry("I64", [1], 0, 8)
    header = f'{{ "é\\u0062" :\n{first} , "e":{json.dumps(empty)},"a":{json.dumps(last)},"__metadata__":{{}}}}   '
    path.write_bytes(framed(header, 12))
    assert read_safetensors(path) == [
        StoredTensor("éb", "F32", (), 4), StoredTensor("e", "F16", (0, 7), 0), StoredTensor("a", "I64", (1,), 8),
    ]  # fmt: skip
    path.write_bytes(framed("{}", 0))
    assert read_safetensors(path) == []


def sharded(folder: Path, **change: Any) -> Path:
    folder.mkdir(exist_ok=True)
    a = saved(folder / "model-00001-of-00002.safetensors", {"model.embed_tokens.weight": ("BF16", [10, 4])})
    b = saved(folder / "model-00002-of-00002.safetensors", {"lm_head.weight": ("BF16", [10, 4]), "model.norm.weight": ("F32", [4])})
    weight_map = {"model.embed_tokens.weight": a.name, "lm_head.weight": b.name, "model.norm.weight": b.name}
    index = {"metadata": {"total_size": 176.0, "x": "y"}, "weight_map": {**weight_map, **change}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return folder


def test_a_folder_is_its_index_and_shards(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    saved(folder / "consolidated.safetensors", {"output.weight": ("BF16", [10, 4])})  # not of the index: not of the checkpoint
    tensors = read_safetensors(folder)
    assert [t.name for t in tensors] == ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"]
    assert sum(t.bytes for t in tensors) == 80 + 80 + 16
    assert tensors == read_safetensors(folder / "model.safetensors.index.json")


def test_show_lists_a_folder_by_parts(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    table = sol.show(f"{folder}/")
    assert {r["part"]: (r["stored_bytes"], r["elements"], r["dtypes"]) for r in table.to_dicts()} == {
        "embedding": (80, 40, "BF16"), "lm_head": (80, 40, "BF16"), "norm": (16, 4, "F32"),
    }  # fmt: skip
    assert table.total is not None
    assert table.total[1:4] == (176, 1.0, 84)
    assert sum(r["share"] for r in table.to_dicts()) == pytest.approx(1)
    saved(tmp_path / "odd.safetensors", {"model.embed_tokens.weight": ("BF16", [10, 4]), "what.is.this": ("F32", [2])})
    shown = sol.show(str(tmp_path / "odd.safetensors"))
    assert "1 tensors no part is known for, the first what.is.this" in str(shown)
    with pytest.raises(BadFile, match=r"no file '.*none\.gguf'"):
        sol.show(str(tmp_path / "none.gguf"))


def test_shards_may_be_links_as_in_the_hubs_cache(tmp_path: Path) -> None:
    folder, blobs = sharded(tmp_path / "m"), tmp_path / "blobs"
    blobs.mkdir()
    for file in folder.glob("*.safetensors"):
        file.rename(blobs / file.name)
        file.symlink_to(blobs / file.name)
    assert len(read_safetensors(folder)) == 3


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    saved(tmp_path / "b.safetensors", {"b": ("F32", [2])})
    saved(tmp_path / "a.safetensors", {"a": ("F32", [1])})
    assert [t.bytes for t in read_safetensors(tmp_path)] == [4, 8]
    saved(tmp_path / "model.safetensors", {"c": ("F32", [3])})
    assert [t.name for t in read_safetensors(tmp_path)] == ["c"]


# safetensors: what is refused

GOOD = entry("F32", [2, 2], 0, 16)
LIES = {
    "shape": ({"a": entry("F32", [2, 3], 0, 16)}, "takes 192 bits, data_offsets give 16 bytes"),
    "half a byte": ({"a": entry("F4", [3], 0, 16)}, "takes 12 bits"),
    "dtype": ({"a": entry("F31", [2, 2], 0, 16)}, "dtype 'F31' is not one of the format's"),
    "dtype kind": ({"a": {**GOOD, "dtype": ["F32"]}}, "dtype ['F32']"),
    "negative": ({"a": entry("F32", [-2, -2], 0, 16)}, "shape [-2, -2]"),
    "fraction": ({"a": {**GOOD, "shape": [2.0, 2]}}, "shape [2.0, 2]"),
    "true": ({"a": {**GOOD, "shape": [True, 4]}}, "shape [True, 4]"),
    "text": ({"a": {**GOOD, "shape": "22"}}, "shape '22'"),
    "NaN": ('{"a":{"dtype":"F32","shape":[NaN,2],"data_offsets":[0,16]}}', "shape [nan, 2]"),
    "infinite": ('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,16]}}', "shape [inf]"),
    "huge": ({"a": entry("F32", [2**63 - 1] * 20, 0, 16)}, "data_offsets give 16"),
    "huger": ({"a": entry("F32", [2**64], 0, 16)}, "shape [18446744073709551616]"),
    "dimensions": ({"a": entry("F32", [1] * 999, 0, 16)}, "is not a short list"),
    "digits": ('{"a":{"dtype":"F32","shape":[' + "9" * 4090 + '],"data_offsets":[0,16]}}', "nested deeper"),
    "out of range": ({"a": entry("F32", [4, 2], 0, 32)}, "not a range within the 16 bytes"),
    "backwards": ({"a": entry("F32", [0], 16, 0)}, "not a range"),
    "three offsets": ({"a": {**GOOD, "data_offsets": [0, 8, 16]}}, "not a range"),
    "overlap": ({"a": GOOD, "b": entry("F32", [2], 8, 16)}, "of 'b' overlap the tensor before: they begin at 8, it ends at 16"),
    "hole": ({"a": entry("F32", [1], 0, 4), "b": entry("F32", [2], 8, 16)}, "leave a hole"),
    "left over": ({"a": entry("F32", [1], 0, 4)}, "its tensors take 4 bytes, but it holds 16"),
    "duplicate": ('{"a":' + json.dumps(GOOD) + ',"\\u0061":' + json.dumps(GOOD) + "}", "'a' is there twice"),
    "duplicate key": ('{"a":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}}', "exactly one dtype, shape and data_offsets"),
    "missing key": ({"a": {"dtype": "F32", "shape": [4]}}, "exactly one dtype"),
    "extra key": ({"a": {**GOOD, "x": 1}}, "exactly one dtype"),
    "nested": ({"a": {"b": GOOD}}, "nested deeper"),
    "not an entry": ({"a": "b"}, "exactly one dtype"),
    "a number": ('{"a":NaN}', "exactly one dtype"),
    "deep": ('{"a":' * 100_000, "nested deeper"),
    "deep lists": ('{"a":{"dtype":"F32","shape":' + "[" * 3000 + "]" * 1000 + "}}", "'a' is not JSON"),
    "array": ("[]", "not an object"),
    "zeros": (b"\0" * 100, "not an object"),
    "open": ('{"a":' + json.dumps(GOOD), "neither ',' nor '}'"),
    "comma": ('{"a":' + json.dumps(GOOD) + ",}", "is not JSON"),
    "after": ('{"a":' + json.dumps(GOOD) + "} {}", "holds more after"),
    "metadata": ({"__metadata__": {"a": 1}, "a": GOOD}, "__metadata__ is not an object of texts"),
    "bytes": (b'{"a\xff":' + json.dumps(GOOD).encode() + b"}", "is not JSON"),
    "surrogate": ('{"\\ud800":' + json.dumps(GOOD) + "}", "cannot be printed"),
    "line break": ({"a\nb": GOOD}, "cannot be printed"),
    "long name": ({"a" * 5000: GOOD}, "longer than 256 characters"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_refused(tmp_path: Path, refused: Callable[..., str], lie: str) -> None:
    header, words = LIES[lie]
    path = tmp_path / "x.safetensors"
    path.write_bytes(framed(header, 16))
    assert words in refused(read_safetensors, path)


def test_lengths_are_not_believed(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "x.safetensors"
    for claimed in (3, 2**31, 2**63, 2**64 - 1):
        path.write_bytes(framed("{}", 0, claimed=claimed))
        assert f"{claimed} bytes is beyond the end" in refused(read_safetensors, path)
    for raw in (b"", b"\x02", b"\x02\0\0\0\0\0\0"):
        path.write_bytes(raw)
        refused(read_safetensors, path)
    with path.open("wb") as file:  # sparse: the bytes are there, and are zeros
        file.write(struct.pack("<Q", 100 * 2**20 + 1))
        file.truncate(2**28)
    assert "beyond the 100 MiB" in refused(read_safetensors, path)
    with path.open("r+b") as file:
        file.write(struct.pack("<Q", 100 * 2**20) + b'{"a":')
    assert "is not JSON" in refused(read_safetensors, path)


def test_an_index_that_lies_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    outside = saved(tmp_path / "outside.safetensors", {"x": ("F32", [1])})
    for shard in (
        "../outside.safetensors",
        str(outside),
        "..\\outside.safetensors",
        "c:outside.safetensors",
        "a\n.safetensors",
        "x.bin",
        "",
    ):
        with pytest.raises(BadFile, match=r"not a \.safetensors file of this folder"):
            read_safetensors(sharded(tmp_path / "m", x=shard))
    path = tmp_path / "m" / "model.safetensors.index.json"

    def read(_: Path) -> Any:
        return read_safetensors(path.parent)

    sharded(tmp_path / "m", x="model-00003-of-00003.safetensors")
    assert "names the shard 'model-00003-of-00003.safetensors', which is not in the folder" in refused(read, path)
    sharded(tmp_path / "m", x="model-00001-of-00002.safetensors")
    assert "places tensor 'x' in 'model-00001-of-00002.safetensors', which does not hold it" in refused(read, path)
    twice = '"a": "model-00001-of-00002.safetensors"'
    for text in (
        "", "{", "[]", "{}", "[" * 99_999, '{"a":' * 99_999, '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "b"',
        f'{{"weight_map": {{{twice}, {twice}}}}}', f'{{"weight_map": {{{twice}}}, "weight_map": {{{twice}}}}}',
    ):  # fmt: skip
        path.write_text(text)
        refused(read, path)


def test_more_than_any_checkpoint_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    folder = sharded(tmp_path / "m")
    os.truncate(folder / "model.safetensors.index.json", 2**27)  # sparse
    assert "not an index" in refused(lambda _: read_safetensors(folder), folder / "model.safetensors.index.json")
    sharded(tmp_path / "m")
    monkeypatch.setattr(stored, "MAX_TENSORS", 2)
    with pytest.raises(BadFile, match="more than 2 tensors so far"):
        read_safetensors(folder)
    monkeypatch.setattr(safetensors_file, "MAX_TENSORS", 1)
    assert "more than 1 names" in refused(read_safetensors, folder / "model-00002-of-00002.safetensors")


def test_what_is_not_a_checkpoint(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no file" in refused(read_safetensors, tmp_path / "none.safetensors")
    assert "no .safetensors file in this folder" in refused(read_safetensors, tmp_path)
    pointer = tmp_path / "p.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refused(read_safetensors, pointer)
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "is not a file" in refused(read_safetensors, tmp_path / "pipe.safetensors")
    with pytest.raises(BadFile):
        read_safetensors(Path("a\0b"))
    for name in ("a.safetensors", "b.safetensors"):
        saved(tmp_path / name, {"same": ("F32", [1])})
    pointer.unlink()
    (tmp_path / "pipe.safetensors").unlink()
    with pytest.raises(BadFile, match=r"b\.safetensors: tensor 'same' is also in another file"):
        read_safetensors(tmp_path)


def mutated(raw: bytes, dice: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(dice.randint(1, 3)):
        if not data:
            break
        at, span = dice.randrange(len(data)), dice.randint(1, 12)
        match dice.randrange(6):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at : at + span] = dice.randbytes(span)
            case 2:
                del data[at : at + span]
            case 3:
                data[at:at] = data[: dice.randrange(len(data))] if dice.random() < 0.2 else data[at : at + span]
            case 4:
                data[at : at + 1] = dice.choice([b"[", b"{", b'"', b"-", b"9" * 30, b"NaN", b"\\u", b"\xff" * 8, b"\0" * 8, b"}"])
            case _:
                del data[at or 1 :]
    return bytes(data)


def fuzzed(read: Callable[[Path], Any], raw: bytes, path: Path, rounds: int) -> int:
    """Refusals among mutations of a good file: nothing else is ever raised, and none takes long."""
    dice, refusals = random.Random(4), 0
    gc.collect()
    gc.disable()  # its pauses are not the reader's
    try:
        for _ in range(rounds):
            path.write_bytes(mutated(raw, dice))
            line, started = "", time.process_time()
            try:
                read(path)
            except BadFile as error:
                line = str(error)
            assert time.process_time() - started < SOON_S
            assert not line or line.isprintable()
            refusals += bool(line)
    finally:
        gc.enable()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return refusals


@pytest.mark.slow
@pytest.mark.law
def test_mutated_safetensors_are_read_or_refused(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "x.safetensors", {f"model.layers.{i}.mlp.up_proj.weight": ("BF16", [i, 3]) for i in range(4)}, __metadata__={"a": "b"}
    )
    assert fuzzed(read_safetensors, path.read_bytes(), path, 4000) > 2000


@pytest.mark.law
def test_mutated_indices_are_read_or_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    path = folder / "model.safetensors.index.json"
    good, dice, refusals = path.read_bytes(), random.Random(5), 0
    for _ in range(1000):
        path.write_bytes(mutated(good, dice))
        try:
            read_safetensors(folder)
        except BadFile:
            refusals += 1
    assert refusals > 500


# names and holdings

NAMES = {
    "embedding": "model.embed_tokens.weight transformer.wte.weight transformer.wpe.weight gpt_neox.embed_in.weight"
    " word_embeddings.weight transformer.word_embeddings.weight transformer.embedding.word_embeddings.weight"
    " backbone.embeddings.weight tok_embeddings.weight language_model.model.embed_tokens.weight"
    " model.language_model.embed_tokens.weight token_embd.weight model.decoder.embed_positions.weight",
    "lm_head": "lm_head.weight embed_out.weight output.weight transformer.output_layer.weight language_model.lm_head.weight"
    " head.weight model.transformer.ff_out.weight language_model.output.weight",
    "norm": "model.norm.weight model.layers.0.input_layernorm.weight model.layers.0.post_feedforward_layernorm.weight"
    " transformer.ln_f.bias transformer.h.0.ln_attn.weight h.0.ln_1.bias gpt_neox.final_layer_norm.bias"
    " model.layers.0.self_attn.q_norm.weight model.layers.0.self_attn.kv_a_layernorm.weight backbone.norm_f.weight"
    " backbone.layers.0.mixer.norm.weight blk.0.attn_norm.weight output_norm.weight blk.0.attn_q_a_norm.weight"
    " blk.0.post_ffw_norm.weight layers.0.attention_norm.weight model.layers.0.self_attn.indexer.k_norm.bias"
    " transformer.blocks.0.norm_attn_norm.norm_1.weight word_embeddings_layernorm.weight",
    "bias": "model.layers.0.self_attn.q_proj.bias h.0.attn.c_attn.bias gpt_neox.layers.0.attention.dense.bias lm_head.bias"
    " blk.0.attn_q.bias model.layers.0.mlp.experts.gate_up_proj_bias model.layers.0.mlp.router.bias"
    " model.layers.3.mlp.gate.e_score_correction_bias blk.3.exp_probs_b.bias model.layers.0.self_attn.sinks"
    " blk.0.attn_sinks.weight backbone.layers.0.mixer.A_log blk.0.ssm_a backbone.layers.0.mixer.D"
    " backbone.layers.0.mixer.dt_bias backbone.layers.0.mixer.conv1d.weight blk.0.ssm_conv1d.weight"
    " model.layers.0.linear_attn.A_log model.layers.0.conv.conv.weight",
    "q_proj": "model.layers.0.self_attn.q_proj.weight model.layers.0.self_attn.qkv_proj.weight"
    " gpt_neox.layers.0.attention.query_key_value.weight transformer.h.0.self_attention.query_key_value.weight"
    " transformer.h.0.attn.c_attn.weight model.layers.0.self_attn.W_pack.weight model.layers.0.attention.wqkv.weight"
    " layers.0.attention.wq.weight model.layers.0.self_attn.q_a_proj.weight blk.0.attn_qkv.weight"
    " model.layers.0.self_attn.q_b_proj.weight blk.0.attn_q.weight blk.0.attn_q_b.weight"
    " model.layers.0.self_attn.indexer.wq_b.weight backbone.layers.0.mixer.in_proj.weight"
    " model.layers.0.mamba.in_proj.weight model.layers.0.linear_attn.in_proj_qkvz.weight blk.0.ssm_in.weight"
    " model.layers.0.self_attn.q_proj.qweight model.layers.0.self_attn.q_proj.weight_packed"
    " model.language_model.layers.0.self_attn.q_proj.weight backbone.layers.0.mixer.x_proj.weight",
    "k_proj": "model.layers.0.self_attn.k_proj.weight model.layers.0.self_attn.kv_a_proj_with_mqa.weight blk.0.attn_k.weight"
    " model.layers.0.self_attn.kv_b_proj.weight blk.0.attn_kv_a_mqa.weight blk.0.attn_k_b.weight"
    " layers.0.attention.wk.weight",
    "v_proj": "model.layers.0.self_attn.v_proj.weight blk.0.attn_v.weight blk.0.attn_v_b.weight layers.0.attention.wv.weight",
    "o_proj": "model.layers.0.self_attn.o_proj.weight transformer.h.0.self_attention.dense.weight"
    " gpt_neox.layers.0.attention.dense.weight model.layers.0.self_attn.dense.weight transformer.h.0.attn.c_proj.weight"
    " blk.0.attn_output.weight layers.0.attention.wo.weight model.decoder.layers.0.self_attn.out_proj.weight"
    " backbone.layers.0.mixer.out_proj.weight blk.0.ssm_out.weight",
    "up_proj": "model.layers.0.mlp.gate_proj.weight model.layers.0.mlp.up_proj.weight model.layers.0.mlp.gate_up_proj.weight"
    " gpt_neox.layers.0.mlp.dense_h_to_4h.weight transformer.h.0.mlp.c_fc.weight transformer.h.0.mlp.w1.weight"
    " transformer.h.0.mlp.w2.weight model.layers.0.mlp.fc1.weight model.decoder.layers.0.fc1.weight"
    " layers.0.feed_forward.w1.weight layers.0.feed_forward.w3.weight model.layers.0.mlp.shared_experts.gate_proj.weight"
    " model.layers.0.mlp.shared_expert.up_proj.weight blk.0.ffn_up_shexp.weight blk.0.ffn_gate.weight"
    " backbone.layers.1.mixer.up_proj.weight model.layers.0.feed_forward.shared_expert.up_proj.weight",
    "down_proj": "model.layers.0.mlp.down_proj.weight gpt_neox.layers.0.mlp.dense_4h_to_h.weight transformer.h.0.mlp.c_proj.weight"
    " model.decoder.layers.0.fc2.weight layers.0.feed_forward.w2.weight model.layers.0.mlp.shared_experts.down_proj.weight"
    " blk.0.ffn_down.weight blk.0.ffn_down_shexp.weight transformer.blocks.0.ff_out.weight",
    "experts_up": "model.layers.0.block_sparse_moe.experts.7.w1.weight model.layers.0.block_sparse_moe.experts.7.w3.weight"
    " model.layers.0.mlp.experts.127.gate_proj.weight model.layers.0.mlp.experts.gate_up_proj_blocks"
    " model.layers.0.mlp.experts.gate_up_proj model.layers.0.feed_forward.experts.gate_up_proj blk.0.ffn_gate_exps.weight"
    " blk.0.ffn_up_exps.weight blk.0.ffn_gate.3.weight transformer.blocks.0.ffn.experts.mlp.v1"
    " backbone.layers.1.mixer.experts.0.up_proj.weight layers.1.ffn.experts.0.w3.weight",
    "experts_down": "model.layers.0.block_sparse_moe.experts.7.w2.weight model.layers.0.mlp.experts.3.down_proj.weight"
    " blk.0.ffn_down_exps.weight model.layers.0.mlp.experts.down_proj_blocks transformer.blocks.0.ffn.experts.mlp.w2"
    " blk.0.ffn_down.3.weight",
    "router": "model.layers.0.mlp.gate.weight model.layers.0.block_sparse_moe.gate.weight model.layers.0.mlp.router.weight"
    " model.layers.0.mlp.shared_expert_gate.weight blk.0.ffn_gate_inp.weight blk.0.ffn_gate_inp_shexp.weight"
    " transformer.blocks.0.ffn.router.layer.weight backbone.layers.1.mixer.gate.weight layers.1.ffn.gate.weight",
    "tower": "model.visual.blocks.0.attn.qkv.weight visual.patch_embed.proj.weight"
    " vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias"
    " model.vision_tower.vision_model.embeddings.position_embedding.weight multi_modal_projector.linear_1.weight"
    " mlp1.0.weight model.mm_projector.0.weight vision_model.encoder.layers.0.self_attn.q_proj.weight"
    " model.audio_tower.conv1.weight v.blk.0.attn_q.weight mm.0.weight thinker.visual.merger.mlp.0.weight"
    " model.vision_embed_tokens.img_processor.x.weight vision_encoder.ln_pre.weight",
    "mtp": "mtp.layers.0.self_attn.q_proj.weight model.layers.61.eh_proj.weight model.layers.61.enorm.weight"
    " blk.92.nextn.eh_proj.weight model.layers.61.embed_tokens.weight model.layers.61.shared_head.head.weight"
    " mtp.norm.weight model.mtp_layers.0.hnorm.weight",
    "scale": "model.layers.0.mlp.up_proj.scales model.layers.0.mlp.up_proj.qzeros model.layers.0.mlp.up_proj.g_idx"
    " model.layers.0.mlp.experts.gate_up_proj_scales model.layers.0.mlp.up_proj.weight_scale_inv"
    " model.layers.0.mlp.up_proj.weight_scale model.layers.0.mlp.up_proj.weight_scale_2"
    " model.layers.0.mlp.up_proj.input_scale model.layers.0.self_attn.k_scale model.layers.0.mlp.up_proj.weight.absmax"
    " model.layers.0.mlp.up_proj.weight.nested_quant_map model.layers.0.mlp.up_proj.SCB"
    " model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4 model.layers.0.mlp.up_proj.weight_zero_point"
    " blk.0.ffn_up.scale model.layers.0.mlp.up_proj.weight_global_scale model.layers.0.mlp.up_proj.weight_shape"
    " model.layers.0.mlp.up_proj.biases",
    "buffer": "model.layers.0.self_attn.rotary_emb.inv_freq gpt_neox.layers.0.attention.bias gpt_neox.layers.0.attention.masked_bias"
    " h.0.attn.bias rope_freqs.weight rope_factors_long.weight transformer.rotary_pos_emb.inv_freq rope.freqs",
    None: "model.layers.0.self_attn.q_proj.lora_A.weight blocks.0.att.time_decay nonsense"
    " model.layers.0.altup.router_unknown.weight",
}  # fmt: skip


@pytest.mark.truth
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names.split()])
def test_a_name_has_its_class(kind: str | None, name: str) -> None:
    assert tensor_class(name) == kind


@pytest.mark.law
def test_a_hostile_name_is_classed_soon() -> None:
    for name in ("_" * 256, "scale_" * 42 + "-", "a." * 128, "layers.0." * 28 + "-", "q_scales" * 32 + "!", "." * 256):
        started = time.process_time()
        tensor_class(name)
        holdings([StoredTensor(name, "F32", (1,), 4)])
        assert time.process_time() - started < SOON_S


def test_holdings_add_up_by_class() -> None:
    tensors = [
        StoredTensor("model.layers.0.self_attn.q_proj.qweight", "I32", (8, 64), 2048),  # 8 weights in each: the containers count
        StoredTensor("model.layers.0.self_attn.q_proj.scales", "F16", (1, 64), 128),
        StoredTensor("model.layers.1.self_attn.q_proj.weight", "BF16", (64, 64), 8192),
        StoredTensor("model.layers.2.self_attn.q_proj.weight", "BF16", (64, 64), 8192),
        StoredTensor("model.layers.2.eh_proj.weight", "BF16", (64, 128), 16384),  # so layer 2 is a draft layer
        StoredTensor("model.layers.20.input_layernorm.weight", "F32", (64,), 256),
        StoredTensor("what.is.this", "F32", (2,), 8),
    ]
    held = holdings(iter(tensors))
    assert {kind: (h.bytes, h.elements) for kind, h in held.by_class.items()} == {
        "q_proj": (2048 + 8192, 512 + 4096), "scale": (128, 64), "mtp": (8192 + 16384, 4096 + 8192), "norm": (256, 64), "unknown": (8, 2),
    }  # fmt: skip
    assert held.by_class["q_proj"].dtypes == {"I32": 2048, "BF16": 8192}
    assert held.unknown == ("what.is.this",)
    assert held.bytes == sum(t.bytes for t in tensors)
    assert held.elements == sum(t.elements for t in tensors)


# GGUF


@pytest.fixture(scope="module")
def gguf() -> Any:
    return pytest.importorskip("gguf")


def written(gguf: Any, path: Path, tensors: dict[str, tuple[str, tuple[int, int]]], **options: Any) -> Path:
    """A file by gguf's own writer; shapes are (rows, columns)."""
    np = pytest.importorskip("numpy")
    writer = gguf.GGUFWriter(path, "llama", **options)
    writer.add_block_count(2)
    writer.add_rope_freq_base(500000.0)
    writer.add_head_count_kv([4, 8])
    writer.add_string("general.name", "tiny é")
    writer.add_string("tokenizer.chat_template", "x" * 10_000)
    writer.add_bool("llama.flag", True)
    writer.add_array("general.tags", ["a", "b"])
    writer.add_array("llama.long", list(range(5000)))
    writer.add_token_list([f"t{i}" for i in range(500)])
    writer.add_token_types([1] * 500)
    for name, (dtype, (rows, columns)) in tensors.items():
        kind = gguf.GGMLQuantizationType[dtype]
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor(name, np.zeros((rows, columns // block * block_bytes), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


BITS_PER_WEIGHT = {
    # As llama.cpp publishes them.
    "F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "I16": 16, "I8": 8, "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6,
    "Q8_0": 8.5, "Q2_K": 2.625, "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625, "IQ2_XXS": 2.0625, "IQ2_XS": 2.3125,
    "IQ3_XXS": 3.0625, "IQ1_S": 1.5625, "IQ4_NL": 4.5, "IQ3_S": 3.4375, "IQ2_S": 2.5625, "IQ4_XS": 4.25, "IQ1_M": 1.75, "TQ1_0": 1.6875,
    "TQ2_0": 2.0625, "MXFP4": 4.25,
}  # fmt: skip


ACTIVATIONS = ("Q8_1", "Q8_K")  # in no file


@pytest.mark.truth
def test_every_gguf_type_takes_its_blocks(tmp_path: Path, gguf: Any) -> None:
    types = [t.name for t in gguf.GGMLQuantizationType if t.name not in ACTIVATIONS]
    path = written(gguf, tmp_path / "all.gguf", {f"blk.0.{t}.weight": (t, (3, 512)) for t in types})
    tensors = {t.dtype: t for t in read_gguf(path)[1]}
    assert tensors.keys() == set(types)
    for name, tensor in tensors.items():
        block, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        assert (tensor.shape, tensor.elements, tensor.bytes) == ((3, 512), 1536, 1536 * block_bytes // block)
        if name in BITS_PER_WEIGHT:
            assert tensor.bytes * 8 == 1536 * BITS_PER_WEIGHT[name]
    assert len(BITS_PER_WEIGHT.keys() & tensors.keys()) >= 28


@pytest.mark.truth
@pytest.mark.parametrize("big", [False, True])
def test_the_packages_own_reader_sees_the_same(tmp_path: Path, gguf: Any, big: bool) -> None:
    shapes = {"token_embd.weight": ("Q6_K", (32, 256)), "blk.0.ffn_up.weight": ("Q4_K", (64, 512)), "output_norm.weight": ("F32", (1, 256))}
    path = written(gguf, tmp_path / "a.gguf", shapes, **({"endianess": gguf.GGUFEndian.BIG} if big else {}))
    metadata, tensors = read_gguf(path)
    theirs = gguf.GGUFReader(path)
    assert [(t.name, t.tensor_type.name, tuple(reversed(t.shape.tolist())), t.n_bytes) for t in theirs.tensors] == [
        (t.name, t.dtype, t.shape, t.bytes) for t in tensors
    ]
    stepped_over = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.chat_template", "llama.long"}
    assert metadata == {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.") and k not in stepped_over}
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.attention.head_count_kv"] == [4, 8]


def test_a_split_is_one_checkpoint(tmp_path: Path, gguf: Any) -> None:
    shapes = {f"blk.{i}.ffn_up.weight": ("Q8_0", (4, 64)) for i in range(5)}
    written(gguf, tmp_path / "m.gguf", shapes, split_max_tensors=2)
    files = sorted(tmp_path.glob("*.gguf"))
    assert [f.name for f in files] == [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for file in files:
        metadata, tensors = read_gguf(file)
        assert metadata["llama.block_count"] == 2
        assert {t.name: t.bytes for t in tensors} == dict.fromkeys(shapes, 4 * 68)
    first = files[0].read_bytes()
    key = first.index(b"split.tensors.count") + len(b"split.tensors.count") + 4  # past its type
    files[0].write_bytes(first[:key] + struct.pack("<i", 6) + first[key + 4 :])
    with pytest.raises(BadFile, match=r"hold 5 tensors, not the 6 the first one says"):
        read_gguf(files[2])
    files[0].write_bytes(first)
    files[1].write_bytes(files[2].read_bytes())
    with pytest.raises(BadFile, match=r"00002-of-00003\.gguf: split.no=2 contradicts"):
        read_gguf(files[0])
    files[1].unlink()
    with pytest.raises(BadFile, match=r"no file '.*00002-of-00003\.gguf', one of the 3|no file '.*00002-of-00003\.gguf'"):
        read_gguf(files[0])


@pytest.mark.truth
def test_types_are_those_of_the_package(gguf: Any) -> None:
    theirs = {int(t): (t.name, *gguf.GGML_QUANT_SIZES[t]) for t in gguf.GGMLQuantizationType if t.name not in ACTIVATIONS}
    assert {n: t for n, t in TYPES.items() if n in theirs} == theirs
    names = {int(t): t.name.removeprefix("MOSTLY_").removeprefix("ALL_").lower() for t in gguf.LlamaFileType if t.name != "GUESSED"}
    assert {n: t for n, t in FILE_TYPES.items() if n in names} == names


def test_no_package_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(laid([], [told()]))
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert [t.name for t in read_gguf(path)[1]] == ["a"]


def text(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def told(name: bytes | str = "a", dims: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def laid(
    pairs: list[bytes],
    tensors: list[bytes],
    data: int = 128,
    magic: bytes = b"GGUF",
    version: int = 3,
    keys: int | None = None,
    count: int | None = None,
) -> bytes:
    head = magic + struct.pack("<IQQ", version, len(tensors) if count is None else count, len(pairs) if keys is None else keys)
    head += b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def array(kind: int, count: int, rest: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + rest


GGUF_LIES = {
    "magic": (laid([], [], magic=b"GGML"), "does not begin with 'GGUF'"),
    "version 1": (laid([], [], version=1), "GGUF version 1 is not understood"),
    "version 99": (laid([], [], version=99), "GGUF version 99"),
    "tensors": (laid([], [], count=2**63), f"{2**63} tensors are claimed"),
    "keys": (laid([], [], keys=2**64 - 1), f"{2**64 - 1} keys are claimed"),
    "one key more": (laid([], [told()], keys=1), "a tensor's name at byte"),
    "key length": (laid([struct.pack("<Q", 2**62) + b"key"], []), "a key (4611686018427387904 bytes"),
    "text length": (laid([pair("k", 8, struct.pack("<Q", 2**40))], []), "the value of 'k' (1099511627776 bytes"),
    "array length": (laid([pair("k", 9, array(4, 2**62))], []), "the value of 'k'"),
    "texts": (laid([pair("tokenizer.k", 9, array(8, 2**62))], []), "the value of 'tokenizer.k'"),
    "a text of an array": (
        laid([pair("tokenizer.k", 9, array(8, 2, text("a") + struct.pack("<Q", 2**50)))], [], data=0), "goes beyond the end",
    ),
    "an array cut": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair("tokenizer.k", 9, array(8, 3, text("a" * 20) + text("b") + b"\0")),
        "goes beyond the end",
    ),
    "arrays of arrays": (laid([pair("k", 9, array(9, 1, array(4, 0)))], []), "an array of the type 9"),
    "value type": (laid([pair("k", 13, b"")], []), "unknown type 13"),
    "twice": (laid([pair("k", 0, b"\1"), pair("k", 0, b"\1")], []), "'k' is there twice"),
    "not text": (laid([pair("k", 8, text(b"\xff"))], []), "not UTF-8"),
    "unprintable": (laid([pair("k\n", 0, b"\1")], []), "cannot be printed"),
    "alignment": (laid([pair("general.alignment", 4, struct.pack("<I", 24))], []), "general.alignment=24 is not a power of two"),
    "alignment 0": (laid([pair("general.alignment", 4, struct.pack("<I", 0))], []), "general.alignment=0"),
    "alignment text": (laid([pair("general.alignment", 8, text("32"))], []), "general.alignment='32'"),
    "tensor type": (laid([], [told(kind=4)]), "tensor type 4, which is not one of GGUF's that are known"),
    "tensor type 255": (laid([], [told(kind=255)]), "tensor type 255"),
    "dimensions": (laid([], [told(dims=(1, 1, 1, 1, 32))]), "has 5 dimensions"),
    "claimed dimensions": (laid([], [text("a") + struct.pack("<I", 2**32 - 1)]), "4294967295 dimensions"),
    "huge": (laid([], [told(dims=(2**63, 2**63, 2**63, 2**63))]), "beyond the end of the file"),
    "half a block": (laid([], [told(dims=(48, 2), kind=8)]), "rows of 48, not whole blocks of 32"),
    "offset": (laid([], [told(offset=96)]), "ends at byte"),
    "offset 2**63": (laid([], [told(offset=2**63)]), "beyond the end of the file"),
    "unaligned": (laid([], [told(dims=(1,), offset=4)]), "not a multiple of the alignment"),
    "overlap": (laid([], [told(), told("b", offset=96)], data=256), "tensor 'b' at offset 96 overlaps 'a'"),
    "same name": (laid([], [told(), told(offset=128)], data=256), "tensor 'a' is there twice"),
    "long name": (laid([], [told("a" * 2000)]), "longer than 256"),
    "cut": (laid([], [told()])[:40], "24 bytes|claimed|beyond the end"),
    "cut data": (laid([], [told()])[:-1], "beyond the end of the file"),
    "cut count": (b"GGUF\3\0\0", "the version (4 bytes"),
    "short": (b"GG", "does not begin"),
    "empty": (b"", "is empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
}  # fmt: skip


@pytest.mark.parametrize("lie", GGUF_LIES)
def test_a_lying_gguf_is_refused(tmp_path: Path, gguf: Any, refused: Callable[..., str], lie: str) -> None:
    raw, words = GGUF_LIES[lie]
    path = tmp_path / "x.gguf"
    path.write_bytes(raw)
    line = refused(read_gguf, path)
    assert any(w in line for w in words.split("|")), line


def test_a_hand_laid_gguf_is_read(tmp_path: Path, gguf: Any) -> None:
    path = tmp_path / "x.gguf"
    for version in (2, 3):
        path.write_bytes(
            laid([pair("k", 12, struct.pack("<d", 0.5)), pair("n", 9, array(4, 0))], [told(), told("b", (), 0, 128)], 132, version=version)
        )
        assert read_gguf(path) == ({"k": 0.5, "n": []}, [StoredTensor("a", "F32", (32,), 128), StoredTensor("b", "F32", (), 4)])


def test_items_of_arrays_are_bounded_over_the_whole_header(tmp_path: Path, gguf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.gguf"
    monkeypatch.setattr(gguf_file, "MAX_ITEMS", 5)
    path.write_bytes(laid([pair("a", 9, array(0, 3, b"123")), pair("tokenizer.b", 9, array(8, 2, text("c") * 2))], []))
    assert read_gguf(path)[0] == {"a": [49, 50, 51]}
    path.write_bytes(laid([pair("a", 9, array(0, 3, b"123")), pair("tokenizer.b", 9, array(8, 3, text("c") * 3))], []))
    with pytest.raises(BadFile, match=r"'tokenizer.b' brings the items of arrays to 6"):
        read_gguf(path)


def test_claims_within_a_vast_file_cost_nothing(tmp_path: Path, gguf: Any, refused: Callable[..., str]) -> None:
    path = tmp_path / "x.gguf"
    for raw in (laid([], [], count=2**20), laid([], [], keys=2**16), laid([pair("tokenizer.k", 9, array(8, 2**30))], []),
                laid([pair("k", 9, array(12, 2**23))], [told(kind=99)]), laid([pair("k", 8, struct.pack("<Q", 2**27))], [])):  # fmt: skip
        path.write_bytes(raw)
        os.truncate(path, 2**34)  # sparse: 16 GiB of zeros
        refused(read_gguf, path)


@pytest.mark.slow
@pytest.mark.law
def test_mutated_gguf_are_read_or_refused(tmp_path: Path, gguf: Any) -> None:
    path = tmp_path / "x.gguf"
    raw = laid(
        [pair("general.architecture", 8, text("llama")), pair("llama.block_count", 4, struct.pack("<I", 2)),
         pair("tokenizer.ggml.tokens", 9, array(8, 3, text("a") + text("b") + text("c"))), pair("l", 9, array(5, 2, bytes(8)))],
        [told("token_embd.weight", (32, 2), 8, 0), told("output_norm.weight", (32,), 0, 96)], 256,
    )  # fmt: skip
    path.write_bytes(raw)
    assert len(read_gguf(path)[1]) == 2
    assert fuzzed(read_gguf, raw, path, 4000) > 1500
