"""A specification grounded once: what its outputs are, its parameters, and the ground programs that answer it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.compile import analyse_program, compile_outputs
from scallax.circuits.layout import has_parts
from scallax.circuits.literals import Literal
from scallax.circuits.serialized import SerializedProgram, columns_data, program_data, read_columns, read_program
from scallax.errors import CheckpointError, Diagnostic, InputError, Source, TypeInferenceError, UnsupportedError, warn
from scallax.evaluation.derived_program import CheckedProgram, DerivedProgram, Output
from scallax.evaluation.grounding_cache import SampleProgram
from scallax.evaluation.interpretation import most_proofs
from scallax.facts.arguments import Outputs, program_sources, show_facts, unknown_name
from scallax.facts.fact_checks import find_overfull_set, find_tag_outside
from scallax.facts.fact_table import FactTable
from scallax.facts.files import read_files
from scallax.facts.mappings import InputMapping, fit_entries, fit_tuples, typical_tuples
from scallax.facts.parameters import NO_PARAMETERS, Parameter, Parameters, find_parameters
from scallax.facts.specification import Specification
from scallax.facts.tables import Table, read_table
from scallax.grounding.derivations import ONE, ZERO, literal_operand
from scallax.grounding.fixpoint import Grounding
from scallax.grounding.limits import DEFAULT_LIMITS, Limits
from scallax.language import ir
from scallax.language.library import BUILT_IN, Library
from scallax.language.tag_domains import Domain
from scallax.language.values import ValueType
from scallax.planner.enumeration import enumerate_terms
from scallax.planner.strata import needed_relations
from scallax.provenance.custom import qualified_name
from scallax.provenance.table import all_proofs, resolve_provenance
from scallax.provenance.traits import AbstractSemantics
from scallax.syntax.imports import read_imports

Columns = Mapping[str, Sequence[ValueType]]


@dataclass(slots=True)
class CompiledProgram:
    """The data that is shared by reasoners that differ only in k and in the values of their parameters.

    `specification` has its mappings and facts fitted to the column types, which it names. `programs` are those made so
    far, by provenance. `library` is what the program is grounded with; None if its functions of Python are not known.
    `custom` is the user's provenance object, if the specification names one.
    """

    specification: Specification
    outputs: tuple[Output, ...]
    parameters: tuple[Parameter, ...]
    logit_groups: np.ndarray
    library: Library | None
    custom: object = None
    programs: dict[AbstractSemantics, Circuit] = field(default_factory=dict)
    limits: Limits = DEFAULT_LIMITS
    _refusals: dict[AbstractSemantics, tuple[Diagnostic, ...]] = field(default_factory=dict)
    _derived: DerivedProgram | None = None
    _samples: SampleProgram | None = None
    # Whether the first call, which may give facts of relations that nothing else fills, is still to come.
    _awaits_call: bool = False
    # Relations whose first array is still to be looked at: whether its entries exclude each other was not said.
    undeclared: set[str] = field(default_factory=set)
    # Whether outputs are given evidence.
    is_conditional: bool = False

    def provenance(self, specification: Specification) -> AbstractSemantics:
        """The provenance of the specification, or of one that differs in k; `probproofs` keeps as many as there are."""
        if specification.provenance == "probproofs":
            everything = self.program(all_proofs(specification.provenance))
            specification = replace(specification, k=most_proofs(everything))
        return provenance_of(specification, self.custom)

    @property
    def num_outputs(self) -> int:
        return sum(len(output.tuples) for output in self.outputs)

    @property
    def num_values(self) -> int:
        """The number of values of an evaluation: those of outputs and, behind them, that of the evidence."""
        return self.num_outputs + self.is_conditional

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of the parameters, in the order of an evaluator's logits."""
        return tuple(parameter.name for parameter in self.parameters)

    def program(self, provenance: AbstractSemantics) -> Circuit:
        """The arrays that answer the specification under a provenance; grounds again if only others are stored."""
        if provenance in self._refusals:
            raise UnsupportedError(*self._refusals[provenance])
        if provenance not in self.programs:
            derived = self._derive()
            try:
                self.programs[provenance] = derived.circuit(provenance)
            except UnsupportedError as error:
                # Exact inference may have tried for two minutes.
                self._refusals[provenance] = error.diagnostics
                raise
        return self.programs[provenance]

    def _derive(self) -> DerivedProgram:
        """The derivations; grounds again if only programs are stored."""
        if self._derived is None:
            library = self.require_library()
            self._derived = ground(self.specification, library, custom=self.custom, limits=self.limits)._derived
        assert self._derived is not None
        return self._derived

    def require_library(self) -> Library:
        """The library. CheckpointError if its functions of Python are not known."""
        if self.library is None:
            raise CheckpointError(
                Diagnostic(
                    f"what is stored does not answer this, and the program uses {_listed(self.specification.foreign)}",
                    hint="load it with `foreign=[…]`, so that it can be grounded",
                )
            )
        return self.library

    def literals(self, provenance: AbstractSemantics) -> list[Literal]:
        """The meaning of the literals of `program(provenance)`, row by row; grounds again if it was stored."""
        names = self._derive().literals(provenance)
        program = self.program(provenance)
        if not len(program.literals.ids):
            del self.programs[provenance]
            program = self.program(provenance)
        return [names[i] for i in program.literals.ids if i >= 0]

    def await_call(self) -> None:
        """Lets the first call warn of relations that nothing fills."""
        self._awaits_call = True

    def warn_of_empty(self, given: Collection[str]) -> None:
        """At the first awaited call, one warning of all relations that neither the program nor the call fills."""
        if not self._awaits_call:
            return
        self._awaits_call = False
        texts = [str(warning) for name, warning in self._derive().checked.program.undefined if name not in given]
        if texts:
            warn("\n\n".join(texts))

    def draws_per_sample(self) -> bool:
        """Whether an output may depend on an aggregator that draws among facts that calls give.

        Not known of what is stored without the program.
        """
        if self._derived is None:
            return False
        program = self._derived.checked.program
        names = [output.relation for output in self.outputs if _is_open(program, self.specification, output.relation)]
        needed = needed_relations(program, names)
        return any(
            isinstance(literal, ir.Reduce) and literal.op in ("uniform", "categorical")
            for rule in program.rules
            if rule.relation in needed
            for literal in rule.body
        )

    @property
    def samples(self) -> SampleProgram:
        """The grounder for batches of facts per sample."""
        if self._samples is None:
            specification = self.specification
            self._samples = SampleProgram(
                replace(self._derive().checked, given=_given_facts(specification)),
                specification.call_mappings,
                frozenset(specification.non_probabilistic),
                # A batch that was ground for one executor is evaluated by the other as well.
                replace(specification, executor="jax").digest,
            )
        return self._samples

    def with_outputs(self, outputs: Outputs, keyed: bool) -> "CompiledProgram":
        """The same specification with other outputs, grounded for them; groundings of facts per sample are shared."""
        specification = replace(self.specification, outputs=outputs, keyed=keyed)
        grounded = ground(specification, self.require_library(), custom=self.custom, limits=self.limits)
        grounded._samples = self.samples
        grounded._awaits_call = self._awaits_call
        grounded.undeclared = self.undeclared
        return grounded

    def trace(self) -> tuple[ir.Program, Grounding]:
        """The program, and its grounding in which certain tuples keep their derivations."""
        checked = self._derive().checked
        return checked.program, checked.ground([output.relation for output in self.outputs], collapse_certain=False)

    def condition(self) -> tuple[ir.Program, Grounding, int]:
        """The program, its grounding with what may be observed, and the operand of that; ONE if nothing is."""
        derived = self._derive()
        operand = int(derived.operands[-1]) if derived.checked.is_conditional else ONE
        return derived.checked.program, derived.grounding, operand

    def selections(self, grounding: Grounding, provenance: AbstractSemantics) -> tuple[np.ndarray, Circuit]:
        """The literals of a grounding of this program that are selections, by id, and the circuit of their values."""
        assert self._derived is not None
        ids = np.concatenate([np.zeros(0, np.int64), *(selections.literals for selections in grounding.selection_sets)])
        return ids, compile_outputs(
            grounding, provenance.traits, literal_operand(ids), self._derived.checked.parameters
        )

    def warnings(self) -> list[str]:
        """Texts of what is allowed but hardly meant: one of each kind, and one for each output that lists such tuples.

        Relations that nothing fills are left to the first call, which may give facts of them.
        """
        derived = self._derived
        assert derived is not None
        program = derived.checked.program
        undefined = [warning for _, warning in program.undefined]
        problems = [warning for warning in program.warnings if warning not in undefined]
        texts = ["\n\n".join(map(str, problems))] if problems else []
        provenance = provenance_of(self.specification, self.custom)
        if provenance.traits.domain is Domain.PROBABILITY and not provenance.traits.is_discrete:
            found = [find_tag_outside(program, _given_tags(self.specification))]
            if provenance.traits.is_log and found[0] is not None:
                raise InputError(found[0])
            if provenance.traits.has_multivalued_variables:
                found.append(find_overfull_set(program, provenance.traits.prior))
            texts += [str(problem) for problem in found if problem is not None]
        for output in self.outputs:
            if _is_open(program, self.specification, output.relation):
                continue
            operands = derived.operands[output.start : output.start + len(output.tuples)]
            never = [t for t, operand in zip(output.tuples, operands, strict=True) if operand == ZERO]
            if never:
                shown = show_facts(output.relation, never)
                texts.append(f"no rule can derive {shown}: always {provenance.absent:.10g} in the output")
        return texts

    def serialized(self) -> SerializedProgram:
        """The circuits for every k that the specification names, and all else that answering needs, as data."""
        programs, arrays = [], {}
        specification = self.specification
        for k in dict.fromkeys((specification.k, specification.train_k, specification.test_k)):
            if k is not None:
                program, parts = program_data(self.program(self.provenance(replace(specification, k=k))))
                arrays |= {f"program.{len(programs)}.{name}": array for name, array in parts.items()}
                programs.append({"k": k, "program": program})
        listed = {}
        for output in self.outputs:
            if output.is_listed:
                listed[output.relation], parts = columns_data(output.tuples, _types(specification, output.relation))
                arrays |= {f"output.{output.relation}.{name}": array for name, array in parts.items()}
        parameters = [{"name": parameter.name, "num_facts": parameter.num_facts} for parameter in self.parameters]
        arrays |= {f"parameter.{parameter.name}": parameter.initial for parameter in self.parameters}
        arrays["logit_groups"] = self.logit_groups
        return SerializedProgram({"programs": programs, "listed": listed, "parameters": parameters}, arrays)


