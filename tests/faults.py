"""Deliberate defects, each with the test that must notice it: mistakes that a tool of this kind has shipped, or easily could.

`python tests/faults.py NAME` patches the running library, runs the test that the fault names and prints, as one line of JSON,
what each failure died by. Without a name it runs every named test on the library as it is.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import sys
import textwrap
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TESTS = Path(__file__).parent


class Fault(NamedTuple):
    """A patch of the running library, and the id of the test that must fail under it."""

    patch: Callable[[], None]
    test: str


def _owner(path: str) -> tuple[Any, str]:
    """The module or class that holds what `path` ("module:Class.name") names, and that name."""
    module, _, names = path.partition(":")
    *outer, name = names.split(".")
    owner: Any = importlib.import_module(module)
    for part in outer:
        owner = getattr(owner, part)
    if name not in vars(owner):
        raise LookupError(f"{path} does not exist: the fault must name what replaced it")
    return owner, name


def replaced(path: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """A patch: `make(right)` takes the place of what `path` names, in every module that imported it."""

    def patch() -> None:
        owner, name = _owner(path)
        right = vars(owner)[name]
        wrong = make(right)
        for holder in [owner, *(m for key, m in sys.modules.items() if key == "sol" or key.startswith("sol."))]:
            for known in [k for k, v in vars(holder).items() if v is right]:
                setattr(holder, known, wrong)

    return patch


def rewritten(path: str, right: str, wrong: str) -> Callable[[], None]:
    """A patch: the function at `path` as if its source said `wrong` where it says `right`, which it must say once."""

    def patch() -> None:
        owner, name = _owner(path)
        found = vars(owner)[name]
        function = inspect.unwrap(found.fget if isinstance(found, property) else found)
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(right) != 1:
            raise LookupError(f"{path} says {right!r} {source.count(right)} times, not once: the fault must be written anew")
        tree = ast.parse(source.replace(right, wrong))
        tree.body[0].decorator_list = []  # type: ignore[attr-defined]
        made: dict[str, Any] = {}
        exec(compile(tree, path, "exec"), function.__globals__, made)
        function.__code__ = made[name].__code__

    return patch


def _slower_attention(right: Any) -> Any:
    """`Rates` whose attention never runs faster than its 16-bit peak."""

    def init(self: Any, memory: float, formats: Any, peak: Any = None, ceiling: Any = None, *more: Any, **named: Any) -> None:
        right(self, memory, formats, peak, ceiling if peak is None else {**ceiling, "attention": peak["attention"]}, *more, **named)

    return init


def _ring(right: Any) -> Any:
    def wire_bytes(op: Any, size: Any, ranks: Any, topology: Any, *stride: Any) -> Any:
        plain = type(topology)(tuple(link.model_copy(update={"reduces_in_network": False}) for link in topology.levels))
        return right(op, size, ranks, plain, *stride)

    return wire_bytes


def _gb_as_gib(right: Any) -> Any:
    def load_gpu(*args: Any, **named: Any) -> Any:
        gpu = right(*args, **named)
        return gpu.model_copy(update={"memory_bytes_per_s": gpu.memory_bytes_per_s * 2**30 / 1e9})

    return load_gpu


def _doubled(right: Any) -> Any:
    return lambda self, compute: None if right(self, compute) is None else 2.0 * right(self, compute)


def _both(*patches: Callable[[], None]) -> Callable[[], None]:
    def patch() -> None:
        for one in patches:
            one()

    return patch


FLOOR, MEMORY = "answers/floor/test_floor_truth.py::", "answers/memory/test_memory.py::"
POOLS = "answers/memory/test_pools.py::"
COLLECTIVES, SHARDING = "physics/network/test_collectives.py::", "physics/network/test_sharding.py::"
HOSTED = "answers/memory/test_offload_host.py::"
FORWARD = "physics/operators/test_forward_pass.py::"
REPLAYED = "physics/serving/test_server.py::"
BOTH = "answers/serve/test_serve_and_replay.py::"

FAULTS: dict[str, Fault] = {
    "bandwidth in GB/s read as GiB/s": Fault(
        replaced("sol.sources.database.database:load_gpu", _gb_as_gib), FLOOR + "test_qwen_7b_at_2048"
    ),
    "the headline rate with sparsity taken as dense": Fault(
        _both(replaced("sol.specs.hardware:GPU.peak", _doubled), replaced("sol.specs.hardware:GPU.ceiling", _doubled)),
        FLOOR + "test_llama_8b_prefill_counts_the_causal_half",
    ),
    "top-k experts read however many tokens there are": Fault(
        replaced(
            "sol.physics.operators.experts:distinct_experts",
            lambda _: lambda experts, k, tokens, routing, held=None: 0.0 * tokens + k,
        ),
        FLOOR + "test_qwen3_moe_at_batch_16_with_expected_routing",
    ),
    "the ring all-reduce taken as the bound of a switch that adds": Fault(
        replaced("sol.physics.network.collectives:wire_bytes", _ring), COLLECTIVES + "test_floors_in_one_box"
    ),
    "a pair of a mesh priced at the whole rate of the device": Fault(
        replaced("sol.specs.links:LinkType.joins_pairs", lambda _: property(lambda self: False)), COLLECTIVES + "test_floors_in_one_box"
    ),
    "ranks of several boxes priced as if they shared one": Fault(
        replaced(
            "sol.physics.network.collectives:placed",
            lambda right: lambda ranks, topology, *stride: type(right(ranks, topology))(
                (ranks, *(len(topology.levels) * [0 * ranks + 1.0])), (0 * ranks + 1.0, *(len(topology.levels) * [ranks]))
            ),
        ),
        COLLECTIVES + "test_floors_across_boxes_are_the_slower_level",
    ),
    "a gated feed-forward block counted as two matrices": Fault(
        replaced("sol.specs.feedforward:MLP.matrices", lambda right: lambda self, hidden: right(self, hidden)[-2:]),
        "specs/test_model.py::test_parameters_equal_the_published_total",
    ),
    "gated experts counted as two matrices": Fault(
        replaced("sol.specs.feedforward:MoE.expert_matrices", lambda right: lambda self, hidden: right(self, hidden)[-2:]),
        FLOOR + "test_experts_and_router_flops_by_hand",
    ),
    "the causal half forgotten": Fault(
        replaced(
            "sol.physics.operators.attention:causal_pairs",
            lambda _: lambda new, past, window=None, chunk=None: new * (past + new),
        ),
        FLOOR + "test_llama_8b_prefill_counts_the_causal_half",
    ),
    "the whole input table read every step": Fault(
        rewritten("sol.physics.operators.forward_pass:_embedding", "smaller(tokens, model.vocab)", "model.vocab"),
        FLOOR + "test_qwen_7b_byte_by_byte",
    ),
    "the KV cache sized with the query heads": Fault(
        replaced("sol.specs.mixers:Attention.kv_width", lambda _: property(lambda self: self.heads * 2 * self.head_dim)),
        MEMORY + "test_bytes_per_token",
    ),
    "the router's FLOPs forgotten": Fault(
        replaced("sol.specs.feedforward:MoE.matrices", lambda right: lambda self, hidden: [
            m._replace(rows=0) if m.operator == "router" else m for m in right(self, hidden)
        ]),
        FLOOR + "test_experts_and_router_flops_by_hand",
    ),
    "activations left out of what must fit": Fault(
        replaced("sol.physics.memory.capacity:activation_bytes_per_token", lambda _: lambda model: 0.0),
        MEMORY + "test_activations_by_hand",
    ),
    "attention over an fp8 cache bounded by the 16-bit rate": Fault(
        replaced("sol.physics.time.roofline:Rates.__init__", _slower_attention),
        FLOOR + "test_fp8_runs_the_covered_matrices_twice_as_fast_and_leaves_attention_and_head",
    ),
    "queries alone counted as the activations of attention": Fault(
        rewritten("sol.specs.mixers:Attention.activation_width", "self.q_width + self.kv_width", "self.q_width"),
        "physics/memory/test_capacity.py::test_attention_may_be_the_widest_block",
    ),
    "a decode step of many sequences cut into chunks": Fault(
        rewritten("sol.physics.memory.capacity:activation_bytes", "larger(step.sequences, CHUNK_TOKENS)", "CHUNK_TOKENS"),
        "physics/memory/test_capacity.py::test_a_decode_step_is_never_cut_into_chunks",
    ),
    "experts loaded as narrow as they are stored": Fault(
        rewritten("sol.physics.memory.profiling:padding_bytes", "(wide - m.weights)", "(wide - wide)"),
        POOLS + "test_padded_experts_by_hand",
    ),
    "a window allocated without the step that it holds": Fault(
        rewritten("sol.physics.memory.profiling:allocated_bytes", "(span.tokens + step_tokens)", "(span.tokens + 0.0 * step_tokens)"),
        POOLS + "test_windows_hold_the_step_as_well",
    ),
    "the logits of a step divided over the devices": Fault(
        rewritten("sol.answers.memory.pool:engine_pool", "(engine, model.vocab,", "(engine, own.vocab,"),
        POOLS + "test_a_235b_on_four_h100_in_two_engines",
    ),
    "an engine that starts with any pool": Fault(
        rewritten("sol.physics.memory.reservation:_reserved", "held >= each", "held > 0"),
        POOLS + "test_an_8b_on_a_3090_by_the_context_it_profiles",
    ),
    "more sequences than blocks of states": Fault(
        rewritten("sol.physics.memory.reservation:_reserved", "(states >= seqs)", "(states >= 0)"),
        POOLS + "test_blocks_of_states_on_an_h100",
    ),
    "values as wide as keys": Fault(
        rewritten("sol.physics.operators.mixers:_core", "(att.q_width + att.out_width)", "(att.q_width + att.q_width)"),
        FORWARD + "test_values_narrower_than_keys_cost_less",
    ),
    "the index keys of new tokens not written": Fault(
        rewritten("sol.physics.operators.mixers:_index", "step.past_tokens + step.new_tokens, ways", "step.past_tokens, ways"),
        FORWARD + "test_index_keys_of_new_tokens_are_written",
    ),
    "a row of positions for every token": Fault(
        rewritten("sol.physics.operators.forward_pass:_embedding", "gathered + positions *", "gathered + tokens *"),
        FORWARD + "test_sequences_at_one_position_share_its_row",
    ),
    "the biases of the head forgotten": Fault(
        rewritten("sol.physics.operators.forward_pass:_lm_head", "if model.head_bias else 0.0", "if False else 0.0"),
        FORWARD + "test_a_head_reads_its_biases",
    ),
    "a tied table in the format of an input table": Fault(
        rewritten(
            "sol.physics.operators.forward_pass:_embedding", '"lm_head" if model.tied_embeddings else "embedding"', '"embedding"'
        ),
        FORWARD + "test_a_tied_table_is_stored_as_the_head_is",
    ),
    "a convolution's memory in the format of the cache": Fault(
        rewritten(
            "sol.physics.operators.mixers:state_bytes_per_sequence", "storage.base.bytes_per_weight", "storage.cache.bytes_per_weight"
        ),
        FORWARD + "test_the_memory_of_a_convolution_is_no_cache_and_keeps_16_bits",
    ),
    "a ceiling below its peak taken as the bound": Fault(
        rewritten("sol.specs.hardware:GPU.ceiling", "ceiling if peak is None else max(peak, ceiling or 0.0)", "ceiling or peak"),
        "specs/test_hardware.py::test_a_ceiling_is_never_below_its_peak",
    ),
    "experts that do not divide rounded down": Fault(
        rewritten("sol.specs.feedforward:MoE.split_experts", "held=-(-self.experts // ways)", "held=max(1, self.experts // ways)"),
        SHARDING + "test_experts_that_do_not_divide_are_held_twice",
    ),
    "cached tokens divided over one device too many": Fault(
        rewritten("sol.specs.split:cache_copies", "np.maximum(tp // heads, 1)", "np.maximum(-(-tp // heads) + 1, 1)"),
        SHARDING + "test_how_many_devices_hold_the_same_keys_and_values",
    ),
    "a token sent to a box once for each of its experts' devices": Fault(
        rewritten("sol.physics.network.dispatch:level_bytes", "spread.reached(u)", "spread.reached(counts[0])"),
        "physics/network/test_dispatch.py::test_a_token_crosses_to_another_box_once",
    ),
    "groups of experts forgotten": Fault(
        rewritten("sol.physics.operators.spread:chosen", "if groups == groups_per_token:", "if True:"),
        "physics/network/test_dispatch.py::test_boxes_a_token_reaches",
    ),
    "16 bits on the links taken as a law": Fault(
        rewritten("sol.answers.floor.optimistic:_best", "sent_bytes=NARROWEST_SENT, ", ""),
        "answers/floor/test_strictness.py::test_activations_may_be_sent_in_8_bits",
    ),
    "32-bit states taken as a law": Fault(
        rewritten("sol.answers.floor.optimistic:_best", ", state_bits=NARROW_STATE_BITS", ""),
        "answers/floor/test_strictness.py::test_recurrent_states_may_be_kept_in_16_bits",
    ),
    "copies of the cache taken as a law": Fault(
        rewritten("sol.answers.floor.optimistic:_best", "cp=ALL", "cp=1"),
        "answers/floor/test_strictness.py::test_a_cache_that_several_devices_hold_alike_can_be_divided",
    ),
    "a cold cache taken as a law": Fault(
        rewritten("sol.answers.floor.strictness:loosened", "last_level_cache_bytes > TOLERATED", "last_level_cache_bytes > 1.0"),
        "answers/floor/test_strictness.py::test_a_warm_cache_can_hold_a_part_and_an_unknown_one_cannot_be_told",
    ),
    "prompts that fill every stage priced as if cut": Fault(
        rewritten("sol.physics.network.sharding:micro_batch", "own / split.pp, np.minimum(own, 1.0)", "np.ceil(own / split.pp), 1.0"),
        "answers/floor/test_many_devices.py::test_one_prompt_more_is_never_faster",
    ),
    "the groups of a state copied to every device": Fault(
        rewritten("sol.specs.states:Mamba2.shard", ", groups=-(-self.groups // ways)", ""),
        SHARDING + "test_the_groups_of_a_state_divide_with_its_heads",
    ),
    "a measured time held against the serial floor": Fault(
        rewritten("sol.answers.compare.compare:Comparison.fraction", "self.floor_s", "float(self.floor.serial_s)"),
        "answers/compare/test_compare.py::test_a_fraction_is_of_the_floor_and_not_of_the_serial_floor",
    ),
    "the caches of all copies read by each": Fault(
        rewritten("sol.answers.memory.memory:memory", "kv_read_bytes(own, g.on_one(split),", "kv_read_bytes(own, g.sequences,"),
        MEMORY + "test_a_device_of_a_split_reads_the_caches_of_its_own_sequences",
    ),
    "one device more than what fits exactly": Fault(
        rewritten(
            "sol.answers.memory.memory:memory", "np.ceil(resident * split.devices / room)", "np.floor(resident * split.devices / room) + 1"
        ),
        MEMORY + "test_what_fills_a_device_to_the_last_byte_takes_one",
    ),
    "the rank of a step size rounded down": Fault(
        rewritten("sol.sources.config.states:_mamba", "-(-hidden // 16)", "hidden // 16"),
        "sources/config/test_config_json.py::test_the_rank_of_a_step_size_is_rounded_up",
    ),
    "an unknown number taken as nothing": Fault(
        rewritten(
            "sol.answers.catalogue.device_filter:_test",
            "(have := read(g)) is not None and _COMPARE[compare](have, wanted)",
            "_COMPARE[compare](read(g) or 0.0, wanted)",
        ),
        "answers/catalogue/test_device_filter.py::test_what_no_source_gives_meets_no_comparison",
    ),
    "what lies on the host crosses the link in every placement": Fault(
        rewritten("sol.physics.time.tiers:tiered", "least.reads / host.bytes_per_s,", "over_link,"),
        HOSTED + "test_streaming_is_slower_than_what_was_published",
    ),
    "experts on the host are read by their share under every routing": Fault(
        rewritten("sol.physics.time.tiers:chosen", "if part.name != EXPERTS:", "if part.name:"),
        HOSTED + "test_whichever_experts_are_chosen_min_is_the_bound",
    ),
    "one socket's memory, however many there are": Fault(
        rewritten("sol.answers.memory.host:NamedHost.bytes_per_s", "self.sockets * self.cpu", "self.cpu"),
        HOSTED + "test_a_dense_model_by_hand",
    ),
    "a preempted request that keeps what was computed": Fault(
        rewritten("sol.physics.serving.admission:Queue._found_again", "return w.cached", "return max(w.cached, w.had // whole * whole)"),
        REPLAYED + "test_a_preempted_request_starts_again_by_hand",
    ),
    "the first of those that run is preempted": Fault(
        rewritten("sol.physics.serving.admission:Queue.preempt", "last = running.count - 1", "last = 0"),
        REPLAYED + "test_a_preempted_request_starts_again_by_hand",
    ),
    "every step is decided when it starts": Fault(
        rewritten("sol.physics.serving.server:_Server._round", "ahead = self.policy.ahead and", "ahead = False and"),
        REPLAYED + "test_three_requests_decided_a_step_ahead",
    ),
    "users of a closed loop who all come at once": Fault(
        rewritten("sol.physics.serving.admission:Queue.__init__", "min(loop.concurrency, len(load))", "len(load)"),
        REPLAYED + "test_a_closed_loop_of_two_by_hand",
    ),
    "a request that ends is followed by one in the step decided then": Fault(
        rewritten("sol.physics.serving.admission:Queue.finished", "self.loop.late", "False"),
        REPLAYED + "test_a_closed_loop_of_two_by_hand",
    ),
    "every further token of a request at the prompt's context": Fault(
        rewritten("sol.physics.serving.request_steps:decode_steps", "np.repeat(prompt, whole) + number", "np.repeat(prompt, whole)"),
        "answers/request/test_request.py::test_times_are_the_sums_of_the_steps",
    ),
    "every chunk of a prompt as the first": Fault(
        rewritten("sol.physics.serving.request_steps:chunks", "np.repeat(cached, whole) + number * size", "np.repeat(cached, whole)"),
        "answers/request/test_request.py::test_times_are_the_sums_of_the_steps",
    ),
    "the tokens of the first group alone": Fault(
        rewritten("sol.physics.operators.forward_pass:step_operators", "step.tokens", "step.batch * step.new_tokens"),
        "answers/floor/test_mixed_steps.py::test_flops_and_cache_add_up_and_weights_are_read_once",
    ),
    "a bound of servers without their prompts": Fault(
        rewritten("sol.answers.serve.bound:bound", "compute_s[2:] + shared * compute_s[0]", "compute_s[2:]"),
        "answers/serve/test_bound.py::test_prompts_that_compute_binds_bound_the_rate",
    ),
    "a server in steady state that decides no step ahead": Fault(
        rewritten("sol.physics.serving.steady:_at_an_end", "by.late_steps * step", "0.0 * step"),
        BOTH + "test_a_closed_loop_in_steady_state",
    ),
    "every request begins twice": Fault(
        rewritten("sol.physics.serving.steady:beside", "decoding / (of.output - 1.0)", "2.0 * decoding / (of.output - 1.0)"),
        BOTH + "test_a_closed_loop_in_steady_state",
    ),
    "preempted prompts that cost nothing": Fault(
        rewritten("sol.physics.serving.steady:preemptions", "if not by.preempts:", "if True:"),
        BOTH + "test_the_largest_rate_is_what_a_server_that_never_idles_serves",
    ),
    "users who start together and are out of step at once": Fault(
        rewritten("sol.physics.serving.run:width", "np.sqrt(turns) * once", "of.output + 0.0 * turns"),
        BOTH + "test_a_run_of_ten_requests_a_user",
    ),
    "decodes go on beside the prompts of those who go first": Fault(
        rewritten("sol.physics.serving.server:_Server._decide", "if policy.mixed:", "if True:"),
        REPLAYED + "test_prompts_first_by_hand",
    ),
    "a prompt is admitted by its first piece alone": Fault(
        rewritten("sol.physics.serving.admission:Queue.admit", 'if policy.admission == "prompt":', 'if policy.admission == "none":'),
        REPLAYED + "test_a_prompt_is_admitted_when_its_first_piece_fits_or_when_all_of_it_does",
    ),
    "a step's attention at the lengths of its first sequence": Fault(
        rewritten(
            "sol.physics.serving.attention:AttentionWork.decodes", "cached = past.size, float(past.sum())",
            "cached = past.size, float(past[0] * past.size)",
        ),
        "physics/serving/test_table.py::test_lengths_of_a_batch_add_up",
    ),
}  # fmt: skip


def _is_assertion(error: BaseException) -> bool:
    """Whether a test failed by what it asserts: an assertion, a `pytest.fail`, or several of them found at once."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_assertion(e) for e in error.exceptions)
    return isinstance(error, AssertionError | pytest.fail.Exception)


