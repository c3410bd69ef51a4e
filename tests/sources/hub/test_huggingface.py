"""The Hub, through its real client in fresh processes (it reads its environment when imported) and a real HTTP server on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sources.hub.hub_server import COMMIT, HubServer, Repo

from sol.sources.config.config_json import MAX_CONFIG_BYTES
from sol.sources.hub.huggingface import HUB_NAME

CONFIG = {"model_type": "llama", "hidden_size": 64}
BODY = json.dumps(CONFIG).encode()
NEXT = "f" * 40
ASK = """
import json, sys, time
from sol.errors import SolError
from sol.sources.hub import headers as hub_headers
from sol.sources.hub import huggingface
from sol.sources.hub.model import load_hub
def headers_of(name):
    return [[t.name, t.dtype, t.shape, t.bytes] for t in hub_headers.fetch_headers(name, hub_headers.fetch_listing(name))]
def model_of(name):
    model = load_hub(name)
    stored = model.weight_format
    bits = stored and (stored.id, stored.compute, dict(stored.class_bits))
    return {"parameters": model.parameters, "dtype": model.dtype, "note": model.storage_note, "format": bits}
CALLS = {"fetch_json": huggingface.fetch_json, "fetch_listing": hub_headers.fetch_listing, "headers_of": headers_of, "model_of": model_of}
out = []
for call, arguments, options in json.load(sys.stdin):
    start = time.monotonic()
    try:
        value = CALLS[call](*arguments, **options)
        said = {"value": [value[0], str(value[1])] if call == "fetch_json" and value else value}
    except SolError as error:
        said = {"error": str(error)}
    out.append({**said, "seconds": time.monotonic() - start})
print(json.dumps(out))
"""


def asked(
    home: Path, endpoint: str, *calls: tuple[Any, ...], fetch: str = "fetch_json", limit_s: float = 30, **environment: str
) -> list[dict[str, Any]]:
    """What each call gives in one fresh process that has only this environment; a call is its arguments, then perhaps a dict of options."""
    asks = [(fetch, [a for a in call if not isinstance(a, dict)], next((a for a in call if isinstance(a, dict)), {})) for call in calls]
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": endpoint}
    # A position of -1 makes the client draw its progress bars even where there is no terminal.
    clean |= {"HF_HUB_DISABLE_PROGRESS_BARS": "0", "TQDM_POSITION": "-1", **environment}
    run = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(asks), capture_output=True, text=True, timeout=limit_s, env=clean, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    answers: list[dict[str, Any]] = json.loads(run.stdout)  # and nothing else was printed
    for error in (a["error"] for a in answers if "error" in a):
        assert error.isprintable()  # one line, and no terminal codes
        assert error[0] in "'\"" or error[0].islower()
        assert len(error) < 400
    return answers


FAILURES: dict[str, tuple[Repo, str]] = {
    # What a stranger without a token is told.
    "org/gated": (
        Repo(status=401, code="GatedRepo", message="Access restricted"),
        "is gated; accept its licence at {url}/org/gated and set HF_TOKEN",
    ),
    "org/forbidden": (Repo(status=403, message="no"), "access is refused (403); check on {url}/org/forbidden that your HF_TOKEN may"),
    "org/private": (
        Repo(status=401, message="Invalid username or password."),
        "no model 'org/private' on {url}, or it is private; check the sp",
    ),
    "org/limited": (Repo(status=429), "too many requests to {url} (429); wait some minutes, or set HF_TOKEN"),
    "org/later": (Repo(status=429, headers={"Retry-After": "77"}), "wait 77 s, or set HF_TOKEN"),
    "org/broken": (Repo(status=500), "{url} is failing (500); try again later, or give the path"),
    "org/down": (Repo(status=503), "{url} is failing (503)"),
    "org/odd": (Repo(status=418), "answers 418 and does not say why; check HF_ENDPOINT"),
    "org/no-hub": (Repo({"config.json": BODY}, anonymous=True), "does not answer as a Hugging Face Hub does"),
    "org/no-config": (Repo({"README.md": b""}), "no config.json in org/no-config; {url}/org/no-config/tree/main shows its files"),
    "org/cut": (Repo({"config.json": BODY}, cut=True), "config.json from {url} is broken or incomplete; try again"),
    "org/text": (Repo({"config.json": b"<html>"}), "is not valid JSON (expecting value"),
    "org/empty": (Repo({"config.json": b""}), "is not valid JSON"),
    "org/bytes": (Repo({"config.json": b"\xff\xfe"}), "is not UTF-8"),
    "org/nan": (Repo({"config.json": b'{"a": NaN}'}), "holds NaN, which is not a number JSON has"),
    "org/infinity": (Repo({"config.json": b'{"a": -Infinity}'}), "holds -Infinity, which is not a number JSON has"),
    "org/overflow": (Repo({"config.json": b'{"a": 1e999}'}), "holds 1e999"),
    "org/long": (Repo({"config.json": b'{"a": ' + b"1" * 5000 + b"}"}), "is not valid JSON"),
    "org/deep": (Repo({"config.json": b"[" * 200_000}), "nested too deeply"),
    "org/list": (Repo({"config.json": b"[1]"}), "holds a list, not the object"),
    "org/huge": (Repo({"config.json": b" " * (MAX_CONFIG_BYTES + 1)}), f"larger than 4 MiB ({MAX_CONFIG_BYTES + 1} bytes)"),
    "org/endless": (Repo({"config.json": BODY}, endless=True), "is larger than 4 MiB"),
    "org/liar": (Repo({"config.json": BODY}, endless=True, declared=40), "is larger than 4 MiB"),
}
NAMES = {
    # Names that no server is asked about, or that it does not know.
    "org/nothing": "no model 'org/nothing' on {url}, or it is private; check the spelling or set HF_TOKEN",
    "org/good@v9": "no revision 'v9' of org/good; {url}/org/good/tree/main lists its branches and tags",
    "good": "'good' is not a name on the Hub; give org/name or org/name@revision",
    "org/../good": "is not a name on the Hub",
    "org/good@../../../../evil": "is not a name on the Hub",
    "org/good.git": "is not a name on the Hub",
    "org/good@a\nb": "is not a name on the Hub",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    good = Repo(
        {"config.json": BODY, "params.json": b'{"dim": 1}'}, {"main": COMMIT, "v1": NEXT, "refs/pr/1": NEXT, NEXT: NEXT, COMMIT: COMMIT}
    )
    with HubServer({"org/good": good, **{name: repo for name, (repo, _) in FAILURES.items()}}) as server:
        yield server


@pytest.fixture(scope="module")
def refusals(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every failure that needs no environment of its own, in one process."""
    names = [*FAILURES, *NAMES]
    return dict(zip(names, asked(tmp_path_factory.mktemp("home"), hub.url, *[(n,) for n in names]), strict=True))


