"""The scheduler, step by step: schedules worked out by hand, and laws of every trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from physics.serving.stub import Costs, load, policy

from sol.physics.serving import server
from sol.physics.serving.requests import Load, Loop, Served
from sol.physics.serving.server import serve

THREE = load((0.0, 10, 3), (0.5, 3, 2), (2.5, 4, 1))


def of_steps(s: Served) -> list[tuple[float, int, int, int]]:
    t = s.steps
    return list(zip(t.start_s.tolist(), t.decodes.tolist(), t.prompt_tokens.tolist(), t.cached_tokens.tolist(), strict=True))


@pytest.mark.truth
def test_three_requests_by_hand() -> None:
    """Steps of one second and eight tokens: A's prompt takes two, B joins the second, C waits for the step that is under way."""
    s = serve(THREE, policy(max_num_batched_tokens=8), Costs())
    assert of_steps(s) == [(0.0, 0, 8, 8), (1.0, 0, 5, 13), (2.0, 2, 0, 15), (3.0, 1, 4, 16)]
    assert s.admitted_s.tolist() == [0.0, 1.0, 3.0]
    assert s.first_s.tolist() == [2.0, 2.0, 4.0]
    assert s.last_s.tolist() == [4.0, 3.0, 4.0]
    assert s.preemptions.tolist() == [0, 0, 0]
    assert sorted(zip(s.gaps.seconds.tolist(), s.gaps.count.tolist(), strict=True)) == [(1.0, 1.0), (1.0, 2.0)]


@pytest.mark.truth
def test_three_requests_decided_a_step_ahead() -> None:
    """Each step is decided when the one before it starts: B, which arrives during the first, is in the third."""
    s = serve(THREE, policy(max_num_batched_tokens=8, ahead=True), Costs())
    assert of_steps(s) == [(0.0, 0, 8, 8), (1.0, 0, 2, 10), (2.0, 1, 3, 14), (3.0, 2, 0, 16), (4.0, 0, 4, 4)]
    assert s.first_s.tolist() == [2.0, 3.0, 5.0]
    assert s.last_s.tolist() == [4.0, 4.0, 5.0]


@pytest.mark.truth
def test_prompts_first_by_hand() -> None:
    """Prompts have steps of their own, and decodes wait: A's second piece, B and C come before A's second token."""
    s = serve(THREE, policy(max_num_batched_tokens=8, mixed=False), Costs())
    assert of_steps(s) == [(0.0, 0, 8, 8), (1.0, 0, 5, 13), (2.0, 2, 0, 15), (3.0, 0, 4, 15), (4.0, 1, 0, 12)]
    assert s.last_s.tolist() == [5.0, 3.0, 4.0]
    assert s.gaps.seconds.max() == 2.0  # of A, which waits for C's prompt


@pytest.mark.truth
def test_a_preempted_request_starts_again_by_hand() -> None:
    """Two requests of 4 and 10 tokens and five blocks of 4: at nine tokens the second finds no block, and waits until the first ends."""
    s = serve(load((0.0, 4, 10), (0.0, 4, 10)), policy(kv_blocks=5), Costs())
    assert s.first_s.tolist() == [1.0, 1.0]
    assert s.last_s.tolist() == [10.0, 15.0]
    assert s.preemptions.tolist() == [0, 1]
    assert s.recomputed == 8
    assert s.gaps.seconds.max() == 6.0
    assert s.steps.prompt_tokens.tolist() == [8] + 9 * [0] + [9] + 4 * [0]


@pytest.mark.truth
def test_a_preempted_request_finds_what_nobody_has_overwritten() -> None:
    """Its two blocks are freed, and the first request takes one for its third and one for its fourth: none is left."""
    requests, few = load((0.0, 4, 10), (0.0, 4, 10)), policy(kv_blocks=5, keeps_freed=True)
    assert serve(requests, few, Costs()).recomputed == 8 - 4  # of three free blocks two are overwritten: 5th, then the tail of its own
    assert serve(load((0.0, 4, 6), (0.0, 4, 10)), few, Costs()).recomputed == 0


@pytest.mark.truth
def test_whole_requests_are_reserved_and_never_preempted() -> None:
    s = serve(load((0.0, 4, 10), (0.0, 4, 10)), policy(kv_blocks=5, admission="whole"), Costs())
    assert s.admitted_s.tolist() == [0.0, 10.0]
    assert s.last_s.tolist() == [10.0, 20.0]
    assert not s.preemptions.any()