def _is_open(program: ir.Program, specification: Specification, output: str) -> bool:
    """Whether an output depends on a relation without facts or rules, whose facts calls may give."""
    filled = {fact.relation for fact in program.facts} | {rule.relation for rule in program.rules}
    filled |= {name for name, _ in (*specification.facts, *specification.input_mappings)}
    listing = enumerate_terms(program)
    listed = {schema.name for schema in listing.relations if schema.constructor is not None}
    needed = needed_relations(listing, [output])
    if not listed.isdisjoint(needed):
        # A rule that asks for any known term depends on all facts that have terms.
        needed |= {schema.name for schema in program.relations if ValueType.ENTITY in schema.columns}
    return not needed <= filled | listed


def restore(
    specification: Specification, stored: SerializedProgram, library: Library | None, custom: object = None
) -> CompiledProgram:
    """The compiled program that was serialized, of this specification. CheckpointError if the data are damaged."""
    check_custom(specification, custom)
    try:
        return _restore(specification, stored, library, custom)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # crafted data: names or kinds are others
        raise CheckpointError(f"the stored grounding is damaged: {error!r}") from error


def _restore(
    specification: Specification, stored: SerializedProgram, library: Library | None, custom: object
) -> CompiledProgram:
    outputs, start = [], 0
    for name, entries in specification.outputs:
        tuples = entries.tuples if entries is not None else ()
        if entries is None:
            tuples = read_columns(
                stored.data["listed"][name], _under(stored, f"output.{name}."), _types(specification, name)
            )
        outputs.append(Output(name, tuples, start, entries is not None and entries.shape == (), entries is None))
        start += len(tuples)
    programs, is_conditional = {}, False
    for number, item in enumerate(stored.data["programs"]):
        program = read_program(item["program"], _under(stored, f"program.{number}."))
        is_conditional |= program.evidence is not None
        if len(program.outputs) < start + is_conditional:
            raise CheckpointError("the stored grounding is of other outputs")
        provenance = provenance_of(replace(specification, k=item["k"]), custom)
        if not has_parts(program, provenance.traits):
            raise CheckpointError("the stored grounding is of another provenance")
        programs[provenance] = program
    parameters = tuple(
        Parameter(item["name"], stored.arrays[f"parameter.{item['name']}"], item["num_facts"])
        for item in stored.data["parameters"]
    )
    return CompiledProgram(
        specification,
        tuple(outputs),
        parameters,
        stored.arrays["logit_groups"],
        library,
        custom,
        programs,
        is_conditional=is_conditional,
    )