@pytest.mark.parametrize("name", [*FAILURES, *NAMES])
def test_each_failure_is_its_own_line(hub: HubServer, refusals: dict[str, dict[str, Any]], name: str) -> None:
    words = NAMES[name] if name in NAMES else FAILURES[name][1]
    assert words.format(url=hub.url) in refusals[name].get("error", "no error")
    assert refusals[name]["seconds"] < (12 if name == "org/cut" else 4)  # the client asks for a broken body again, up to five times


@pytest.mark.usefixtures("refusals")
def test_too_much_is_refused_before_it_is_read(hub: HubServer) -> None:
    assert [p for p in hub.paths("GET") if "org/huge" in p] == []
    assert (
        hub.sent_bytes < 80 * 2**20
    )  # both endless bodies together, what the sockets buffer included; the client hands over 10 MiB at once


@pytest.mark.usefixtures("refusals")
def test_a_failure_is_asked_for_once(hub: HubServer) -> None:
    for name in ("org/limited", "org/broken", "org/gated", "org/nothing"):
        assert len([path for path in hub.paths() if name in path]) == 1, name


@pytest.mark.usefixtures("refusals")
def test_nothing_is_left_behind_by_a_refused_download(hub: HubServer, tmp_path: Path) -> None:
    asked(tmp_path, hub.url, ("org/endless",), ("org/liar",))
    assert [p for p in tmp_path.rglob("*") if "incomplete" in p.name] == []


def test_a_server_cannot_name_a_path_outside_the_cache(tmp_path: Path) -> None:
    repos = {"org/etag": Repo({"config.json": BODY}, etag="../../../../../evil"), "org/absent": Repo({}, {"main": "../../../../../evil"})}
    with HubServer(repos) as server:
        etag, absent = asked(tmp_path / "home", server.url, *[(n,) for n in repos])
    assert "names a path outside the cache; check HF_ENDPOINT" in etag["error"]
    assert "names a path outside the cache" in absent["error"]
    assert [p for p in tmp_path.rglob("*") if "evil" in p.name] == []


def test_a_config_comes_through_the_hubs_redirect_into_the_clients_cache(hub: HubServer, tmp_path: Path) -> None:
    first, other, pinned, pull, absent = asked(
        tmp_path, hub.url, ("org/good",), ("org/good", "params.json"), ("org/good@v1",), ("org/good@refs/pr/1",),
        ("org/good", "hf_quant_config.json", {"optional": True}),
    )  # fmt: skip
    assert first["value"] == [CONFIG, str(tmp_path / f"hf/hub/models--org--good/snapshots/{COMMIT}/config.json")]
    assert other["value"][0] == {"dim": 1}
    assert NEXT in pinned["value"][1]
    assert NEXT in pull["value"][1]
    assert absent["value"] is None
    assert {"/org/good/resolve/main/config.json", "/org/good/resolve/v1/config.json"} <= set(hub.paths())
    assert "/org/good/resolve/refs%2Fpr%2F1/config.json" in hub.paths()
    assert f"/api/resolve-cache/models/org/good/{COMMIT}/config.json" in hub.paths("GET")