@pytest.mark.truth
def test_a_prompt_is_admitted_when_its_first_piece_fits_or_when_all_of_it_does() -> None:
    """Four blocks of 4, a first request of 8 tokens that decodes, and a prompt of 12: three blocks, of which two are free."""
    requests = load((0.0, 8, 4), (0.5, 12, 1))
    chunk = serve(requests, policy(kv_blocks=5, max_num_batched_tokens=8), Costs())
    whole = serve(requests, policy(kv_blocks=5, max_num_batched_tokens=8, admission="prompt"), Costs())
    assert chunk.admitted_s.tolist()[1] == 1.0
    assert whole.admitted_s.tolist()[1] == 4.0


@pytest.mark.truth
def test_an_estimate_admits_by_the_output_that_is_expected() -> None:
    """48 tokens, 8 of them the first request's: another asks for 8 + 20 + 4, and there are 40 less what the first is expected to add."""
    requests, room = load((0.0, 8, 20), (0.5, 8, 20)), {"kv_blocks": 12, "admission": "estimate", "mixed": False}
    careful = serve(requests, policy(**room, ratio=1.0, least_ratio=1.0), Costs())
    bold = serve(requests, policy(**room, ratio=0.3, least_ratio=0.3), Costs())
    assert bold.admitted_s[1] == 1.0  # 40 - 0.3 * 19 tokens are enough
    assert careful.admitted_s[1] == 20.0  # 40 - 19 are not, and nobody is asked again until a request ends


@pytest.mark.truth
def test_whole_blocks_in_the_cache_need_no_prompt() -> None:
    s = serve(load((0.0, 10, 2, 6), (0.0, 8, 2, 8)), policy(), Costs())
    assert s.steps.prompt_tokens.tolist() == [(10 - 4) + (8 - 4), 0]  # one block of each: the last token is always computed


@pytest.mark.truth
def test_an_idle_server_waits_for_the_next_arrival() -> None:
    s = serve(load((0.0, 1, 2), (10.0, 1, 2)), policy(ahead=True), Costs())
    assert s.steps.start_s.tolist() == [0.0, 1.0, 10.0, 11.0]
    assert s.first_s.tolist() == [1.0, 11.0]


@st.composite
def loads(draw: st.DrawFn) -> Load:
    rows = draw(
        st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(1, 40), st.integers(1, 30), st.integers(0, 20)), min_size=1, max_size=12)
    )
    return load(*((t, p, o, min(c, p - 1)) for t, p, o, c in sorted(rows)))


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    admission = draw(st.sampled_from(["chunk", "prompt", "whole", "estimate"]))
    return {
        "max_num_seqs": draw(st.integers(1, 6)), "max_num_batched_tokens": draw(st.integers(6, 50)), "kv_blocks": draw(st.integers(26, 60)),
        "mixed": draw(st.booleans()), "ahead": draw(st.booleans()), "keeps_freed": draw(st.booleans()), "admission": admission,
        "ratio": draw(st.floats(0.1, 1.0)), "least_ratio": 0.05, "ratio_steps": 10.0, "retract_tokens": 2.0,
    }  # fmt: skip


def rule(tokens: int, sequences: int) -> float:
    return 0.25 + 0.0625 * tokens + 0.125 * sequences  # exact in binary, so that sums do not depend on their order


@pytest.mark.law
@settings(max_examples=150)
@given(loads(), policies())
def test_every_token_is_computed_once_and_again_where_it_was_lost(requests: Load, fields: dict[str, Any]) -> None:
    p = policy(**fields)
    s = serve(requests, p, Costs(rule))
    found = np.minimum(requests.cached // 4 * 4, (requests.prompt - 1) // 4 * 4)
    needed = int((requests.prompt - found + requests.output - 1).sum())
    assert int((s.steps.decodes + s.steps.prompt_tokens).sum()) == needed + s.recomputed
    assert int(s.gaps.count.sum()) == int((requests.output - 1).sum())
    assert (s.admitted_s >= requests.arrival_s).all()
    assert (s.first_s > s.admitted_s).all()
    assert ((s.last_s > s.first_s) == (requests.output > 1)).all()
    assert (s.steps.decodes <= p.max_num_seqs).all()
    assert (s.steps.prompt_tokens <= p.max_num_batched_tokens).all()
    assert (s.steps.cached_tokens <= p.kv_blocks * p.block_tokens).all()
    ends = s.steps.start_s + s.steps.seconds
    assert (s.steps.start_s[1:] >= ends[:-1]).all()
    total = float((s.gaps.seconds * s.gaps.count).sum())
    assert total == pytest.approx(float((s.last_s - s.first_s).sum()))


@pytest.mark.law
@settings(max_examples=150)
@given(loads(), policies())
def test_stretches_of_steps_are_the_steps_one_by_one(requests: Load, fields: dict[str, Any]) -> None:
    many = serve(requests, policy(**fields), Costs(rule))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "MOST_ELEMENTS", 1)
        single = serve(requests, policy(**fields), Costs(rule))
    assert single.rounds == single.steps.seconds.size
    for name in ("admitted_s", "first_s", "last_s", "preemptions"):
        np.testing.assert_array_equal(getattr(many, name), getattr(single, name))
    for name in ("start_s", "seconds", "decodes", "prompt_tokens", "cached_tokens"):
        np.testing.assert_array_equal(getattr(many.steps, name), getattr(single.steps, name))
    assert many.recomputed == single.recomputed


