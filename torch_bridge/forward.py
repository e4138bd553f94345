"""The reference's class of modules, with its order of arguments."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scallax.errors import checks_calls
from scallax.facts.tables import Table
from torch_bridge.arguments import declared_mappings
from torch_bridge.module import Module


@checks_calls
class ScallopForwardFunction(Module):
    """What `torch_bridge.Module` is; the arguments have the names, the order and the defaults of the reference's.

    `Module` takes the program first, as `scallax.Reasoner` does; here it is the file.
    """

    def __init__(
        self,
        file: str | Path | None = None,
        program: str | None = None,
        relations: Sequence[tuple[str, object]] | None = None,
        rules: Sequence[str] | None = None,
        facts: Mapping[str, Iterable | Table] | None = None,
        provenance: str = "difftopkproofs",
        custom_provenance: object = None,
        non_probabilistic: Sequence[str] | None = None,
        input_mappings: Mapping[str, object] | None = None,
        output_relation: str | None = None,
        output_mapping: object = None,
        output_mappings: Mapping[str, object] | None = None,
        k: int = 3,
        train_k: int | None = None,
        test_k: int | None = None,
        wmc_with_disjunctions: bool | None = None,
        early_discard: bool | None = None,
        iter_limit: int | None = None,
        retain_topk: Mapping[str, int] | None = None,
        jit: bool = False,
        jit_name: str = "",
        jit_recompile: bool = False,
        dispatch: str = "parallel",
        sparse_jacobian: bool = False,
        monitors: Sequence[str] = (),
    ):
        super().__init__(
            program,
            file=file,
            relations=relations,
            rules=rules,
            facts=facts,
            provenance=provenance,
            custom_provenance=custom_provenance,
            non_probabilistic=non_probabilistic,
            input_mappings=declared_mappings(input_mappings),
            output_relation=output_relation,
            output_mapping=output_mapping,
            output_mappings=output_mappings,
            k=k,
            train_k=train_k,
            test_k=test_k,
            wmc_with_disjunctions=wmc_with_disjunctions,
            early_discard=early_discard,
            iter_limit=iter_limit,
            retain_topk=retain_topk,
            jit=jit,
            jit_name=jit_name,
            jit_recompile=jit_recompile,
            dispatch=dispatch,
            sparse_jacobian=sparse_jacobian,
            monitors=monitors,
        )
