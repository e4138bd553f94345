"""One run of a family in each mode, with the processor seconds of its parts, and the size of its work."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

import scallax
import torch_bridge
from benchmarks.growth_families import Facts, Family
from scallax.circuits.compile import analyse_program, ground_program
from scallax.errors import Source
from scallax.facts.fact_table import FactTable
from scallax.grounding.derivations import ONE
from scallax.grounding.fixpoint import Grounding
from scallax.provenance.table import resolve_provenance

K = 3
BATCH = 4
# Above the defaults: a process of its own ends a run that takes too much.
_LIMITS = scallax.Limits(tuples=100_000_000, derivations=1_000_000_000)

# Processor seconds by the part of a run.
Parts = dict[str, float]


class Size(NamedTuple):
    """Facts, tuples and derivations of a grounding, and about how many literals the proofs that are kept have."""

    facts: int
    tuples: int
    derivations: int
    literals: int


class _Parts(Parts):
    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self[name] = time.process_time() - start


def _tags(facts: Facts, shape: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """Probabilities `[*shape, facts]` by relation, float32."""
    generator = np.random.default_rng(1)
    return {name: generator.random((*shape, len(rows)), np.float32) for name, rows in facts.items()}


def _tensors(tags: dict[str, np.ndarray], provenance: str) -> dict[str, torch.Tensor]:
    """The tags as tensors, with gradients under a provenance that passes them."""
    return {name: torch.tensor(values, requires_grad=_has_gradient(provenance)) for name, values in tags.items()}


def _has_gradient(provenance: str) -> bool:
    return provenance.startswith("diff")


def _context(family: Family, provenance: str, size: int, _: int) -> Parts:
    """A context: facts, a run, the tags as an array, all rows, and a gradient."""
    facts = family.drawn(size, 0)
    rows = {name: list(map(tuple, values.tolist())) for name, values in facts.items()}
    numbers = _tags(facts)
    has_gradient, parts = _has_gradient(provenance), _Parts()
    tags: dict[str, Any] = {name: values.tolist() for name, values in numbers.items()}
    leaves = _tensors(numbers, provenance)
    if has_gradient:
        tags = {name: list(leaf) for name, leaf in leaves.items()}
    context = (
        torch_bridge.Context(provenance, k=K) if has_gradient else scallax.Context(provenance, k=K, limits=_LIMITS)
    )
    context.add_program(family.program(facts))
    with parts.part("facts"):
        for name, given in rows.items():
            context.add_facts(name, list(zip(tags[name], given, strict=True)))
    with parts.part("run"):
        context.run()
    found = context.relation("out")
    with parts.part("tags"):
        values = found.tag_array()
    with parts.part("rows"):
        assert len(list(found)) == len(values) > 0
    if has_gradient:
        with parts.part("backward"):
            values.sum().backward()
    return parts


def _step(call: Callable[[], Any], has_gradient: bool, parts: _Parts) -> Parts:
    with parts.part("forward"):
        found = call()
        values = found[1] if isinstance(found, tuple) else found
        values = values if has_gradient else np.asarray(values)
    if has_gradient:
        with parts.part("backward"):
            values.sum().backward()
    return parts


def _module(family: Family, provenance: str, facts: Facts, **options: Any) -> Any:
    make = torch_bridge.Module if _has_gradient(provenance) else scallax.Reasoner
    arguments = {"provenance": provenance, "k": K, "output_relation": "out", "limits": _LIMITS, **options}
    return make(family.program(facts), **arguments)


class _Mapped:
    """Calls of a module or reasoner with mapped inputs, a batch of numbers."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._made: dict[tuple[str, int], Any] = {}

    def __call__(self, family: Family, provenance: str, size: int, _: int) -> Parts:
        facts, parts, key = family.drawn(size, 0), _Parts(), (provenance, size)
        if key not in self._made:
            mappings = {name: list(map(tuple, rows.tolist())) for name, rows in facts.items()}
            with parts.part("build"):
                self._made[key] = _module(family, provenance, facts, input_mappings=mappings)
        has_gradient, numbers = _has_gradient(provenance), _tags(facts, (self._batch,))
        inputs = _tensors(numbers, provenance) if has_gradient else numbers
        return _step(lambda: self._made[key](**inputs), has_gradient, parts)