@pytest.mark.law
@settings(max_examples=100)
@given(loads(), policies())
def test_first_come_first_served(requests: Load, fields: dict[str, Any]) -> None:
    s = serve(requests, policy(**fields | {"kv_blocks": 10_000, "admission": "prompt"}), Costs(rule))
    assert (np.diff(s.first_s) >= 0.0).all()
    assert (np.diff(s.admitted_s) >= 0.0).all()
    assert not s.preemptions.any()


@pytest.mark.law
@pytest.mark.parametrize("name", ["kv_blocks", "max_num_batched_tokens", "max_num_seqs"])
def test_more_room_is_never_slower_for_a_burst_of_equal_requests(name: str) -> None:
    requests = load(*[(0.0, 24, 20)] * 30)
    narrow = {"kv_blocks": 25, "max_num_batched_tokens": 24, "max_num_seqs": 4}
    usual = {"kv_blocks": 400, "max_num_batched_tokens": 512, "max_num_seqs": 64}
    wide = [serve(requests, policy(**usual | {name: narrow[name] * k}), Costs(rule)) for k in (1, 2, 4, 8)]
    ends = [float(s.last_s.max()) for s in wide]
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] < ends[0]


@pytest.mark.law
def test_fewer_tokens_are_never_slower() -> None:
    ends = [float(serve(load(*[(0.0, 8 * k, 5 * k)] * 9), policy(), Costs(rule)).last_s.max()) for k in (1, 2, 3)]
    assert ends == sorted(ends)


@pytest.mark.law
def test_rounds_go_with_requests_and_not_with_their_tokens() -> None:
    """Steps that are alike are taken at once: a hundred times the output takes no more rounds."""
    short, long = (serve(load(*[(float(i), 8, n) for i in range(50)]), policy(), Costs(lambda t, s: 1e-6)) for n in (10, 1000))
    assert long.steps.seconds.size == 50 * 1000
    assert long.rounds == short.rounds <= 4 * 50


@pytest.mark.truth
def test_a_closed_loop_of_two_by_hand() -> None:
    """Two users, steps of one second: A ends at 2 and C takes its place, B ends at 3 and D takes its."""
    requests = load((9.0, 4, 2), (9.0, 4, 3), (9.0, 4, 2), (9.0, 4, 1))
    s = serve(requests, policy(), Costs(), Loop(2))
    assert s.arrival_s.tolist() == [0.0, 0.0, 2.0, 3.0]
    assert s.first_s.tolist() == [1.0, 1.0, 3.0, 4.0]
    assert s.last_s.tolist() == [2.0, 3.0, 4.0, 4.0]
    late = serve(requests, policy(), Costs(), Loop(2, late=True))  # a user hears of the end after it: each misses a step
    assert late.arrival_s == pytest.approx([0.0, 0.0, 2.0, 3.0])
    assert late.first_s.tolist() == [1.0, 1.0, 4.0, 5.0]
    assert late.last_s.tolist() == [2.0, 3.0, 5.0, 5.0]
    apart = serve(requests, policy(), Costs(), Loop(2, between_s=0.5))
    assert apart.arrival_s.tolist() == [0.0, 0.0, 2.5, 3.5]
    ahead = serve(requests, policy(ahead=True), Costs(), Loop(2, late=True))  # the step from 4 is decided at 3, just before D comes
    assert ahead.first_s.tolist() == [1.0, 1.0, 4.0, 6.0]


@pytest.mark.law
@settings(max_examples=100)
@given(loads(), policies(), st.integers(1, 5), st.booleans())
def test_a_closed_loop_keeps_its_users_busy(requests: Load, fields: dict[str, Any], users: int, late: bool) -> None:
    s = serve(requests, policy(**fields), Costs(rule), Loop(users, late=late))
    n = len(requests)
    assert (s.arrival_s[:users] == 0.0).all()
    assert s.arrival_s[users:] == pytest.approx(np.sort(s.last_s)[: max(n - users, 0)])
    under_way = (s.arrival_s[None, :] <= s.arrival_s[:, None]) & (s.last_s[None, :] > s.arrival_s[:, None])
    assert (under_way.sum(axis=1) <= users).all()
    busy = float((s.last_s - s.arrival_s).sum())
    assert busy <= users * float(s.last_s.max()) * (1 + 1e-9)  # Little's law: less only when the trace runs out of requests
