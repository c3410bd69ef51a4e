"""What benchmarks wrote: one file per tool, each mapping the tool's keys to our words. No formula of ours, no guess."""
