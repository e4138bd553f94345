"""How likely the literals of a grounding are in one sample, for explanations."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from scallax.batch import Arguments, Signature, evaluate_batch, probabilities
from scallax.grounded import Grounded
from scallax.grounding.derivations import CERTAIN_PRIOR
from scallax.grounding.fixpoint import Grounding
from scallax.provenance import AbstractProvenance, AbstractSemantics, Domain
from scallax.tensor_facts import Retention


def literal_probabilities(
    grounded: Grounded,
    grounding: Grounding,
    provenance: AbstractSemantics,
    retentions: tuple[Retention | None, ...],
    arguments: Arguments,
    seed: int | Array,
) -> Float[np.ndarray, " literals"]:
    """The probabilities of the literals of a grounding of the program, for the arguments of one sample.

    1 where the provenance's tags are none of probability. Gates, drawn by the seed, have the weights of their sets.
    """
    literals = grounding.literals
    found = literals.prior.copy()
    flat = np.concatenate([np.zeros(0), *(np.asarray(array, np.float64).reshape(-1) for array in arguments.arrays)])
    found[literals.source >= 0] = flat[literals.source[literals.source >= 0]]
    if arguments.logits:
        logits = jnp.concatenate([jnp.asarray(array, jnp.float32).reshape(-1) for array in arguments.logits])
        trained = np.asarray(probabilities(logits, grounded.logit_groups))
        found[literals.parameter >= 0] = trained[literals.parameter[literals.parameter >= 0]]
    if provenance.domain is not Domain.PROBABILITY:
        # Costs, counts and what only the user knows tell nothing of how likely a proof is.
        found[:] = 1
    found[found == CERTAIN_PRIOR] = 1
    if grounding.gate_sets:
        assert isinstance(provenance, AbstractProvenance), "what has gates is evaluated by arrays"
        gates, program = grounded.gates(grounding, provenance)
        shapes = tuple(parameter.initial.shape for parameter in grounded.parameters)
        signature = Signature(provenance, retentions, shapes, len(gates))
        program = replace(program, seed=jnp.asarray(seed, jnp.uint32))
        values = jnp.asarray(evaluate_batch(signature, program, arguments))
        found[gates] = np.asarray(provenance.weigh(values))[0]
    return found
