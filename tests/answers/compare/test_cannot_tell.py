"""A time below the optimistic floor is impossible only if no last-level cache that nobody has sourced could explain it."""

from __future__ import annotations

import json
import math

import pytest

from sol import GPU, Comparison, compare, floor, load_gpu
from sol.answers.compare import compare as room
from sol.answers.floor import optimistic
from sol.answers.floor.optimistic import largest_cache_bytes, unsure_s
from sol.answers.question.ask import ask
from sol.sources.database.database import gpu_ids

MAX_1550 = 408 * 2**20
"""Intel Max 1550: 408 MB of L2 (its specification), the largest last-level cache of a GPU here."""
SMALL = {"ctx": 0, "kv_dtype": "bf16"}
DARK = load_gpu("l40").model_copy(update={"last_level_cache_bytes": None})
"""An L40 as if no source gave its cache."""


def measured(gigabytes_less: float, gpu: str | GPU = DARK) -> Comparison:
    """Qwen2.5-0.5B on a device without a sourced cache, in the time that so much less than its bytes takes."""
    f = floor("qwen2.5-0.5b", gpu, **SMALL)
    return compare("qwen2.5-0.5b", gpu, measured_s=(f.moved_bytes - gigabytes_less * 1e9) / 864e9, **SMALL)


@pytest.mark.truth
def test_the_largest_cache_of_each_kind() -> None:
    assert largest_cache_bytes("gpu") == MAX_1550
    assert largest_cache_bytes("cpu") == 384 * 2**20  # EPYC 9654: 384 MB of L3
    assert largest_cache_bytes("accelerator") == 96 * 2**20  # Gaudi 3: 96 MB of SRAM
    for kind in ("gpu", "soc", "cpu", "accelerator"):
        known = [load_gpu(i).last_level_cache_bytes for i in gpu_ids(kind)]
        assert largest_cache_bytes(kind) == max(c for c in known if c is not None)  # type: ignore[arg-type]


@pytest.mark.truth
@pytest.mark.parametrize(("less", "word"), [(-0.01, "at the limit"), (0.2, "cannot tell"), (0.4278, "cannot tell"), (0.4279, "impossible")])
def test_by_hand(less: float, word: str) -> None:
    """Bytes over 864 GB/s, less up to 427,819,008 B that a cache of 408 MiB would hold."""
    assert measured(less).verdict == word


@pytest.mark.law
def test_it_ends_where_the_largest_cache_ends() -> None:
    least = unsure_s(ask("qwen2.5-0.5b", DARK, **SMALL))
    f = floor("qwen2.5-0.5b", DARK, **SMALL)
    assert least == pytest.approx((f.moved_bytes - MAX_1550) / 864e9, rel=1e-12)
    assert compare("qwen2.5-0.5b", DARK, measured_s=least, **SMALL).verdict == "cannot tell"
    assert compare("qwen2.5-0.5b", DARK, measured_s=math.nextafter(least, 0.0), **SMALL).verdict == "impossible"
    assert unsure_s(ask("qwen2.5-0.5b", "h100", **SMALL)) is None  # its cache is known


@pytest.mark.law
def test_where_no_cache_of_the_kind_is_known_only_compute_and_links_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimistic, "largest_cache_bytes", lambda kind: None)
    q = ask("qwen2.5-0.5b", "tpu-v5e", ctx=2048, batch=64)
    compute = floor("qwen2.5-0.5b", "tpu-v5e", ctx=2048, batch=64).compute_s
    assert unsure_s(q) == pytest.approx(compute, rel=1e-6)
    split = ask("llama-3.1-8b", "tpu-v5e", ctx=2048, batch=64, tp=8)
    assert unsure_s(split) > 0.0


@pytest.mark.law
def test_a_cache_that_is_named_gives_a_verdict() -> None:
    def with_cache(size: float | None) -> GPU:
        return GPU(id="mine", name="mine", memory_bytes=48e9, memory_bytes_per_s=864e9, flops_per_s={"bf16": 181e12},
                   last_level_cache_bytes=size, source="its data sheet")  # fmt: skip

    words = [measured(0.2, with_cache(size)).verdict for size in (None, 50e6, 300e6)]
    assert words == ["cannot tell", "impossible", "at the limit"]


@pytest.mark.law
def test_nobody_looks_at_other_devices_where_nothing_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(kind: str) -> float:
        raise AssertionError(f"the caches of every {kind} were read")

    monkeypatch.setattr(optimistic, "largest_cache_bytes", never)
    assert compare("qwen2.5-0.5b", DARK, measured_s=2e-3, ctx=100).verdict == "slow"
    assert compare("qwen2.5-0.5b", "h100", measured_s=1e-5, ctx=100).verdict == "impossible"


def test_every_face_says_why_and_what_to_do() -> None:
    c = measured(0.2)
    assert c.suspects[0].kind == "cache"
    assert "200 MB or more" in c.suspects[0].evidence
    for text in (c.to_text(120), c._repr_html_()):
        assert "cannot tell" in text
        assert "no source gives l40 a last-level cache" in text.replace("\n  ", " ")
        assert "last_level_cache_bytes" in text
    outputs = json.loads(json.dumps(c.to_dict()))["outputs"]
    assert (outputs["verdict"], outputs["unsure_s"]) == ("cannot tell", c.unsure_s)
    assert c.to_table().to_dicts()[0]["verdict"] == "cannot tell"
    assert "cannot tell" in repr(c)
    beyond = measured(0.5)
    assert beyond.verdict == "impossible"
    assert "not even a last-level cache as large as the largest known of its kind, 428 MB, would do" in beyond.to_text(160)
    known = compare("qwen2.5-7b", "h100", measured_s=3e-3, ctx=2048)
    assert known.to_dict()["outputs"]["unsure_s"] is None
    assert "not even" not in known.to_text()
    assert "cannot tell" in (room.compare.__doc__ or "")
