"""Weights of tuples before a program is ground to its end: of those whose tags are constants of the program."""

import functools
from collections.abc import Sequence

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.stages import compile_derivations
from scallax.grounding.conjunction import Weigh
from scallax.grounding.derivations import Derivations, Literals
from scallax.grounding.selected_literals import SelectionSet, find_given
from scallax.provenance.traits import AbstractSemantics


def constant_weights(provenance: AbstractSemantics) -> Weigh:
    """The function that grounding asks for weights.

    It evaluates in float64, whatever the program is later evaluated in.
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
    # Few programs ask.
    from scallax.evaluation.executors import runs_at_once
    from scallax.evaluation.numpy_executor import evaluate
    from scallax.provenance.base import AbstractProvenance

    assert isinstance(provenance, AbstractProvenance), "the tags of others have no derivatives"
    distinct, places = np.unique(operands, return_inverse=True)
    circuit = compile_derivations(derivations, literals, selection_sets, provenance.traits, distinct)
    # The inputs of the batch are not used.
    inputs = np.zeros((int(literals.source.max(initial=-1)) + 1, 1), np.float64)
    if runs_at_once(None, provenance, circuit):
        weights = provenance.weigh(evaluate(provenance, circuit, inputs))
    else:
        weights = _compile(provenance, circuit, inputs)
    return np.asarray(weights, np.float64)[: len(distinct), 0][places.reshape(-1)]


def _compile(provenance: AbstractSemantics, circuit: Circuit, inputs: np.ndarray) -> np.ndarray:
    """The weights by JAX."""
    import jax

    from scallax.evaluation.cache import call
    from scallax.evaluation.fork_guard import check_process

    # Workers that load data ground batches.
    check_process()
    with jax.enable_x64(True):
        return np.asarray(call(None, _weigh_outputs, (provenance,), circuit, inputs))


def _weigh_outputs(provenance, circuit, inputs):
    from scallax.evaluation import differentiation  # as above

    return provenance.weigh(differentiation.evaluate(provenance, circuit, inputs))
