"""Compilation of a ground program: a circuit for each of its parts, and that of the whole."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter

import numpy as np

from scallax.circuits.knowledge.arithmetic_circuit import (
    LEVEL_COST,
    PRODUCT_COST,
    ArithmeticCircuit,
    Operand,
    disjunction,
    event,
)
from scallax.circuits.knowledge.budget import MOST_VARIABLES, CompilationLimits, Deadline, LimitError, run_apart
from scallax.circuits.knowledge.decisions import Variable
from scallax.circuits.knowledge.diagrams import Builder, Diagrams, NoRoomError, Workshop, find_strata
from scallax.circuits.knowledge.modules import read_graph
from scallax.circuits.knowledge.parts import Disjunction, Division, Formula, Signed, divide
from scallax.circuits.knowledge.variable_orders import candidate_orders
from scallax.errors import Diagnostic, UnsupportedError
from scallax.grounding.derivations import ONE, ZERO, Derivations, Literals
from scallax.grounding.reachability import needed_derivations
from scallax.kernels.long_work import LongWork

_LOGGER = logging.getLogger(__name__)

_DEFAULT_LIMITS = CompilationLimits()
# Decisions of the first attempt, and how many times more each next one has.
_FEWEST_DECISIONS = 1 << 14
_GROWTH = 8
# How many times more decisions than the smallest diagrams others may have that are read, and on the way to them.
_HARDLY_MORE = 1.3
_WORTHWHILE = 8
# Decisions that are good enough; and those that take so long that other orders, none of which fitted into an eighth of
# the room, are not tried.
_FEW_DECISIONS = 256
_MANY_DECISIONS = 1 << 16
# The decisions, and the share of the time, that larger formulas may take in place of modules within modules.
_FOR_FLAT_DECISIONS = 1 << 17
_FOR_FLAT_TIME = 4
# At most: a leaf alone is a bit, and the members of a group share theirs.
_BITS_OF_LEAF = 2


def compile_circuit(
    derivations: Derivations, literals: Literals, outputs: np.ndarray, limits: CompilationLimits = _DEFAULT_LIMITS
) -> tuple[Derivations, np.ndarray]:
    """Derivations of a circuit, and the operands of `outputs` (int64 operand codes) in it.

    Folded with sum and product, and `1 - p` for a negated operand, they give each output's exact probability: facts are
    independent, those of one group exclude each other, and none of a group has what its members leave of 1. A cycle is
    the least fixpoint of its diagrams.

    Parts that share no fact have circuits of their own, and only those whose facts are used several times need
    diagrams. How large those are depends on the order of variables: several orders are tried with few decisions, with
    more if that is too little for all of them, and so on; of those that fit, the one whose circuit is evaluated fastest
    is taken.

    Raises `UnsupportedError` without the library, and over the limits.
    """
    used, _ = needed_derivations(derivations.num_nodes, derivations.head, derivations.left, derivations.right, outputs)
    num_nodes = len(np.unique(derivations.head[used]))
    progress = _Progress(num_nodes)
    deadline = Deadline(limits.seconds)
    try:
        deadline.check()
        graph = read_graph(derivations, literals, used, outputs)
        division = divide(graph)
        known: dict[tuple, ArithmeticCircuit] = {}
        circuit = _Compilation(division, known, limits.decisions, deadline, progress).run()
        if circuit.depth > limits.levels and LEVEL_COST * circuit.depth > PRODUCT_COST * len(circuit.rows):
            flat, few = divide(graph, limits.levels), min(limits.decisions, _FOR_FLAT_DECISIONS)
            # The limits may be too tight, and the library missing: there is a circuit already.
            with suppress(LimitError, UnsupportedError):
                other = _Compilation(flat, known, few, Deadline(limits.seconds / _FOR_FLAT_TIME), progress).run()
                circuit = min(circuit, other, key=lambda circuit: circuit.cost)
        progress.end()
        return _arrays(circuit)
    except LimitError as refusal:
        raise UnsupportedError(
            Diagnostic(
                f"the provenance `exact` takes more than {refusal} to compile this program: "
                f"{progress.num_done:,} of {num_nodes:,} nodes were done",
                hint="use `topkproofs`, which keeps the k most probable proofs: without negation and evidence its "
                "answers are too low by the worlds of other proofs alone, and rise with k; or ask for fewer outputs",
            )
        ) from None


class _Progress:
    """How many nodes of a program are done: `num_done`; the log is told."""

    def __init__(self, num_nodes: int):
        self.num_nodes = num_nodes
        self.num_done = 0
        self._work = LongWork(_LOGGER, f"knowledge compilation of {num_nodes:,} nodes")

    def update(self, num_missing: int) -> None:
        self.num_done = max(self.num_done, self.num_nodes - num_missing)
        self._work.tell(self._tell_how_far, self.num_done, self.num_nodes)

    def end(self) -> None:
        self._work.end(lambda: f"knowledge compilation of {self.num_nodes:,} nodes")

    def _tell_how_far(self) -> str:
        return f"knowledge compilation: {self.num_done:,} of {self.num_nodes:,} nodes"


class _Compilation:
    """The circuits of a program's parts, and that of the program. `known` are those of parts that are like others."""

    def __init__(
        self,
        division: Division,
        known: dict[tuple, ArithmeticCircuit],
        most_decisions: int,
        deadline: Deadline,
        progress: _Progress,
    ):
        self._division = division
        self._most_decisions = most_decisions
        self._deadline = deadline
        self._progress = progress
        self._circuits: list[ArithmeticCircuit | None] = [None] * len(division.parts)
        # The questions to each part: its roots, and whether they happen; by the place of the answer.
        self._asked: list[dict[tuple[int, bool], int]] = [{} for _ in division.parts]
        self._known = known
        self._workshops: dict[int, Workshop] = {}

    def run(self) -> ArithmeticCircuit:
        """The circuit of the program's outputs. `LimitError`."""
        formulas = [part for part in self._division.parts if isinstance(part, Formula)]
        if formulas:
            most = max(len(formula.leaves) for formula in formulas)
            run_apart(self._choose_circuits, _BITS_OF_LEAF * most, self._deadline)
        else:
            self._choose_circuits()
        return self._join_circuits()

    def _choose_circuits(self) -> None:
        """A circuit for all that is asked of each part, of those first that use others."""
        parts = self._division.parts
        missing = sum(part.num_nodes for part in parts if isinstance(part, Formula))
        for code, negated in self._division.outputs:
            self._ask(code, not negated)
        for place in reversed(range(len(parts))):
            part, asked = parts[place], tuple(self._asked[place])
            if asked:
                self._circuits[place] = circuit = self._circuit(part, asked, missing)
                for leaf, happens in circuit.events:
                    code, negated = _leaf(part, leaf)
                    self._ask(code, happens != negated)
            if isinstance(part, Formula):
                missing -= part.num_nodes

    def _ask(self, code: int, happens: bool) -> None:
        if code >= 0:
            value = self._division.values[code]
            asked = self._asked[value.part]
            asked.setdefault((value.root, happens), len(asked))

    def _circuit(
        self, part: Disjunction | Formula, asked: tuple[tuple[int, bool], ...], missing: int
    ) -> ArithmeticCircuit:
        """The circuit of a part; parts that differ in what their leaves stand for have the same."""
        if isinstance(part, Disjunction):
            key = len(part.events), asked
            if key not in self._known:
                self._known[key] = disjunction(len(part.events), [happens for _, happens in asked])
        else:
            key = part.rows, part.num_nodes, part.groups, part.roots, asked
            if key not in self._known:
                self._known[key] = self._compile(part, asked, missing)
        return self._known[key]

    def _compile(self, formula: Formula, asked: Sequence[tuple[int, bool]], missing: int) -> ArithmeticCircuit:
        if _BITS_OF_LEAF * len(formula.leaves) > MOST_VARIABLES:
            raise LimitError(f"{MOST_VARIABLES // _BITS_OF_LEAF:,} facts that decide together")
        strata, depths = find_strata(formula)
        orders = candidate_orders(formula, depths, any(stratum.is_cyclic for stratum in strata))
        most = min(_FEWEST_DECISIONS, self._most_decisions)

        def tell(num_done: int) -> None:
            self._progress.update(missing - num_done)

        while True:
            builder = Builder(formula, strata, self._workshop(most), self._deadline, tell)
            circuit = self._try_orders(builder, orders, asked)
            if circuit is not None:
                return circuit
            if most == self._most_decisions:
                raise LimitError(f"{self._most_decisions:,} decisions of diagrams over {len(formula.leaves):,} facts")
            most = min(_GROWTH * most, self._most_decisions)

    def _try_orders(
        self, builder: Builder, orders: Sequence[list[Variable]], asked: Sequence[tuple[int, bool]]
    ) -> ArithmeticCircuit | None:
        """The cheapest circuit of the smallest diagrams over some of the orders; None without room for any."""
        found: list[Diagrams] = []
        for variables in orders:
            fewest = min((diagrams.num_decisions for diagrams in found), default=builder.room)
            if found and not _FEW_DECISIONS < fewest <= _MANY_DECISIONS:
                break
            try:
                found.append(builder.build(variables, _WORTHWHILE * fewest))
            except NoRoomError:
                continue
        fewest = min((diagrams.num_decisions for diagrams in found), default=0)
        circuits = (
            builder.read(diagrams, asked) for diagrams in found if diagrams.num_decisions <= _HARDLY_MORE * fewest
        )
        return min(circuits, key=lambda circuit: circuit.cost, default=None)

    def _workshop(self, decisions: int) -> Workshop:
        if decisions not in self._workshops:
            self._workshops[decisions] = Workshop(decisions)
        return self._workshops[decisions]

    def _join_circuits(self) -> ArithmeticCircuit:
        """The circuits of all parts, those first that others use; leaves are literals."""
        whole = ArithmeticCircuit()
        answers: list[list[Operand]] = []

        def find(code: int, happens: bool) -> Operand:
            if code in (ONE, ZERO):
                return (ONE if (code == ONE) == happens else ZERO), False
            if code < 0:
                return code, not happens
            value = self._division.values[code]
            return answers[value.part][self._asked[value.part][value.root, happens]]

        for part, circuit in zip(self._division.parts, self._circuits, strict=True):
            if circuit is None:
                answers.append([])
                continue
            operand_of: dict[int, Operand] = {ONE: (ONE, False), ZERO: (ZERO, False)}
            for leaf, happens in circuit.events:
                code, negated = _leaf(part, leaf)
                operand_of[event(leaf, happens)[0]] = find(code, happens != negated)
            start = whole.num_sums

            def read(
                operand: int, negated: bool, start: int = start, operand_of: dict[int, Operand] = operand_of
            ) -> Operand:
                return (operand + start, negated) if operand >= 0 else operand_of[operand]

            for _, rows in groupby(circuit.rows, key=itemgetter(0)):
                products = [(read(left, a), read(right, b)) for _, left, right, a, b in rows]
                whole.add([pair for pair in products if (ZERO, False) not in pair])
            answers.append([read(*output) for output in circuit.outputs])
        whole.outputs = [find(code, not negated) for code, negated in self._division.outputs]
        return whole


def _leaf(part: Disjunction | Formula, leaf: int) -> Signed:
    """The operand that a leaf of a part's circuit stands for."""
    return part.events[leaf] if isinstance(part, Disjunction) else (part.leaves[leaf], False)


def _arrays(circuit: ArithmeticCircuit) -> tuple[Derivations, np.ndarray]:
    operands = [circuit.add([(output, (ONE, False))])[0] if output[1] else output[0] for output in circuit.outputs]
    columns = list(zip(*circuit.rows, strict=True)) if circuit.rows else [()] * 5
    head, left, right = (np.array(column, np.int64) for column in columns[:3])
    left_negated, right_negated = (np.array(column, bool) for column in columns[3:])
    derivations = Derivations(circuit.num_sums, head, left, right, left_negated, right_negated)
    return derivations, np.array(operands, np.int64)
