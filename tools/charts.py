"""Draw the pictures of the documentation again: `python -m tools.charts`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from sol import (
    Calibration,
    Calibrations,
    calibrate,
    floor,
    plan,
    plot_calibration,
    plot_frontier,
    plot_kv,
    plot_roofline,
    plot_scaling,
    read_measurements,
)


def of_one(found: Calibration | Calibrations) -> Calibration:
    """The calibration of rows of one engine on one device."""
    assert isinstance(found, Calibration)
    return found


if __name__ == "__main__":
    mpl.use("Agg")
    folder = Path(__file__).parent / "img"
    folder.mkdir(exist_ok=True)
    hopper = Path(__file__).parent.parent / "hardware_db" / "measured" / "pytorch-hopper.csv"
    steps = [m for m in read_measurements(hopper) if (m.gpu, m.engine, m.dtype) == ("h100-sxm", "pytorch", "bf16")]
    charts = {
        "roofline.png": plot_roofline(floor("qwen2.5-7b", "h100", ctx=2048)),
        "kv.png": plot_kv(
            ["llama-2-7b", "llama-3.1-70b", "qwen2.5-7b", "mistral-7b"], gpus=["rtx-4090", "h100", "mi300x"], batch=16, ctx_max=131_072
        ),
        "scaling.png": plot_scaling("llama-3.1-70b", "h100", devices=[1, 2, 4, 8, 16, 32], ctx=8192, network="infiniband-ndr"),
        "frontier.png": plot_frontier(
            plan("deepseek-v3", "h200", devices=[8, 16], ctx=8192, objective="tokens_per_s_per_gpu", network="infiniband-ndr")
        ),
        "calibration.png": plot_calibration(of_one(calibrate(steps))),
    }
    for name, ax in charts.items():
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.savefig(folder / name, dpi=120)
        print(folder / name)