class Deaths:
    """A pytest plugin: how many tests passed, and the type of what each other one died by."""

    def __init__(self) -> None:
        self.passed, self.asserted = 0, 0
        self.otherwise: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        report = yield
        if item.get_closest_marker("truth") is None and item.get_closest_marker("law") is None:
            self.otherwise.append(f"{item.nodeid} is neither a truth nor a law")
        if call.excinfo is None:
            self.passed += call.when == "call"
        elif _is_assertion(call.excinfo.value):
            self.asserted += 1
        else:
            self.otherwise.append(f"{item.nodeid}: {call.excinfo.typename}: {call.excinfo.value}")
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.otherwise.append(f"{report.nodeid} was not collected")


def main(name: str | None) -> int:
    """Run the test of one fault under it, or those of all faults without any."""
    if name is not None:
        FAULTS[name].patch()
    tests = sorted({f.test for f in FAULTS.values()} if name is None else {FAULTS[name].test})
    os.chdir(TESTS.parent)
    deaths = Deaths()
    code = pytest.main(["-p", "no:cacheprovider", "--tb=line", *(str(TESTS / t) for t in tests)], plugins=[deaths])
    print(json.dumps({"passed": deaths.passed, "asserted": deaths.asserted, "otherwise": deaths.otherwise, "code": int(code)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
