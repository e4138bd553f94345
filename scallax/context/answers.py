"""The answers of a program: its relations with their tuples, and their tags as numbers or objects of Python."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scallax.context.checked_programs import check_program
from scallax.context.options import Options
from scallax.context.tag_values import NumberTags
from scallax.errors import Diagnostic, InputError, near_name
from scallax.evaluation.derived_program import CheckedProgram, DerivedProgram
from scallax.language import ir
from scallax.language.values import Value, ValueType

if TYPE_CHECKING:  # discrete programs do without it
    from scallax.provenance.semirings import ObjectProvenance
    from scallax.provenance.traits import AbstractSemantics

# The command line's warning where nobody chose a provenance.
TAGS_LEFT_ASIDE = Diagnostic(
    "the program has probabilities, and the provenance `unit` leaves them aside",
    hint="`--provenance topkproofs` computes probabilities; `--provenance unit` silences this warning",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One relation, its tuples in value order, and their tags if the provenance has tags beyond truth."""

    relation: ir.Relation
    tuples: Sequence[tuple[Value, ...]]
    tags: Sequence[Any] | None


def answer(program: ir.Program, outputs: Sequence[str], options: Options) -> list[Answer]:
    """The answers for `outputs`, in their order; every possible tuple is listed.

    Raises `InputError` for a relation or a provenance that does not exist, `StratificationError`, `GroundingError`, and
    `UnsupportedError` for proofs that are too many to count.
    """
    return read_answers(derive(check_program(program, options), outputs), options)


def derive(checked: CheckedProgram, outputs: Sequence[str]) -> DerivedProgram:
    """The program with the derivations of all possible tuples of `outputs`. InputError for one that is no relation."""
    check_outputs(outputs, [relation.name for relation in checked.program.relations])
    return checked.derive(tuple((name, None) for name in outputs))


def read_answers(derived: DerivedProgram, options: Options, objects: Sequence[Any] = ()) -> list[Answer]:
    """The tuples of all outputs with their tags, which are numbers or Python objects, or None if tags are truth values.

    `objects` are the tags of facts under a semiring of Python objects, in the order of the inputs. Raises the errors of
    `answer`, and those of the semiring.
    """
    relations = {relation.name: relation for relation in derived.checked.program.relations}
    found = [(relations[output.relation], output.tuples) for output in derived.outputs]
    if options.is_discrete:
        return [Answer(relation, tuples, None) for relation, tuples in found]
    # Programs without probabilities do not wait for it.
    from scallax.context.computation import Computation
    from scallax.provenance.semirings import ObjectProvenance

    provenance = semantics_for(derived, options)
    if isinstance(provenance, ObjectProvenance):
        return _read_objects(found, _interpret(derived, provenance, objects), provenance)
    tags = np.asarray(Computation.of_run(derived, provenance, options.executor).evaluate(np.zeros(0, np.float32)))
    return [Answer(*answer, NumberTags(part)) for answer, part in zip(found, _split(derived, tags), strict=True)]


def semantics_for(derived: DerivedProgram, options: Options) -> "AbstractSemantics":
    """The provenance of the options; `probproofs`, which keeps all proofs, with as many as a tuple of the program has.

    UnsupportedError if a tuple has more than can be counted.
    """
    if options.provenance != "probproofs":
        return options.semantics()
    from scallax.evaluation.interpretation import most_proofs
    from scallax.provenance.table import all_proofs

    return replace(options, k=most_proofs(derived.circuit(all_proofs(options.provenance)))).semantics()


def _split(derived: DerivedProgram, tags: Any) -> list[Any]:
    """The tags of each output."""
    return [tags[output.start : output.start + len(output.tuples)] for output in derived.outputs]


def _interpret(derived: DerivedProgram, provenance: "ObjectProvenance", objects: Sequence[Any]) -> list[list[Any]]:
    """For each output the tags of its tuples: None for one that does not hold, else what the semiring recovers.

    UnsupportedError if the tags on a cycle do not settle, or the semiring asks for the value of a traced one.
    """
    from scallax.evaluation.interpretation import ABSENT, interpret, refuse_traced

    comparisons, tensors = derived.grounding.comparisons, derived.checked.tensors
    if comparisons:
        assert tensors is not None, "tensors that are compared are in facts"
        objects = [*objects, *tensors.compare(comparisons)]
    with refuse_traced(provenance):
        tags = interpret(provenance.semiring, derived.circuit(provenance), objects)
        return _split(derived, [None if tag is ABSENT else (provenance.semiring.recover(tag),) for tag in tags])


def _read_objects(
    outputs: Sequence[tuple[ir.Relation, Sequence[tuple]]],
    tags: Sequence[Sequence[tuple[Any] | None]],
    provenance: "ObjectProvenance",
) -> list[Answer]:
    """All tuples if tags are numbers; else the tuples that hold, with objects for tags, or None for truth values."""
    semiring, traits = provenance.semiring, provenance.traits
    answers = []
    for (relation, tuples), found in zip(outputs, tags, strict=True):
        if traits.takes_objects or traits.output_dtype is np.bool_:
            held = [(values, tag[0]) for values, tag in zip(tuples, found, strict=True) if tag is not None]
            objects = [tag for _, tag in held] if traits.takes_objects else None
            answers.append(Answer(relation, [values for values, _ in held], objects))
        else:
            absent = semiring.recover(semiring.zero())
            answers.append(Answer(relation, tuples, [float(absent if tag is None else tag[0]) for tag in found]))
    return answers


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


def check_outputs(outputs: Sequence[str], relations: Sequence[str]) -> None:
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
