"""Derivations laid out as a circuit: which literals it has, where each row of tags stands, and its operands.

Given: derivations, literals and output operands of a grounding, and what the provenance needs. Handed on: a `Circuit`.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from scallax.circuits.canonical_order import order_by_content
from scallax.circuits.circuit import (
    FIRST_LITERAL_ROW,
    ONE_ROW,
    ZERO_ROW,
    Circuit,
    Forward,
    LiteralArrays,
    LocalColumns,
    Trained,
)
from scallax.circuits.components import Components, find_components
from scallax.circuits.graph import (
    Graph,
    build_graph,
    chain_singles,
    inline_pairs,
    leaf_ids,
    negate_literals,
    single_nodes,
    split_fan_in,
    spread_complements,
)
from scallax.circuits.proof_columns import column_arrays, counted_groups
from scallax.circuits.proof_lengths import longest_proof
from scallax.circuits.size_classes import Sizes, filled_at, padded_with
from scallax.circuits.tiling import Tiling, tile_nodes
from scallax.circuits.transpose import transpose_fold
from scallax.grounding.derivations import CERTAIN_PRIOR, Derivations, Literals
from scallax.kernels.runs import distinct, stable_order
from scallax.kernels.schedule import COMPLEMENT, LINEAR, LITERALS, NODES
from scallax.provenance.traits import Gradient, Traits


def lay_out(
    derivations: Derivations,
    literals: Literals,
    outputs: np.ndarray,
    traits: Traits,
    *,
    num_inputs: int,
    logit_groups: np.ndarray,
    by_content: bool = False,
    sizes: Sizes | None = None,
    component_of: np.ndarray | None = None,
) -> Circuit:
    """The circuit that computes the tags of `outputs` (int64 operand codes), and nothing that they do not depend on.

    `num_inputs` is the length of the flattened inputs; the trained inputs come after them. The traits say which kinds
    of tiles the provenance tells apart (`block_rows`), and which parts it needs: columns of proofs, unless derivations
    are compiled to a circuit first, and the transposed index, if there are inputs. `by_content`: see
    `order_by_content`; only a provenance that is order sensitive needs that. With `component_of`, see
    `find_components`, columns are numbered by component.
    Cost is linear in the derivations but for sorting.
    """
    block_rows = traits.block_rows
    sizes = sizes or Sizes()
    graph, outputs = _simplify(derivations, outputs, len(literals), block_rows)
    if by_content and traits.is_order_sensitive:
        graph, outputs = order_by_content(graph, outputs)
    num_whole = graph.num_nodes
    graph = split_fan_in(graph)
    components = None if component_of is None else find_components(graph, literals, component_of)

    # The rows of the array of tags: zero, one, literals, complements of literals, then the nodes, tile by tile.
    order, negated = _order_literals(graph, literals, outputs, components)
    num_literals = sizes.pad("literals", len(order))
    leaf_row = _leaf_rows(order, negated, 2 * len(literals), num_literals)
    negated = padded_with(negated, sizes.pad_some("complements", len(negated)), 0)
    kind = _kinds(graph) if LITERALS in block_rows else np.where(graph.complement, COMPLEMENT, NODES)
    first_row = FIRST_LITERAL_ROW + num_literals + len(negated)
    tiling = tile_nodes(graph, kind, first_row, block_rows, traits.derivation_cost, sizes, num_whole)

    capacity = sizes.pad("operands", tiling.num_operands)
    left, right, third = _operand_arrays(graph, tiling, leaf_row, capacity)
    output_rows = _operand_rows(outputs, tiling.row, leaf_row)
    output_rows = padded_with(output_rows, sizes.pad("outputs", len(outputs)), ZERO_ROW)

    proofs = transpose = None
    if _needs_proofs(traits):
        most = _most_literals(order, components)
        longest = longest_proof(graph, tiling.depth, tiling.cyclic, traits.num_proofs, most)
        proofs, by_place = column_arrays(
            graph, outputs, literals, order, num_literals, components, longest, traits, sizes
        )
        if components is not None and by_place is not None:
            of_operand = filled_at(capacity, tiling.place, components.of_operands(graph.head), 0)
            of_output = padded_with(components.of_operands(outputs), len(output_rows), 0)
            proofs = replace(proofs, local=LocalColumns(*by_place, of_operand, of_output))
    if traits.gradient is Gradient.PRODUCT and num_inputs + len(logit_groups) > 0:
        index = graph, tiling, left, right, output_rows, num_literals, sizes
        transpose = transpose_fold(*index, is_log=traits.is_log)
    num_heads = sizes.pad("tiles", tiling.num_tiles) * tiling.width
    group = counted_groups(literals, order, proofs)
    literal_arrays, slots = _literal_arrays(literals, order, group, negated, num_literals, num_inputs, sizes)
    trained = Trained(logit_groups.astype(np.int32), slots) if len(logit_groups) else None
    forward = Forward(tiling.width, tiling.branches, num_heads, tiling.steps, left, right, third)
    return Circuit(forward, literal_arrays, proofs, transpose, trained, output_rows)


def has_parts(circuit: Circuit, traits: Traits) -> bool:
    """Whether a circuit, such as a stored one, has all parts that evaluation reads under these traits."""
    circuits = [circuit, *(stage.program for stage in circuit.stages)]
    needs_third = LITERALS in traits.block_rows
    return all(
        (not needs_third or each.forward.third is not None)
        and (each.proofs is not None or not _needs_proofs(traits))
        and (traits.gradient is not Gradient.PRODUCT or not each.num_inputs or _has_transpose(each, traits))
        for each in circuits
    )


def _has_transpose(circuit: Circuit, traits: Traits) -> bool:
    return circuit.transpose is not None and (not traits.is_log or len(circuit.transpose.row) > 0)


def _needs_proofs(traits: Traits) -> bool:
    # A compiled circuit has the exclusions in it.
    return traits.uses_exclusion and not traits.is_compiled


def _most_literals(order: np.ndarray, components: Components | None) -> int:
    """The most literals that nodes depend on together: those of a component, and the shared ones."""
    if components is None:
        return len(order)
    counts = np.bincount(components.of_literal[order] + 1, minlength=2)
    return int(counts[0] + counts[1:].max())


def _simplify(
    derivations: Derivations,
    outputs: np.ndarray,
    num_literals: int,
    block_rows: Mapping[int, tuple[int, ...]],
) -> tuple[Graph, np.ndarray]:
    """The derivations that the outputs depend on, rewritten for the kinds of tiles, and the operands of the outputs."""
    graph, outputs = build_graph(derivations, outputs)
    graph, outputs = spread_complements(graph, outputs, block_rows.get(COMPLEMENT, (1,))[-1])
    if LITERALS in block_rows:
        graph, outputs = negate_literals(graph, outputs, num_literals)
        graph, outputs = inline_pairs(*chain_singles(graph), outputs)
    return graph, outputs


def _order_literals(
    graph: Graph, literals: Literals, outputs: np.ndarray, components: Components | None
) -> tuple[np.ndarray, np.ndarray]:
    """The literals in use, by component if given, members of a group side by side; the places of those negated."""
    complements, used = np.divmod(leaf_ids(graph, outputs, len(literals)), max(len(literals), 1))
    negated = used[complements > 0]
    used = distinct(used, len(literals))
    group = literals.group[used]
    # Independent literals keep their order before all groups.
    num_groups = int(group.max(initial=-1)) + 2
    keys, num_keys = group + 1, num_groups
    if components is not None:
        keys = keys + num_groups * (components.of_literal[used] + 1)
        num_keys *= components.count + 1
    order = used[stable_order(keys, num_keys)]
    place = np.zeros(len(literals), np.int64)
    place[order] = np.arange(len(order))
    return order, place[negated]


def _leaf_rows(order: np.ndarray, negated: np.ndarray, num_leaves: int, num_literals: int) -> np.ndarray:
    """The row of every literal, then that of its complement; `negated` are places in `order`."""
    row = np.full(num_leaves, ZERO_ROW, np.int64)
    row[order] = FIRST_LITERAL_ROW + np.arange(len(order))
    row[num_leaves // 2 + order[negated]] = FIRST_LITERAL_ROW + num_literals + np.arange(len(negated))
    return row


def _operand_rows(operands: np.ndarray, node_row: np.ndarray, literal_row: np.ndarray) -> np.ndarray:
    # A negative code is a place from the end.
    return np.concatenate([node_row, literal_row[::-1], [ZERO_ROW, ONE_ROW]])[operands]


def _operand_arrays(
    graph: Graph, tiling: Tiling, leaf_row: np.ndarray, capacity: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The rows of all operands at their places: left, right, and third if the graph has these."""

    def rows(operands: np.ndarray, none: int) -> np.ndarray:
        return filled_at(capacity, tiling.place, _operand_rows(operands, tiling.row, leaf_row), none)

    third = None if graph.third is None else rows(graph.third, ONE_ROW)
    return rows(graph.left, ZERO_ROW), rows(graph.right, ZERO_ROW), third


