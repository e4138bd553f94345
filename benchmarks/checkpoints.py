"""Seconds from a checkpoint on the disk to a ground program and to its first answer, with and without it stored there.

`python -m benchmarks.checkpoints` saves the transitive closure of a random graph, whose edges are uncertain, in every
form; each load runs in a process of its own, which has imported what it needs and finds the compiled code in JAX's
persistent cache.
"""

import importlib
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import scallax
from scallax import checkpoint

NODES, EDGES, REPEATS = 700, 2000, 3
PROGRAM = "rel path(x, y) = edge(x, y)  rel path(x, z) = path(x, y), edge(y, z)  rel reached(y) = path(_, y)"


def _edges() -> list[tuple[int, int]]:
    edges = np.unique(np.random.default_rng(0).integers(0, NODES, (EDGES, 2)), axis=0)
    return [(int(x), int(y)) for x, y in edges]


def _measure(path: Path) -> tuple[float, float]:
    """Seconds until the ground program is there, and until the first answer is."""
    # Imports are not timed, nor the start of JAX.
    importlib.import_module("orbax.checkpoint")
    jnp.zeros(1).block_until_ready()
    start = time.perf_counter()
    reasoner = checkpoint.load(path)
    reasoner.compiled_program.serialized()
    ready = time.perf_counter() - start
    (edges,) = (mapping.shape for _, mapping in reasoner.specification.input_mappings)
    reasoner.evaluator.evaluate([np.full((1, *edges), 0.001, np.float32)]).block_until_ready()
    return ready, time.perf_counter() - start


def main() -> None:
    """Prints medians for every form."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of targets that no path reaches
        reasoner = scallax.Reasoner(
            PROGRAM,
            provenance="diffaddmultprob",
            input_mappings={"edge": _edges()},
            output_mapping=("reached", range(NODES)),
        )
    constructed = time.perf_counter() - start
    stored = reasoner.compiled_program.serialized().arrays["program.0.left"]
    print(f"{len(_edges()):,} edges, {np.count_nonzero(stored):,} derivations; constructed in {constructed:.2f} s")
    print(f"{'form':12} {'grounding':10} {'MB':>7} {'save s':>7} {'ready s':>7} {'answer s':>8}")
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        # For the processes that are started, and read when they import JAX.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{folder}/cache"
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        for name in ("orbax", "closure.safetensors"):
            for ground in (False, True):
                path = Path(folder) / f"{ground}-{name}"
                start = time.perf_counter()
                checkpoint.save(path, reasoner, ground=ground)
                saved = time.perf_counter() - start
                ready, answers = [], []
                for _ in range(1 + REPEATS):
                    with spawn.Pool(1) as pool:
                        prepared, answered = pool.apply(_measure, (path,))
                    ready.append(prepared)
                    answers.append(answered)
                files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
                size = sum(file.stat().st_size for file in files) / 1e6
                print(
                    f"{name.split('.')[-1]:12} {'stored' if ground else 'none':10} {size:7.1f} {saved:7.2f} "
                    f"{statistics.median(ready[1:]):7.2f} {statistics.median(answers[1:]):8.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
