"""Exact inference: a ground program compiled to a circuit whose sums are disjoint and whose products are independent.

Every node becomes a sentential decision diagram (Darwiche, IJCAI 2011) over the uncertain facts. A decision is a sum
over elements `prime ∧ sub`: primes exclude each other, and prime and sub share no variable, so that the sum of products
of their probabilities is the probability of the decision, whatever those of the facts are. An exclusive group is one
variable of several outcomes, written as the bits of the outcome's number. Its bits have a subtree of the diagram's
variable tree to themselves: a diagram over bits of one group alone is a set of outcomes, and its probability is a sum.
"""

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import reduce
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import numpy as np

from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.grounding.dependencies import component_depths, needed_derivations
from scallax.grounding.derivations import ONE, ZERO, Derivations, Literals, literal_operand, operand_literal

if TYPE_CHECKING:  # an extra, and not loaded for other provenances
    from pysdd.sdd import SddManager, SddNode, Vtree

# Steps of one call of the library, by its bound: it cannot be interrupted, so larger ones are cut up.
_MOST_STEPS = 1 << 28
# Elements of the first attempt, and how many times more each next one has.
_FEWEST_ELEMENTS = 1 << 13
_GROWTH = 8
# The library descends a line of variables by recursion.
_LONGEST_LINE = 1000


@dataclass(frozen=True, slots=True)
class CompilationLimits:
    """What a compilation may take: elements of diagrams alive at a time (about 100 bytes each), and seconds."""

    elements: int = 2_000_000
    seconds: float = 120.0


_DEFAULT_LIMITS = CompilationLimits()


@dataclass(frozen=True, slots=True)
class _Variable:
    """An independent literal, or the used members of an exclusive group, with its bits as the library counts them.

    Outcome i, the bits of the number i, is that member i holds; every other number is that none does.
    """

    literals: tuple[int, ...]
    bits: tuple[int, ...]

    @property
    def none(self) -> int:
        """The outcome that no member holds."""
        return len(self.literals)


def compile_circuit(
    derivations: Derivations, literals: Literals, outputs: np.ndarray, limits: CompilationLimits = _DEFAULT_LIMITS
) -> tuple[Derivations, np.ndarray]:
    """Derivations of a circuit, and the operands of `outputs` (int64 operand codes) in it.

    Folded with sum and product, and `1 - p` for a negated operand, they give each output's exact probability: facts are
    independent, those of one group exclude each other, and none of a group has what its members leave of 1. A cycle is
    the least fixpoint of its diagrams.

    How large diagrams are depends on their variable tree. Several are tried with few elements, with more if that is
    too little for all of them, and so on; of those that fit, the one whose circuit is evaluated fastest is taken.
    Raises `InputError` without the library, `UnsupportedError` over the limits.
    """
    used, _ = needed_derivations(derivations, outputs)
    program = Derivations(
        derivations.num_nodes,
        derivations.head[used],
        derivations.left[used],
        derivations.right[used],
        derivations.left_negated[used],
        derivations.right_negated[used],
    )
    deadline = time.monotonic() + limits.seconds
    elements = min(_FEWEST_ELEMENTS, limits.elements)
    while True:
        found, refusals, most = [], [], elements
        for variables, shape in _candidates(program, literals, outputs):
            compiler = _Compiler(variables, shape, CompilationLimits(most, deadline - time.monotonic()))
            try:
                roots = compiler.compile(program, outputs)
            except _LimitError as refusal:
                refusals.append(refusal)
            else:
                circuit = _Circuit(compiler.manager, variables)
                found.append((circuit, np.array([circuit.output(root) for root in roots], np.int64)))
                # What needs more elements on its way is hardly better.
                most = max(compiler.most_elements, _FEWEST_ELEMENTS)
        if found:
            circuit, operands = min(found, key=lambda pair: pair[0].cost)
            return circuit.derivations(), operands
        if elements == limits.elements or time.monotonic() > deadline:
            raise _refuse(max(refusals, key=lambda refusal: refusal.num_done), limits, time.monotonic() > deadline)
        elements = min(_GROWTH * elements, limits.elements)


