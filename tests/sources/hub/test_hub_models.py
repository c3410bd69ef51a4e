"""A model that came out this morning: from the Hub to a floor, through the command line, against a Hub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sources.hub.hub_server import COMMIT, HubServer, Repo

from sol import floor

QWEN3_8B = {
    "model_type": "qwen3", "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "max_position_embeddings": 40960,
}  # fmt: skip


def sol(home: Path, url: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": url, **environment}
    return subprocess.run([sys.executable, "-m", "sol", *args], capture_output=True, text=True, env=clean, check=False, timeout=60)


@pytest.mark.truth
def test_a_model_of_the_hub_answers_as_the_built_in_one(tmp_path: Path) -> None:
    with HubServer({"org/new-model": Repo(files={"config.json": json.dumps(QWEN3_8B).encode()})}) as hub:
        done = sol(tmp_path, hub.url, "floor", "org/new-model", "h100", "--ctx", "4096", "--json")
        assert (done.stderr, done.returncode) == ("", 0)
        doc = json.loads(done.stdout)
        assert doc["outputs"]["latency_s"] == floor("qwen3-8b", "h100", ctx=4096).latency_s
        assert [s["where"] for s in doc["sources"]][-1].endswith("/org/new-model/blob/main/config.json")
        pinned = sol(tmp_path, hub.url, "floor", f"org/new-model@{COMMIT}", "h100", "--ctx", "4096", "--json")
        assert pinned.returncode == 0
        assert pinned.stdout.replace(f"@{COMMIT}", "").replace(COMMIT, "main") == done.stdout
    again = sol(tmp_path, hub.url, "floor", "org/new-model", "h100", "--ctx", "4096", "--json", HF_HUB_OFFLINE="1")
    assert json.loads(again.stdout)["outputs"] == doc["outputs"]


def test_what_the_hub_refuses_is_one_line_and_exit_2(tmp_path: Path) -> None:
    repos = {
        "org/gated": Repo(status=401, code="GatedRepo", message="Access restricted"),
        "org/odd": Repo(files={"config.json": json.dumps({**QWEN3_8B, "model_type": "brand_new"}).encode()}),
    }
    with HubServer(repos) as hub:
        for name, word in (("org/gated", "is gated"), ("org/nothing", "no model 'org/nothing'"), ("org/odd", "model_type='brand_new'")):
            done = sol(tmp_path, hub.url, "floor", name, "h100", "--ctx", "1")
            assert (done.stdout, done.returncode) == ("", 2)
            assert word in done.stderr
            assert len(done.stderr.splitlines()) == 1


def test_a_built_in_model_asks_nobody(tmp_path: Path) -> None:
    with HubServer({}) as hub:
        assert sol(tmp_path, hub.url, "floor", "Qwen/Qwen3-8B", "h100", "--ctx", "1").returncode == 0
        assert sol(tmp_path, hub.url, "floor", "no-such-model", "h100", "--ctx", "1").returncode == 2
        assert hub.log == []
