"""Charts: what they draw is what the result says, and what cannot be drawn is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.text import Text

from sol import (
    GPU,
    MLP,
    Attention,
    InvalidInput,
    LayerGroup,
    MissingSpec,
    Model,
    UnknownName,
    floor,
    load_format,
    load_gpu,
    load_model,
    memory,
    plot_intensity,
    plot_kv,
    plot_roofline,
)
from sol.physics.memory.cache import kv_bytes


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


MODELS, GPUS = ["llama-2-7b", "llama-3.1-70b", "qwen2.5-7b", "mistral-7b"], ["rtx-4090", "h100", "mi300x"]


def line_of(ax: plt.Axes, color: str) -> tuple[np.ndarray, np.ndarray]:
    """The points of all lines of a colour, solid and dotted."""
    lines = [line for line in ax.lines if line.get_color() == color]
    return np.concatenate([line.get_xdata() for line in lines]), np.concatenate([line.get_ydata() for line in lines])


def drawn(ax: plt.Axes, name: str) -> tuple[np.ndarray, np.ndarray]:
    (label,) = [t for t in ax.texts if t.get_text() == name]
    return line_of(ax, label.get_color())


@pytest.mark.parametrize(("batch", "kv_dtype"), [(1, None), (16, "fp8"), (2.5, "bf16")])
def test_kv_draws_the_cache_and_the_capacities(batch: float, kv_dtype: str | None) -> None:
    ax = plot_kv(MODELS, gpus=GPUS, batch=batch, kv_dtype=kv_dtype)
    for name in MODELS:
        x, y = drawn(ax, name)
        assert np.array_equal(y, batch * kv_bytes(load_model(name), x, load_format(kv_dtype or "bf16")))
        assert np.array_equal(y, memory(name, ctx=x, batch=batch, kv_dtype=kv_dtype).kv_bytes)
        assert (x.min(), x.max()) == (128, 131_072)  # the longest any of them was made for, and a 1,024th of it
    assert {line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"} == {load_gpu(g).memory_bytes for g in GPUS}
    assert "h100-sxm: 79.6 GiB" in texts(ax)
    assert f"batch {batch:g} · {kv_dtype or 'bf16'}" in ax.get_title()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


@pytest.mark.truth
def test_kv_of_llama_70b_as_published() -> None:
    _, y = drawn(plot_kv("llama-3.1-70b", ctx_max=131_072), "llama-3.1-70b")
    assert y[-1] == 40 * 2**30


def test_a_window_bends_its_line_and_a_limit_dots_it() -> None:
    ax = plot_kv(["mistral-7b", "qwen2.5-7b"])
    x, y = drawn(ax, "mistral-7b")
    slope = np.diff(np.log(y[np.diff(x, prepend=0) > 0])) / np.diff(np.log(np.unique(x)))
    assert slope[np.unique(x)[1:] <= 4096] == pytest.approx(1)
    assert slope[np.unique(x)[:-1] >= 4096] == pytest.approx(0)
    dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert [line.get_xdata().min() for line in dotted] == [load_model("mistral-7b").max_ctx]
    assert "dotted" in ax.get_xlabel()
    assert "dotted" not in plot_kv("qwen2.5-7b").get_xlabel()


def test_some_layers_with_a_window_bend_a_line_less() -> None:
    wide, narrow = (Attention(heads=4, kv_heads=2, head_dim=8, window=w) for w in (None, 1024))
    layers = tuple(LayerGroup(count=n, blocks=(a, MLP(ffn=8))) for n, a in ((1, wide), (5, narrow)))
    x, y = drawn(plot_kv(Model(id="mixed", hidden=32, vocab=10, groups=layers), ctx_max=65_536, batch=3), "mixed")
    token = 2 * 2 * 8 * 2  # keys and values of 2 heads of 8, 2 B each
    assert y == pytest.approx(3 * token * (x + 5 * np.minimum(x, 1024)), rel=1e-12)


@pytest.mark.parametrize("size", [(8.0, 5.0), (6.0, 4.0)])
@pytest.mark.parametrize("batch", [1, 16])
def test_no_two_names_of_kv_lines_touch(size: tuple[float, float], batch: int) -> None:
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    assert plot_kv([*MODELS, "llama-3.1-8b"], gpus=[*GPUS, "a100", "h200"], batch=batch, ax=ax) is ax
    figure.canvas.draw()
    boxes = sorted((Text.get_window_extent(t) for t in ax.texts), key=lambda box: box.y0)  # without the ties to the line ends
    assert len(boxes) == 10
    for below, above in pairwise(boxes):
        assert below.y1 <= above.y0
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_kv_refuses_what_it_cannot_draw() -> None:
    unknown = GPU(id="unknown", name="no capacity given", memory_bytes_per_s=1e12, source="a sheet without one")
    with pytest.raises(UnknownName, match="no built-in model"):
        plot_kv(["qwen2.5-7"])
    with pytest.raises(UnknownName, match="h100-smx"):
        plot_kv("qwen2.5-7b", gpus="h100-smx")
    with pytest.raises(MissingSpec, match="no source gives unknown a capacity"):
        plot_kv("qwen2.5-7b", gpus=["h100", unknown])
    for models, asked, words in (
        ([], {}, "at least one model"),
        ("qwen2.5-7b", {"batch": [1, 2]}, "batch has 2 values"),
        ("qwen2.5-7b", {"ctx_max": 0}, "ctx_max=0"),
        ("qwen2.5-7b", {"kv_dtype": "w4a16"}, "weight format"),
    ):
        with pytest.raises(InvalidInput, match=words):
            plot_kv(models, **asked)
    assert not plt.get_fignums(), "a refusal leaves no empty figure behind"
