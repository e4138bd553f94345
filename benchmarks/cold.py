"""Seconds of everything that a fresh process does before its second training step.

`python -m benchmarks.cold` prints medians over processes, without and with JAX's persistent compilation cache.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

REPEATS = 5

_PROCESS = """
import json, time
times, start = {}, time.perf_counter()

def lap(name):
    global start
    times[name] = time.perf_counter() - start
    start = time.perf_counter()

import torch
lap("import torch")
import torch_bridge
lap("import torch_bridge after it")
module = torch_bridge.Module(
    program="rel sum_2(a + b) = digit_a(a) and digit_b(b)", provenance="difftopkproofs", k=3,
    input_mappings={"digit_a": range(10), "digit_b": range(10)}, output_mapping=("sum_2", range(19)))
lap("construction")
a, b = (torch.rand(64, 10, requires_grad=True) for _ in range(2))
start = time.perf_counter()
values = module(digit_a=a, digit_b=b)
lap("first call")
values.sum().backward()
lap("first backward")
values = module(digit_a=a, digit_b=b)
lap("second call")
values.sum().backward()
lap("second backward")
print(json.dumps(times))
"""


def _run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def main() -> None:
    """Prints the table: sum-2, `difftopkproofs`, k = 3, batch 64."""
    alone = "import time; start = time.perf_counter(); import scallax; print(time.perf_counter() - start)"
    seconds = statistics.median(float(_run(alone)) for _ in range(REPEATS))
    cold = _medians([json.loads(_run(_PROCESS)) for _ in range(REPEATS)])
    with tempfile.TemporaryDirectory() as folder:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        _run(_PROCESS, **cache)
        warm = _medians([json.loads(_run(_PROCESS, **cache)) for _ in range(REPEATS)])
    print(f"import scallax alone: {seconds:.3f} s")
    print(f"{'seconds':30}{'no cache':>10}{'cache':>10}")
    for name in cold:
        print(f"{name:30}{cold[name]:10.3f}{warm[name]:10.3f}")


if __name__ == "__main__":
    main()
