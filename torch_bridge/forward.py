"""The reference's class of modules, with its order of arguments."""

from typing import Any, Unpack

from scallax.errors import checks_calls
from scallax.reasoner import ProgramArguments, takes_keywords
from torch_bridge.module import Module
from torch_bridge.reference_arguments import ModuleArguments, declared_mappings

# The reference's positions.
_POSITIONS = (
    "file",
    "program",
    "relations",
    "rules",
    "facts",
    "provenance",
    "custom_provenance",
    "non_probabilistic",
    "input_mappings",
    "output_relation",
    "output_mapping",
    "output_mappings",
    "k",
    "train_k",
    "test_k",
    "wmc_with_disjunctions",
    "early_discard",
    "iter_limit",
    "retain_topk",
    "jit",
    "jit_name",
    "jit_recompile",
    "dispatch",
    "sparse_jacobian",
    "monitors",
)


class ForwardArguments(ModuleArguments, total=False):
    """The keywords of the reference's class.

    Args:
        program: The program's text.
    """

    program: str | None


@checks_calls
class ScallopForwardFunction(Module):
    """A `torch_bridge.Module` whose arguments have the names, the positions and the defaults of the reference's.

    The file is first, where `Module` takes the program first; what only `Module` takes is given by keyword.

    Args:
        *others: The reference's arguments by position: the file, the program, relations, rules, facts, and so on.
        **arguments: The arguments of `Module` by name; the constructor's docstring describes each.

    Example:
        >>> import torch
        >>> from torch_bridge import ForwardFunction
        >>> options = {"provenance": "minmaxprob", "input_mappings": {"a": range(2)}, "output_mappings": {"b": [1, 2]}}
        >>> function = ForwardFunction(program="rel b(x + 1) = a(x)", **options)
        >>> function(a=torch.tensor([[0.25, 0.5]]))
        tensor([[0.2500, 0.5000]])
    """

    @takes_keywords(*_POSITIONS, inherited=[ModuleArguments, ProgramArguments])
    def __init__(self, *others: Any, **arguments: Unpack[ForwardArguments]):
        given = dict[str, Any](arguments)
        given["input_mappings"] = declared_mappings(given["input_mappings"])
        super().__init__(**given)
