"""The proofs of one tuple of a program in one sample, for people."""

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from scallax.array_evaluation import ArrayEvaluator
from scallax.batch import Arguments, ArrayLike, Signature, evaluate_batch, probabilities
from scallax.batch_evaluation import Logits
from scallax.errors import InputError
from scallax.grounded import Grounded, ground
from scallax.grounding.derivations import CERTAIN_PRIOR
from scallax.grounding.fixpoint import Grounding
from scallax.input_checks import InputChecks
from scallax.mappings import read_entries
from scallax.proofs import Explanation, explain_tuple
from scallax.provenance import AbstractProvenance, AbstractSemantics, Domain
from scallax.specification import Specification


def explain(
    specification: Specification,
    grounded: Grounded,
    logits: Logits,
    seed: int | Array,
    relation: str,
    values: object,
    arrays: Sequence[ArrayLike],
    sample: int,
    k: int | None,
) -> Explanation:
    """See `Reasoner.explain`; `arrays` have been checked, in the order of the input mappings.

    Grounds the program again, for this tuple alone.
    """
    entries = read_entries(values if isinstance(values, tuple) else (values,), f"the tuple of `{relation}`")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise InputError(f"`k` is {k!r}, but it counts proofs: give an integer of at least 1")
    size = arrays[0].shape[0] if arrays else 1
    if not 0 <= sample < size:
        raise InputError(f"there is no sample {sample}: the inputs have {size}")
    arrays = [array[sample : sample + 1] for array in arrays]
    asked = replace(specification, outputs=((relation, entries),), keyed=False)
    again = ground(asked, grounded.require_library(), custom=grounded.custom, limits=grounded.limits)
    provenance = again.provenance(again.specification)
    checks = InputChecks(dict(again.specification.input_mappings), again.parameters, provenance)
    evaluator = ArrayEvaluator(again.specification, provenance, logits, again, checks, seed)
    value = np.asarray(evaluator.evaluate(arrays, None))[0, 0]
    program, grounding = again.trace()
    ((_, fitted),) = again.specification.outputs
    assert fitted is not None
    return explain_tuple(
        program,
        grounding,
        relation,
        fitted.tuples[0],
        _literal_probabilities(again, grounding, provenance, evaluator.check(arrays, None), seed),
        value=value.item() if isinstance(value, np.generic) else value,
        respects_groups=provenance.respects_groups,
        k=k or specification.k,
    )


def _literal_probabilities(
    grounded: Grounded,
    grounding: Grounding,
    provenance: AbstractSemantics,
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
        retentions = tuple(mapping.retention for _, mapping in grounded.specification.input_mappings)
        shapes = tuple(parameter.initial.shape for parameter in grounded.parameters)
        signature = Signature(provenance, retentions, shapes, len(gates))
        program = replace(program, seed=jnp.asarray(seed, jnp.uint32))
        values = jnp.asarray(evaluate_batch(signature, program, arguments))
        found[gates] = np.asarray(provenance.weigh(values))[0]
    return found
