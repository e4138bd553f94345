"""The answers of a program: its relations with their tuples and tags."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.compile import compile_outputs, ground_program
from scallax.errors import Diagnostic, InputError, UnsupportedError, near_name
from scallax.evaluation.constant_weights import constant_weights
from scallax.facts.fact_table import FactTable
from scallax.facts.files import read_files
from scallax.facts.mappings import fit_tuples
from scallax.grounding.fixpoint import Grounding
from scallax.grounding.limits import DEFAULT_LIMITS, Limits, check_limits
from scallax.language import ir
from scallax.language.tensors import TensorInputs
from scallax.language.values import Value, ValueType
from scallax.provenance.traits import Traits, traits_of

if TYPE_CHECKING:  # discrete programs do without JAX
    from scallax.evaluation.computation import Computation
    from scallax.provenance.semirings import ObjectProvenance
    from scallax.provenance.traits import AbstractSemantics

# The provenances whose tags are no numbers: they are answered without JAX.
DISCRETE = ("unit", "bool")

# The command line's warning where nobody chose a provenance.
TAGS_LEFT_ASIDE = Diagnostic(
    "the program has probabilities, and the provenance `unit` leaves them aside",
    hint="`--provenance topkproofs` computes probabilities; `--provenance unit` silences this warning",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One relation, its tuples in value order, and their tags if the provenance has numbers for tags."""

    relation: ir.Relation
    tuples: Sequence[tuple[Value, ...]]
    tags: Sequence[float] | None


@dataclass(frozen=True, slots=True)
class Options:
    """How a program is answered; the names are those of `Reasoner`'s arguments.

    `custom` is the user's object if the provenance is `custom`.
    """

    provenance: str = "unit"
    k: int = 3
    wmc_with_disjunctions: bool = False
    iter_limit: int | None = None
    limits: Limits = DEFAULT_LIMITS
    custom: object = None

    def semantics(self) -> "AbstractSemantics":
        """The provenance with these options; imports JAX. InputError if there is none of the name."""
        from scallax.provenance.table import resolve_provenance

        return resolve_provenance(
            self.provenance, k=self.k, wmc_with_disjunctions=self.wmc_with_disjunctions, custom=self.custom
        )

    def traits(self) -> Traits:
        """The traits of the provenance with these options; imports JAX for a user's object alone. Raises the same."""
        if self.custom is not None:
            return self.semantics().traits
        return traits_of(self.provenance, k=self.k, wmc_with_disjunctions=self.wmc_with_disjunctions)

    @property
    def returns_proofs(self) -> bool:
        """Whether tags of tuples are pairs of a tag and its proofs."""
        return self.traits().returns_proofs

    @property
    def takes_objects(self) -> bool:
        """Whether tags of facts are any objects, which the user's semiring reads."""
        return self.traits().takes_objects


def read_options(
    provenance: object, custom_provenance: object, k: int, wmc_with_disjunctions: object, limits: Limits | None = None
) -> Options:
    """The options of a context; raises what a provenance with them raises. Imports JAX for a user's object alone.

    `provenance` is a name, or an object of a subclass of `scallax.Provenance`; `custom_provenance` is such an object or
    any semiring of Python objects, and then the name does not count.
    """
    if custom_provenance is not None or not isinstance(provenance, str):
        # As in `reasoner`.
        from scallax.provenance.table import name_provenance

        provenance, custom_provenance = name_provenance(provenance, custom_provenance)
    options = Options(
        str(provenance),
        k,
        wmc_with_disjunctions,  # pyright: ignore[reportArgumentType]  # checked right below
        limits=check_limits(limits),
        custom=custom_provenance,
    )
    return check_options(options)


def check_options(options: Options) -> Options:
    """The options; raises what a provenance with them raises."""
    if not isinstance(options.wmc_with_disjunctions, bool):
        raise InputError(f"`wmc_with_disjunctions` is {options.wmc_with_disjunctions!r}; it must be True or False")
    options.traits()
    return options


