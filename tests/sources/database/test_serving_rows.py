"""The figures of servers under load: well-formed, sourced, of known names, and true to what their sources print."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sol import BadFile, load_gpu, load_model
from sol.sources.database import serving
from sol.sources.database.calibrations import engine_classes
from sol.sources.database.database import load_format
from sol.sources.database.measured import measured_rows
from sol.sources.database.serving import ServingRow, serving_rows, serving_sources

ROWS = serving_rows()
UNITS = {"ms": 1e-3, "s": 1.0, "tokens/s": 1.0}
ROW = {
    "id": "X-1", "model": "qwen2.5-7b", "gpu": "h100-sxm", "engine": "vllm", "version": "0.19.0", "dtype": "bf16", "kv_dtype": "bf16",
    "tp": "1", "pp": "1", "ep": "1", "dp": "1", "cuda_graphs": "yes", "concurrency": "16", "request_rate_per_s": "",
    "prompt_tokens": "1024", "output_tokens": "512", "cached_share": "0", "max_batch": "128", "max_batch_tokens": "2048",
    "metric": "tpot_s", "statistic": "mean", "value": "0.02", "source": "somewhere", "printed": "20 ms", "note": "", "split": "fit",
}  # fmt: skip

Read = Callable[..., tuple[ServingRow, ...]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    """Reads a table of one row, `ROW` with the cells that are given."""
    (tmp_path / "serving").mkdir()
    monkeypatch.setattr(serving, "data_root", lambda: tmp_path)

    def rows(**cells: str) -> tuple[ServingRow, ...]:
        with (tmp_path / "serving" / "any.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerows([[*ROW, *(cells.keys() - ROW.keys())], (ROW | cells).values()])
        serving.serving_rows.cache_clear()
        return serving.serving_rows()

    yield rows
    serving.serving_rows.cache_clear()


def test_a_row_is_read_whole(read: Read) -> None:
    (row,) = read(tp="2", dp="4", version="", cached_share="", max_batch="")
    assert (row.metric, row.statistic, row.value, row.devices, row.offline) == ("tpot_s", "mean", 0.02, 8, False)
    assert (row.version, row.cached_share, row.max_batch, row.max_batch_tokens) == ("", None, None, 2048.0)
    assert row.prompt_tokens_per_step == 16 * 1024 / 512


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"metric": "tpot_ms"}, "metric='tpot_ms' is not one of tpot_s, itl_s, ttft_s, e2e_s, output_tokens_per_s, requests_per_s"),
        ({"statistic": "p95"}, "statistic='p95' is not one of nothing, mean, median, p90, p99"),
        ({"value": "0"}, "value='0' is not a number above 0"),
        ({"value": "nan"}, "value='nan' is not a number"),
        ({"concurrency": "-1"}, "concurrency='-1' is not a number of 0 or more"),
        ({"concurrency": "0"}, "concurrency='0' is not a number above 0"),
        ({"request_rate_per_s": "5"}, "both concurrency and request_rate_per_s"),
        ({"concurrency": ""}, "neither concurrency nor request_rate_per_s"),
        ({"prompt_tokens": ""}, "prompt_tokens='' is not a number above 0"),
        ({"cached_share": "1"}, "cached_share=1 is not below 1"),
        ({"output_tokens": "1"}, "tpot_s of 1 output tokens"),
        ({"max_batch_tokens": "lots"}, "max_batch_tokens='lots' is not a number"),
        ({"split": "test"}, "split='test' is not one of fit, holdout"),
        ({"cuda_graphs": ""}, "cuda_graphs='' is not one of yes, no, unknown"),
        ({"source": ""}, "no source"),
        ({"printed": ""}, "no printed"),
        ({"tp": "1.5"}, "tp='1.5' is not a whole number"),
    ],
)
def test_a_wrong_cell_is_one_line_with_its_place(read: Read, cells: dict[str, str], said: str) -> None:
    with pytest.raises(BadFile) as error:
        read(**cells)
    assert str(error.value).startswith(f"any.csv line 2: {said}")
    assert "\n" not in str(error.value)


def test_offline_is_said(read: Read) -> None:
    (row,) = read(concurrency="", note="offline: 3000 requests")
    assert row.offline
    assert row.prompt_tokens_per_step is None


def test_a_wrong_header_is_named(read: Read, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"any.csv: column batch is not one of"):
        read(batch="1")
    (tmp_path / "serving" / "any.csv").write_text("id,model\nX-1,qwen2.5-7b\n", encoding="utf-8")
    serving.serving_rows.cache_clear()
    with pytest.raises(BadFile, match=r"any.csv line 2: no cell for gpu"):
        serving.serving_rows()


@pytest.mark.contract
def test_names_and_sources_resolve() -> None:
    assert {r.source for r in ROWS} == set(serving_sources())
    assert len({r.id for r in ROWS}) == len(ROWS)
    assert all(load_model(name).id == name for name in {r.model for r in ROWS})
    assert all(load_gpu(name).id == name for name in {r.gpu for r in ROWS})
    assert all(load_format(name).id == name for name in {r.dtype for r in ROWS})
    assert all(load_format(name).cache for name in {r.kv_dtype for r in ROWS})
    assert {r.engine for r in ROWS} <= set(engine_classes())


@pytest.mark.contract
def test_a_model_is_on_one_side_of_its_source() -> None:
    sides: dict[tuple[str, str], set[str]] = {}
    for r in ROWS:
        sides.setdefault((r.source, r.model), set()).add(r.split)
    assert all(len(side) == 1 for side in sides.values())
    measured = {(r.source, r.model): r.split for r in measured_rows()}
    common = sides.keys() & measured.keys()
    assert len(common) == 8
    assert all(sides[k] == {measured[k]} for k in common)
    trtllm, silicon = ({m: s for (source, m), s in sides.items() if source.startswith(name)} for name in ("trtllm", "aic"))
    assert all(trtllm[m] == silicon[m] for m in trtllm.keys() & silicon.keys())


@pytest.mark.contract
def test_a_value_follows_from_what_is_printed() -> None:
    """`x unit` gives x of the unit, times the devices where the unit is a device's; a derived time is (end - first) / gaps."""
    kinds: Counter[str] = Counter()
    for r in ROWS:
        if found := re.fullmatch(r"([\d.,]+) (ms|tokens/s|tokens/s/GPU)", r.printed):
            number, unit = float(found[1].replace(",", "")), found[2]
            value = number * (r.devices if unit == "tokens/s/GPU" else UNITS[unit])
        elif found := re.fullmatch(r"\(request_latency mean (\S+) s - time_to_first_token mean (\S+) s\) / (\d+)", r.printed):
            unit, value = "derived", (float(found[1]) - float(found[2])) / float(found[3])
            assert float(found[3]) == r.output_tokens - 1
        else:
            found = re.fullmatch(
                r"(?:time_to_first_token|request_latency|requests_per_sec)(?: (mean|median|p90|p99))? (\S+)(?: s)?", r.printed
            )
            assert found, r.printed
            assert found[1] in (None, r.statistic)
            unit, value = "field", float(found[2])
        assert value == pytest.approx(r.value, rel=1e-12), r.id
        kinds[unit] += 1
    assert kinds == {"ms": 4134, "tokens/s": 212, "tokens/s/GPU": 121, "derived": 24, "field": 216}


@pytest.mark.contract
def test_rows_of_measured_steps_are_marked_with_their_id() -> None:
    """The same figure in both folders: the same setting, the same time."""
    steps = {r.id: r for r in measured_rows() if r.source == "aic-silicon"}
    marked = {m[0]: r for r in ROWS if (m := re.search(r"AICS-\d+", r.note))}
    assert marked.keys() == steps.keys()
    for key, row in marked.items():
        step = steps[key]
        assert row.metric == "tpot_s"
        assert row.value == pytest.approx(step.measured_s, rel=1e-9)
        assert (row.concurrency, row.model, row.gpu, row.engine, row.dtype, row.kv_dtype, row.tp, row.ep, row.split) == (
            step.batch, step.model, step.gpu, step.engine, step.dtype, step.kv_dtype, step.tp, step.ep, step.split,
        )  # fmt: skip
        assert step.ctx == pytest.approx(row.prompt_tokens + row.output_tokens / 2, abs=0.1)


@pytest.mark.contract
def test_requests_wait_where_their_first_token_takes_longer_than_the_rest() -> None:
    """Both figures of a setting stand side by side: time to first token against (output - 1) times the time per token."""
    silicon = [r for r in ROWS if r.source == "aic-silicon"]
    waits = 0
    for gap, first in zip(silicon[::2], silicon[1::2], strict=True):
        assert (gap.metric, first.metric) == ("tpot_s", "ttft_s")
        assert (gap.model, gap.gpu, gap.concurrency, gap.tp, gap.ep) == (first.model, first.gpu, first.concurrency, first.tp, first.ep)
        assert gap.waiting is first.waiting is (first.value > (gap.output_tokens - 1) * gap.value)
        waits += gap.waiting
    assert waits == 23


@pytest.mark.contract
def test_a_run_keeps_the_order_of_its_statistics() -> None:
    """Median ≤ p90 ≤ p99; the first token comes before the last; no more requests end than arrive."""
    runs: dict[tuple[object, ...], dict[tuple[str, str], float]] = {}
    for r in ROWS:
        if r.source == "inference-sim-training":
            runs.setdefault((r.model, r.request_rate_per_s, r.note), {})[r.metric, r.statistic] = r.value
    assert len(runs) == 24
    for (_, rate, _), run in runs.items():
        assert len(run) == 10
        for metric in ("ttft_s", "e2e_s"):
            assert run[metric, "median"] <= run[metric, "p90"] <= run[metric, "p99"]
        assert run["ttft_s", "mean"] < run["e2e_s", "mean"]
        assert run["requests_per_s", "mean"] <= float(str(rate)) * 1.001


@pytest.mark.contract
def test_what_is_there_is_counted() -> None:
    """A row lost or added is seen; the numbers are those of the notes of the sources (2,067 settings, two figures each)."""
    assert Counter((r.source, r.metric) for r in ROWS) == {
        ("aic-silicon", "tpot_s"): 2067, ("aic-silicon", "ttft_s"): 2067, ("inference-sim-training", "ttft_s"): 96,
        ("inference-sim-training", "e2e_s"): 96, ("inference-sim-training", "tpot_s"): 24, ("inference-sim-training", "requests_per_s"): 24,
        ("trtllm-max-load-1.0", "output_tokens_per_s"): 196, ("trtllm-max-load-2", "output_tokens_per_s"): 121,
        ("rocm-vllm-throughput-0.7.3", "output_tokens_per_s"): 8, ("rocm-vllm-throughput-0.10.0", "output_tokens_per_s"): 8,
    }  # fmt: skip
    assert Counter(r.split for r in ROWS) == {"fit": 3094, "holdout": 1613}
    assert sum(r.offline for r in ROWS) == 333
    assert sum(r.overloaded for r in ROWS) == 40