def test_the_cache_answers_when_the_hub_cannot(tmp_path: Path) -> None:
    elsewhere = {"HF_HUB_CACHE": str(tmp_path / "elsewhere")}
    repo = Repo({"config.json": BODY})
    missing = ("org/good", "hf_quant_config.json", {"optional": True})
    with HubServer({"org/good": repo}) as server:
        asked(tmp_path, server.url, ("org/good",), missing, **elsewhere)
        server.log.clear()
        pinned, _ = asked(tmp_path, server.url, (f"org/good@{COMMIT}",), ("org/good",), **elsewhere, HF_HUB_OFFLINE="1")
        assert pinned["value"][0] == CONFIG
        (again,) = asked(tmp_path, server.url, (f"org/good@{COMMIT}",), **elsewhere)
        assert again["value"] == pinned["value"]
        assert server.log == []  # offline, and for a commit that is there, nobody is asked
        repo.status, repo.code = 401, "GatedRepo"
        (gated,) = asked(tmp_path, server.url, ("org/good",), **elsewhere)
        assert gated["value"] == pinned["value"]
        repo.status, repo.files, repo.revisions = 200, {"config.json": b'{"new": 1}'}, {"main": NEXT, NEXT: NEXT}
        assert asked(tmp_path, server.url, ("org/good",), **elsewhere)[0]["value"][0] == {"new": 1}
    gone, _ = asked(tmp_path, server.url, ("org/good",), missing, **elsewhere)
    assert gone["value"] == [{"new": 1}, str(tmp_path / f"elsewhere/models--org--good/snapshots/{NEXT}/config.json")]


def test_offline_says_what_is_not_there(tmp_path: Path) -> None:
    missing = ("org/good", "hf_quant_config.json", {"optional": True})
    with HubServer({"org/good": Repo({"config.json": BODY})}) as server:
        asked(tmp_path, server.url, ("org/good",), missing)
        server.log.clear()
        here, absent, unknown, never = asked(
            tmp_path, server.url, ("org/good",), missing, ("org/good", "other.json", {"optional": True}), ("org/never",), HF_HUB_OFFLINE="1"
        )
        (tensors,) = asked(tmp_path, server.url, ("org/good",), fetch="fetch_listing", HF_HUB_OFFLINE="1")
        assert server.log == []
    assert here["value"][0] == CONFIG
    assert absent["value"] is None  # the cache remembers that there is none
    assert "org/good: other.json is not in the cache, and HF_HUB_OFFLINE is set; unset HF_HUB_OFFLINE, or give the path" in unknown["error"]
    assert "org/never: config.json is not in the cache" in never["error"]
    assert "HF_HUB_OFFLINE" in tensors["error"]


def test_the_token_is_sent_to_the_hub_and_to_nobody_else(tmp_path: Path) -> None:
    repos = {
        "org/good": Repo({"config.json": BODY}),
        "org/gated": Repo(status=403, code="GatedRepo", message="You are not in the authorized list"),
        "org/token": Repo(status=401, message="Invalid credentials in Authorization header"),
        "org/limited": Repo(status=429),
    }
    with HubServer(repos) as cdn, HubServer(repos, cdn=cdn) as server:
        good, gated, token, nothing, limited = asked(
            tmp_path, server.url, ("org/good",), ("org/gated",), ("org/token",), ("org/nothing",), ("org/limited",), HF_TOKEN="hf_mine"
        )
        assert good["value"][0] == CONFIG
        assert {token for method, path, token in server.log if "resolve" in path} == {"Bearer hf_mine"}
        assert [(method, token) for method, _, token in cdn.log] == [("GET", None)]
        assert f"is gated; accept its licence at {server.url}/org/gated with the account of your HF_TOKEN" in gated["error"]
        assert f"does not accept your token; set HF_TOKEN to one from {server.url}/settings/tokens" in token["error"]
        assert "set HF_TOKEN to one of an account that may read it" in nothing["error"]
        assert "HF_TOKEN" not in limited["error"]