def answer(
    program: ir.Program, outputs: Sequence[str], options: Options, given: Sequence[FactTable] = ()
) -> list[Answer]:
    """The answers for `outputs`, in their order; every possible tuple is listed. `given` are facts with constant tags.

    Raises `InputError` for a relation or a provenance that does not exist, `StratificationError`, `GroundingError`, and
    `UnsupportedError` for proofs that are too many to count. `unit` and `bool` do not import JAX.
    """
    relations = {relation.name: relation for relation in program.relations}
    check_outputs(outputs, relations)
    if options.provenance not in DISCRETE:
        return _answer_numbers(program, [relations[name] for name in outputs], options, given)
    if options.provenance == "bool":
        program = _keep_true(program)
    given = [*file_facts(program), *given]
    if options.provenance == "bool":
        given = [_drop_false(facts) for facts in given]
    grounding = ground_program(
        program, traits_of("unit"), given, outputs, iter_limit=options.iter_limit, limits=options.limits
    )
    return [Answer(relations[name], grounding.tuples(name), None) for name in outputs]


def default_outputs(program: ir.Program) -> list[str]:
    """The queries of a program in order; without one, all relations that are filled and not hidden, by name."""
    if program.queries:
        return [query.name for query in program.queries]
    filled = {part.relation for part in (*program.facts, *program.rules)}
    # A `#` is in names that the analysis made.
    return sorted(r.name for r in program.relations if r.name in filled and not r.hidden and "#" not in r.name)


def has_number_tags(program: ir.Program) -> bool:
    """Whether facts, rules or files of facts have tags that are numbers."""
    tagged_facts = any(fact.tag is not None and not isinstance(fact.tag, bool) for fact in program.facts)
    tagged_rules = any(rule.tag is not None and rule.tag.type is not ValueType.BOOL for rule in program.rules)
    return tagged_facts or tagged_rules or any(file.has_probability for file in program.files)


def check_outputs(outputs: Sequence[str], relations: Sequence[str] | dict[str, ir.Relation]) -> None:
    """Raises `InputError` for the outputs that are no relations."""
    unknown = [name for name in outputs if name not in relations]
    if unknown:
        known = [name for name in relations if "#" not in name]
        listed = f"the relations are {', '.join(f'`{name}`' for name in sorted(known))}" if known else None
        raise InputError(
            *(
                Diagnostic(f"the program has no relation `{name}`", hint=near_name(name, known) or listed)
                for name in unknown
            )
        )


def file_facts(program: ir.Program) -> list[FactTable]:
    """The facts of the program's files. Raises `InputError` for what cannot be read or does not fit."""
    types = {relation.name: relation.columns for relation in program.relations}
    given = []
    for table in read_files(program):
        what = f"facts of `{table.relation}`"
        tuples = fit_tuples(table.tuples, types[table.relation], what, program.variants)
        given.append(FactTable.of(table.relation, tuples, table.tags))
    return given


def _keep_true(program: ir.Program) -> ir.Program:
    """The program without what is tagged false, as `bool` reads tags: false facts, and rows of rules with tag 0.

    A fact's tag that is a number counts as true.
    """
    facts = tuple(fact for fact in program.facts if fact.tag is not False)
    return replace(program, facts=facts, rules=tuple(map(_constrain_tag, program.rules)))


def _drop_false(facts: FactTable) -> FactTable:
    return facts.take([row for row, tag in enumerate(facts.tags) if tag is not False])


def _constrain_tag(rule: ir.Rule) -> ir.Rule:
    if rule.tag is None:
        return rule
    condition = rule.tag
    if condition.type is not ValueType.BOOL:
        zero = ir.Constant(0.0 if condition.type.is_float else 0, condition.type)
        condition = ir.Binary("!=", condition, zero, ValueType.BOOL, condition.span)
    return replace(rule, tag=None, body=(*rule.body, ir.Constraint(condition, condition.span)))


