"""A program that is built step by step, run, and run again after new facts and rules, for tags of any framework."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from scallax.context.answer_files import write_answer_files
from scallax.context.building import AbstractBuilder, ContextState
from scallax.context.collection import Collection
from scallax.context.draft import Batches, Draft, computed_relations, is_written
from scallax.context.fact_reading import TagReader, check_tags, read_samples
from scallax.context.options import check_options
from scallax.context.pickling import check_class, reference_to
from scallax.context.run import compute_collections, compute_samples, find_warnings, outdated_relations
from scallax.errors import Diagnostic, InputError, UnsupportedError, checks_calls, counted, warn
from scallax.facts.arguments import read_by_relation, read_names
from scallax.facts.fact_table import FactTable
from scallax.facts.sample_facts import batch_size
from scallax.language.tensors import TensorValue
from scallax.planner.plan import plan
from scallax.syntax.parser import parse
from scallax.syntax.printer import print_program

if TYPE_CHECKING:  # a context without probabilities does not wait for it
    from scallax.context.computation import Computation
    from scallax.reasoner.proofs import Explanation
    from scallax.reasoner.reasoner import Reasoner
    from scallax.reasoner.worlds import Draws, Query, World


@checks_calls
class AbstractContext(AbstractBuilder):
    """A program with facts: add to it, `run()` it, read its relations; then add more and run it again.

    A step that raises leaves the context as it was. A provenance without tags (`unit`, `proofs`) takes tuples for facts
    and gives tuples; the others take and give pairs `(tag, tuple)`, where None for a tag means certain.
    """

    @abstractmethod
    def evaluate(self, computation: "Computation", tags: Sequence[object]) -> Any:
        """The tags of all tuples of a run, as one array.

        Args:
            computation: The function from the tags of facts to those of tuples.
            tags: The tags of facts that are its inputs: scalar arrays and floats.

        Returns:
            An array `[outputs]`, float64 if a tag is, else float32; gradients pass through it.
        """

    @abstractmethod
    def scalars(self, values: Any) -> list[Any]:
        """The scalars of an array `[tuples]`."""

    @abstractmethod
    def tensor(self, value: TensorValue) -> Any:
        """A constant of type Tensor as it stands in the tuples of a relation."""

    # Options ------------------------------------------------------------------------------------------------------

    def set_iter_limit(self, iter_limit: int | None = None) -> None:
        """Ends each recursion after `iter_limit` + 1 rounds; None: when a round finds nothing new."""
        limit = iter_limit
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InputError(f"the limit is {limit!r}; it must be an integer of at least 0, or None")
        self.state.options = replace(self.state.options, iter_limit=iter_limit)

    def set_early_discard(self, early_discard: bool = True) -> None:
        """Sets an option of functions that are made of the context; no value changes: tuples of tag zero are listed."""
        self.state.early_discard = bool(early_discard)

    def copied(
        self,
        provenance: str | None,
        k: int | None,
        wmc_with_disjunctions: bool | None,
        custom_provenance: object,
    ) -> Self:
        """A context with the same program and facts, perhaps under another provenance; the two change apart.

        Args:
            provenance: The name of the other provenance; None: the same.
            k: The number of proofs kept; None: as many as here.
            wmc_with_disjunctions: Whether an exclusive group counts as one variable; None: as here.
            custom_provenance: An object of a user's provenance; then the name does not count.

        Returns:
            The other context, of the same class.

        Raises:
            InputError: There is no such provenance, or it does not read the tag of a fact.
        """
        options = self.state.options
        name = options.provenance if provenance is None else provenance
        custom = options.custom if custom_provenance is None and name == "custom" else custom_provenance
        changed = replace(
            options,
            provenance=name if custom is None else "custom",
            k=options.k if k is None else k,
            wmc_with_disjunctions=(
                options.wmc_with_disjunctions if wmc_with_disjunctions is None else wmc_with_disjunctions
            ),
            custom=custom,
        )
        check_options(changed)
        if not changed.takes_objects and changed.has_tags:
            check_tags(self.state.draft, TagReader(self.is_array, takes_objects=False))
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        # Results of another provenance are none of this one's.
        results = dict(self.state.results) if changed == options else {}
        twin.state = replace(self.state, options=changed, results=results)
        return twin

    # Running ------------------------------------------------------------------------------------------------------

    def compile(self) -> None:
        """Plans the program. Every addition is checked at once, so this finds no problem that it did not find."""
        plan(self.state.draft.program, computed_relations(self.state.draft.program))

    def run(self) -> None:
        """Computes all relations that the last run did not compute, or that depend on something new since then.

        The answers to queries with `@file` that are new are written to their files. Raises `GroundingError`,
        `UnsupportedError` and the like, and keeps the results of the last run.
        """
        state = self.state
        before = state.run_draft if state.run_options == state.options else None
        outputs = outdated_relations(state.draft, before, state.results)
        collections = compute_collections(state.draft, outputs, state.options, self) if outputs else []
        if state.run_draft is not state.draft:
            self._warn(state.draft)
        state.results = {
            name: state.results[name] for name in computed_relations(state.draft.program) if name in state.results
        }
        state.results.update((collection.name, collection) for collection in collections)
        state.run_draft, state.run_options = state.draft, state.options
        written = {file.query for file in state.draft.program.answer_files}
        answers = [collection.answer() for collection in collections if collection.name in written]
        write_answer_files(state.draft.program, answers)

    def run_batch(
        self, inputs: Mapping[str, Sequence], output_relation: str | Sequence[str], parallel: bool = False
    ) -> list[Collection]:
        """Computes a relation for each sample, as a run with the facts of the sample does; the context does not change.

        Under provenances of numbers all samples are computed at once, with code that calls of like size share. No
        answer is written to a file.

        Args:
            inputs: By relation, for each sample, a list of facts as `add_facts` takes them, or a pair of it and its
                disjunctions.
            output_relation: The name of a relation, or a list of one name for each sample.
            parallel: No effect; the reference has it.

        Returns:
            The relation of each sample.

        Raises:
            InputError: Relations have facts for different numbers of samples, or a fact does not fit.
        """
        inputs = read_by_relation(inputs, "`inputs`")
        for relation, samples in inputs.items():
            if not isinstance(samples, list | tuple):
                raise InputError(f"`{relation}` is a {type(samples).__name__}; give a list of facts for each sample")
        size = batch_size({relation: len(samples) for relation, samples in inputs.items()})
        names = (
            [output_relation] * size
            if isinstance(output_relation, str)
            else list(read_names(output_relation, "output_relation"))
        )
        if len(names) != size:
            raise InputError(f"`output_relation` names the relations of {len(names)} samples; the batch has {size}")
        facts: dict[str, list[FactTable]] = {}
        for relation, samples in inputs.items():
            pairs = (given if isinstance(given, tuple) and len(given) == 2 else (given, None) for given in samples)
            facts[relation] = [self._read_facts(relation, *pair) for pair in pairs]
        state = self.state
        for name in names:
            state.draft.relation(name)
        samples, united = read_samples(state.draft, facts, names)
        collections, state.kept = compute_samples(samples, state.options, self, state.kept)
        self._warn(united)
        return collections

    def relation(self, name: str) -> Collection:
        """A relation as the last run computed it. InputError if it does not exist, or is not computed yet."""
        if not self.relation_is_computed(name):
            known = self.state.draft.relation(name)
            raise InputError(Diagnostic(f"`{known.name}` is not computed yet", hint="call `run()` first"))
        return self.state.results[name]

    def reasoner(
        self, output_relation: str | None = None, output_mapping: object = None, output_mappings: Any = None
    ) -> "Reasoner":
        """The context as a pure, compiled, differentiable function.

        Inputs are the relations with an input mapping, and those with scalar arrays for tags, whose facts are the
        mapping: the function takes arrays `[batch, facts]` for them. All other facts are constants.

        Args:
            output_relation: The relation that the function returns.
            output_mapping: The tuples whose tags are returned; None: all that are possible.
            output_mappings: Several relations with their tuples, instead of the two arguments before.

        Returns:
            The function; the arguments are the outputs of `scallax.Reasoner`.

        Raises:
            InputError: An argument does not fit the program.
            UnsupportedError: A fact holds something that a function cannot have for a constant.
        """
        return self._reasoner(self.state.draft, output_relation, output_mapping, output_mappings)

    def explain(self, relation: str, values: object, k: int | None = None) -> "Explanation":
        """The likeliest proofs of a tuple, from the facts that there are now; see `scallax.Reasoner.explain`.

        Args:
            relation: The relation's name.
            values: The tuple, or the value of a relation of one column.
            k: The most proofs that are listed; None: as many as the provenance keeps.

        Returns:
            The proofs, with their probabilities.

        Raises:
            InputError: The relation does not exist, or the tuple does not fit it.
            UnsupportedError: Tags of the provenance are objects of Python.
        """
        self.state.draft.relation(relation)
        return self._of_facts_now([relation]).explain(relation, values, k=k)

    def most_probable(
        self,
        holds: "Query | None" = None,
        fails: "Query | None" = None,
        decide: Sequence[str] | None = None,
    ) -> "World":
        """The most probable world of the facts that there are now; see `scallax.Reasoner.most_probable`.

        Args:
            holds: By relation the tuples that must hold: one tuple, or a list of them.
            fails: By relation those that must not hold.
            decide: Relations whose facts alone are decided; None: all facts and choices, together.

        Returns:
            The facts and the random choices of rules, with their truth.

        Raises:
            InputError: What is asked to hold has probability 0, or does not fit the program.
            UnsupportedError: Tags are no probabilities, or the program is too large for exact inference.
        """
        (world,) = self._of_facts_now(self.relations()).most_probable(holds=holds, fails=fails, decide=decide)
        return world

    def sample(self, n: int = 1, key: int = 0, holds: "Query | None" = None, fails: "Query | None" = None) -> "Draws":
        """Worlds drawn in proportion to their probabilities; see `scallax.Reasoner.sample`.

        Args:
            n: How many worlds are drawn.
            key: The seed; equal ones draw the same.
            holds: By relation the tuples that must hold.
            fails: By relation those that must not hold.

        Returns:
            The facts and the random choices of rules, and which of them hold in each world.

        Raises:
            InputError: What is asked to hold has probability 0, or does not fit the program.
            UnsupportedError: Tags are no probabilities, or the program is too large for exact inference.
        """
        (draws,) = self._of_facts_now(self.relations()).sample(n=n, key=key, holds=holds, fails=fails)
        return draws

    def _of_facts_now(self, relations: Sequence[str]) -> "Reasoner":
        """A function of some relations with all facts for constants."""
        if self.state.options.takes_objects:
            hint = '`clone(provenance="topkproofs")` takes the facts whose tags are probabilities'
            raise UnsupportedError(
                Diagnostic("the tags of a custom provenance are objects that tell no proofs", hint=hint)
            )
        draft = self.state.draft
        batches = Batches.of(batch.with_numbers(self.is_array) for batch in draft.batches)
        draft = replace(draft, batches=batches, mappings=()).with_constants()
        return self._reasoner(draft, None, None, dict.fromkeys(relations), has_options=False)

    # Looking ------------------------------------------------------------------------------------------------------

    def has_relation(self, name: str) -> bool:
        """Whether the program has a relation of this name."""
        return any(relation.name == name for relation in self.state.draft.program.relations)

    def relations(self, include_hidden: bool = False) -> list[str]:
        """The names of the relations, sorted; with `include_hidden` also hidden ones, those of queries and the like."""
        return sorted(
            relation.name
            for relation in self.state.draft.program.relations
            if include_hidden or (is_written(relation) and not relation.hidden)
        )

    def num_relations(self, include_hidden: bool = False) -> int:
        """The number of names that `relations` lists."""
        return len(self.relations(include_hidden))

    def relation_is_computed(self, name: str) -> bool:
        """Whether the last run computed a relation."""
        return isinstance(name, str) and name in self.state.results

    def relation_field_names(self, name: str) -> list[str | None]:
        """The declared names of a relation's columns, None for one without."""
        return list(self.state.draft.relation(name).names)

    def relation_is_non_probabilistic(self, name: str) -> bool:
        """Whether facts of a relation are given without tags."""
        return self.state.draft.relation(name).name in self.state.draft.untagged

    def has_input_mapping(self, name: str) -> bool:
        """Whether a relation has an input mapping."""
        return any(relation == name for relation, _ in self.state.draft.mappings)

    def is_probabilistic(self) -> bool:
        """Whether tags are probabilities."""
        return self.state.options.has_probabilities

    def supports_disjunctions(self) -> bool:
        """Whether facts that exclude each other make a difference."""
        return self.state.options.traits().uses_exclusion

    def get_front_ir(self) -> str:
        """The program as it was parsed, one item a line."""
        draft = self.state.draft
        return "".join(print_program(parse(source)) for source in (*draft.imports, *draft.sources))

    def dump_front_ir(self) -> None:
        """Prints `get_front_ir()`."""
        print(self.get_front_ir(), end="")

    def __getstate__(self) -> dict:
        """Texts, facts and options; the results of `run()` are computed again."""
        state = self.state
        if state.options.custom is not None:
            check_class(state.options.custom)
        options = {"train_k": state.train_k, "test_k": state.test_k, "early_discard": state.early_discard}
        saved = {
            "options": {"options": state.options, **options},
            "parts": state.draft.parts,
            "foreign": tuple(map(reference_to, state.foreign)),
        }
        return {**{name: value for name, value in vars(self).items() if name != "state"}, "saved": saved}

    def __setstate__(self, state: dict) -> None:
        state = dict(state)
        saved = state.pop("saved")
        vars(self).update(state)
        self.state = ContextState(**saved["options"])
        self.state.foreign = tuple(reference.item() for reference in saved["foreign"])
        self.state.draft = Draft.restored(saved["parts"], tuple(map(self.adapted, self.state.foreign)))

    def __repr__(self) -> str:
        count = self.num_relations()
        return f"{type(self).__name__}({self.provenance}, {counted(count, 'relation')})"

    def _reasoner(
        self,
        draft: Draft,
        output_relation: str | None,
        output_mapping: object,
        output_mappings: Any,
        has_options: bool = True,
    ) -> "Reasoner":
        """The reasoner of a draft; with `has_options` it has the options of functions that are made of the context."""
        # Contexts without functions do not wait for it.
        from scallax.context.to_reasoner import CallOptions, draft_reasoner

        state = self.state
        options = CallOptions(state.train_k, state.test_k, state.early_discard) if has_options else CallOptions()
        given = output_relation, output_mapping, output_mappings
        return draft_reasoner(draft, state.options, options, self.is_array, *given)

    def _warn(self, draft: Draft) -> None:
        """Warns of everything new in a draft since the last run."""
        traits = self.state.options.traits() if self.is_probabilistic() else None
        for warning in find_warnings(draft, self.state.run_draft, self, traits):
            warn(str(warning))
