"""Two provenances of one's own: trained path costs as an array algebra, and routes as Python objects.

The road network has costs that nobody wrote down; what is known are the costs of a few trips. The soft minimum over all
routes is a provenance of arrays: compiled, batched, and differentiated through the cycle of the roads.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scallax import Provenance, Reasoner, cache_compiled

ROADS = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 0)]
COSTS = np.array([1.0, 2.0, 5.0, 1.5, 2.5], np.float32)
TRIPS = [(0, 2), (0, 3), (1, 3), (3, 1), (2, 1)]
PROGRAM = """
    rel route(x, y) = road(x, y)
    rel route(x, z) = route(x, y), road(y, z)
"""


@dataclass(frozen=True)
class SoftMinimum(Provenance):
    """Costs add up along a route; of several routes the soft minimum `-t log Σ exp(-cost / t)`."""

    temperature: float

    def zero(self):
        return 1e6

    def one(self):
        return 0.0

    def tag(self, probability):
        return probability

    def add(self, a, b):
        return -self.temperature * jnp.logaddexp(-a / self.temperature, -b / self.temperature)

    def mult(self, a, b):
        return a + b


class Routes:
    """The cheapest cost with the roads taken, as plain Python objects."""

    def tagging_fn(self, cost):
        return (cost, [cost])

    def zero(self):
        return (float("inf"), [])

    def one(self):
        return (0.0, [])

    def add(self, a, b):
        return min(a, b)

    def mult(self, a, b):
        return (a[0] + b[0], a[1] + b[1])


def main() -> None:
    """Learns the costs of the roads from those of trips, then lists the roads of a route."""
    options: dict[str, Any] = {"input_mappings": {"road": ROADS}, "output_mapping": ("route", TRIPS)}
    soft = Reasoner(PROGRAM, provenance=SoftMinimum(temperature=0.2), **options)
    hard = Reasoner(PROGRAM, provenance="realtropical", **options)
    known = hard(road=COSTS[None])[0]
    print("known costs of trips:", np.asarray(known).tolist())

    @jax.jit
    def step(costs):
        loss, gradient = jax.value_and_grad(lambda c: ((soft(road=c[None])[0] - known) ** 2).mean())(costs)
        return costs - 0.1 * gradient, loss

    costs = jnp.full(len(ROADS), 2.0)
    for _ in range(400):
        costs, loss = step(costs)
    print(f"loss after training: {loss:.4f}")
    learned = hard(road=costs[None])[0]
    print("learned costs of trips:", [round(float(cost), 1) for cost in learned])

    routes = Reasoner(PROGRAM, custom_provenance=Routes(), **options)
    cost, roads = routes(road=COSTS[None])[0][1]
    print(f"from 0 to 3 for {cost} by roads of {roads}")


if __name__ == "__main__":
    cache_compiled()  # the next run finds what this one compiles
    main()
