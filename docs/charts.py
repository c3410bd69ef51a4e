"""Draw the pictures of the documentation again: `python docs/charts.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from sol import floor, plot_roofline

if __name__ == "__main__":
    mpl.use("Agg")
    target = Path(__file__).parent / "img" / "roofline.png"
    target.parent.mkdir(exist_ok=True)
    plot_roofline(floor("qwen2.5-7b", "h100", ctx=2048)).figure.savefig(target, dpi=120)
    print(target)
