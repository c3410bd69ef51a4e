"""All-reduces as engines run them: by hand at the sizes where they change kernels, and what must hold for every size and link."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sol.physics.network.collectives import estimate_s
from sol.physics.network.libraries import engine_s
from sol.sources.database.libraries import libraries, library_of
from sol.specs.libraries import Library
from sol.specs.links import LinkType, Topology

ALPHA = {
    "ring_ll": 6e-6, "ring_ll_step": 1e-6, "ring": 8e-6, "ring_step": 3e-6, "nvls": 20e-6, "one_kernel": 3e-6, "barrier_kernel": 5e-6,
    "barrier_step": 1e-6, "multimem": 9e-6,
}  # fmt: skip
REACHED = {"ring": 80e9, "nvls": 70e9, "kernel": 60e9, "pair": 40e9, "multimem": 50e9}
BOX = {"per_direction_bytes_per_s": 100e9, "domain": 8, "reached_bytes_per_s": REACHED, "alpha_s": ALPHA}
SWITCH = LinkType(id="nvlink4", name="x", kind="scale-up", switched=True, reduces_in_network=True, **BOX)
PCIE = LinkType(
    id="p", name="p", kind="host", **BOX | {"alpha_s": {k: v for k, v in ALPHA.items() if k not in ("one_kernel", "multimem", "nvls")}}
)
NO_PEERS = PCIE.model_copy(update={"peer_access": False})
ONE = np.ones(1)


def took(engine: Library | str, size: float, ranks: int, link: LinkType, version: str = "") -> float:
    library = library_of(engine, version) if isinstance(engine, str) else engine
    assert library is not None
    return engine_s("all_reduce", np.array([size]), np.array([float(ranks)]), Topology((link,)), ONE, library).item()


def ring_ll(size: float, n: int) -> float:
    return 6e-6 + 2 * (n - 1) * 1e-6 + 2 * 2 * (n - 1) / n * size / 80e9


@pytest.mark.truth
def test_vllm_changes_kernels_where_its_code_does() -> None:
    one = lambda size, n: 5e-6 + max((n - 1) * size / 60e9, size / 40e9)  # noqa: E731
    two = lambda size, n: 5e-6 + n * 1e-6 + 2 * (n - 1) / n * size / 60e9  # noqa: E731
    at = {k: 2.0**k for k in (12, 17, 18, 19, 22, 23)}
    assert took("vllm", at[22], 2, SWITCH) == pytest.approx(one(at[22], 2))  # two ranks: one-shot up to 8 MiB
    assert took("vllm", at[18], 4, SWITCH) == pytest.approx(one(at[18], 4))
    assert took("vllm", at[19], 4, SWITCH) == pytest.approx(two(at[19], 4))  # four: two-shot from 512 KiB
    assert took("sglang", at[17], 8, SWITCH) == pytest.approx(one(at[17], 8))
    assert took("sglang", at[18], 8, SWITCH) == pytest.approx(two(at[18], 8))  # eight: from 256 KiB
    assert took("vllm", at[18], 8, SWITCH) == pytest.approx(9e-6 + 9 / 8 * at[18] / 50e9)  # where the switch adds, vLLM asks it to
    assert took("vllm", at[23], 4, SWITCH) == took("nccl", at[23], 4, SWITCH)  # 8 MiB are NCCL's
    assert took("vllm", at[12], 3, SWITCH) == pytest.approx(ring_ll(at[12], 3))  # no kernels for three


@pytest.mark.truth
def test_cards_without_links_of_their_own_use_kernels_in_pairs_that_reach_each_other() -> None:
    size = 2.0**14
    assert took("vllm", size, 2, PCIE) == pytest.approx(5e-6 + size / 40e9)
    assert took("vllm", size, 4, PCIE) == pytest.approx(ring_ll(size, 4))
    assert took("vllm", size, 2, NO_PEERS) == pytest.approx(ring_ll(size, 2))
    assert took("tensorrt-llm", size, 2, PCIE) == pytest.approx(ring_ll(size, 2))  # it asks for NVLink


@pytest.mark.truth
def test_tensorrt_llm_takes_the_faster_and_its_first_versions_nccl() -> None:
    for size in (1e3, 1e5, 4e6):
        kernel, general = 3e-6 + 7 * size / 60e9, took("nccl", size, 8, SWITCH)
        assert took("tensorrt-llm", size, 8, SWITCH) == pytest.approx(min(kernel, general))
        assert took("tensorrt-llm", size, 8, SWITCH, "0.5.0") == general
    assert took("tensorrt-llm", 9e6, 8, SWITCH) == took("nccl", 9e6, 8, SWITCH)  # beyond its workspace


@pytest.mark.law
@given(
    st.sampled_from(sorted(libraries())), st.floats(0, 2.0**31), st.integers(2, 8), st.sampled_from([SWITCH, PCIE, NO_PEERS]),
    st.floats(1, 64),
)  # fmt: skip
def test_no_library_is_faster_than_the_fastest_algorithm_and_one_with_more_to_send_takes_no_less_of_its_kernel(
    name: str, size: float, ranks: int, link: LinkType, times: float
) -> None:
    library, n = libraries()[name], np.array([float(ranks)])
    fastest = estimate_s("all_reduce", np.array([size]), n, Topology((link,))).item()
    assert took(library, size, ranks, link) >= fastest * (1 - 1e-12)
    nccl = libraries()["nccl"]
    assert took(nccl, size * times, ranks, link) >= took(nccl, size, ranks, link) * (1 - 1e-12)


@pytest.mark.contract
def test_an_engine_is_named_once_and_unknown_ones_have_no_library() -> None:
    named = [engine for library in libraries().values() for engine in library.engines]
    assert len(named) == len(set(named))
    assert library_of("my-engine") is None
    assert library_of("vllm", "0.6.3").id == "vllm-first"
    assert library_of("vllm", "9.9").id == library_of("vllm").id == "vllm"
