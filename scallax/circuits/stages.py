"""Circuits in stages: the members of groups whose weights select literals are evaluated before what depends on them.

Given: derivations with sets of selections. Handed on: one circuit, whose stages are the circuits of the members.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scallax.circuits.circuit import Circuit, Trained
from scallax.circuits.layout import lay_out
from scallax.circuits.size_classes import Sizes
from scallax.errors import Diagnostic, UnsupportedError
from scallax.facts.parameters import NO_PARAMETERS, Parameters
from scallax.grounding.derivations import Derivations, Literals
from scallax.grounding.selected_literals import SelectionSet, SelectionStage, find_stages, pad_selections
from scallax.kernels.selections import Stage
from scallax.provenance.traits import Traits


def compile_derivations(
    derivations: Derivations,
    literals: Literals,
    selection_sets: Sequence[SelectionSet],
    traits: Traits,
    operands: np.ndarray,
    parameters: Parameters = NO_PARAMETERS,
    *,
    num_inputs: int | None = None,
    by_content: bool = False,
    sizes: Sizes | None = None,
    component_of: np.ndarray | None = None,
) -> Circuit:
    """The circuit of some derivations; the arguments are those of `compile_outputs`, and parts of a grounding."""
    if num_inputs is None:
        num_inputs = int(literals.source.max(initial=-1)) + 1
    stages = find_stages(derivations, selection_sets, operands)
    _check_stages(stages, traits)
    if not stages:
        groups = parameters.groups
        return _lay_out(derivations, literals, traits, operands, num_inputs, groups, by_content, sizes, component_of)
    # Trained inputs have the same places among the inputs of all stages.
    literals, slots = _with_trained_inputs(literals, num_inputs)
    num_inputs += len(slots)
    none = np.zeros(0, np.int64)
    compiled = []
    for stage in stages:
        program = _lay_out(derivations, literals, traits, stage.members, num_inputs, none, by_content)
        selections = pad_selections(stage.selections, len(program.outputs))
        compiled.append(Stage(program, selections))
        source = literals.source.copy()
        source[stage.literals] = num_inputs + np.arange(len(stage.literals))
        literals = replace(literals, source=source)
        num_inputs += len(selections.members)
    program = _lay_out(derivations, literals, traits, operands, num_inputs, none, by_content)
    groups = parameters.groups.astype(np.int32)
    return replace(program, trained=Trained(groups, slots) if len(groups) else None, stages=tuple(compiled))


def _check_stages(stages: Sequence[SelectionStage], traits: Traits) -> None:
    """UnsupportedError if a provenance has no weights."""
    if stages and not traits.has_weights:
        message = f"aggregates that choose by weight need numbers, and tags of `{traits.name}` are none"
        hint = "choose a provenance of probabilities, such as `topkproofs`"
        raise UnsupportedError(Diagnostic(message, None, hint))


def _with_trained_inputs(literals: Literals, num_inputs: int) -> tuple[Literals, np.ndarray]:
    """The literals with an input, after the given ones, for each that is trained; and the slots of those inputs."""
    trained = np.flatnonzero(literals.parameter >= 0)
    source = literals.source.copy()
    source[trained] = num_inputs + np.arange(len(trained))
    slots = literals.parameter[trained].astype(np.int32)
    return replace(literals, source=source, parameter=np.full(len(literals), -1)), slots


def _lay_out(
    derivations: Derivations,
    literals: Literals,
    traits: Traits,
    operands: np.ndarray,
    num_inputs: int,
    logit_groups: np.ndarray,
    by_content: bool,
    sizes: Sizes | None = None,
    component_of: np.ndarray | None = None,
) -> Circuit:
    if traits.is_compiled:
        # A tenth of all that a process imports, and few provenances need it.
        from scallax.circuits.knowledge.compiler import compile_circuit

        derivations, operands = compile_circuit(derivations, literals, operands)
        # The circuit has the exclusions in it.
        literals = replace(literals, group=np.full(len(literals), -1))
    return lay_out(
        derivations,
        literals,
        operands,
        traits,
        num_inputs=num_inputs,
        logit_groups=logit_groups,
        by_content=by_content,
        sizes=sizes,
        component_of=component_of,
    )
