"""Python in a program: a function, a predicate with probabilities, and an aggregate, called once while it is grounded.

The program finds the city that a mistyped name means, and the distance from there to the nearest airport.
"""

import difflib
import math
from statistics import median

import jax
import jax.numpy as jnp

import scallax

CITIES = {"Lisbon": (38.7, -9.1), "London": (51.5, -0.1), "Lyon": (45.8, 4.8), "Lublin": (51.2, 22.6)}


@scallax.foreign_predicate
def means(text: str) -> scallax.Facts[float, tuple[str]]:
    """The cities that a text may mean; the tags are independent probabilities."""
    for city in CITIES:
        likeness = difflib.SequenceMatcher(None, text.lower(), city.lower()).ratio()
        if likeness > 0.5:
            yield round(likeness, 2), (city,)


@scallax.foreign_function
def distance(start: str, end: str) -> scallax.i32:
    """Kilometres between two cities along a great circle."""
    (a, b), (c, d) = (map(math.radians, CITIES[city]) for city in (start, end))
    cosine = math.sin(a) * math.sin(c) + math.cos(a) * math.cos(c) * math.cos(b - d)
    return round(6371 * math.acos(min(1.0, cosine)))


@scallax.foreign_aggregate
def middle(values: list[scallax.i32]) -> scallax.i32:
    """The median; none without values."""
    return round(median(values)) if values else None  # pyright: ignore[reportReturnType]


scallax.cache_compiled()  # the next run finds what this one compiles
reasoner = scallax.Reasoner(
    """
    rel airport = {"Lyon", "London"}
    rel from(city) = typed(text), means(text, city)
    rel km(city, d) = from(city), d := min(x: airport(a), x == $distance(city, a) where city: from(city))
    rel usual(d) = d := middle(x: km(_, x))
    query km
    query usual
    """,
    foreign=[means, distance, middle],
    input_mappings={"typed": ["lodnon", "lyblon"]},
    k=10,
)
typed = jnp.array([[0.9, 0.3]])
for relation, (tuples, probabilities) in reasoner(typed=typed).items():
    print(relation, {t: round(float(p), 4) for t, p in zip(tuples, probabilities[0], strict=True)})
gradient = jax.grad(lambda p: reasoner(typed=p)["km"][1].sum())(typed)
print("gradient", [round(float(g), 3) for g in gradient[0]])
