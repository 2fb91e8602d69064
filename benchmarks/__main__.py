"""`make bench`: every benchmark, one after the other, each in a process of its own."""

import subprocess
import sys

NAMES = ("training_speed", "time_to_quality", "ui_overhead")

for name in NAMES:
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
