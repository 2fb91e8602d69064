"""`make bench`: the benchmarks one after the other, each in a process of its own; `--papers` adds the two long ones."""

import subprocess
import sys

NAMES = (
    "training_speed",
    "time_to_quality",
    "ui_overhead",
    "interaction",
    "training_pages",
    "recording",
    "parallel_scaling",
    "larger_than_memory",
    "gradient_variance",
    "reproduce_bars",
    "exact_or_sampled",
)
PAPERS = ("reproduce_aevb", "reproduce_iwae")

for name in NAMES + (PAPERS if "--papers" in sys.argv else ()):
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
