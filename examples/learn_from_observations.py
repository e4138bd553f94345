"""Learns what sets off an alarm from observations of which a part was not seen, by the greatest likelihood."""

import argparse
import importlib
import math

import jax
import numpy as np
import optax
from rich import print

import scallax

RULES = """
rel alarm() = burglary(), earthquake(), by_both()
rel alarm() = burglary(), not earthquake(), by_burglary()
rel alarm() = not burglary(), earthquake(), by_earthquake()
"""
TRUTH = {"burglary": 0.7, "earthquake": 0.2, "by_both": 0.9, "by_burglary": 0.8, "by_earthquake": 0.1}
SEEN = ("burglary", "earthquake", "alarm")
# How often something is looked at, how many observations there are, and how long it learns.
LOOKED_AT, OBSERVATIONS, STEPS = 0.6, 1000, 400


def draw(generator: np.random.Generator) -> np.ndarray:
    """Observations `[observations, seen]` of the true program: 1 or 0, NaN for what was not looked at."""
    fact = {name: generator.random(OBSERVATIONS) < chance for name, chance in TRUTH.items()}
    burglary, earthquake = fact["burglary"], fact["earthquake"]
    alarm = np.where(burglary, np.where(earthquake, fact["by_both"], fact["by_burglary"]), fact["by_earthquake"])
    alarm &= burglary | earthquake
    world = np.stack([burglary, earthquake, alarm], 1).astype(np.float32)
    return np.where(generator.random(world.shape) < LOOKED_AT, world, np.nan)


def learn(observations: np.ndarray, steps: int) -> tuple[dict[str, float], float]:
    """The probabilities that were found, and the mean logarithm of the likelihood of an observation."""
    facts = "".join(f"rel 0.5::{name}()\n" for name in TRUTH)
    reasoner = scallax.Reasoner(
        facts + RULES,
        provenance="exact",
        trainable=list(TRUTH),
        evidence=dict.fromkeys(SEEN),
        output_mappings={},
    )
    evidence = dict(zip(SEEN, observations.T, strict=True))
    optimizer = optax.adam(0.05)

    @jax.jit
    def step(parameters, state):
        def loss(parameters):
            return -reasoner.log_evidence(parameters, evidence=evidence).mean()

        value, gradient = jax.value_and_grad(loss)(parameters)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(parameters, updates), state, value

    parameters = reasoner.parameters
    state, value = optimizer.init(parameters), math.inf
    for number in range(steps):
        parameters, state, value = step(parameters, state)
        if number % 100 == 0:
            print(f"step {number:3}: mean log-likelihood {-float(value):.5f}")
    found = reasoner.probabilities(parameters)
    return {name: float(found[f"{name}.facts"][0]) for name in TRUTH}, -float(value)


def learn_by_problog(observations: np.ndarray) -> tuple[dict[str, float], float]:
    """The same by ProbLog's learning from interpretations, which repeats expectation and maximization."""
    # It is not among the requirements.
    run_lfi = importlib.import_module("problog.learning.lfi").run_lfi
    logic, texts = importlib.import_module("problog.logic"), importlib.import_module("problog.program")
    rules = RULES.replace("()", "").replace("=", ":-").replace("not ", "\\+").replace("rel ", "").strip()
    facts = "".join(f"t(0.5)::{name}.\n" for name in TRUTH)
    program = texts.PrologString(facts + rules.replace("\n", ".\n") + ".")
    examples = [
        [(logic.Term(name), bool(value)) for name, value in zip(SEEN, row, strict=True) if not math.isnan(value)]
        for row in observations.tolist()
    ]
    score, weights, names, _, _ = run_lfi(program, [example for example in examples if example])
    return {
        str(name).partition("::")[2] or str(name): float(weight) for name, weight in zip(names, weights, strict=True)
    }, score / OBSERVATIONS


def main() -> None:
    """Draws observations from the true program, and finds its five numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="learn for a moment only")
    parser.add_argument("--problog", action="store_true", help="compare with ProbLog, if it is installed")
    options = parser.parse_args()
    observations = draw(np.random.default_rng(0))
    found, likelihood = learn(observations, 20 if options.quick else STEPS)
    columns = {"drawn with": TRUTH, "learned": found}
    if options.problog:
        columns["ProbLog"], other = learn_by_problog(observations)
        print(f"mean log-likelihood: {likelihood:.5f}, ProbLog's {other:.5f}")
    for name in TRUTH:
        print(f"{name:14}", ", ".join(f"{column} {values[name]:.3f}" for column, values in columns.items()))


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    main()
