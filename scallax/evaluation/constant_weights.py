"""Weights of tuples before a program is ground to its end: of those whose tags are constants of the program."""

import functools
from collections.abc import Sequence

import numpy as np

from scallax.circuits.stages import compile_derivations
from scallax.grounding.conjunction import Weigh
from scallax.grounding.derivations import Derivations, Literals
from scallax.grounding.selected_literals import SelectionSet, find_given
from scallax.provenance.traits import AbstractSemantics


def constant_weights(provenance: AbstractSemantics) -> Weigh:
    """The function that grounding asks for weights.

    It evaluates in float64, whatever the program is later evaluated in. JAX is imported when it is asked, which few
    programs do.
    """
    return functools.partial(_weigh, provenance)


def _weigh(
    provenance: AbstractSemantics,
    derivations: Derivations,
    literals: Literals,
    selection_sets: Sequence[SelectionSet],
    operands: np.ndarray,
) -> np.ndarray | None:
    if provenance.traits.is_discrete:
        # A tuple that holds weighs 1; the worlds tell which ones hold.
        return np.ones(len(operands))
    if len(find_given(derivations, literals, selection_sets, operands)):
        return None
    import jax

    from scallax.evaluation.cache import call
    from scallax.evaluation.fork_guard import check_process
    from scallax.provenance.base import AbstractProvenance

    # Workers that load data ground batches.
    check_process()

    assert isinstance(provenance, AbstractProvenance), "the tags of others have no derivatives"

    distinct, places = np.unique(operands, return_inverse=True)
    with jax.enable_x64(True):
        # The inputs of the batch are not used.
        inputs = np.zeros((int(literals.source.max(initial=-1)) + 1, 1), np.float64)
        program = compile_derivations(derivations, literals, selection_sets, provenance.traits, distinct)
        weights = np.asarray(call(None, _weigh_outputs, (provenance,), program, inputs), np.float64)
    return weights[: len(distinct), 0][places.reshape(-1)]


def _weigh_outputs(provenance, program, inputs):
    from scallax.evaluation.differentiation import evaluate  # as above

    return provenance.weigh(evaluate(provenance, program, inputs))