@pytest.mark.parametrize(
    "repo", [Repo({"config.json": BODY}, slow="HEAD"), Repo({"config.json": BODY}, slow="GET"), Repo({"config.json": BODY}, drip=True)]
)
def test_a_slow_hub_ends_in_bounded_time(tmp_path: Path, repo: Repo) -> None:
    with HubServer({"org/slow": repo}) as server:
        start = time.monotonic()
        (slow,) = asked(tmp_path, server.url, ("org/slow",), limit_s=12, HF_HUB_ETAG_TIMEOUT="1", HF_HUB_DOWNLOAD_TIMEOUT="1")
        assert time.monotonic() - start < 8  # the process too: no thread keeps it
    assert slow["seconds"] < 3
    assert f"no whole config.json from {server.url} in time; try again, raise HF_HUB_ETAG_TIMEOUT (1 s)" in slow["error"]


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        config, again = asked(tmp_path, closed, ("org/good",), ("org/good",))
        (tensors,) = asked(tmp_path, closed, ("org/good",), fetch="fetch_listing")
    for answer in (config, again, tensors):
        assert f"org/good: cannot reach {closed} (" in answer["error"]
        assert "refused" in answer["error"]
    (unknown,) = asked(tmp_path, "http://hub.invalid", ("org/good",))
    assert "cannot reach http://hub.invalid (" in unknown["error"]
    (odd,) = asked(tmp_path, "hub", ("org/good",))
    assert "check HF_ENDPOINT" in odd["error"]


def test_safetensors_metadata_counts_per_dtype(tmp_path: Path) -> None:
    counts = {"BF16": 8_190_735_360, "I32": 7}
    repos = {
        "org/good": Repo({"model.safetensors": b""}, safetensors={"parameters": counts, "total": 8_190_735_367}),
        "org/bin": Repo(),
        "org/hostile": Repo(safetensors={"parameters": {"BF16": -1}, "total": 0}),
        "org/odd": Repo(safetensors=[1]),
        "org/text": Repo(api=b"<html>"),
        "org/limited": Repo(status=429),
    }
    with HubServer(repos) as server:
        good, none, hostile, odd, text, limited, nothing, revision = asked(
            tmp_path, server.url, *[(n,) for n in repos], ("org/nothing",), ("org/good@v9",), fetch="fetch_listing", HF_TOKEN="hf_mine"
        )
        assert "/api/models/org/good/revision/main" in server.paths("GET")
        assert {token for _, path, token in server.log if "/api/models/" in path} == {"Bearer hf_mine"}
    assert good["value"] == [counts, ["model.safetensors"], COMMIT]
    assert none["value"] is None
    assert "the list of tensors of org/hostile is not one" in hostile["error"]
    assert "does not answer as a Hugging Face Hub" in odd["error"]
    assert "does not answer as a Hugging Face Hub" in text["error"]
    assert "429" in limited["error"]
    assert "no model 'org/nothing'" in nothing["error"]
    assert "no revision 'v9' of org/good" in revision["error"]


def test_what_the_machine_lacks(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (full,) = asked(tmp_path, hub.url, ("org/good",), HF_HUB_CACHE=str(tmp_path / "file" / "cache"))
    assert "config.json cannot be kept in" in full["error"]
    (typo,) = asked(tmp_path, hub.url, ("org/good",), HF_HUB_ETAG_TIMEOUT="soon")
    assert "huggingface_hub does not start (invalid literal" in typo["error"]
    code = (
        "import sys; from sol.sources.hub import huggingface as h; assert 'huggingface_hub' not in sys.modules\n"
        "sys.modules['huggingface_hub'] = None\ntry: h.fetch_json('org/good')\nexcept h.HubError as e: print(e)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "models on the Hub need the package huggingface_hub; pip install huggingface_hub\n"


def test_a_source_is_the_page_of_the_file(tmp_path: Path) -> None:
    code = "from sol.sources.hub.huggingface import hub_source as s; print(s('a/b@v1', 'config.json').url, s('a/b', 'config.json').title)"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_ENDPOINT": "https://hub.example/"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert run.stdout == "https://hub.example/a/b/blob/v1/config.json config.json of a/b on the Hugging Face Hub\n"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Qwen/Qwen3-8B", ("Qwen/Qwen3-8B", None)),
        ("a/b.c_d@refs/pr/7", ("a/b.c_d", "refs/pr/7")),
        (f"a/b@{COMMIT}", ("a/b", COMMIT)),
        ("a/b@release--1", ("a/b", "release--1")),
        ("gpt2", None), ("a/b/c", None), ("./a", None), ("../a", None), ("/a/b", None), ("a/b@", None), ("a--b/c", None),
        ("a/b@x/../y", None), ("a/b\n", None), ("a b/c", None), ("https://huggingface.co/a/b", None),
    ],
)  # fmt: skip
def test_names(name: str, parts: tuple[str, str | None] | None) -> None:
    match = HUB_NAME.fullmatch(name)
    assert (match and (match["repo"], match["revision"])) == parts
