"""Records that stand among the lines of a log: Markdown tables, SQL inserts, JSON lines, and what gpt-fast and TensorRT-LLM print.

Keys are those of the tools. A line that no scanner below recognises is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

from sol.sources.benchmarks.documents import Place, parsed_line

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
MAX_PENDING = 10_000


class Scanner(Protocol):
    """Takes the lines of one kind of record."""

    def take(self, number: int, line: str) -> list[Place] | None:
        """The records that this line completes; None if the line is of another kind."""

    def end(self) -> list[Place]:
        """The records that were waiting for more lines."""


def log_records(lines: Iterator[tuple[int, str]]) -> Iterator[Place]:
    """Every record among the lines, in their order."""
    scanners: tuple[Scanner, ...] = (MarkdownTable(), JsonLine(), Insert(), GptFast(), TensorRT())
    for number, raw in lines:
        line = COLOUR.sub("", raw).strip()
        for scanner in scanners:
            taken = scanner.take(number, line)
            if taken is not None:
                yield from taken
                break
    for scanner in scanners:
        yield from scanner.end()


class MarkdownTable:
    """The rows that llama-bench and llama-batched-bench print, with the settings the latter prints above them."""

    SETTING = re.compile(r"\b(n_kv_max|is_pp_shared|is_tg_separate|n_gpu_layers) = (-?\d{1,12})\b")

    def __init__(self) -> None:
        self.header: list[str] = []
        self.settings: dict[str, Any] = {}

    def take(self, number: int, line: str) -> list[Place] | None:
        """A row below a header with rates; settings."""
        if line.startswith("|"):
            cells = [c.strip() for c in line.strip("|").split("|")]
            if "t/s" in cells or "S_TG t/s" in cells:
                self.header = cells
            elif self.header and not set(line) <= set("|-: "):
                told = "" if len(cells) == len(self.header) else f"{len(cells)} cells under {len(self.header)} columns"
                return [(f"line {number}", {**self.settings, **dict(zip(self.header, cells, strict=False))}, told)]
            return []
        self.header = self.header if line else []
        if " n_kv_max = " in line:
            self.settings = {k: int(v) for k, v in self.SETTING.findall(line)}
            return []
        return None

    def end(self) -> list[Place]:
        """Nothing waits."""
        return []


class JsonLine:
    """An object in a line of its own."""

    def take(self, number: int, line: str) -> list[Place] | None:
        """The object, or what looked like one."""
        if not line.startswith("{"):
            return None
        record = parsed_line(line)
        if isinstance(record, dict):
            return [(f"line {number}", record, "")]
        return [(f"line {number}", {"text": line[:200]}, "is not valid JSON")]

    def end(self) -> list[Place]:
        """Nothing waits."""
        return []


class Insert:
    """A row of llama-bench's SQL."""

    ROW = re.compile(r"INSERT INTO (?:test|llama_bench) \(([\w, ]+)\) VALUES \((.*)\);")
    VALUE = re.compile(r"\s*(?:'((?:[^']|'')*)'|([^',()]*))\s*(?:,|\Z)")

    def take(self, number: int, line: str) -> list[Place] | None:
        """The row, or why it is none."""
        if not line.startswith("INSERT INTO"):
            return None
        match = self.ROW.fullmatch(line)
        names = [n.strip() for n in match[1].split(",")] if match else []
        values: list[str] = []
        at, text = 0, match[2] if match else ""
        while at < len(text) and (found := self.VALUE.match(text, at)):
            values.append(found[1].replace("''", "'") if found[1] is not None else found[2].strip())
            at = found.end()
        if match is None or at < len(text) or len(values) != len(names):
            return [(f"line {number}", {"text": line[:200]}, "is no row of llama-bench's SQL")]
        return [(f"line {number}", dict(zip(names, values, strict=True)), "")]

    def end(self) -> list[Place]:
        """Nothing waits."""
        return []


class GptFast:
    """A generation a line; the lines at the end of its run say how large it was, so it waits for them."""

    INFERENCE = re.compile(r"Time for inference (\d+): ([\d.]+) sec total, ([\d.]+) tokens/sec")
    SIZE = re.compile(r"(Batch Size|Prompt Length|Generated tokens): (\d{1,12})")
    SPECULATIVE = ("Acceptance probs:", "Mean Accepted:")

    def __init__(self) -> None:
        self.waiting: list[Place] = []
        self.run: dict[str, Any] = {}

    def take(self, number: int, line: str) -> list[Place] | None:
        """A generation waits; the end of a run completes those that do."""
        if match := self.INFERENCE.fullmatch(line):
            self.waiting.append((f"line {number}", {"sec_total": match[2], "tokens_per_sec": match[3]}, ""))
            return self.end() if len(self.waiting) > MAX_PENDING else []
        if match := self.SIZE.fullmatch(line):
            self.run[match[1]] = int(match[2])
            return []
        if line.startswith(self.SPECULATIVE):
            self.run["speculative"] = True
            return []
        return self.end() if line.startswith(("Average tokens/sec", "Loading model")) else None

    def end(self) -> list[Place]:
        """The waiting generations, with the settings of their run."""
        done = [(where, {**record, **self.run}, "") for where, record, _ in self.waiting]
        self.waiting, self.run = [], {}
        return done


class TensorRT:
    """TensorRT-LLM's C++ benchmarks: gptSessionBenchmark prints a run a line, gptManagerBenchmark a value a line."""

    LINE = re.compile(r"\[BENCHMARK\] (\S.*)")

    def __init__(self) -> None:
        self.run: dict[str, Any] = {}

    def take(self, number: int, line: str) -> list[Place] | None:
        """A whole run, or a value of one, which is complete where the next begins."""
        match = self.LINE.fullmatch(line)
        if match is None:
            return None
        words = match[1].split()
        if words[0] == "batch_size" and len(words) % 2 == 0:
            return [(f"line {number}", dict(zip(words[::2], words[1::2], strict=True)), "")]
        done = self.end() if words[0] == "num_samples" and "total_latency(ms)" in self.run else []
        if len(words) == 2 and len(self.run) < MAX_PENDING:
            self.run[words[0]] = words[1]
            self.run.setdefault("line", number)
        return done

    def end(self) -> list[Place]:
        """The run whose values were printed last."""
        run, self.run = self.run, {}
        return [(f"line {run['line']}", run, "")] if "total_latency(ms)" in run else []
