"""Milliseconds of a training step with facts per sample: batches that are new each time, and one that repeats.

`difftopkproofs`, k = 3, batch 16, beside the reference's recorded step; medians, and how many times faster that is.

python -m benchmarks.per_sample [formula5 formula7 kin4 kin6]
"""

import random
import statistics
import sys
import time

import torch

import torch_bridge
from benchmarks.workloads import reference_rows

BATCH, STEPS, RELATIONS = 16, 30, 12
SYMBOLS = [*map(str, range(10)), "+", "-", "*"]
FORMULA = """
    type symbol(place: usize, glyph: String)
    type length(n: usize)
    rel digit = {("0", 0.0), ("1", 1.0), ("2", 2.0), ("3", 3.0), ("4", 4.0),
                 ("5", 5.0), ("6", 6.0), ("7", 7.0), ("8", 8.0), ("9", 9.0)}
    rel factor(x as f64, b, b + 1) = symbol(b, s) and digit(s, x)
    rel product(x, b, e) = factor(x, b, e)
    rel product(x * y, b, e) = product(x, b, m) and symbol(m, "*") and factor(y, m + 1, e)
    rel sum(x, b, e) = product(x, b, e)
    rel sum(x + y, b, e) = sum(x, b, m) and symbol(m, "+") and product(y, m + 1, e)
    rel sum(x - y, b, e) = sum(x, b, m) and symbol(m, "-") and product(y, m + 1, e)
    rel value(x) = sum(x, 0, n) and length(n)
"""


def formula(length):
    """A module, and facts of the three likeliest symbols of each place for scores `[batch, length, symbols]`."""
    module = torch_bridge.Module(FORMULA, non_probabilistic=["length"], output_relation="value")

    def facts(p):
        symbols, groups = [], []
        for sample in p:
            found = []
            for place, row in enumerate(sample.tolist()):
                kind = range(10) if place % 2 == 0 else range(10, 13)
                top = sorted(kind, key=lambda s, row=row: -row[s])[:3]
                found += [(sample[place, s], (place, SYMBOLS[s])) for s in top]
            symbols.append(found)
            groups.append([[i, i + 1, i + 2] for i in range(0, len(found), 3)])
        return {"symbol": symbols, "length": [[(length,)]] * len(p), "disjunctions": {"symbol": groups}}

    return module, (length, len(SYMBOLS)), facts


def kinship(people):
    """A module, and facts of chains of people in random order for scores `[batch, people - 1, relations]`."""
    draw = random.Random(0)
    pairs = [(a, b) for a in range(RELATIONS) for b in range(RELATIONS)]
    table = ", ".join(str((a, b, draw.randrange(RELATIONS))) for a, b in pairs if draw.random() < 0.6)
    program = f"""
        type kin(r: i32, a: i32, b: i32)
        type ask(a: i32, b: i32)
        rel compose = {{{table}}}
        rel known(r, a, b) = kin(r, a, b)
        rel known(t, a, c) = known(r, a, b) and kin(s, b, c) and compose(r, s, t) and a != c
        rel answer(r) = ask(a, b) and known(r, a, b)
    """
    mapping = list(range(RELATIONS))
    module = torch_bridge.Module(program, non_probabilistic=["ask"], output_relation="answer", output_mapping=mapping)

    def facts(p):
        kin, ask, groups = [], [], []
        for sample in p:
            order = draw.sample(range(people), people)
            links = [(i, r) for i in range(people - 1) for r in range(RELATIONS)]
            kin.append([(sample[i, r], (r, order[i], order[i + 1])) for i, r in links])
            ask.append([(order[0], order[-1])])
            groups.append([list(range(i * RELATIONS, (i + 1) * RELATIONS)) for i in range(people - 1)])
        return {"kin": kin, "ask": ask, "disjunctions": {"kin": groups}}

    return module, (people - 1, RELATIONS), facts


TASKS = {
    "formula5": lambda: formula(5),
    "formula7": lambda: formula(7),
    "kin4": lambda: kinship(4),
    "kin6": lambda: kinship(6),
}


def step(module, inputs):
    """Milliseconds of a forward and a backward pass."""
    start = time.perf_counter()
    result = module(**inputs)
    values = result[1] if isinstance(result, tuple) else result
    values.sum().backward()
    return 1e3 * (time.perf_counter() - start)


def main(names):
    """Prints a line for each task."""
    references = reference_rows()
    print(f"{'task':10}{'first ms':>10}{'new ms':>8}{'times':>7}{'again ms':>10}{'times':>7}{'reference':>11}")
    for name in names:
        torch.manual_seed(0)
        module, shape, facts = TASKS[name]()
        fresh = [step(module, facts(torch.randn(BATCH, *shape).requires_grad_().softmax(-1))) for _ in range(STEPS)]
        inputs = facts(torch.rand(BATCH, *shape).requires_grad_())
        again = [step(module, inputs) for _ in range(STEPS)]
        new, repeated, reference = (
            statistics.median(fresh[5:]),
            statistics.median(again[2:]),
            references[name]["step_ms"],
        )
        print(
            f"{name:10}{fresh[0]:10.0f}{new:8.1f}{reference / new:7.1f}{repeated:10.1f}{reference / repeated:7.1f}"
            f"{reference:11.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:] or TASKS)