def _under(stored: SerializedProgram, prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: array for name, array in stored.arrays.items() if name.startswith(prefix)}


def _types(specification: Specification, relation: str) -> list[ValueType]:
    return [ValueType(name) for name in dict(specification.column_types)[relation]]


def check_foreign(specification: Specification, library: Library) -> None:
    """CheckpointError unless the library has everything that the saved program uses, as it was declared."""
    here = library.declarations
    missing = [declaration for declaration in specification.foreign if declaration not in here]
    if not missing:
        return
    by_name = {_name(declaration): declaration for declaration in here}
    problems = []
    for declaration in missing:
        other = by_name.get(_name(declaration))
        if other is None:
            hint = "pass it when loading: `foreign=[…]`; code is not saved"
            problems.append(Diagnostic(f"the saved program uses the {declaration}, which is not passed", hint=hint))
        else:
            message = f"the saved program uses the {declaration}, but what is passed is the {other}"
            problems.append(Diagnostic(message, hint="pass the one that it was saved with"))
    raise CheckpointError(*problems)


def _name(declaration: str) -> str:
    """The kind and the name in a declaration."""
    return declaration.partition("(")[0].partition("<")[0].replace("fold ", "aggregate ")


def _listed(declarations: Sequence[str]) -> str:
    return ", ".join(f"the {declaration}" for declaration in declarations)