def _answer_numbers(
    program: ir.Program, outputs: Sequence[ir.Relation], options: Options, given: Sequence[FactTable]
) -> list[Answer]:
    # JAX takes a second to import, and discrete programs do without.
    from scallax.evaluation.batch import Arguments, Signature, evaluate_batch
    from scallax.evaluation.interpretation import most_proofs
    from scallax.facts.tag_warnings import check_domain
    from scallax.provenance.base import AbstractProvenance
    from scallax.provenance.semirings import ObjectProvenance
    from scallax.provenance.table import all_proofs

    provenance = options.semantics()
    names = [relation.name for relation in outputs]
    grounding = ground_program(
        program,
        provenance.traits,
        [*file_facts(program), *given],
        names,
        uniform_choices=provenance.traits.has_multivalued_variables,
        iter_limit=options.iter_limit,
        limits=options.limits,
        weigh=constant_weights(provenance),
    )
    check_domain(provenance.traits.domain, program, grounding.literals)
    operands = np.concatenate([np.zeros(0, np.int64), *(grounding.operands(name) for name in names)])
    if isinstance(provenance, ObjectProvenance):
        return _interpret(outputs, grounding, provenance, compile_outputs(grounding, provenance.traits, operands))
    assert isinstance(provenance, AbstractProvenance)
    if options.provenance == "probproofs":
        k = most_proofs(compile_outputs(grounding, all_proofs(provenance.name).traits, operands))
        provenance = replace(options, k=k).semantics()
        assert isinstance(provenance, AbstractProvenance)
    tags = np.zeros(0, np.float32)
    if len(operands):
        compiled = compile_outputs(grounding, provenance.traits, operands)
        signature = Signature(provenance, (), (), len(operands))
        tags = np.asarray(evaluate_batch(None, signature, compiled, Arguments(())))[0]
    if provenance.traits.refusal is not None and np.isnan(tags).any():
        raise UnsupportedError(provenance.traits.refusal)
    return _split(outputs, grounding, tags)


def _interpret(
    outputs: Sequence[ir.Relation], grounding: Grounding, provenance: "ObjectProvenance", compiled: Circuit
) -> list[Answer]:
    """All tuples with their numbers, or those that hold if tags say only whether they do."""
    from scallax.evaluation.interpretation import ABSENT, interpret

    semiring = provenance.semiring
    tags = interpret(semiring, compiled, [])
    answers, start = [], 0
    for relation in outputs:
        tuples = grounding.tuples(relation.name)
        found = tags[start : start + len(tuples)]
        if provenance.traits.output_dtype is np.bool_:
            held = [values for values, tag in zip(tuples, found, strict=True) if tag is not ABSENT]
            answers.append(Answer(relation, held, None))
        else:
            numbers = [float(semiring.recover(semiring.zero() if tag is ABSENT else tag)) for tag in found]
            answers.append(Answer(relation, tuples, numbers))
        start += len(tuples)
    return answers


def _split(outputs: Sequence[ir.Relation], grounding: Grounding, tags: np.ndarray) -> list[Answer]:
    answers, start = [], 0
    for relation in outputs:
        tuples = grounding.tuples(relation.name)
        found = tags[start : start + len(tuples)]
        answers.append(Answer(relation, tuples, read_numbers(found)))
        start += len(tuples)
    return answers


def read_numbers(tags: np.ndarray) -> list[float]:
    """Numbers of Python: of floats the shortest ones that are equal to the tags in float32."""
    return [float(str(tag)) for tag in tags] if tags.dtype.kind == "f" else tags.tolist()


def compute(
    program: ir.Program,
    outputs: Sequence[str],
    options: Options,
    given: Sequence[FactTable],
    tensors: TensorInputs | None = None,
) -> "Computation":
    """The tags of all tuples of `outputs` as a function of those of the `given` facts that are inputs. Imports JAX.

    `tensors` are those in facts, if gradients pass through some.
    """
    # As above.
    from scallax.evaluation.computation import Computation
    from scallax.provenance.base import AbstractProvenance

    provenance = options.semantics()
    if not isinstance(provenance, AbstractProvenance):
        hint = "give numbers, or choose a provenance of probabilities, such as `difftopkproofs`"
        raise UnsupportedError(
            Diagnostic(f"`{provenance.name}` has no derivatives: it takes no arrays for tags", hint=hint)
        )
    relations = {relation.name: relation for relation in program.relations}
    check_outputs(outputs, relations)
    return Computation(
        program,
        [relations[name] for name in outputs],
        [*file_facts(program), *given],
        provenance,
        uniform_choices=provenance.traits.has_multivalued_variables,
        iter_limit=options.iter_limit,
        limits=options.limits,
        tensors=tensors,
    )
