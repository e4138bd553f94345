"""Costs of a knowledge graph in a context, and of batches of small samples beside calls of a kept module.

`python -m benchmarks.contexts` prints a line per number of facts: 40 relations of pairs of texts with probabilities, 56
rules of two and three atoms, all relations computed under `minmaxprob`. Then 64 samples of up to 11 uncertain edges, by
`run_batch` and by as many calls of the context's forward function. Processor seconds.
"""

import time
from collections.abc import Callable

import numpy as np

from scallax import Context
from torch_bridge import ScallopContext

SIZES = (1_000, 10_000, 100_000)
RELATIONS = 40
RULES = 56
SAMPLES = 64
PATH = "path(a, c) = edge(a, c) or path(a, b) and edge(b, c)"

Facts = list[tuple[float, tuple]]


def _graph(size: int) -> dict[str, Facts]:
    """Random facts, as many for each relation."""
    random = np.random.default_rng(0)
    count = size // RELATIONS
    facts: dict[str, Facts] = {}
    for number in range(RELATIONS):
        pairs = random.integers(0, max(100, size // 4), (count, 2)).tolist()
        tags = random.random(count).tolist()
        facts[f"r{number}"] = [(p, (f"node {x}", f"node {y}")) for p, (x, y) in zip(tags, pairs, strict=True)]
    return facts


def _rules() -> list[str]:
    random = np.random.default_rng(0)
    rules = []
    for number in range(RULES):
        a, b, c = random.integers(0, RELATIONS, 3).tolist()
        body = f"r{a}(x, y) and r{b}(y, z)"
        rules.append(
            f"d{number % 20}(x, z) = {body}" if number % 2 else f"d{number % 20}(x, w) = {body} and r{c}(z, w)"
        )
    return rules


def _seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def _measure_graph(size: int) -> None:
    facts, rules = _graph(size), _rules()
    context = Context("minmaxprob")
    for relation in facts:
        context.add_relation(relation, (str, str))
    added = sum(_seconds(lambda given=given: context.add_facts(*given)) for given in facts.items())
    ruled = [_seconds(lambda rule=rule: context.add_rule(rule)) for rule in rules]
    run = _seconds(context.run)
    print(f"{size:>8,} {1e6 * added / size:>10.2f} {1e3 * ruled[0]:>11.1f} {1e3 * ruled[-1]:>10.1f} {run:>6.2f}")


def _sample(seed: int) -> Facts:
    random = np.random.default_rng(seed)
    pairs = {(int(a), int(b)) for a, b in random.integers(0, 6, (11, 2)) if a < b}
    return [(float(random.random()), pair) for pair in sorted(pairs)]


def _measure_samples(provenance: str) -> None:
    context = ScallopContext(provenance)
    context.add_relation("edge", (int, int))
    context.add_rule(PATH)
    module = context.forward_function("path")
    # Three times other samples: the first two compile.
    for first in range(0, 3 * SAMPLES, SAMPLES):
        samples = [_sample(first + number) for number in range(SAMPLES)]
        batch = _seconds(lambda samples=samples: context.run_batch({"edge": samples}, "path"))
        calls = _seconds(lambda samples=samples: [module(edge=[sample]) for sample in samples])
        print(f"{provenance:16} {batch:>10.3f} {calls:>10.3f}")


def main() -> None:
    """Measures graphs, then samples."""
    print(f"{'facts':>8} {'us a fact':>10} {'first rule':>11} {'last rule':>10} {'run':>6}   (ms a rule, s a run)")
    for size in SIZES:
        _measure_graph(size)
    print(f"{'samples':16} {'run_batch':>10} {'calls':>10}   (s)")
    for provenance in ("minmaxprob", "difftopkproofs"):
        _measure_samples(provenance)


if __name__ == "__main__":
    main()
