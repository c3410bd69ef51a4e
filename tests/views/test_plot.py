"""Charts: what they draw is what the result says, and what cannot be drawn is refused."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from sol import InvalidInput, floor, plot_intensity, plot_roofline


@pytest.fixture(autouse=True)
def _close() -> object:
    yield
    plt.close("all")


def texts(ax: plt.Axes) -> str:
    return " ".join(t.get_text().replace("\n", " ") for t in ax.texts)


def test_roofline_names_every_operator_roof_and_ridge(tmp_path: Path) -> None:
    f = floor("llama-3.1-8b", "h100", ctx=8192, batch=16, dtype="fp8")
    ax = plot_roofline(f)
    for word in ("gate_up_proj", "attention", "lm_head", "qkv_proj", "fp8", "bf16", "3.35 TB/s", "ridge 295", "ridge 591"):
        assert word in texts(ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "FLOP/B" in ax.get_xlabel()
    assert "FLOP/s" in ax.get_ylabel()
    ax.figure.savefig(tmp_path / "roof.png")
    assert (tmp_path / "roof.png").stat().st_size > 10_000


@pytest.mark.parametrize("gpu", ["h100", "rtx-4090", "orin@15w"])
@pytest.mark.parametrize("asked", [{"ctx": 100}, {"ctx": 4096, "phase": "prefill"}])
def test_every_point_stands_on_or_under_a_roof_and_inside_the_axes(gpu: str, asked: dict) -> None:
    f = floor("qwen2.5-0.5b", gpu, dtype="fp16", **asked)
    ax = plot_roofline(f)
    roof = max(f.question.rates.peak.values())
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for collection in ax.collections:
        for x, y in collection.get_offsets():
            assert y <= min(roof, x * f.question.rates.memory_bytes_per_s) * (1 + 1e-9)
            assert left < x < right
            assert bottom < y < top


def test_roofline_draws_on_given_axes_and_refuses_what_it_cannot_draw() -> None:
    _, ax = plt.subplots()
    assert plot_roofline(floor("qwen2.5-7b", "l4", ctx=1), ax=ax) is ax
    with pytest.raises(InvalidInput, match="one point"):
        plot_roofline(floor("qwen2.5-7b", "l4", ctx=[1, 2]))
    with pytest.raises(InvalidInput, match="no roof"):
        plot_roofline(floor("qwen2.5-7b", "epyc-9654", ctx=1))


def test_intensity_draws_the_results_and_the_ridge() -> None:
    batch = np.array([1.0, 8.0, 64.0])
    sweeps = [floor("qwen2.5-7b", "h100", ctx=c, batch=batch) for c in (0, 2048)]
    ax = plot_intensity(sweeps)
    assert np.array_equal(ax.lines[0].get_ydata(), sweeps[0].intensity)
    assert np.array_equal(ax.lines[1].get_xdata(), batch)
    assert "ridge of h100-sxm bf16: 295" in texts(ax)
    for bad in ([], floor("qwen2.5-7b", "h100", ctx=1), floor("qwen2.5-7b", "h100", ctx=[1, 2])):
        with pytest.raises(InvalidInput):
            plot_intensity(bad)
