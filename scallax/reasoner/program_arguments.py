"""The arguments of a program, which reasoners and the modules of all frameworks take: written once."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ParamSpec, TypedDict, TypeVar, get_args, get_type_hints

from scallax.errors import misfit
from scallax.facts.tables import Table
from scallax.grounding.limits import Limits
from scallax.language.foreign import ForeignItem
from scallax.provenance.custom import Provenance

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Default:
    """The default of a keyword, in its annotation; None for a keyword without one."""

    value: object


class ProgramArguments(TypedDict, total=False):
    """The keywords that define a program, beside its text.

    Args:
        provenance: The name of a provenance (`scallax` lists them under an unknown name), or an object of a subclass
            of `scallax.Provenance`. It says what a tag is and how proofs are combined.
        custom_provenance: An object of a subclass of `scallax.Provenance`, or any semiring of Python objects, which is
            evaluated on the host. It takes the place of `provenance`.
        seed: The seed of a provenance that samples, an integer in [0, 2^32).
        k: The number of proofs that are kept for each tuple, at least 1.
        train_k: The number of proofs in training; None: `k`.
        test_k: The number of proofs in evaluation; None: `k`.
        file: The path of a file with the program, or with a part of it.
        facts: By relation, a list of facts, or a `scallax.Table`, whose rows are the facts. A fact is
            `(probability, tuple)`, with None for the tag of a certain one; a tuple alone for relations in
            `non_probabilistic` and for provenances without tags. A tuple of one column may be given as its value.
        rules: Rules to add to the program, each a text such as `path(a, b) = edge(a, b)`.
        relations: Relations to declare: pairs of a name and a column type, or a tuple of column types.
        input_mappings: By relation, the tuples whose tags a call gives in an array: a range, a list of values or of
            tuples (nested for several axes), or a `scallax.InputMapping`, which has options.
        output_relation: The relation that calls return. Without any output it is that of the program's queries.
        output_mapping: The tuples of `output_relation` to return: a range, a list, one tuple; None: all that are
            possible, sorted. A pair of a name and a mapping names the relation as well.
        output_mappings: By relation, an output mapping; calls return a dictionary. It excludes the two before it.
        non_probabilistic: Relations whose facts have no tags.
        trainable: Relations whose written probabilities, of facts and of rules, are parameters (logits).
        retain_topk: By relation with an input mapping, how many of a sample's largest entries are kept.
        iter_limit: The most rounds of a recursion, at least 0; None: until nothing changes.
        early_discard: Kept with the specification; it changes no value.
        wmc_with_disjunctions: Whether facts that exclude each other count as one random variable with several values,
            under the provenances that keep proofs.
        absorb: Whether a proof that contains another proof of its tuple is dropped. `False` keeps it among the `k`, as
            the reference does; None: True.
        executor: Who evaluates the program: `jax`, which compiles it before its first answer, or `numpy`, which
            computes at once, without JAX unless arrays of JAX are given. Gradients, traced arrays and a provenance of
            your own are JAX's under both.
        foreign: Functions, predicates, aggregates and attributes of Python that the program uses, as
            `scallax.foreign_function` and its like make them. They are called while the program is grounded.
        limits: When grounding gives up with a GroundingError. Limits are no part of the specification.
        evidence: By relation, the tuples of which a call may say whether they hold, as in `input_mappings`; None for
            the one tuple of a relation without columns. All outputs are probabilities given what the call says, and
            given the program's own evidence, `evidence alarm()`.
        on_impossible: The answer where evidence has the probability 0: `error`, or `zero`, for outputs of 0.
        log: Whether outputs are logarithms of probabilities, computed without leaving the logarithm; under the
            provenances `exact`, `topkproofs`, `addmultprob` and `minmaxprob` and their `diff` forms. Inputs are
            probabilities, or logarithms where their mapping says so: `InputMapping(…, log=True)`.
    """

    provenance: Annotated[str | Provenance, Default("difftopkproofs")]
    custom_provenance: object
    seed: Annotated[int, Default(0)]
    k: Annotated[int, Default(3)]
    train_k: int | None
    test_k: int | None
    file: str | Path | None
    facts: Mapping[str, Iterable | Table] | None
    rules: Sequence[str] | None
    relations: Sequence[tuple[str, object]] | None
    input_mappings: Mapping[str, object] | None
    output_relation: str | None
    output_mapping: object
    output_mappings: Mapping[str, object] | None
    non_probabilistic: Sequence[str] | None
    trainable: Sequence[str] | None
    retain_topk: Mapping[str, int] | None
    iter_limit: int | None
    early_discard: bool | None
    wmc_with_disjunctions: bool | None
    absorb: bool | None
    executor: Annotated[str, Default("jax")]
    foreign: Annotated[Sequence[ForeignItem], Default(())]
    limits: Limits | None
    evidence: Mapping[str, object] | None
    on_impossible: Annotated[str, Default("error")]
    log: Annotated[bool, Default(False)]


def takes_keywords(*positional: str, inherited: Sequence[type] = ()) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Completes a constructor that takes `**arguments: Unpack[Definition]`, where `Definition` is a typed dictionary.

    The constructor is called with every keyword of the definition, given or by default, so that defaults stand in the
    definition alone. Its signature names them all, as `help` and `inspect.signature` show it, and its docstring
    describes them.

    Args:
        *positional: The keywords that may also be given by position, in this order. The constructor is given them by
            name.
        inherited: The typed dictionaries whose keywords the definition has too, for the docstring: a typed dictionary
            does not know what it inherits.

    Returns:
        The decorator. A call that does not fit the signature is an ArgumentError.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature, definition = _complete(inspect.signature(function, eval_str=True), positional)
        instance, *others = signature.parameters.values()
        places = [instance.name, *(part.name for part in others if part.kind is part.POSITIONAL_OR_KEYWORD)]
        # Every argument has a default, but for the object.
        defaults = {part.name: part.default for part in others}

        @functools.wraps(function)
        def call(*arguments: P.args, **keywords: P.kwargs) -> R:
            named = dict(zip(places, arguments, strict=False))
            is_misfit = len(arguments) > len(places) or not keywords.keys() <= defaults.keys()
            if is_misfit or not keywords.keys().isdisjoint(named):
                raise misfit(call, arguments, keywords)
            return function(**{**defaults, **named, **keywords})  # pyright: ignore[reportCallIssue]

        call.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        call.__doc__ = "\n\n".join(inspect.getdoc(part) or "" for part in (definition, *inherited))
        return call

    return decorate


def _complete(written: inspect.Signature, positional: Sequence[str]) -> tuple[inspect.Signature, type]:
    """The signature with a parameter for each keyword of the definition that it unpacks, and the definition."""
    own, definition = [], None
    for parameter in written.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            (definition,) = get_args(parameter.annotation)
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            own.append(parameter)
    assert definition is not None
    keywords = {}
    for name, hint in get_type_hints(definition, include_extras=True).items():
        parts = get_args(hint) if hasattr(hint, "__metadata__") else (hint, Default(None))
        keywords[name] = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=parts[1].value, annotation=parts[0]
        )
    places = [keywords.pop(name).replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in positional]
    return inspect.Signature(sorted([*own, *places, *keywords.values()], key=lambda part: part.kind)), definition
