"""A checked program and its derivations: the one way from a specification, or from a context's draft, to a circuit.

A reasoner and a context differ in how they make a `CheckedProgram`. Everything after it is the same: it is ground, its
outputs are found, and circuits are made of them. Nothing here imports JAX.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.compile import (
    compile_outputs,
    ground_program,
    prepare_samples,
)
from scallax.circuits.conditioning import NUM_CASES, MoreNodes
from scallax.circuits.fact_literals import tag_facts
from scallax.circuits.literals import Literal, name_literals
from scallax.errors import Diagnostic, UnsupportedError
from scallax.evaluation.constant_weights import constant_weights
from scallax.facts.arguments import Outputs
from scallax.facts.fact_checks import check_domain
from scallax.facts.fact_table import FactTable
from scallax.facts.mappings import Tuples
from scallax.facts.parameters import NO_PARAMETERS, Parameters
from scallax.facts.specification import evidence_of
from scallax.grounding.derivations import literal_operand
from scallax.grounding.fixpoint import FactSet, Grounding, SampleGrounder
from scallax.grounding.limits import DEFAULT_LIMITS, Limits
from scallax.language import ir
from scallax.language.tensors import TensorInputs
from scallax.language.values import Value
from scallax.provenance.traits import AbstractSemantics, Gradient, Traits


@dataclass(frozen=True, slots=True)
class Output:
    """One output relation and its place among all output tuples.

    `is_single`: one tuple was asked for, the value has no axis for tuples; `is_listed`: every possible tuple was asked
    for, the tuples are returned with their values.
    """

    relation: str
    tuples: Sequence[tuple[Value, ...]]
    start: int
    is_single: bool
    is_listed: bool


@dataclass(frozen=True, slots=True)
class CheckedProgram:
    """A program that is ready to be ground: its rules, the facts that Python gives, and the provenance that reads tags.

    `given` are facts whose values fit the columns; those with `inputs` take their tags from each evaluation.
    `parameters` are those that are trained. `tensors` are those in facts, if gradients may pass through some.
    `observed` are, by relation, the tuples that each evaluation may say of whether they hold; its inputs for them come
    behind those of facts, three for each tuple (`circuits.conditioning`).
    """

    program: ir.Program
    given: Sequence[FactTable]
    provenance: AbstractSemantics
    parameters: Parameters = NO_PARAMETERS
    iter_limit: int | None = None
    limits: Limits = DEFAULT_LIMITS
    tensors: TensorInputs | None = None
    observed: Mapping[str, Tuples] = field(default_factory=dict)

    @property
    def is_conditional(self) -> bool:
        """Whether outputs are given evidence."""
        return bool(self.program.evidence or self.observed)

    @property
    def evidence_relations(self) -> list[str]:
        """The relations that evidence is of. UnsupportedError if the provenance does not know how to use it."""
        if self.is_conditional and not self.provenance.traits.conditions:
            span = self.program.evidence[0].span if self.program.evidence else None
            hint = "choose `exact`, or proofs such as `topkproofs`, which approximate it"
            message = f"`{self.provenance.name}` has no probabilities given evidence"
            raise UnsupportedError(Diagnostic(message, span, hint))
        return [*(part.relation for part in self.program.evidence), *self.observed]

    @property
    def observed_inputs(self) -> dict[str, tuple[str, Tuples]]:
        """By name among the inputs of a call, the relation and the tuples of which it says whether they hold."""
        return {evidence_of(relation): (relation, tuples) for relation, tuples in self.observed.items()}

    @property
    def num_inputs(self) -> int:
        """The number of facts whose tags are inputs."""
        return sum(facts.num_facts for facts in self.given if facts.inputs is not None)

    def ground(self, outputs: Sequence[str], collapse_certain: bool = True) -> Grounding:
        """The tuples of the relations `outputs`, and of those that they depend on, with their derivations.

        With `collapse_certain` tuples that hold whatever the facts have no derivations. Raises `StratificationError`,
        `GroundingError`, and `UnsupportedError` where weights are asked for that the provenance does not have.
        """
        return ground_program(
            self.program,
            self.provenance.traits,
            self.given,
            outputs,
            parameters=self.parameters,
            uniform_choices=self.provenance.traits.has_multivalued_variables,
            iter_limit=self.iter_limit,
            limits=self.limits,
            collapse_certain=collapse_certain,
            weigh=constant_weights(self.provenance),
            tensors=self.tensors,
        )

    def derive(self, outputs: Outputs) -> "DerivedProgram":
        """The program ground for its outputs: by relation the tuples that are asked for, None for all possible ones.

        Raises what `ground` raises, and `InputError` for a tag that the provenance cannot read.
        """
        names = [*(name for name, _ in outputs), *self.evidence_relations]
        grounding = self.ground(list(dict.fromkeys(names)))
        found, operands, start = [], [np.zeros(0, np.int64)], 0
        for name, entries in outputs:
            tuples = grounding.tuples(name) if entries is None else entries.tuples
            # The tuples of a listing may hold NaN, which no look-up finds.
            operands.append(grounding.operands(name, None if entries is None else tuples))
            found.append(Output(name, tuples, start, entries is not None and entries.shape == (), entries is None))
            start += len(tuples)
        check_domain(self.provenance.traits.domain, self.program, grounding.literals)
        if self.is_conditional:
            grounding, evidence = self._with_evidence(grounding)
            operands.append(evidence)
        return DerivedProgram(self, grounding, tuple(found), np.concatenate(operands))

    def _with_evidence(self, grounding: Grounding) -> tuple[Grounding, np.ndarray]:
        """The grounding with what was observed as a node more, and that node's operand `[1]`."""
        first, literals = len(grounding.literals), grounding.literals
        parts = [grounding.operands(part.relation, ((),)) for part in self.program.evidence]
        more = MoreNodes(grounding.derivations)
        for relation, tuples in self.observed.items():
            cases = np.arange(NUM_CASES * len(tuples))
            literals = literals.with_inputs(self.num_inputs + len(literals) - first + cases)
            operands = literal_operand(len(literals) - len(cases) + cases)
            parts.append(more.observe(grounding.operands(relation, tuples), operands.reshape(-1, NUM_CASES)))
        evidence = more.conjoin(np.concatenate(parts)[None])
        return replace(grounding, derivations=more.derivations(), literals=literals), evidence

    def prepare_samples(self, outputs: Sequence[str], sampled: Sequence[str]) -> SampleGrounder:
        """The grounder of batches whose samples have facts of their own for the relations `sampled`.

        Everything that does not depend on them is ground here. Raises what `ground` raises.
        """
        return prepare_samples(
            self.program,
            self.provenance.traits,
            self.given,
            outputs,
            sampled,
            parameters=self.parameters,
            uniform_choices=self.provenance.traits.has_multivalued_variables,
            iter_limit=self.iter_limit,
            limits=self.limits,
            weigh=constant_weights(self.provenance),
        )

    def tag_facts(self, traits: Traits | None = None) -> list[tuple[str, FactSet]]:
        """All facts by relation, with the operands that grounding gives them; those of another provenance if given."""
        return tag_facts(self.program, traits or self.provenance.traits, self.given, self.parameters)


