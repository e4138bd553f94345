"""Neurosymbolic workloads: the arguments of a torch module, and a generator of one batch of its inputs.

Inputs that carry a gradient are softmax or sigmoid outputs of leaf tensors, drawn from the generator of a task: a step
forward and backward is what training pays for the symbolic layer. The order of draws is that of `reference.json`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Task:
    """`module` are arguments of `torch_bridge.Module`; `inputs` draws those of a batch of a size."""

    module: dict
    inputs: Callable[[torch.Generator, int], Inputs]


def _leaf(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator).requires_grad_()


def _of_digits(names: Sequence[str], declaration: str, rule: str, output: str, mapping: list) -> Task:
    """Digits of images: each of the relations `names` is a distribution over 0 to 9."""

    def draw(generator: torch.Generator, batch: int) -> Inputs:
        leaves = {name: _leaf(generator, batch, 10) for name in names}
        return {name: torch.softmax(leaf, 1) for name, leaf in leaves.items()}

    program = "\n".join([*(f"type {name}(v: i32)" for name in names), declaration, rule])
    mappings = {name: list(range(10)) for name in names}
    return Task(
        {"program": program, "input_mappings": mappings, "output_relation": output, "output_mapping": mapping}, draw
    )


def sum_of_digits(count: int) -> Task:
    """The sum of some digits."""
    names = [f"d{i}" for i in range(count)]
    values = [f"x{i}" for i in range(count)]
    body = " and ".join(f"{name}({value})" for name, value in zip(names, values, strict=True))
    rule = f"rel total({' + '.join(values)}) = {body}"
    return _of_digits(names, "type total(v: i32)", rule, "total", list(range(9 * count + 1)))


def less_than() -> Task:
    """Whether the first of two digits is less than the second."""
    rule = "rel less(x < y) = a(x) and b(y)"
    return _of_digits(["a", "b"], "type less(v: bool)", rule, "less", [False, True])


def not_three_or_four() -> Task:
    """Whether a digit is neither 3 nor 4."""
    return _of_digits(["a"], "type other()", "rel other() = a(x) and x != 3 and x != 4", "other", [()])


def count_of_threes(count: int) -> Task:
    """How many of some images show the digit 3."""
    program = "type image(i: i32, d: i32)\nrel many(c) = c := count(i: image(i, 3))"

    def draw(generator: torch.Generator, batch: int) -> Inputs:
        return {"image": torch.softmax(_leaf(generator, batch, count, 10), 2).reshape(batch, -1)}

    images = [(i, d) for i in range(count) for d in range(10)]
    outputs = list(range(count + 1))
    arguments = {"input_mappings": {"image": images}, "output_relation": "many", "output_mapping": outputs}
    return Task({"program": program, **arguments}, draw)


def path_in_a_grid(side: int) -> Task:
    """Whether two marked cells of a grid are joined by dashes: one for each edge, and a mark for each cell."""
    edges = []
    for row in range(side):
        for column in range(side):
            cell = row * side + column
            edges += [(cell, cell + 1)] if column + 1 < side else []
            edges += [(cell, cell + side)] if row + 1 < side else []
    program = """
type dash(a: i32, b: i32)
type mark(a: i32)
rel step(a, b) = dash(a, b) or dash(b, a)
rel reach(a, b) = mark(a) and step(a, b)
rel reach(a, c) = reach(a, b) and step(b, c)
rel joined() = reach(a, b) and mark(b) and a != b
"""

    def draw(generator: torch.Generator, batch: int) -> Inputs:
        dash, mark = _leaf(generator, batch, len(edges)), _leaf(generator, batch, side * side)
        return {"dash": torch.sigmoid(dash), "mark": torch.softmax(mark, 1)}

    mappings = {"dash": edges, "mark": list(range(side * side))}
    arguments = {"input_mappings": mappings, "output_relation": "joined", "output_mapping": [()]}
    return Task({"program": program, **arguments}, draw)


def first_move_in_a_maze(side: int) -> Task:
    """The first move that leads to the goal without meeting an enemy."""
    cells = [(x, y) for x in range(side) for y in range(side)]
    program = f"""
type me(x: i32, y: i32)
type goal(x: i32, y: i32)
type foe(x: i32, y: i32)
rel cell = {{{", ".join(map(str, cells))}}}
const UP = 0, DOWN = 1, RIGHT = 2, LEFT = 3
rel clear(x, y) = cell(x, y) and not foe(x, y)
rel edge(x, y, x, y + 1, UP) = clear(x, y) and clear(x, y + 1)
rel edge(x, y, x, y - 1, DOWN) = clear(x, y) and clear(x, y - 1)
rel edge(x, y, x + 1, y, RIGHT) = clear(x, y) and clear(x + 1, y)
rel edge(x, y, x - 1, y, LEFT) = clear(x, y) and clear(x - 1, y)
rel walk(x, y, x, y) = clear(x, y)
rel walk(x, y, u, v) = walk(x, y, p, q) and edge(p, q, u, v, a)
rel move(a) = me(x, y) and edge(x, y, p, q, a) and walk(p, q, u, v) and goal(u, v)
"""

    def draw(generator: torch.Generator, batch: int) -> Inputs:
        leaves = {name: _leaf(generator, batch, side * side) for name in ("me", "goal", "foe")}
        return {
            "me": torch.softmax(leaves["me"], 1),
            "goal": torch.softmax(leaves["goal"], 1),
            "foe": torch.sigmoid(leaves["foe"] - 2),
        }

    mappings = dict.fromkeys(("me", "goal", "foe"), cells)
    arguments = {"input_mappings": mappings, "output_relation": "move", "output_mapping": [0, 1, 2, 3]}
    return Task({"program": program, **arguments}, draw)


# The reference's figures have four more, `formula5`, `formula7`, `kin4` and `kin6`, whose facts differ in every sample.
TASKS: dict[str, Callable[[], Task]] = {
    "sum2": lambda: sum_of_digits(2),
    "sum3": lambda: sum_of_digits(3),
    "sum4": lambda: sum_of_digits(4),
    "less": less_than,
    "not3or4": not_three_or_four,
    "count5": lambda: count_of_threes(5),
    "count8": lambda: count_of_threes(8),
    "path4": lambda: path_in_a_grid(4),
    "path6": lambda: path_in_a_grid(6),
    "maze4": lambda: first_move_in_a_maze(4),
    "maze5": lambda: first_move_in_a_maze(5),
}
