"""What a collective's answer says of itself, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sol import GPU, InvalidInput, MissingSpec, SolError, UnknownName, collective, load_gpu, load_link
from sol.sources.database.database import gpu_ids, is_link
from sol.views.cli import main


def test_repr_is_one_identifying_line() -> None:
    found = collective("all_reduce", "h100", message_bytes=2**24, ranks=8)
    assert repr(found) == "<Collective all_reduce of 16 MiB · 8 × h100-sxm · nvlink4: 92.4 µs by in_switch, floor 37.3 µs>"
    assert "6 points" in repr(collective("send", "h100", message_bytes=[1, 2, 3], ranks=[[2], [8]]))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    ("op", "gpu", "ranks", "network"),
    [("all_reduce", "h100", 8, None), ("all_reduce", "b200", [8, 32], "infiniband-ndr"), ("all_to_all", "tpu-v5p", 64, None)],
)
def test_text_fits_the_terminal(width: int, op: str, gpu: str, ranks: object, network: str | None) -> None:
    for size in (2**20, 2.0 ** np.arange(10, 31)[:, None]):
        found = collective(op, gpu, message_bytes=size, ranks=ranks, network=network)
        assert all(len(line) <= width for line in found.table().to_text(width).splitlines())
        assert found._repr_html_()


@pytest.mark.parametrize(
    ("gpu", "ranks", "network"), [("h100", 8, None), ("b200", [[8], [16]], "efa"), ("tpu-v5e", 8, None), ("l40s", 1, None)]
)
def test_the_document_is_plain_json_with_units_in_its_keys(gpu: str, ranks: object, network: str | None) -> None:
    found = collective("all_reduce", gpu, message_bytes=[1024, 2**30], ranks=ranks, network=network)
    doc = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert doc["kind"] == "collective"
    assert {"floor_s", "estimate_s", "algorithm", "wire_bytes", "wire_bytes_by_link", "algorithms", "fastest", "libraries"} == set(
        doc["outputs"]
    )
    assert np.shape(doc["outputs"]["floor_s"]) == found.floor_s.shape
    assert doc["assumptions"]
    assert doc["sources"]


def test_a_latency_without_a_source_leaves_the_floor() -> None:
    found = collective("all_reduce", "b200", message_bytes=2**20, ranks=[8, 16], network="efa")
    assert np.isfinite(found.estimate_s[0])
    assert np.isnan(found.estimate_s[1])
    assert found.algorithm.tolist() == ["in_switch", ""]
    assert (found.floor_s > 0).all()
    tpu = collective("all_gather", "tpu-v6e", message_bytes=2**20, ranks=4)
    assert (tpu.estimate_s, tpu.algorithm) == (None, None)
    assert any("no source gives a collective over ici-v6e a latency" in line for line in tpu.assumptions)


def test_scalars_give_floats_and_arrays_are_read_only() -> None:
    point = collective("all_reduce", "h100", message_bytes=1024, ranks=8)
    assert (type(point.floor_s), type(point.estimate_s), type(point.algorithm)) == (float, float, str)
    sweep = collective("all_reduce", "h100", message_bytes=[1024, 2048], ranks=8)
    for values in (sweep.floor_s, sweep.estimate_s, sweep.algorithm, sweep.wire_bytes, *sweep.wire_bytes_by_link.values()):
        assert not values.flags.writeable


def test_the_fastest_changes_where_two_algorithms_take_the_same() -> None:
    found = collective("all_reduce", "h100", message_bytes=1024, ranks=8)
    lines = found.fastest.to_dicts()
    assert [r["algorithm"] for r in lines] == ["one_shot", "in_switch", "nvls"]
    # 2.92 + 7·S/326.2 = 9.65 + 9/8·S/228.2, S in kB at these rates in GB/s
    kernel, switch = 7 * 1047552 / 22.4826e-6, 9 / 8 * 15 * 2**20 / 77.5497e-6
    latency = 14.8234e-6 - 9 / 8 * 2**20 / switch - 2.92448e-6
    assert lines[0]["to_bytes"] == pytest.approx(latency / (7 / kernel - 9 / 8 / switch), rel=1e-6)
    assert lines[0]["to_bytes"] == lines[1]["from_bytes"]
    assert lines[2]["to_bytes"] is None
    assert len(collective("all_reduce", "h100", message_bytes=1024, ranks=1).fastest) == 0


def test_a_network_is_read_only_beyond_the_box() -> None:
    with_, without = (collective("all_reduce", "h100", message_bytes=2**20, ranks=8, network=n) for n in ("ethernet-10g", None))
    assert (with_.floor_s, with_.estimate_s) == (without.floor_s, without.estimate_s)
    assert any("network ethernet-10g is not used" in line for line in with_.assumptions)


def test_a_device_without_links_is_a_box_of_its_own() -> None:
    with pytest.raises(MissingSpec, match="no link of dgx-spark has a source"):
        collective("all_reduce", "dgx-spark", message_bytes=1, ranks=2)
    found = collective("all_reduce", "dgx-spark", message_bytes=2**20, ranks=2, network="roce-200g")
    assert found.floor_s == 2**20 / 25e9


def test_a_device_made_by_hand_brings_its_link() -> None:
    mine = GPU(
        id="mine",
        name="Mine",
        memory_bytes_per_s=1e12,
        link={"name": "my-link", "per_direction_bytes_per_s": 50e9, "domain": 4},
        source="x",
    )
    found = collective("all_reduce", mine, message_bytes=1e9, ranks=4)
    assert (found.floor_s, found.estimate_s) == (1.5 * 1e9 / 50e9, None)
    half = GPU(id="half", name="H", memory_bytes_per_s=1e12, link={"name": "nvlink4", "per_direction_bytes_per_s": 225e9}, source="x")
    whole = collective("all_reduce", "h100", message_bytes=2**30, ranks=8)
    slower = collective("all_reduce", half, message_bytes=2**30, ranks=8)
    assert slower.floor_s == 2 * whole.floor_s
    piece = load_link("nvlink4").alpha_s["nvls_piece"]  # 25 µs, the bytes, and twice the root of a piece times the bytes
    sent = (np.sqrt(whole.estimate_s - 25e-6 + piece) - np.sqrt(piece)) ** 2
    assert slower.estimate_s == pytest.approx(25e-6 + 2 * sent + 2 * np.sqrt(2 * piece * sent), rel=1e-9)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"op": "allreduce"}, InvalidInput, ["op='allreduce'", "all_reduce, all_gather"]),
        ({"op": None}, InvalidInput, ["op=None"]),
        ({"gpu": "h101"}, UnknownName, ["did you mean"]),
        ({"ranks": 16}, InvalidInput, ["ranks=16", "8 that nvlink4 joins around h100-sxm", "infiniband-ndr", "efa"]),
        ({"ranks": [1, 2, 9]}, InvalidInput, ["ranks=9"]),
        ({"ranks": 2.5}, InvalidInput, ["ranks=2.5", "whole number"]),
        ({"ranks": 0}, InvalidInput, ["ranks=0"]),
        ({"ranks": -1}, InvalidInput, ["ranks=-1"]),
        ({"ranks": "8"}, InvalidInput, ["ranks='8'"]),
        ({"message_bytes": -1}, InvalidInput, ["message_bytes=-1"]),
        ({"message_bytes": float("nan")}, InvalidInput, ["message_bytes"]),
        ({"message_bytes": [1, 2], "ranks": [1, 2, 3]}, InvalidInput, ["do not broadcast"]),
        ({"network": "nvlink4"}, InvalidInput, ["network=nvlink4", "scale-up", "roce-400g"]),
        ({"network": "infiniband-ndx"}, UnknownName, ["did you mean", "infiniband-ndr"]),
        ({"network": 5}, SolError, ["5"]),
    ],
)
def test_what_has_no_meaning_is_one_line(asked: dict[str, object], error: type[SolError], words: list[str]) -> None:
    given = {"op": "all_reduce", "gpu": "h100", "message_bytes": 1024, "ranks": 8} | asked
    with pytest.raises(error) as raised:
        collective(given.pop("op"), given.pop("gpu"), **given)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.contract
@pytest.mark.parametrize("gpu_id", gpu_ids())
def test_every_device_answers_or_says_what_is_missing(gpu_id: str) -> None:
    link = load_gpu(gpu_id).link
    assert link is None or is_link(link.name), f"no record of {link.name}"
    two = collective("all_reduce", gpu_id, message_bytes=2**20, ranks=2, network="ethernet-25g")
    if list(two.wire_bytes_by_link) == ["ethernet-25g"]:
        with pytest.raises(MissingSpec, match=f"no link of {gpu_id} has a source"):
            collective("all_reduce", gpu_id, message_bytes=2**20, ranks=2)
    assert two.floor_s > 0
    assert two.estimate_s is None or two.estimate_s >= two.floor_s


def test_the_command_line_gives_the_python_answer(capsys: pytest.CaptureFixture[str]) -> None:
    main(["collective", "all-to-all", "h100", "--ranks", "8,16", "--message", "1KiB,16MiB", "--network", "infiniband-ndr", "--json"])
    want = collective("all_to_all", "h100", message_bytes=[[1024, 2**24]], ranks=[[8], [16]], network="infiniband-ndr")
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(want.to_dict(), default=str))


@pytest.mark.parametrize(
    "args",
    [("all-reduce", "h100", "--ranks", "16"), ("all-sum", "h100", "--ranks", "2"), ("send", "h100", "--ranks", "2", "--message", "1xb")],
)
def test_a_mistake_is_one_line_and_exit_2(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["collective", *args])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.contract
def test_what_is_reached_is_never_more_than_the_link() -> None:
    for name in ("nvlink3", "nvlink4", "nvlink5", "pcie4-x16", "xgmi3-mi300x"):
        link = load_link(name)
        assert 0.5 < link.reached_bytes_per_s["ring"] / link.per_direction_bytes_per_s < 1
