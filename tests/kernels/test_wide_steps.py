"""Wide steps against those of the schedule in turn, over numbers that tell in which order rows are read."""

import numpy as np
import pytest

from scallax import Reasoner
from scallax.circuits.circuit import ONE_ROW, ZERO_ROW, Circuit
from scallax.kernels.wide_steps import wide_steps

PRIME = 1_000_003
WALKS = "rel path(x, y) = edge(x, y)\nrel path(x, z) = path(x, y), path(y, z), kind(z)"


def circuit_of(nodes: int, closes: bool) -> Circuit:
    """Paths along a chain with shortcuts; round a circle where it `closes`."""
    edges = [(x, y) for x in range(nodes) for y in (x + 1, x + 3) if y < nodes] + closes * [(nodes - 1, 0)]
    outputs = [(0, y) for y in range(1, nodes)]
    mappings = {"edge": edges, "kind": range(nodes)}
    walk = Reasoner(WALKS, k=3, executor="numpy", input_mappings=mappings, output_mapping=("path", outputs))
    return walk.evaluator.layout.circuit


def added(rows: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """Numbers for derivations `[rows, width]`, summed up by head; 0 for padding."""
    left, right, third = (rows[each] for each in places)
    return ((places[0] != ZERO_ROW) * (31 * left + 17 * right + 7 * third + 1) % PRIME).sum(0)


def in_turn(circuit: Circuit, rows: np.ndarray) -> np.ndarray:
    forward, total = circuit.forward, np.zeros(0)
    tiles, width = forward.tiles, forward.width
    for step in range(int(tiles.count)):
        heads = slice(tiles.target[step], tiles.target[step] + width)
        if tiles.begins[step]:
            total = rows[heads].copy()
        block = slice(tiles.offset[step], tiles.offset[step] + forward.branches[tiles.branch[step]][1] * width)
        operands = [each[block].reshape(-1, width) for each in (forward.left, forward.right, forward.third)]
        total = (5 * total + added(rows, operands)) % PRIME
        if tiles.ends[step]:
            rows[heads] = total
    return rows


def at_once(circuit: Circuit, rows: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    forward, total = circuit.forward, np.zeros(0)
    operands = [forward.left, forward.right, forward.third]
    most = {kind: size for kind, _ in forward.branches}
    padding = (ZERO_ROW, ZERO_ROW, ONE_ROW)
    steps = wide_steps(forward.tiles, forward.width, forward.branches, operands, padding, most)
    for step in steps:
        if step.begins:
            total = rows[step.target : step.target + step.width].copy()
        total = (5 * total + added(rows, list(step.places))) % PRIME
        rows[step.target : step.target + step.finished] = total[: step.finished]
        total = total[step.finished :]
    return rows, len(steps)


@pytest.mark.parametrize("size", [0, 200, 1 << 20])
@pytest.mark.parametrize("closes", [False, True])
def test_wide_steps_read_what_steps_in_turn_read(closes: bool, size: int):
    circuit = circuit_of(9, closes)
    rows = np.random.default_rng(0).integers(1, PRIME, circuit.num_rows)
    rows[ZERO_ROW] = 0
    found, count = at_once(circuit, rows.copy(), size)
    np.testing.assert_array_equal(found, in_turn(circuit, rows.copy()))
    if closes and size > 1000:
        assert count < int(circuit.forward.tiles.count)
