"""Charts of many devices: bars are the floor's own rows, gaps say why, the front is what nothing beats, no two names touch."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.text import Text

from sol import DoesNotFit, InvalidInput, InvalidPlan, UnknownName, floor, plan, plot_frontier, plot_scaling

NETWORK = "infiniband-ndr"
COUNTS = [1, 2, 4, 8, 16, 32]
LLAMA = {2: {"tp": 2}, 4: {"tp": 4}, 8: {"tp": 8}, 16: {"tp": 8, "pp": 2}, 32: {"tp": 8, "pp": 4}}
WIRES = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"}


@pytest.fixture(autouse=True)
def _close() -> object:
    yield
    plt.close("all")


def bars(ax: plt.Axes) -> dict[str, np.ndarray]:
    """Position, bottom and height of each bar, by the name of its part."""
    return {c.get_label(): np.array([(b.get_x() + b.get_width() / 2, b.get_y(), b.get_height()) for b in c]) for c in ax.containers}


def words(ax: plt.Axes) -> list[str]:
    return [t.get_text().replace("\n", " ") for t in ax.texts]


def untouched(ax: plt.Axes) -> bool:
    """Whether no two texts inside the Axes touch each other (their ties left out), and all are on the figure."""
    ax.figure.canvas.draw()
    boxes = [Text.get_window_extent(t) for t in [*ax.texts, ax.title]]
    return not any(a.overlaps(b) for a, b in combinations(boxes, 2)) and all(
        b.x0 >= 0 and b.x1 <= ax.figure.bbox.x1 and b.y1 <= ax.figure.bbox.y1 for b in boxes
    )


def efficiency(ax: plt.Axes) -> plt.Axes:
    (right,) = (other for other in ax.figure.axes if other is not ax)
    return right


@pytest.mark.parametrize("batch", [1, 8])
def test_bars_are_the_rows_of_the_floor(batch: int) -> None:
    ax = plot_scaling("llama-3.1-70b", "h100", devices=COUNTS, ctx=8192, batch=batch, network=NETWORK)
    drawn = bars(ax)
    assert set(drawn) == {"memory", "communication"}
    for k, (n, split) in enumerate(LLAMA.items()):
        f = floor("llama-3.1-70b", "h100", ctx=8192, batch=batch, network=NETWORK, **split)
        assert f.devices == n
        sent = sum(r["serial_s"] for r in f.operators.to_dicts() if r["operator"] in WIRES)
        at, bottom, height = drawn["communication"][k]
        assert at == COUNTS.index(n)
        assert height == pytest.approx(1e3 * sent)
        assert bottom == pytest.approx(drawn["memory"][k][2])
        assert bottom + height == pytest.approx(1e3 * f.serial_s)
        assert " ".join(f"{name}={value}" for name, value in split.items()) in words(ax)
    assert "batch " + str(batch) in ax.get_title()


def test_compute_has_its_part_where_it_binds() -> None:
    drawn = bars(plot_scaling("qwen2.5-7b", "h100", devices=[1, 2], ctx=64, batch=512))
    f = floor("qwen2.5-7b", "h100", ctx=64, batch=512)
    rows = f.operators.to_dicts()
    computed = sum(r["serial_s"] for r in rows if r["flops"] / f.question.rates.peak["weights"] >= r["serial_s"] * 0.999999)
    assert computed > 0
    assert drawn["compute"][0][2] == pytest.approx(1e3 * computed)
    assert drawn["communication"][0][2] == 0
    assert sum(part[0][2] for part in drawn.values()) == pytest.approx(1e3 * f.serial_s)


def test_efficiency_is_the_rate_per_device_against_the_fewest_that_fit() -> None:
    ax = plot_scaling("llama-3.1-70b", "h100", devices=COUNTS, ctx=8192, network=NETWORK)
    line, right = efficiency(ax).lines[0], efficiency(ax)
    step = {n: floor("llama-3.1-70b", "h100", ctx=8192, network=NETWORK, **split).serial_s for n, split in LLAMA.items()}
    assert list(line.get_xdata()) == [1, 2, 3, 4, 5]
    assert line.get_ydata() == pytest.approx([2 * step[2] / (n * step[n]) for n in LLAMA])
    assert "against 2" in right.get_ylabel()
    bottom = right.transAxes.inverted().transform(right.transData.transform((0, 0)))[1]
    top = ax.transAxes.inverted().transform(ax.transData.transform((0, max(step.values()) * 1e3)))[1]
    assert top < bottom, "the bars end below where the efficiency begins"


def test_the_end_of_a_box_is_marked() -> None:
    ax = plot_scaling("llama-3.1-70b", "h100", devices=COUNTS, ctx=8192, network=NETWORK)
    (edge,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert COUNTS.index(8) < edge.get_xdata()[0] < COUNTS.index(16)
    assert "nvlink4 joins 8" in words(ax)
    inside = plot_scaling("qwen2.5-7b", "h100", devices=[1, 2, 4], ctx=64)
    assert not [line for line in inside.lines if line.get_linestyle() == "--"]


def test_a_count_without_a_step_is_a_gap_that_says_why() -> None:
    ax = plot_scaling("llama-3.1-70b", "h100", devices=[1, 2, 8, 16, 32], ctx=8192)
    assert list(bars(ax)["memory"][:, 0]) == [1, 2]
    assert words(ax).count("does not fit") == 1
    assert words(ax).count("needs a network") == 1, "two neighbours share the words"
    broken = plot_scaling("qwen2.5-0.5b", "h100", devices=[8, 29, 32], ctx=64, network=NETWORK)
    assert "no legal split" in words(broken)  # 29 divides no heads, and is more than the 24 layers
    assert list(bars(broken)["memory"][:, 0]) == [0, 2]
    assert np.isnan(efficiency(broken).lines[0].get_ydata()).tolist() == [False, True, False], "no line across a gap"


def test_what_a_narrow_gap_has_no_room_to_say_stands_below() -> None:
    ax = plot_scaling("llama-3.1-70b", "h100", devices="1-128", ctx=8192, network=NETWORK)
    assert "no legal split" in ax.get_xlabel()  # 83: a prime above the 80 layers
    assert "does not fit" in ax.get_xlabel()
    assert "tp=8" in words(ax)
    assert "no bar" not in plot_scaling("llama-3.1-70b", "h100", devices=COUNTS, ctx=8192, network=NETWORK).get_xlabel()


@pytest.mark.parametrize("size", [(8.0, 5.0), (6.0, 4.5)])
@pytest.mark.parametrize(("model", "gpu", "devices", "batch"), [("llama-3.1-70b", "h100", COUNTS, 1), ("llama-3.1-70b", "h100", "1-32", 1),
                         ("llama-3.1-70b", "h100", "1-128", 1), ("deepseek-v3", "h200", [4, 8, 16, 32, 64], 256)])  # fmt: skip
def test_no_two_names_of_scaling_touch(size: tuple[float, float], model: str, gpu: str, devices: object, batch: int) -> None:
    _, ax = plt.subplots(figsize=size, layout="constrained")
    assert plot_scaling(model, gpu, devices=devices, ctx=8192, batch=batch, network=NETWORK, ax=ax) is ax
    assert untouched(ax)


def test_scaling_passes_errors_on_and_leaves_no_figure() -> None:
    for error, model, asked in (
        (UnknownName, "llama-3.1-7", {}),
        (UnknownName, "llama-3.1-70b", {"network": "infiniband-ndx"}),
        (DoesNotFit, "llama-3.1-70b", {"devices": 1}),
        (InvalidPlan, "llama-3.1-70b", {"devices": 16}),
        (InvalidInput, "llama-3.1-70b", {"devices": "8-4"}),
        (InvalidInput, "llama-3.1-70b", {"batch": [1, 2]}),
        (InvalidInput, "llama-3.1-70b", {"batch": 0}),
    ):
        with pytest.raises(error):
            plot_scaling(model, "h100", **{"devices": [4, 8], "ctx": 8192} | asked)
    assert not plt.get_fignums()


def undominated(x: np.ndarray, y: np.ndarray) -> set[tuple[float, float]]:
    """Points none of the others is at least as good as in both, and better in one."""
    beaten = (x[None] >= x[:, None]) & (y[None] >= y[:, None]) & ((x[None] > x[:, None]) | (y[None] > y[:, None]))
    return set(zip(x[~beaten.any(axis=1)], y[~beaten.any(axis=1)], strict=True))


@pytest.fixture(scope="module")
def deepseek() -> object:
    return plan("deepseek-v3", "h200", devices=[8, 16], ctx=8192, objective="tokens_per_s_per_gpu", network=NETWORK)


def test_frontier_draws_what_fits_the_front_and_the_winner(deepseek: object) -> None:
    p = deepseek
    ax = plot_frontier(p)
    x, y = 1 / p.latency_s, p.batch / p.latency_s / p.devices
    cloud, star = ax.collections
    assert 0 < p.fits.sum() < p.fits.size
    assert np.allclose(cloud.get_offsets(), np.column_stack([x, y])[p.fits], rtol=1e-12)
    line = ax.lines[0]
    assert set(zip(line.get_xdata(), line.get_ydata(), strict=True)) == undominated(
        p.tokens_per_s_per_user[p.fits], p.tokens_per_s_per_gpu[p.fits]
    )
    assert (np.diff(line.get_xdata()) < 0).all()
    assert np.allclose(star.get_offsets()[0], [x[p.best], y[p.fits].max()], rtol=1e-12)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "slower" not in ax.get_xlabel()


def test_frontier_names_ends_kinks_and_the_winner(deepseek: object) -> None:
    p = deepseek
    ax = plot_frontier(p)
    for split in {p.splits[i] for i in p.front}:
        assert any(str(split) in text for text in words(ax))
    named = {tuple(t.xy): t for t in ax.texts}
    for i in (p.front[0], p.front[-1], p.best):
        t = named[p.tokens_per_s_per_user[i], p.tokens_per_s_per_gpu[i]]
        assert f"{p.splits[i]} · batch {p.batch[i]:,g}" in t.get_text()
        assert t.get_text().startswith("best") == (i == p.best)
        assert (to_hex(t.get_color()) == to_hex(ax.collections[-1].get_facecolor()[0])) == (i == p.best)


def test_frontier_crosses_out_what_is_slower_than_asked() -> None:
    p = plan("llama-3.1-70b", "h100", devices="1-8", ctx=8192, objective="tokens_per_s_per_gpu", tpot_s=0.02)
    ax = plot_frontier(p)
    quick, slow, _ = ax.collections
    assert quick.get_offsets()[:, 0].min() >= 50 > slow.get_offsets()[:, 0].max()
    assert len(quick.get_offsets()) + len(slow.get_offsets()) == p.fits.sum()
    assert ax.lines[0].get_xdata().min() >= 50
    assert "× slower than asked" in ax.get_xlabel()


@pytest.mark.parametrize("size", [(8.0, 5.0), (6.0, 4.5)])
@pytest.mark.parametrize("model", ["deepseek-v3", "llama-3.1-70b", "one"])
def test_no_two_names_of_the_frontier_touch_the_front_or_each_other(size: tuple[float, float], model: str, deepseek: object) -> None:
    p = deepseek
    if model != "deepseek-v3":
        counts = {"llama-3.1-70b": "1-16", "one": 8}[model]
        p = plan("llama-3.1-70b", "h100", devices=counts, ctx=8192, batch=None if model == "one" else [1, 4, 16, 64], network=NETWORK)
    _, ax = plt.subplots(figsize=size, layout="constrained")
    assert plot_frontier(p, ax=ax) is ax
    assert untouched(ax)
    front = ax.transData.transform(np.column_stack([p.tokens_per_s_per_user, p.tokens_per_s_per_gpu])[p.meets])
    for t in ax.texts:
        box = Text.get_window_extent(t)
        inside = (front[:, 0] > box.x0) & (front[:, 0] < box.x1) & (front[:, 1] > box.y0) & (front[:, 1] < box.y1)
        assert not inside.any(), t.get_text()
        assert box.x1 <= ax.bbox.x1