class _Samples:
    """Calls with facts for each sample, other ones in each call."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __call__(self, family: Family, provenance: str, size: int, turn: int) -> Parts:
        parts, has_gradient = _Parts(), _has_gradient(provenance)
        drawn = [family.drawn(size, BATCH * turn + sample + 1) for sample in range(BATCH)]
        if provenance not in self._made:
            with parts.part("build"):
                self._made[provenance] = _module(family, provenance, drawn[0])
        inputs: dict[str, list] = {}
        for facts in drawn:
            numbers = _tags(facts)
            tags = _tensors(numbers, provenance) if has_gradient else numbers
            for name, rows in facts.items():
                given = tags[name] if has_gradient else tags[name].tolist()
                inputs.setdefault(name, []).append(list(zip(given, map(tuple, rows.tolist()), strict=True)))
        return _step(lambda: self._made[provenance](**inputs), has_gradient, parts)


# A run of a family under a provenance: with a size, and the number of the turn.
MODES: dict[str, Callable[[Family, str, int, int], Parts]] = {
    "context": _context,
    "mapped": _Mapped(BATCH),
    "samples": _Samples(),
    "single": _Mapped(1),
}


def run(mode: str, family: Family, provenance: str, size: int, turn: int) -> Parts:
    """The processor seconds of the parts of a run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MODES[mode](family, provenance, size, turn)


def find_size(family: Family, provenance: str, size: int) -> Size:
    """The size of the work on one sample."""
    facts, traits = family.drawn(size, 0), resolve_provenance(provenance, k=K).traits
    tags = _tags(facts)
    tables = [FactTable.of(name, list(map(tuple, rows.tolist())), tags[name].tolist()) for name, rows in facts.items()]
    program = analyse_program([Source(family.program(facts))])
    grounding = ground_program(program, traits, tables, ["out"], limits=_LIMITS)
    tuples = sum(relation.size for relation in grounding.relations.values())
    literals = _kept_literals(grounding) if "topkproofs" in provenance else 0
    return Size(sum(map(len, facts.values())), tuples, len(grounding.derivations), literals)


def _kept_literals(grounding: Grounding) -> int:
    """About how many literals the proofs have: of each tuple K, if there are so many, as long as the shortest one."""
    rows = grounding.derivations
    length, count = np.full(rows.num_nodes, np.inf), np.zeros(rows.num_nodes)
    changed = np.ones(rows.num_nodes, np.bool_)
    is_first = True
    while changed.any():
        moved = [(part >= 0) & changed[np.maximum(part, 0)] for part in (rows.left, rows.right)]
        touched = np.zeros(rows.num_nodes, np.bool_)
        touched[rows.head[slice(None) if is_first else moved[0] | moved[1]]] = True
        is_first = False
        places = touched[rows.head].nonzero()[0]
        lengths, counts = np.zeros(len(places)), np.ones(len(places))
        for part in (rows.left[places], rows.right[places]):
            lengths += np.where(part >= 0, length[np.maximum(part, 0)], part < ONE)
            counts *= np.where(part >= 0, count[np.maximum(part, 0)], 1.0)
        least, sums = np.full(rows.num_nodes, np.inf), np.bincount(rows.head[places], counts, rows.num_nodes)
        np.minimum.at(least, rows.head[places], lengths)
        sums = np.minimum(sums, K)
        changed = touched & ((least != length) | (sums != count))
        length[touched], count[touched] = least[touched], sums[touched]
    literals = int((rows.left < ONE).sum() + (rows.right < ONE).sum())
    return literals + int((length * count)[count > 0].sum())