def provenance_of(specification: Specification, custom: object = None) -> AbstractSemantics:
    """The provenance that a specification names, with its options; `custom` is the user's object, if it names one."""
    return resolve_provenance(
        specification.provenance,
        k=specification.k,
        wmc_with_disjunctions=specification.wmc_with_disjunctions,
        absorb=specification.absorb,
        custom=custom,
        log=specification.log,
    )


def check_custom(specification: Specification, custom: object) -> None:
    """CheckpointError if the specification names a user's provenance and the object is none of that class."""
    if specification.custom is None:
        return
    given = None if custom is None else qualified_name(custom)
    if given != specification.custom:
        what = "it was not given" if given is None else f"`{given}` was given"
        hint = "give an object of that class as `custom_provenance=`"
        raise CheckpointError(
            Diagnostic(f"saved with the custom provenance `{specification.custom}`; {what}", hint=hint)
        )


def ground(
    specification: Specification,
    library: Library = BUILT_IN,
    sources: Sequence[Source] | None = None,
    *,
    custom: object = None,
    limits: Limits = DEFAULT_LIMITS,
) -> CompiledProgram:
    """Everything that is done once: analysis, the check of mappings and facts against column types, grounding.

    `library` has the functions that the program may call, `custom` is the user's provenance object, if the
    specification names one. `sources` are those of the specification, with the names that errors show; only with them
    files of facts are read.
    """
    program = _analyse(specification, program_sources(specification) if sources is None else sources, library)
    columns = {relation.name: relation.columns for relation in program.relations}
    if sources is not None:
        # Files were read when the specification was made, which alone is grounded.
        specification = _with_files(specification, program)
    specification = replace(specification, foreign=program.foreign)
    specification = _fit(_with_outputs(specification, program), columns, program.variants)
    provenance = provenance_of(specification, custom)
    parameters = _find_parameters(specification, program, columns, provenance)
    given = [*_given_facts(specification), *_given_inputs(specification.input_mappings)]
    observed = {name: mapping.tuples for name, mapping in specification.evidence}
    checked = CheckedProgram(
        program, given, provenance, parameters, specification.iter_limit, limits, observed=observed
    )
    derived = checked.derive(specification.outputs)
    return CompiledProgram(
        specification,
        derived.outputs,
        parameters.arrays,
        parameters.groups,
        library,
        custom,
        limits=limits,
        _derived=derived,
        undeclared=_undeclared(specification, provenance),
        is_conditional=checked.is_conditional,
    )


