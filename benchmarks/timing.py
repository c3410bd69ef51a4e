"""Timing work on an NVIDIA GPU, and the CSV that keeps each time: see device.py."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Log:
    """A CSV written row by row, so that a run cut short keeps what it has."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.columns, self.file = columns, path.open("w", newline="", encoding="utf-8")
        self.writer = csv.DictWriter(self.file, columns)
        self.writer.writeheader()

    def add(self, **row: Any) -> None:
        """One row, written and shown."""
        self.writer.writerow(row)
        self.file.flush()
        print(" ".join(str(v) for v in row.values()), flush=True)


def wall(work: Callable[[], Any], repeat: int, warm: int = 3) -> list[float]:
    """Seconds of each of `repeat` calls, the device idle before and after."""
    times = []
    for i in range(warm + repeat):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if i >= warm:
            times.append(time.perf_counter() - start)
    return sorted(times)


def on_device(work: Callable[[], Any], repeat: int = 10, warm: int = 2) -> float:
    """Median seconds between two events on the device around one call."""
    times = []
    for i in range(warm + repeat):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if i >= warm:
            times.append(start.elapsed_time(end) * 1e-3)
    return statistics.median(times)


def captured(work: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    """`work` as a graph, after two plain runs on a side stream."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph
