"""Traces as people have them: their files, their names, their mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sol import BadFile, InvalidInput
from sol.sources.traces.reader import named_columns, read_trace

OURS = "arrival_s,prompt_tokens,output_tokens\n0.0,10,2\n1.5,20,3\n"

MOONCAKE = """{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0]}
{"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [0, 1]}
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,API log
45,ChatGPT,1087,230,1317,API log
"""
VLLM = json.dumps(
    {"start_times": [7.5, 8.0], "input_lens": [3, 4], "output_lens": [2, 2], "ttfts": [0.1, 0.2], "itls": [[0.5], [0.25]], "errors": [""]}
)


def write(tmp_path: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_our_own_names(tmp_path: Path) -> None:
    found = read_trace(write(tmp_path, "\ufeff" + OURS))
    assert {k: v.tolist() for k, v in found.items()} == {"arrival_s": [0.0, 1.5], "prompt_tokens": [10, 20], "output_tokens": [2, 3]}


@pytest.mark.truth
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n", 4.314579),
        (MOONCAKE, 3.0),
        ("timestamp(ms),input_length,output_length\n1000,5,6\n2500,7,8\n", 1.5),
        (BURSTGPT, 40.0),
        ("arrived_at,num_prefill_tokens,num_decode_tokens\n0.25,374,44\n1.0,396,109\n", 0.75),
        (VLLM, 0.5),
    ],
    ids=["Azure", "Mooncake", "milliseconds", "BurstGPT", "Vidur", "vllm bench serve"],
)  # fmt: skip
def test_names_and_clocks_of_others(tmp_path: Path, text: str, seconds: float) -> None:
    found = read_trace(write(tmp_path, text))
    assert np.diff(found["arrival_s"]) == pytest.approx([seconds], abs=2e-6)
    assert found["prompt_tokens"].size == found["output_tokens"].size == 2
    if "ttfts" in text:
        assert found["ttft_s"].tolist() == [0.1, 0.2]
        assert found["tpot_s"].tolist() == [0.5, 0.25]


def test_parquet_and_json_are_the_same_columns(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"arrival_s": [0.0, 1.5], "prompt_tokens": [10, 20], "output_tokens": [2, 3]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "trace.parquet")
    of_csv = read_trace(write(tmp_path, OURS))
    for path in (tmp_path / "trace.parquet", write(tmp_path, json.dumps(columns), "trace.json")):
        found = read_trace(path)
        assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in of_csv.items()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("  \n\n", "empty but for blanks"),
        ("arrival_s,prompt_tokens,output_tokens\n", "holds no request"),
        (
            "arrival_s,prompt_tokens\n0,1\n",
            "no column output_tokens; name it so, or as other traces do: completion_tokens, generatedtokens",
        ),
        ("prompt_tokens,output_tokens\n1,1\n", "no column arrival_s"),
        ("arrival_s,prompt_tokens,output_tokens\n0,ten,2\n", "row 1: prompt_tokens 'ten' is not a number"),
        ("arrival_s,prompt_tokens,output_tokens\n0,1\n", "row 2 has 2 cells under 3 columns"),
        ("arrival_s,arrival_s,output_tokens\n0,1,2\n", "'arrival_s' is there twice"),
        ("arrival_s,prompt_tokens,input_length,output_tokens\n0,1,1,2\n", "'input_length' is a second column for prompt_tokens"),
        ("timestamp,prompt_tokens,output_tokens\n3,1,2\n", "'timestamp' does not say its unit"),
        ('{"arrival_s": 0\n{', "line 1 is not JSON"),
        ("[1, 2]", "record 1 is not an object"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"PAR1", "is not a Parquet file"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(BadFile) as error:
        read_trace(write(tmp_path, text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(BadFile, match="is not a file"):
        read_trace(tmp_path)


def test_columns_in_memory() -> None:
    found = named_columns({"arrival_s": np.array([0.0, 1.0]), "prompt_tokens": 512, "output_tokens": [3, 4]})
    assert found["prompt_tokens"].tolist() == [512.0, 512.0]
    with pytest.raises(InvalidInput, match="is one time for all requests"):
        named_columns({"arrival_s": 0.0, "prompt_tokens": [1, 2], "output_tokens": 1})
    with pytest.raises(InvalidInput, match="has 3 values, and others have"):
        named_columns({"arrival_s": [0.0, 1.0, 2.0], "prompt_tokens": [1, 2, 3, 4], "output_tokens": 1})
