"""Headers of a checkpoint on the Hub: ranges of its files, through the real client, from a Hub that lies, breaks off and dawdles."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from sources.checkpoints.laying import Told, safetensors_header
from sources.checkpoints.test_stored_models import CONFIG, GPTQ, PLAIN, QUANT, WEIGHTS, quantised, rest
from sources.hub.hub_server import COMMIT, HubServer, Repo
from sources.hub.test_huggingface import asked

from sol.sources.hub.headers import FIRST_BYTES, MAX_SHARDS

OTHER = {**CONFIG, "quantization_config": QUANT["other"]}
UNNAMED = {k: v for k, v in CONFIG.items() if k != "torch_dtype"}
TENSORS = quantised(GPTQ) + rest()
TOO_MANY = [{"rfilename": f"model-{i:05d}-of-{MAX_SHARDS + 1:05d}.safetensors"} for i in range(1, MAX_SHARDS + 2)]
OVERLAP = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}'
COUNTS = {"BF16": 165_888, "I32": 88_064, "F16": 8_192}


def checkpoint(config: dict[str, Any], *files: list[Told], counts: dict[str, int] | None = COUNTS, **traits: Any) -> Repo:
    """A repository with these files; their data are declared and never sent."""
    names = ["model.safetensors"] if len(files) == 1 else [f"model-{i + 1:05d}-of-{len(files):05d}.safetensors" for i in range(len(files))]
    bodies = {name: safetensors_header(tensors)[0] for name, tensors in zip(names, files, strict=True)}
    sizes = {safetensors_header(tensors)[1] for tensors in files}
    assert len(sizes) <= 1
    listed = {} if counts is None else {"safetensors": {"parameters": counts, "total": sum(counts.values())}}
    return Repo({"config.json": json.dumps(config).encode(), **bodies}, sparse_bytes=next(iter(sizes), 0), **listed, **traits)


def headers(hub: HubServer) -> list[str]:
    return [path for path in hub.paths("GET") if path.endswith(".safetensors") and "/resolve/" in path]


def test_a_sixteen_bit_config_needs_nothing_more(tmp_path: Path) -> None:
    with HubServer({"org/plain": checkpoint(CONFIG, quantised(PLAIN) + rest())}) as hub:
        (plain,) = asked(tmp_path, hub.url, ("org/plain",), fetch="model_of")
        assert plain["value"] == {"parameters": plain["value"]["parameters"], "dtype": "bf16", "note": "", "format": None}
        assert {path.rpartition("/")[2] for _, path, _ in hub.log} <= {"config.json", "hf_quant_config.json", "agent-harnesses"}


def test_one_request_settles_an_unnamed_dtype(tmp_path: Path) -> None:
    counts = {"F16": 1000}
    with HubServer({"org/unnamed": checkpoint(UNNAMED, quantised(PLAIN) + rest(), counts=counts)}) as hub:
        (unnamed,) = asked(tmp_path, hub.url, ("org/unnamed",), fetch="model_of")
        assert (unnamed["value"]["dtype"], unnamed["value"]["format"]) == ("fp16", None)
        assert headers(hub) == []


@pytest.mark.truth
def test_headers_decide_for_a_quantised_checkpoint(tmp_path: Path) -> None:
    repo = checkpoint(OTHER, TENSORS)
    with HubServer({"org/q": repo}) as cdn, HubServer({"org/q": repo}, cdn=cdn) as hub:
        (model,) = asked(tmp_path, hub.url, ("org/q",), fetch="model_of", HF_TOKEN="hf_mine")
        name, compute, bits = model["value"]["format"]
        assert (name, compute) == ("other", "16-bit")
        scales = 16 / 128 + 4 / 128  # a scale and a zero of each group, and an index of each column:
        assert bits["down_proj"] == 4 + scales + 32 * 512 / (256 * 512)
        assert bits["lm_head"] == bits["norm"] == 16
        assert model["value"]["note"] == ""
        assert hub.log[-1] == ("GET", f"/org/q/resolve/{COMMIT}/model.safetensors", "Bearer hf_mine")
        assert [(method, token) for method, path, token in cdn.log if path.endswith(".safetensors")] == [("GET", None)]
        assert cdn.sent_bytes <= FIRST_BYTES


def test_headers_are_read_whole_and_in_order(tmp_path: Path) -> None:
    many: list[Told] = [(f"model.layers.{i}.mlp.up_proj.weight", "BF16", (2, 2)) for i in range(6000)]  # longer than the first answer
    pieces: list[list[Told]] = [[(f"part.{i}", "F32", (4,))] for i in range(3)]
    with HubServer({"org/long": checkpoint(OTHER, many), "org/three": checkpoint(OTHER, *pieces)}) as hub:
        long, three = asked(tmp_path, hub.url, ("org/long",), ("org/three",), fetch="headers_of")
        assert long["value"] == [[n, d, list(s), 8] for n, d, s in many]
        assert [t[0] for t in three["value"]] == ["part.0", "part.1", "part.2"]
        assert len(headers(hub)) == 2 + 3


NOT_HAD: dict[str, tuple[Repo, str]] = {
    # What cannot be had leaves the config's word, and says why.
    "org/none": (checkpoint(OTHER), "there are no safetensors"),
    "org/cut": (checkpoint(OTHER, TENSORS, cut_parts=True), "broken or incomplete"),
    "org/deaf": (checkpoint(OTHER, TENSORS, deaf=True), "does not answer with a part of the file"),
    "org/lacks": (checkpoint(OTHER, siblings=[{"rfilename": "model-00001-of-00002.safetensors"}]), "1 shards of 2; it is not whole"),
    "org/gone": (checkpoint(OTHER, siblings=[{"rfilename": "model.safetensors"}]), "org/gone"),
    "org/many": (checkpoint(OTHER, siblings=TOO_MANY), f"has {MAX_SHARDS + 1} shards, more than the {MAX_SHARDS}"),
    "org/odd": (checkpoint(OTHER, TENSORS, siblings=[{"rfilename": 7}]), "the list of tensors of org/odd is not one"),
    "org/broken": (checkpoint(OTHER, TENSORS, counts={"I32": -1}), "the list of tensors of org/broken is not one"),
}


def test_what_cannot_be_had_leaves_the_configs_word(tmp_path: Path) -> None:
    with HubServer({name: repo for name, (repo, _) in NOT_HAD.items()}) as hub:
        answers = asked(tmp_path, hub.url, *[(n,) for n in NOT_HAD], fetch="model_of", limit_s=60)
    for (name, (_, words)), answer in zip(NOT_HAD.items(), answers, strict=True):
        note = answer["value"]["note"]
        assert note.startswith("weight formats from the config, not from the headers of the tensors: "), name
        assert words in note, (name, note)
        assert note.isprintable()
        assert answer["value"]["format"] is None


def framed(header: bytes, claimed: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if claimed is None else claimed) + header


LIES: dict[str, tuple[bytes, str]] = {
    "org/beyond": (framed(b"{}", 2**40), "a header of 1099511627776 bytes is beyond the end of the file"),
    "org/hundred": (framed(b"{}", 2**28), "is beyond the 100 MiB one may have"),
    "org/text": (framed(b"<html></html>"), "is not JSON"),
    "org/deep": (framed(b'{"a":' * 9999), "nested deeper"),
    "org/overlap": (framed(OVERLAP), "overlap"),
    "org/short": (b"\x02\0\0", "beyond the end of the file"),
    "org/stranger": (safetensors_header([("nonsense", "F32", (2**27,))])[0], "tensor 'nonsense' belongs to no known part"),
    "org/other": (safetensors_header([("model.norm.weight", "F32", (2**27,))])[0], "its tensors hold"),
}


def test_a_lying_header_is_one_line(tmp_path: Path) -> None:
    config = json.dumps(OTHER).encode()
    repos = {name: Repo({"config.json": config, "model.safetensors": body}, sparse_bytes=2**29) for name, (body, _) in LIES.items()}
    repos["org/short"].sparse_bytes = 0
    with HubServer(repos) as hub:
        answers = asked(tmp_path, hub.url, *[(n,) for n in LIES], fetch="model_of", limit_s=60)
        assert hub.sent_bytes < 2**23  # whatever a header claims
    for (name, (_, words)), answer in zip(LIES.items(), answers, strict=True):
        assert words in answer.get("error", "no error"), (name, answer)
        assert f"{'tensors' if name in ('org/stranger', 'org/other') else 'model.safetensors'} of {name}" in answer["error"]


def test_offline_the_config_in_the_cache_answers(tmp_path: Path) -> None:
    with HubServer({"org/q": checkpoint({**CONFIG, "quantization_config": QUANT["gptq"]}, TENSORS)}) as hub:
        (online,) = asked(tmp_path, hub.url, ("org/q",), fetch="model_of")
        asks = len(hub.log)
        (offline,) = asked(tmp_path, hub.url, ("org/q",), fetch="model_of", HF_HUB_OFFLINE="1")
        assert len(hub.log) == asks
    assert "HF_HUB_OFFLINE is set" in offline["value"]["note"]
    assert offline["value"]["format"][0] == "gptq-w4-g128"
    assert offline["value"]["format"][2] == {}  # as the config describes it
    assert set(online["value"]["format"][2]) == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "up_proj",
        "down_proj",
        "embedding",
        "lm_head",
        "norm",
        "bias",
    }


@pytest.mark.parametrize("traits", [{"slow": "GET"}, {"drip": True}])
def test_a_slow_hub_ends_in_bounded_time(tmp_path: Path, traits: dict[str, Any]) -> None:
    """The config is in the cache; the list, or the header, never comes."""
    repo = checkpoint(OTHER, TENSORS)
    with HubServer({"org/slow": repo}) as hub:
        (first,) = asked(tmp_path, hub.url, ("org/slow",), fetch="fetch_json")
        assert "value" in first
        for trait, value in traits.items():
            setattr(repo, trait, value)
        start = time.monotonic()
        (slow,) = asked(
            tmp_path, hub.url, ("org/slow",), fetch="model_of", limit_s=20, HF_HUB_ETAG_TIMEOUT="1", HF_HUB_DOWNLOAD_TIMEOUT="1"
        )
        assert time.monotonic() - start < 15  # the process too: no thread keeps it
    assert "in time; try again, raise HF_HUB_ETAG_TIMEOUT (1 s)" in slow["value"]["note"]


def test_elements_are_those_of_the_config() -> None:
    """The sizes the other tests rest on."""
    assert sum(s[0] * s[1] * 8 for n, _, s in TENSORS if n.endswith("qweight")) == WEIGHTS
