"""Splits as arrays: a cell of a sweep over splits is its scalar to the last bit, and one that cannot be is a mask."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sol import InvalidInput, InvalidPlan, estimate, floor, load_model, memory
from sol.answers.plan.candidates import legal_splits
from sol.sources.database.database import built_in_model
from sol.specs.split import Split, illegal, legal
from sol.views.cli import main

NDR = "infiniband-ndr"
EVERY_KIND = [
    ("llama-3.1-8b", {}), ("gemma-3-1b", {"phase": "prefill"}), ("gpt-oss-120b", {}), ("deepseek-v3", {"fusion": "eager"}),
    ("deepseek-v3.2", {"phase": "prefill", "cached_tokens": 100}), ("mixtral-8x7b", {"dtype": "q4_k_m", "fusion": "kernel"}),
    ("nemotron-h-56b", {}), ("qwen3-next-80b-a3b", {"fusion": "kernel"}), ("command-r-35b", {"dtype": "w4a16"}),
]  # fmt: skip
FIGURES = ("latency_s", "serial_s", "memory_s", "compute_s", "network_s", "wire_bytes", "flops", "moved_weight_bytes", "moved_kv_bytes",
           "resident_bytes", "fits", "devices", "tokens_per_s_per_gpu", "bound", "is_bound")  # fmt: skip


@pytest.mark.law
@pytest.mark.parametrize(("name", "asked"), EVERY_KIND, ids=[f"{n} {a}" for n, a in EVERY_KIND])
def test_a_cell_is_its_scalar(name: str, asked: dict[str, Any]) -> None:
    model, batches = load_model(name), [1.0, 3.5, 64.0]
    splits = [s for n in (1, 2, 4, 16) for s in legal_splits(model, n)]
    ways = Split(*np.array(splits).T[:, :, None])
    swept = floor(name, "h200", ctx=2048, batch=batches, network=NDR, **ways._asdict(), **asked)
    held = memory(name, "h200", ctx=2048, batch=batches, **ways._asdict())
    assert swept.valid.all()
    assert swept.latency_s.shape == (len(splits), 3)
    for i in np.ndindex(len(splits), 3):
        split = splits[i[0]]._asdict()
        one = swept[i]
        alone = floor(name, "h200", ctx=2048, batch=[batches[i[1]]], network=NDR, **split, **asked)
        room = memory(name, "h200", ctx=2048, batch=batches[i[1]], **split)
        for figure in FIGURES:
            want = np.ravel(getattr(alone, figure))[0]
            assert getattr(swept, figure)[i] == getattr(one, figure) == want, (split, figure)
        for figure in (
            "weight_bytes",
            "kv_bytes",
            "state_bytes",
            "activation_bytes",
            "max_batch",
            "max_ctx",
            "min_devices",
            "kv_read_bytes",
        ):
            assert getattr(held, figure)[i] == getattr(room, figure), (split, figure)


@pytest.mark.law
def test_a_large_sweep_over_splits_goes_block_by_block() -> None:
    """More points than are computed at once, cut along the batches and along the splits."""
    tp = np.array([1, 2, 4, 8])
    wide = floor("llama-3.1-8b", "h200", ctx=2048, batch=np.arange(1.0, 9000.0), tp=tp[:, None])
    long = floor("llama-3.1-8b", "h200", ctx=2048, batch=[1.0, 9.0], tp=np.repeat(tp, 5000)[:, None])
    for row, n in enumerate(tp.tolist()):
        one = floor("llama-3.1-8b", "h200", ctx=2048, batch=np.array([1.0, 9.0, 8999.0]), tp=n)
        assert wide.serial_s[row, [0, 8, 8998]].tolist() == one.serial_s.tolist()
        assert (long.serial_s[5000 * row : 5000 * row + 5000] == one.serial_s[:2]).all()


@pytest.mark.law
@pytest.mark.parametrize("name", ["llama-3.1-8b", "mixtral-8x7b", "deepseek-v3"])
def test_the_mask_is_the_error(name: str) -> None:
    """Over 9,000 splits: valid where the rules of one split find nothing, and the links reach."""
    model = built_in_model(name)
    assert model is not None
    ways = np.array([1, 2, 3, 4, 8, 64])
    splits = Split(*(w.ravel() for w in np.meshgrid(ways, ways, ways, ways, np.array([1, 2, 3, 4, 8, 16, 64]))))
    whys = [illegal(model, Split(*(int(n[i]) for n in splits))) for i in range(splits.tp.size)]
    assert legal(model, splits).tolist() == [why is None for why in whys]
    swept = floor(name, "h100", ctx=128, **splits._asdict())
    can = np.array([why is None for why in whys]) & (splits.devices <= 8)
    assert swept.valid.tolist() == can.tolist()
    for figure in ("latency_s", "serial_s", "resident_bytes", "tokens_per_s", "wire_bytes"):
        assert np.isnan(getattr(swept, figure)).tolist() == (~can).tolist()
    assert not swept.fits[~can].any()
    assert set(swept.bound[~can]) == {""}


def test_one_that_cannot_be_is_an_error_alone_and_says_so_by_index() -> None:
    swept = floor("llama-3.1-8b", "h100", ctx=128, tp=[1, 3, 8])
    assert swept.valid.tolist() == [True, False, True]
    assert swept[2].latency_s == floor("llama-3.1-8b", "h100", ctx=128, tp=8).latency_s
    with pytest.raises(InvalidPlan, match="see `valid`"):
        swept[1]
    for asked, words in (
        ({"tp": [3, 5]}, "tp=3 does not divide heads=32"), ({"tp": [16, 32]}, "16 devices (tp=16) are more than the 8"),
        ({"ep": [2, 4], "tp": [2, 4]}, "has none; use ep=1"),
    ):  # fmt: skip
        with pytest.raises(InvalidPlan) as refused:
            floor("llama-3.1-8b", "h100", ctx=128, **asked)
        assert words in str(refused.value)
    for bad in ([1.0, 2.0], [], [0, 1], ["2"], "2", None, np.array([2.0])):
        with pytest.raises(InvalidInput, match="tp="):
            floor("llama-3.1-8b", "h100", ctx=128, tp=bad)
    with pytest.raises(InvalidInput, match=r"shapes do not broadcast: batch \(2,\), tp \(3,\)"):
        floor("llama-3.1-8b", "h100", ctx=128, tp=[1, 2, 4], batch=[1, 2])


def test_lists_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["floor", "llama-3.1-8b", "h100", "--ctx", "128", "--tp", "1,3,8", "--batch", "1,2"])
    lines = capsys.readouterr().out.splitlines()
    assert sum("invalid split" in line for line in lines) == 2
    main(["memory", "llama-3.1-8b", "h100", "--ctx", "128", "--tp", "1,3,8", "--json"])
    outputs = json.loads(capsys.readouterr().out)["outputs"]
    assert outputs["valid"] == [True, False, True]
    assert outputs["weight_bytes"][1] is None


@pytest.mark.law
@pytest.mark.parametrize(("name", "engine"), [("llama-3.1-70b", "graph"), ("mixtral-8x7b", "graph"), ("qwen3-8b", "eager")])
def test_an_estimate_over_splits_is_its_scalars(name: str, engine: str) -> None:
    """Norms of queries and keys, whose heads the splits divide, cost an eager engine passes."""
    swept = estimate(name, "h100", ctx=2048, batch=16, tp=[1, 2, 3, 4, 8], engine=engine)
    assert np.isnan(swept.latency_s).tolist() == [False, False, True, False, False]
    for i, tp in ((1, 2), (3, 4), (4, 8)):
        one = estimate(name, "h100", ctx=2048, batch=[16.0], tp=tp, engine=engine)
        assert (swept.latency_s[i], swept.floor.latency_s[i]) == (one.latency_s[0], one.floor.latency_s[0])


@pytest.mark.law
def test_one_device_as_an_array_sends_nothing() -> None:
    """Also on a device without links, and where a block of a long sweep is all single devices."""
    for gpu in ("h100", "orin-nano"):
        swept = floor("qwen2.5-7b", gpu, ctx=128, tp=[1, 1])
        assert swept.serial_s.tolist() == [floor("qwen2.5-7b", gpu, ctx=[128.0]).serial_s[0]] * 2
        assert not swept.wire_bytes.any()
    mixed = floor("llama-3.1-8b", "h100", ctx=128, tp=np.repeat([1, 2], 20000))
    assert mixed.network_s[[0, 19999]].tolist() == [0.0, 0.0]
    assert mixed.network_s[-1] == floor("llama-3.1-8b", "h100", ctx=128, tp=2).network_s


def test_a_split_that_cannot_be_is_a_dash_and_every_line_says_its_split() -> None:
    text = str(estimate("llama-3.1-70b", "h100", ctx=2048, tp=[2, 3, 4]))
    lines = [line.split() for line in text.splitlines() if line.startswith("  ") and line.split() and line.split()[0] in "234"]
    assert [line[0] for line in lines] == ["2", "3", "4"]
    assert lines[1][1:] == ["–"] * 5
    assert "nan" not in text