@dataclass(frozen=True, slots=True)
class DerivedProgram:
    """A program with its derivations, from which the circuits of all provenances are made.

    `operands` int64 `[tuples]` are those of the tuples of all `outputs`, one output after the other, and then that of
    the evidence, if there is some.
    """

    checked: CheckedProgram
    grounding: Grounding
    outputs: tuple[Output, ...]
    operands: np.ndarray

    def circuit(self, provenance: AbstractSemantics, *, differentiable: bool = True) -> Circuit:
        """The arrays that give the tags of all output tuples under a provenance, and their gradients if that is wanted.

        `UnsupportedError` where the provenance has no weights that an aggregate asks for, or counts too many proofs.
        """
        traits = provenance.traits
        if not differentiable and traits.gradient is Gradient.PRODUCT:
            traits = replace(traits, gradient=Gradient.NONE)
        count, evidence = len(self.operands), None
        if self.checked.is_conditional:
            evidence = np.full(count, count - 1)
        return compile_outputs(self.grounding, traits, self.operands, self.checked.parameters, evidence=evidence)

    def literals(self, provenance: AbstractSemantics) -> list[Literal]:
        """By number, the fact or choice that each literal of the derivations stands for."""
        return name_literals(self.checked.program, self.checked.tag_facts(provenance.traits), self.grounding)