def _kinds(graph: Graph) -> np.ndarray:
    """The kind of each node, by the most general of its derivations."""
    single = single_nodes(graph)
    # A leaf, at most -1, reads the last entry.
    of_one = np.append(single, True)[np.maximum(graph.left, -1)]
    kind = np.full(graph.num_nodes, LITERALS)
    kind[graph.head[~of_one]] = LINEAR
    kind[graph.head[graph.right >= 0]] = NODES
    kind[graph.complement] = COMPLEMENT
    return kind


def _literal_arrays(
    literals: Literals,
    order: np.ndarray,
    group: np.ndarray,
    negated: np.ndarray,
    num_literals: int,
    num_inputs: int,
    sizes: Sizes,
) -> tuple[LiteralArrays, np.ndarray]:
    """The arrays of the literals in use, of these groups, and the slots of the trained inputs."""
    parameter = literals.parameter[order]
    trained = parameter >= 0
    num_trained = int(np.count_nonzero(trained))
    num_slots = sizes.pad_some("slots", num_trained)
    source = literals.source[order]
    if num_trained:
        source[trained] = num_inputs + np.arange(num_trained)
    # A literal that is certain where it exists may have an input that says where.
    given = (source >= 0) & (literals.prior[order] != CERTAIN_PRIOR)
    priors = np.zeros((2, num_literals), np.float32)
    fixed = (~given).nonzero()[0]
    priors[:, fixed] = _split_priors(literals.prior[order[fixed]])
    of_input = np.full(num_inputs + num_slots, num_literals, np.int32)
    with_input = (source >= 0).nonzero()[0]
    of_input[source[with_input]] = with_input
    is_end = np.ones(num_literals, bool)
    if len(group):
        is_end[: len(group) - 1] = (group[1:] != group[:-1]) | (group[:-1] < 0)
    return LiteralArrays(
        source=padded_with(source, num_literals, -1),
        prior=priors,
        of_input=of_input,
        negated=negated,
        group_end=is_end,
        ids=padded_with(order, num_literals, -1),
    ), padded_with(parameter[trained], num_slots, 0)


def _split_priors(prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as sums of two of float32; CERTAIN_PRIOR is infinite in both parts, which no number is."""
    with np.errstate(over="ignore"):  # a number beyond float32 is infinite
        high = prior.astype(np.float32)
    is_finite = np.isfinite(high)
    low = np.where(is_finite, prior - np.where(is_finite, high, 0.0), 0.0)
    low[prior == CERTAIN_PRIOR] = CERTAIN_PRIOR
    return high, low.astype(np.float32)