class _LimitError(Exception):
    """A compilation passed its limits, after `num_done` of `num_nodes` nodes."""

    def __init__(self, num_done: int, num_nodes: int):
        super().__init__(num_done, num_nodes)
        self.num_done = num_done
        self.num_nodes = num_nodes


def _refuse(furthest: _LimitError, limits: CompilationLimits, is_late: bool) -> UnsupportedError:
    what = f"{limits.seconds:g} seconds" if is_late else f"{limits.elements:,} elements of decision diagrams"
    return UnsupportedError(
        Diagnostic(
            f"the provenance `exact` takes more than {what} to compile this program: "
            f"{furthest.num_done:,} of {furthest.num_nodes:,} nodes were done",
            hint="use `topkproofs`, which keeps the k most probable proofs, or ask for fewer outputs",
        )
    )


class _Shape(Enum):
    """Of a variable tree: counts and other results of many facts are small over a balanced one, paths over a line."""

    LINE = auto()
    BALANCED = auto()


def _candidates(
    program: Derivations, literals: Literals, outputs: np.ndarray
) -> Iterator[tuple[list["_Variable"], _Shape]]:
    """Orders of variables, and the shapes of trees over them."""
    orders = [_variables(_search(program, outputs, depth_first), literals) for depth_first in (True, False)]
    for variables in orders[: 1 if orders[0] == orders[1] else 2]:
        for shape in _Shape:
            if shape is _Shape.BALANCED or len(variables) <= _LONGEST_LINE:
                yield variables, shape


def _variables(order: Iterable[int], literals: Literals) -> list[_Variable]:
    """The variables of literals, which may repeat, in their order; at least one, as a diagram needs."""
    members: dict[int, list[int]] = {}
    for literal in dict.fromkeys(order):
        # Groups by their number, independent literals by one of their own.
        group = int(literals.group[literal])
        members.setdefault(group if group >= 0 else -1 - literal, []).append(literal)
    bits = count(1)
    return [
        _Variable(tuple(found), tuple(next(bits) for _ in range(max(1, len(found).bit_length()))))
        for found in (members or {0: []}).values()
    ]


def _search(program: Derivations, outputs: np.ndarray, depth_first: bool) -> Iterator[int]:
    """Literals as a search from the outputs meets them, depth first or breadth first."""
    first = np.searchsorted(program.head, np.arange(program.num_nodes + 1)).tolist()
    left, right = program.left.tolist(), program.right.tolist()
    seen: set[int] = set()
    waiting = deque(outputs.tolist())
    while waiting:
        operand = waiting.popleft()
        if operand <= literal_operand(0):
            yield operand_literal(operand)
        elif operand >= 0 and operand not in seen:
            seen.add(operand)
            rows = range(first[operand], first[operand + 1])
            operands = [code for row in rows for code in (left[row], right[row])]
            if depth_first:
                waiting.extendleft(reversed(operands))
            else:
                waiting.extend(operands)


