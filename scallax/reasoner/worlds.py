"""The most probable world of a program in each sample of a batch, and draws, given what was observed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scallax.circuits.conditioning import NUM_CASES
from scallax.circuits.knowledge.worlds import (
    Condition,
    SearchLimitError,
    compile_condition,
    decide,
    draw,
    most_probable,
)
from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.evaluation.compiled_program import CompiledProgram, ground, provenance_of
from scallax.evaluation.conditioning import observed_cases
from scallax.evaluation.evaluator import Logits
from scallax.evaluation.grounding_cache import BatchFacts
from scallax.evaluation.jax_values import is_concrete
from scallax.evaluation.logits import host_probabilities
from scallax.evaluation.seeds import Key, read_key
from scallax.facts.arguments import check_count, read_names
from scallax.facts.mappings import Entries, read_entries
from scallax.facts.specification import Specification, evidence_of
from scallax.grounding.conjunction import NO_RULE, DerivationBuilder, Factor, conjoin
from scallax.grounding.derivations import ONE, ZERO, Derivations, Literals
from scallax.grounding.fixpoint import Grounding
from scallax.language.tag_domains import Domain
from scallax.reasoner.explain_tuple import facts_of_sample, with_facts
from scallax.reasoner.proofs import Names, ProofFact

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# The tuples that must hold, or must not: by relation a tuple, or a list of them.
Query = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class World:
    """An assignment of facts and random choices; `is_negated` says of each whether it does not hold.

    `log_probability` is the logarithm of the world's probability; where only some relations were decided, of that of
    their facts together with what was asked for.
    """

    facts: tuple[ProofFact, ...]
    log_probability: float

    def __str__(self) -> str:
        return "\n".join([f"log probability {self.log_probability:.6g}", *(f"  {fact}" for fact in self.facts)])


@dataclass(frozen=True, slots=True)
class Draws:
    """Worlds that were drawn for one sample: `truth` bool `[draws, facts]` says which of the facts hold in each.

    `log_given` is the logarithm of the probability of what was asked to hold.
    """

    facts: tuple[ProofFact, ...]
    truth: Bool[np.ndarray, "draws facts"]
    log_given: float

    def __len__(self) -> int:
        return len(self.truth)

    def __str__(self) -> str:
        if not len(self):
            return "no world was drawn"
        rows = zip(self.frequencies().tolist(), self.facts, strict=True)
        return "\n".join([f"{len(self):,} worlds", *(f"{share:8.4f}  {fact}" for share, fact in rows)])

    def frequencies(self) -> Float[np.ndarray, " facts"]:
        """How often each fact holds."""
        return self.truth.mean(0)


@dataclass(frozen=True, slots=True)
class _Question:
    """The question about some samples with one grounding: the condition, the facts' names, and their probabilities.

    `names` has None for what no fact or rule of the program stands for; `p` float64 `[literals, samples]`. Literals
    from `num_facts` on say what was seen of tuples.
    """

    condition: Condition
    names: list[ProofFact | None]
    p: np.ndarray
    num_facts: int

    def logarithms(self, found: np.ndarray) -> np.ndarray:
        """Those of the most probable worlds, without what literals of tuples that were seen weigh in each of them.

        Some literals say with which probability a tuple was seen: the one that does not matter has its likelier value.
        """
        free = np.maximum(self.p[self.num_facts :], 1 - self.p[self.num_facts :]).reshape(-1, NUM_CASES, found.size)
        return found - np.log(free[:, 0]).sum(0)

    def facts(self, sample: int, truth: np.ndarray, among: Sequence[int]) -> tuple[ProofFact, ...]:
        """The facts of a sample that have names, with their truth."""
        return tuple(
            replace(name, is_negated=not truth[literal], probability=float(self.p[literal, sample]))
            for literal in among
            if (name := self.names[literal]) is not None
        )


def find_most_probable(
    model: CompiledProgram,
    logits: Logits,
    batch: BatchFacts,
    holds: Query | None,
    fails: Query | None,
    decided: Sequence[str] | None,
) -> list[World]:
    """See `Reasoner.most_probable`."""
    decided = None if decided is None else read_names(decided, "decide")
    found: list[World] = []
    for question in _questions(model, logits, batch, holds or {}, fails or {}, decided or ()):
        every = range(len(question.names))
        if decided is not None:
            found += [_decide(question, sample, decided) for sample in range(question.p.shape[1])]
            continue
        truth, logarithms = most_probable(question.condition, question.p)
        for sample, logarithm in enumerate(question.logarithms(logarithms).tolist()):
            _check_possible(logarithm, len(found))
            found.append(World(question.facts(sample, truth[:, sample], every), logarithm))
    return found


def find_draws(
    model: CompiledProgram,
    logits: Logits,
    batch: BatchFacts,
    holds: Query | None,
    fails: Query | None,
    count: int,
    key: Key,
) -> list[Draws]:
    """See `Reasoner.sample`."""
    check_count("n", count, 0)
    seed = int(np.asarray(read_key(key)))
    found: list[Draws] = []
    for question in _questions(model, logits, batch, holds or {}, fails or {}, ()):
        named = [literal for literal, name in enumerate(question.names) if name is not None]
        for sample in range(question.p.shape[1]):
            rng = np.random.default_rng([seed, len(found)])
            truth, logarithm = draw(question.condition, question.p[:, sample], count, rng)
            _check_possible(float(logarithm), len(found))
            facts = question.facts(sample, np.ones(len(question.names), np.bool_), named)
            found.append(Draws(facts, truth[named].T, float(logarithm)))
    return found


def _check_possible(logarithm: float, sample: int) -> None:
    if logarithm == -np.inf:
        raise InputError(f"what is asked to hold has probability 0 in sample {sample}")


def _decide(question: _Question, sample: int, relations: Sequence[str]) -> World:
    """The most probable assignment of the facts of some relations, whatever the others are."""
    variables = question.condition.variables
    chosen = [literal for literal, name in enumerate(question.names) if name is not None and name.relation in relations]
    decided = list(dict.fromkeys(variables.of_literal[chosen].tolist()))
    try:
        outcomes, logarithm = decide(question.condition, question.p[:, sample], decided)
    except SearchLimitError:
        hint = "name fewer relations, or leave `decide` out, which decides all facts at once"
        raise UnsupportedError(
            Diagnostic(f"too many assignments of {len(decided):,} facts and choices are alike probable", hint=hint)
        ) from None
    _check_possible(logarithm, sample)
    truth = np.zeros(len(question.names), np.bool_)
    members = [literal for variable in decided for literal in variables.members(variable).tolist()]
    for variable, outcome in outcomes.items():
        own = variables.members(variable)
        truth[own] = np.arange(len(own)) == outcome
    return World(question.facts(sample, truth, sorted(members)), logarithm)


def _questions(
    model: CompiledProgram, logits: Logits, batch: BatchFacts, holds: Query, fails: Query, decided: Sequence[str]
) -> Iterator[_Question]:
    """One question for a batch of arrays, one for each sample where these have facts of their own."""
    specification = _exact(model.specification, model.custom)
    if any(mapping.retention is not None for _, mapping in specification.input_mappings):
        raise UnsupportedError("worlds are of all facts: the program has an input mapping that leaves some out")
    mappings = tuple((name, mapping) for name, mapping in specification.input_mappings if name in batch.arrays)
    observed = [batch.arrays[evidence_of(name)] for name, _ in specification.evidence]
    arrays = [batch.arrays[name] for name, _ in mappings]
    if not all(map(is_concrete, (*arrays, *observed, *logits))):
        hint = "ask outside of `jit` and `grad`"
        raise InputError(Diagnostic("the inputs are traced, and worlds are objects of Python", hint=hint))
    numbers = [np.asarray(array, np.float64) for array in arrays]
    numbers = [np.exp(each) if mapping.log else each for each, (_, mapping) in zip(numbers, mappings, strict=True)]
    rows = [each.reshape(batch.num_samples, -1).T for each in numbers]
    seen = [np.asarray(array, np.float64).reshape(batch.num_samples, -1) for array in observed]
    rows += [observed_cases(each)[0].T for each in seen]
    flat = np.concatenate([np.zeros((0, batch.num_samples)), *rows])
    asked, wanted = _with_query(replace(specification, input_mappings=mappings), holds, fails)
    # All facts are asked for, and what is decided.
    named = [*(name for name, _ in (*mappings, *specification.facts)), *decided]
    named += [fact.relation for fact in model.samples.checked.program.facts]
    known = {name for name, _ in asked.outputs}
    outputs = [(name, None) for name in dict.fromkeys(named) if name not in known]
    asked = replace(asked, outputs=(*asked.outputs, *outputs))
    if not batch.facts:
        yield _ask(model, asked, wanted, flat, logits)
        return
    batch = batch.with_constants()
    schemas = {schema.name: schema for schema in model.samples.checked.program.relations}
    for sample in range(batch.num_samples):
        own = asked
        for facts in facts_of_sample(batch.facts, sample):
            own = with_facts(own, schemas[facts.relation], facts)
        yield _ask(model, own, wanted, flat[:, sample : sample + 1], logits)


def _exact(specification: Specification, custom: object) -> Specification:
    """The specification with exact inference. UnsupportedError unless its tags are probabilities."""
    traits = provenance_of(specification, custom).traits
    if traits.domain is not Domain.PROBABILITY or traits.is_discrete:
        hint = "choose a provenance of probabilities, such as `exact`"
        raise UnsupportedError(Diagnostic(f"`{traits.name}` has no probabilities of worlds", hint=hint))
    name = "diffexact" if traits.keeps_bool_tags else "exact"
    return replace(specification, provenance=name, custom=None, keyed=False, log=False)


def _with_query(
    specification: Specification, holds: Query, fails: Query
) -> tuple[Specification, list[tuple[str, int, bool]]]:
    """The specification that is asked for the relations of a query as well, and the places of its tuples in these."""
    tuples: dict[str, list[tuple]] = {}
    wanted = []
    for given, what, negated in ((holds, "holds", False), (fails, "fails", True)):
        if not isinstance(given, Mapping):
            hint = 'write `{"path": (0, 3)}`, or a list of tuples for a relation'
            raise InputError(Diagnostic(f"`{what}` is {given!r}, but it gives tuples by relation", hint=hint))
        for relation, values in given.items():
            listed = tuples.setdefault(relation, [])
            for value in read_entries(values, f"`{what}` of `{relation}`").tuples:
                wanted.append((relation, len(listed), negated))
                listed.append(value)
    outputs = {name: entries for name, entries in specification.outputs if name not in tuples}
    outputs |= {name: Entries((len(listed),), tuple(listed)) for name, listed in tuples.items()}
    return replace(specification, outputs=tuple(outputs.items())), wanted


def _ask(
    model: CompiledProgram,
    asked: Specification,
    wanted: Sequence[tuple[str, int, bool]],
    flat: np.ndarray,
    logits: Logits,
) -> _Question:
    again = ground(asked, model.require_library(), limits=model.limits)
    program, grounding, evidence = again.condition()
    if grounding.selection_sets:
        hint = "the worlds are those of facts and rules, and aggregates such as `top` choose by weights"
        raise UnsupportedError(Diagnostic("the program has aggregates that choose", hint=hint))
    fitted = {name: entries.tuples for name, entries in again.specification.outputs if entries is not None}
    operands = [int(grounding.operands(name, [fitted[name][place]])[0]) for name, place, _ in wanted]
    derivations, root = _conjoin(grounding, [evidence, *operands], [False, *(negated for *_, negated in wanted)])
    if root == ZERO:
        raise InputError("what is asked to hold can never hold")
    p = _probabilities(again, grounding.literals, flat, logits)
    condition = compile_condition(derivations, grounding.literals, root)
    names = Names(program, _made_by_rules(grounding), np.full(len(p), np.nan), Domain.PROBABILITY)
    # Observations of tuples stand behind all facts and choices.
    num_facts = len(p) - NUM_CASES * sum(len(mapping.tuples) for _, mapping in asked.evidence)
    return _Question(condition, [names.find(i) if i < num_facts else None for i in range(len(p))], p, num_facts)


def _made_by_rules(grounding: Grounding) -> Grounding:
    """The grounding without the nodes that evidence added behind the others."""
    derivations, end = grounding.derivations, len(grounding.rules)
    operands = derivations.head[:end], derivations.left[:end], derivations.right[:end]
    flags = derivations.left_negated[:end], derivations.right_negated[:end]
    return replace(grounding, derivations=Derivations(derivations.num_nodes, *operands, *flags))


def _conjoin(grounding: Grounding, operands: Sequence[int], negated: Sequence[bool]) -> tuple[Derivations, int]:
    """The derivations with the conjunction of some operands or their complements, and its operand."""
    parts = list(zip(operands, negated, strict=True))
    if any(operand == (ONE if flag else ZERO) for operand, flag in parts):
        return grounding.derivations, ZERO
    factors = [Factor(np.array([operand]), negated=flag) for operand, flag in parts if operand not in (ONE, ZERO)]
    if not factors:
        return grounding.derivations, ONE
    builder = DerivationBuilder(grounding.literals, grounding.derivations.num_nodes)
    head = builder.add_nodes(1)
    builder.add(head, conjoin(builder, factors, 1, NO_RULE), np.zeros(1, np.bool_), NO_RULE)
    more, _ = builder.derivations()
    return grounding.derivations.join(more), int(head[0])


def _probabilities(grounded: CompiledProgram, literals: Literals, flat: np.ndarray, logits: Logits) -> np.ndarray:
    """The probabilities `[literals, samples]` of literals, for the inputs `[inputs, samples]`; 1 for certain ones."""
    p = np.repeat(literals.prior[:, None], flat.shape[1], axis=1)
    given = literals.source >= 0
    p[given] = flat[literals.source[given]]
    if logits:
        joined = np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in logits])
        trained = literals.parameter >= 0
        p[trained] = host_probabilities(joined[:, None], grounded.logit_groups)[literals.parameter[trained]]
    return np.where(np.isfinite(p), p, 1.0)