def _analyse(specification: Specification, sources: Sequence[Source], library: Library) -> ir.Program:
    examples: dict[str, list[tuple]] = {}
    for relation, facts in specification.facts:
        examples.setdefault(relation, []).extend(values for _, values in facts)
    for relation, mapping in (*specification.input_mappings, *specification.evidence):
        examples.setdefault(relation, []).extend(mapping.tuples)
    try:
        typical = {relation: typical_tuples(tuples) for relation, tuples in examples.items()}
        return analyse_program(sources, typical, library)
    except TypeInferenceError:
        # If the program is right by itself, the mappings and facts are to blame: say which entry.
        alone = analyse_program(sources, {}, library)
        _fit(specification, {relation.name: relation.columns for relation in alone.relations}, alone.variants)
        raise


def with_read(
    specification: Specification, file_name: str, tables: Mapping[str, Table], library: Library
) -> tuple[Specification, list[Source]]:
    """The specification with what its program imports and the rows of tables, by relation, as further facts.

    Also the texts of the program. InputError for what cannot be read or does not fit.
    """
    imported = read_imports(program_sources(specification, file_name))
    specification = replace(specification, imports=tuple((part.name, part.text) for part in imported))
    sources = program_sources(specification, file_name)
    if not tables:
        return specification, sources
    relations = {relation.name: relation for relation in _analyse(specification, sources, library).relations}
    facts = dict(specification.facts)
    for name, table in tables.items():
        if name not in relations:
            raise unknown_name(f"facts of `{name}`: the program has no relation `{name}`", name, relations)
        facts[name] = (*facts.get(name, ()), *read_table(table, relations[name]).pairs)
    return replace(specification, facts=tuple(sorted(facts.items()))), sources


def _with_files(specification: Specification, program: ir.Program) -> Specification:
    """The specification with the facts of the program's files, in front of those that it has."""
    facts: dict[str, list] = {}
    for table in read_files(program):
        facts.setdefault(table.relation, []).extend(table.pairs)
    if not facts:
        return specification
    for relation, given in specification.facts:
        facts.setdefault(relation, []).extend(given)
    return replace(specification, facts=tuple((name, tuple(found)) for name, found in sorted(facts.items())))


def _with_outputs(specification: Specification, program: ir.Program) -> Specification:
    """The specification with the program's queries for outputs if it names none."""
    if specification.outputs:
        return specification
    queries = tuple((query.name, None) for query in program.queries)
    return replace(specification, outputs=queries, keyed=len(queries) > 1)


