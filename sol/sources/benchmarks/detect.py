"""The tool that wrote a record, recognised by its keys, never by the file's name."""

from __future__ import annotations

from sol.errors import BadFile
from sol.sources.benchmarks.importer import RawRecord, Tool
from sol.sources.benchmarks.own_table import OWN
from sol.sources.benchmarks.tools.genai_perf import AIPERF, GENAI_CSV, GENAI_PERF
from sol.sources.benchmarks.tools.gpt_fast import GPT_FAST
from sol.sources.benchmarks.tools.guidellm import GUIDELLM
from sol.sources.benchmarks.tools.llama_batched_bench import LLAMA_BATCHED_BENCH
from sol.sources.benchmarks.tools.llama_bench import LLAMA_BENCH
from sol.sources.benchmarks.tools.ml_energy import ML_ENERGY_BOARD, ML_ENERGY_RESULTS
from sol.sources.benchmarks.tools.sglang_offline import SGLANG_OFFLINE, SGLANG_ONE_BATCH, SGLANG_SERVER
from sol.sources.benchmarks.tools.sglang_serving import SGLANG_SERVING
from sol.sources.benchmarks.tools.trtllm_bench import TRTLLM_BENCH
from sol.sources.benchmarks.tools.trtllm_legacy import TRTLLM_MANAGER, TRTLLM_SESSION
from sol.sources.benchmarks.tools.vllm_offline import VLLM_LATENCY, VLLM_PYTORCH, VLLM_THROUGHPUT
from sol.sources.benchmarks.tools.vllm_serve import VLLM_SERVE

TOOLS = (
    OWN, LLAMA_BENCH, LLAMA_BATCHED_BENCH, VLLM_LATENCY, VLLM_PYTORCH, VLLM_THROUGHPUT, VLLM_SERVE, SGLANG_SERVING, SGLANG_ONE_BATCH,
    SGLANG_SERVER, SGLANG_OFFLINE, TRTLLM_BENCH, TRTLLM_MANAGER, TRTLLM_SESSION, GENAI_PERF, AIPERF, GENAI_CSV, GUIDELLM, GPT_FAST,
    ML_ENERGY_RESULTS, ML_ENERGY_BOARD,
)  # fmt: skip
READ = "llama-bench, llama-batched-bench, vLLM, SGLang, TensorRT-LLM, GenAI-Perf, AIPerf, GuideLLM, gpt-fast, ML.ENERGY"


def tool_of(record: RawRecord, where: str) -> Tool | None:
    """The tool that wrote this record, None for an unknown tool. Raises `BadFile` for a record with the keys of two."""
    found = [tool for tool in TOOLS if tool.matches(record)]
    if len(found) > 1:
        raise BadFile(f"{where}: has the keys of {found[0].name} and of {found[1].name}; give each tool's output as a file of its own")
    return found[0] if found else None