def _new_manager(variables: Sequence[_Variable], shape: _Shape) -> "SddManager":
    """A manager over a tree of the variables, each with a subtree for its bits."""
    try:
        from pysdd.sdd import SddManager, Vtree
    except ImportError as error:  # an extra that is not installed
        raise InputError(
            Diagnostic("the provenance `exact` needs a knowledge compiler", hint="pip install scallax[exact]")
        ) from error
    lines: list[str] = []

    def add(line: str) -> int:
        lines.append(f"{line[0]} {len(lines)}{line[1:]}")
        return len(lines) - 1

    def balance(parts: list[int]) -> int:
        if len(parts) == 1:
            return parts[0]
        middle = len(parts) // 2
        return add(f"I {balance(parts[:middle])} {balance(parts[middle:])}")

    parts = [balance([add(f"L {bit}") for bit in variable.bits]) for variable in variables]
    match shape:
        case _Shape.BALANCED:
            balance(parts)
        case _Shape.LINE:
            reduce(lambda rest, part: add(f"I {part} {rest}"), reversed(parts))
        case _:
            assert_never(shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "variables.vtree"
        path.write_text("\n".join([f"vtree {len(lines)}", *lines, ""]))
        return SddManager.from_vtree(Vtree.from_file(str(path)))


class _Compiler:
    """Diagrams of nodes, from the lowest up."""

    def __init__(self, variables: Sequence[_Variable], shape: _Shape, limits: CompilationLimits):
        self.manager = _new_manager(variables, shape)
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self.most_elements = 0
        self._sizes: dict[int, int] = {}
        self._num_done = self._num_nodes = 0
        self._constants = {ONE: self.manager.true(), ZERO: self.manager.false()}
        self._literals = {
            literal: self._outcome(variable, outcome)
            for variable in variables
            for outcome, literal in enumerate(variable.literals)
        }

    def _outcome(self, variable: _Variable, outcome: int) -> "SddNode":
        bits = [self.manager.literal(bit if outcome >> place & 1 else -bit) for place, bit in enumerate(variable.bits)]
        return reduce(self.manager.conjoin, bits)

    def compile(self, program: Derivations, outputs: np.ndarray) -> list["SddNode"]:
        """The diagrams of the outputs. `program` is sorted by head."""
        depth, cyclic = component_depths(program.num_nodes, program.head, program.left, program.right)
        heads = np.unique(program.head)
        order = heads[np.lexsort((heads, cyclic[heads], depth[heads]))]
        first = np.searchsorted(program.head, np.arange(program.num_nodes + 1)).tolist()
        rows = list(
            zip(
                *(program.head.tolist(), program.left.tolist(), program.right.tolist()),
                *(program.left_negated.tolist(), program.right_negated.tolist()),
                strict=True,
            )
        )
        # A diagram is let go after its last use.
        uses = np.bincount(
            np.concatenate([o[o >= 0] for o in (program.left, program.right, outputs)]), minlength=program.num_nodes
        ).tolist()
        nodes: dict[int, SddNode] = {}
        self._num_nodes, self._num_done = len(order), 0
        runs = np.flatnonzero(np.diff(depth[order] * 2 + cyclic[order], prepend=-1))
        for run in np.split(order, runs[1:]):
            if cyclic[run[0]]:
                self._iterate(run.tolist(), [row for node in run for row in rows[first[node] : first[node + 1]]], nodes)
            for node in run.tolist():
                derivations = rows[first[node] : first[node + 1]]
                if node not in nodes:
                    nodes[node] = self._any([self._conjunction(row, nodes) for row in derivations])
                self._num_done += 1
            for node in run.tolist():
                for _, *operands, _, _ in rows[first[node] : first[node + 1]]:
                    for operand in operands:
                        if operand >= 0:
                            uses[operand] -= 1
                            if not uses[operand]:
                                nodes.pop(operand, None)
        return [self._read(operand, False, nodes) for operand in outputs.tolist()]

    def _iterate(self, heads: list[int], rows: list[tuple], nodes: dict[int, "SddNode"]) -> None:
        """The least fixpoint of the nodes of cycles: what changed is joined to what uses it until nothing does."""
        false = self.manager.false()
        nodes.update(dict.fromkeys(heads, false))
        uses: dict[int, list[tuple]] = {}
        changed = dict.fromkeys(heads)
        for row in rows:
            for operand in row[1:3]:
                if operand in changed:
                    uses.setdefault(operand, []).append(row)
        for row in rows:
            nodes[row[0]] = self._any([nodes[row[0]], self._conjunction(row, nodes)])
        while changed:
            node = next(iter(changed))
            del changed[node]
            for row in uses.get(node, ()):
                joined = self._any([nodes[row[0]], self._conjunction(row, nodes)])
                if joined != nodes[row[0]]:
                    nodes[row[0]] = joined
                    changed[row[0]] = None

    def _read(self, operand: int, negated: bool, nodes: dict[int, "SddNode"]) -> "SddNode":
        if operand >= 0:
            # A node of no derivation is false.
            node = nodes.get(operand, self._constants[ZERO])
        elif operand <= literal_operand(0):
            node = self._literals[operand_literal(operand)]
        else:
            node = self._constants[operand]
        return self.manager.negate(node) if negated else node

    def _conjunction(self, row: tuple, nodes: dict[int, "SddNode"]) -> "SddNode":
        _, left, right, left_negated, right_negated = row
        return self._conjoin(self._read(left, left_negated, nodes), self._read(right, right_negated, nodes))

    def _any(self, diagrams: list["SddNode"]) -> "SddNode":
        return self._fold(diagrams, self._disjoin)

    def _fold(
        self, diagrams: list["SddNode"], join: Callable[["SddNode", "SddNode"], "SddNode"]
    ) -> "SddNode":
        """The disjunction, of pairs first: what is joined stays small for long."""
        while len(diagrams) > 1:
            self._check()
            rest = diagrams[len(diagrams) & ~1 :]
            diagrams = [join(a, b) for a, b in zip(diagrams[::2], diagrams[1::2], strict=False)] + rest
        return diagrams[0] if diagrams else self._constants[ZERO]

    def _disjoin(self, a: "SddNode", b: "SddNode") -> "SddNode":
        negate = self.manager.negate
        return negate(self._conjoin(negate(a), negate(b)))

    def _conjoin(self, a: "SddNode", b: "SddNode") -> "SddNode":
        """The conjunction. One call of the library cannot be interrupted: what may be long is cut into elements."""
        self._check()
        if self._size(a) * self._size(b) <= _MOST_STEPS:
            return self.manager.conjoin(a, b)
        upper, lower = a.vtree(), b.vtree()
        if upper == lower:
            pairs = [(p, s, q, r) for p, s in a.elements() for q, r in b.elements()]
            parts = [(self._conjoin(p, q), s, r) for p, s, q, r in pairs]
            return self._join([(p, self._conjoin(s, r)) for p, s, r in parts if not p.is_false()])
        if _is_below(upper, lower):
            a, b, upper, lower = b, a, lower, upper
        if not _is_below(lower, upper):
            # Of different variables.
            return self.manager.conjoin(a, b)
        if _is_below(lower, upper.left()):
            return self._join([(self._conjoin(prime, b), sub) for prime, sub in a.elements()])
        return self._join([(prime, self._conjoin(sub, b)) for prime, sub in a.elements()])

    def _join(self, elements: list[tuple["SddNode", "SddNode"]]) -> "SddNode":
        """The decision of elements whose primes exclude each other."""
        products = [self.manager.conjoin(prime, sub) for prime, sub in elements]
        return self._fold(products, self.manager.disjoin)

    def _size(self, diagram: "SddNode") -> int:
        if diagram.id not in self._sizes:
            self._sizes[diagram.id] = diagram.size()
        return self._sizes[diagram.id]

    def _check(self) -> None:
        elements = self.manager.live_size()
        if elements + self.manager.dead_size() > 2 * self._limits.elements:
            self.manager.garbage_collect()
            self._sizes.clear()
            elements = self.manager.live_size()
        self.most_elements = max(self.most_elements, elements)
        if elements > self._limits.elements or time.monotonic() > self._deadline:
            raise _LimitError(self._num_done, self._num_nodes)


def _is_below(lower: "Vtree", upper: "Vtree") -> bool:
    return type(lower).is_sub(lower, upper)


class _Circuit:
    """Decisions of diagrams as derivations, each once."""

    def __init__(self, manager: "SddManager", variables: Sequence[_Variable]):
        self._rows: list[tuple[int, int, int, bool, bool]] = []
        self._depths: list[int] = []
        self._found: dict[int, tuple[int, bool]] = {}
        self._masks: dict[int, int] = {}
        self._sets: dict[tuple[_Variable, int], tuple[int, bool]] = {}
        # By the place of a tree's node in order: the variable whose bits are below it.
        self._variables: dict[int, _Variable] = {}
        self._bits: dict[int, tuple[_Variable, int]] = {}
        for variable in variables:
            places = [manager.vtree_of_var(bit).position() for bit in variable.bits]
            self._variables |= dict.fromkeys(range(min(places), max(places) + 1), variable)
            self._bits |= {bit: (variable, place) for place, bit in enumerate(variable.bits)}

    def output(self, diagram: "SddNode") -> int:
        """The operand code of a diagram."""
        operand, negated = self._operand(diagram)
        return self._add([((operand, negated), (ONE, False))]) if negated else operand

    @property
    def cost(self) -> float:
        """Estimated microseconds of an evaluation: of its levels and of its derivations."""
        return 20.0 * max(self._depths, default=0) + 0.25 * len(self._rows)

    def derivations(self) -> Derivations:
        head, left, right, left_negated, right_negated = zip(*self._rows, strict=True) if self._rows else ((),) * 5
        return Derivations(
            len(self._depths),
            *(np.array(column, np.int64) for column in (head, left, right)),
            *(np.array(column, bool) for column in (left_negated, right_negated)),
        )

    def _add(self, products: Sequence[tuple[tuple[int, bool], tuple[int, bool]]]) -> int:
        node = len(self._depths)
        operands = [operand for pair in products for operand, _ in pair if operand >= 0]
        self._depths.append(1 + max((self._depths[operand] for operand in operands), default=0))
        self._rows += [(node, left, right, a, b) for (left, a), (right, b) in products]
        return node

    def _operand(self, diagram: "SddNode") -> tuple[int, bool]:
        """An operand code, and whether its complement is meant; of what is below first."""
        waiting = [diagram]
        while waiting:
            top = waiting[-1]
            if top.id in self._found:
                waiting.pop()
                continue
            variable = None if top.is_true() or top.is_false() else self._variables.get(top.vtree().position())
            if top.is_true() or top.is_false():
                self._found[top.id] = (ONE if top.is_true() else ZERO, False)
            elif variable is not None:
                self._found[top.id] = self._outcomes(variable, self._mask(variable, top))
            else:
                elements = [(prime, sub) for prime, sub in top.elements() if not sub.is_false()]
                missing = [part for pair in elements for part in pair if part.id not in self._found]
                if not missing:
                    products = [(self._found[prime.id], self._found[sub.id]) for prime, sub in elements]
                    self._found[top.id] = self._add(products), False
                waiting += missing
        return self._found[diagram.id]

    def _mask(self, variable: _Variable, diagram: "SddNode") -> int:
        """The outcomes of a diagram over bits of one variable, as a bit set."""
        everything = (2 << variable.none) - 1
        if diagram.is_true() or diagram.is_false():
            return everything if diagram.is_true() else 0
        if diagram.id not in self._masks:
            if diagram.is_literal():
                _, place = self._bits[abs(diagram.literal)]
                mask = sum(1 << outcome for outcome in range(variable.none + 1) if outcome >> place & 1)
                self._masks[diagram.id] = mask if diagram.literal > 0 else everything & ~mask
            else:
                masks = [self._mask(variable, p) & self._mask(variable, s) for p, s in diagram.elements()]
                self._masks[diagram.id] = reduce(lambda a, b: a | b, masks)
        return self._masks[diagram.id]

    def _outcomes(self, variable: _Variable, mask: int) -> tuple[int, bool]:
        """The probability of a set of outcomes: the sum of its members, or one minus that of the members left out."""
        negated = bool(mask >> variable.none & 1)
        members = [
            int(literal_operand(literal))
            for outcome, literal in enumerate(variable.literals)
            if bool(mask >> outcome & 1) != negated
        ]
        if not members:
            return ONE, False
        if len(members) == 1:
            return members[0], negated
        key = (variable, mask if not negated else ~mask)
        if key not in self._sets:
            self._sets[key] = self._add([((member, False), (ONE, False)) for member in members]), False
        return self._sets[key][0], negated