def _undeclared(specification: Specification, provenance: AbstractSemantics) -> set[str]:
    """The relations that are expected to exclude each other where probabilities are exact, if it was not said."""
    if not provenance.traits.is_compiled:
        return set()
    mappings = specification.input_mappings
    return {name for name, mapping in mappings if not mapping.is_declared and len(mapping.tuples) > 1}


def _fit(specification: Specification, columns: Columns, variants: Sequence[ir.Variant]) -> Specification:
    """The specification with mappings and facts as values of the column types."""

    def fit_mappings(given: Sequence[tuple[str, InputMapping]], what: str) -> tuple[tuple[str, InputMapping], ...]:
        mappings = []
        for relation, mapping in given:
            whose = f"{what} of `{relation}`"
            entries = fit_entries(mapping.entries, _columns_of(relation, columns, whose), whose, variants)
            mappings.append((relation, InputMapping(entries, **mapping.options)))
        return tuple(mappings)

    mappings = fit_mappings(specification.input_mappings, "input mapping")
    evidence = fit_mappings(specification.evidence, "evidence")
    facts = []
    for relation, given in specification.facts:
        what = f"facts of `{relation}`"
        types, tags = _columns_of(relation, columns, what), [tag for tag, _ in given]
        tuples = fit_tuples([values for _, values in given], types, what, variants, tags)
        facts.append((relation, tuple((tag, values) for (tag, _), values in zip(given, tuples, strict=True))))
    outputs = []
    for relation, entries in specification.outputs:
        what = f"output mapping of `{relation}`"
        types = _columns_of(relation, columns, what)
        outputs.append((relation, None if entries is None else fit_entries(entries, types, what, variants)))
    for relation in specification.non_probabilistic:
        _columns_of(relation, columns, "`non_probabilistic`")
    doors = dict.fromkeys(name for name, _ in [*mappings, *evidence, *facts, *outputs])
    return replace(
        specification,
        input_mappings=mappings,
        evidence=evidence,
        facts=tuple(facts),
        outputs=tuple(outputs),
        column_types=tuple((name, tuple(map(str, columns[name]))) for name in sorted(doors)),
    )


def _columns_of(relation: str, columns: Columns, what: str) -> Sequence[ValueType]:
    if not isinstance(relation, str) or relation not in columns:
        raise unknown_name(f"{what}: the program has no relation `{relation}`", relation, columns)
    return columns[relation]


def _find_parameters(
    specification: Specification, program: ir.Program, columns: Columns, provenance: AbstractSemantics
) -> Parameters:
    if not specification.trainable:
        return NO_PARAMETERS
    if provenance.traits.is_discrete or provenance.traits.domain is Domain.COST:
        hint = "choose a provenance of probabilities, such as `difftopkproofs`"
        raise InputError(Diagnostic(f"`trainable`: `{provenance.name}` has no probabilities to train", hint=hint))
    for relation in specification.trainable:
        _columns_of(relation, columns, "`trainable`")
    return find_parameters(
        program, _given_tags(specification), specification.trainable, provenance.traits.keeps_bool_tags
    )


def _given_tags(specification: Specification) -> list[FactTable]:
    return [
        FactTable.of(relation, [values for _, values in facts], [tag for tag, _ in facts])
        for relation, facts in specification.facts
    ]


def _given_facts(specification: Specification) -> list[FactTable]:
    return [
        FactTable.of(relation, [values for _, values in facts], tags=[tag for tag, _ in facts])
        for relation, facts in specification.facts
    ]


def _given_inputs(mappings: Sequence[tuple[str, InputMapping]]) -> list[FactTable]:
    given, start = [], 0
    for relation, mapping in mappings:
        positions = np.arange(start, start + len(mapping.tuples), dtype=np.int64)
        given.append(FactTable.of(relation, mapping.tuples, inputs=positions, groups=mapping.groups))
        start += len(mapping.tuples)
    return given
