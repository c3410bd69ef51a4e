"""What a type checker refuses: every line that ends in `# red`, and no other. Nothing here runs."""

from __future__ import annotations

from typing import Literal

import sol
from sol import collective, compare, estimate, floor, memory, offload, plan, pools, table

floor("qwen2.5-7b", "h100", ctx=2048, phase="wrong")  # red
floor("qwen2.5-7b", "h100", ctx=2048, tp_size=2)  # red
floor("qwen2.5-7b", "h100", ctx=2048, fusion="magic")  # red
floor("qwen2.5-7b", "h100", ctx=2048, logits="some")  # red
floor("qwen2.5-7b", "h100", ctx=2048, routing="best")  # red
floor("qwen2.5-7b", "h100", ctx="2048")  # red
floor("qwen2.5-7b", "h100", ctx=2048, batch=["8"])  # red
floor("qwen2.5-7b", "h100", ctx=2048, tp=1.5)  # red
floor("qwen2.5-7b", 100, ctx=2048)  # red
floor("qwen2.5-7b", "h100", groups=[(64, 1)])  # red
estimate("qwen2.5-7b", "h100", ctx=2048, phase="wrong")  # red
estimate("qwen2.5-7b", "h100", ctx=2048, fusion="eager")  # red
compare("qwen2.5-7b", "h100", measured_s=0.01, ctx=2048, phase="wrong")  # red
compare("qwen2.5-7b", "h100", measured_s=0.01, ctx=2048, batch=[1, 2])  # red
compare("qwen2.5-7b", "h100", measured_s=0.01, ctx=2048, tp_size=2)  # red
memory("qwen2.5-7b", "h100", ctx=2048, routing="min")  # red
offload("llama-3.1-70b", "h100", ctx=2048, tp=2)  # red
offload("llama-3.1-70b", "h100", ctx=2048, host="epyc-9654", host_sockets=[1, 2])  # red
table(ctx=2048, tp=2)  # red
table(ctx=2048, phase="wrong")  # red
plan("llama-3.1-70b", "h100", devices=8, ctx=2048, objective="speed")  # red
plan("llama-3.1-70b", "h100", devices=8, ctx=2048, tp=2)  # red
plan("llama-3.1-70b", "h100", devices=8)  # red
plan("llama-3.1-70b", "h100", devices=8, ctx=2048, concurrency=8)  # red
plan("llama-3.1-70b", "h100", devices=8, concurrency=8)  # red
plan("llama-3.1-70b", "h100", devices=8, prompt_tokens=512, output_tokens=128, concurrency=8, objective="ttft")  # red
pools("llama-3.1-8b", "h100", devices=8, prompt_tokens=512, output_tokens=128, objective="cost")  # red
collective("all_reduced", "h100", message_bytes=1e6, ranks=8)  # red
sol.calibrate([], fusion="magic")  # red

point, sweep = floor("qwen2.5-7b", "h100", ctx=2048), floor("qwen2.5-7b", "h100", ctx=[512, 2048])
print(sol.flor)  # red
print(point.latency)  # red
point.latency_s.max()  # red
sweep.latency_s.upper()  # red
word: Literal["fine", "slow"] = compare("qwen2.5-7b", "h100", measured_s=0.01, ctx=2048).verdict  # red
if memory("qwen2.5-7b", "h100", ctx=2048).max_batch > 8:  # red
    print("room")
