"""Saves models to Orbax directories and safetensors files, and loads them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from scallax.checkpoint.artifact import MAX_DEPTH, OPTIMIZER, Artifact, pack
from scallax.checkpoint.durable import as_path, located, read_directory, recover, write_directory, write_file
from scallax.checkpoint.extras import import_extra, import_flax_state
from scallax.checkpoint.orbax_form import check_replaceable, read_orbax, write_orbax
from scallax.checkpoint.safetensors_form import SAFETENSORS_SUFFIX, read_safetensors, write_safetensors
from scallax.errors import CheckpointError, Diagnostic, InputError, checks_call
from scallax.grounding.limits import Limits
from scallax.language.foreign import ForeignItem
from scallax.reasoner.reasoner import Reasoner

Form = Literal["safetensors", "orbax"]

# Ends of the names of files of torch.
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")


@checks_call
def save(
    path: str | Path,
    model: Any,
    *,
    optimizer: Any = None,
    extra: object = None,
    ground: bool = False,
    form: Form | None = None,
    overwrite: bool = False,
) -> None:
    """Saves a model with its program, its tensors and values of your own.

    The model goes into one safetensors file if the name of `path` ends in `.safetensors`, otherwise into a directory
    that Orbax reads too. A checkpoint that is at `path` already stays whole until the new checkpoint is completely on
    the disk. In a run of several processes, call this in the first one.

    Args:
        path: The file or directory to write.
        model: A `scallax.Reasoner`, a Flax NNX module that is or holds `scallax.nn.Reasoner`s, or an `Artifact`.
        optimizer: The `nnx.Optimizer` of a Flax module.
        extra: Values of your own: None, booleans, numbers, strings, arrays, and lists and dictionaries of these.
        ground: True stores the groundings as well, so that loading does not ground the programs again.
        form: `"safetensors"` or `"orbax"`. Default: by the name of `path`.
        overwrite: True replaces a checkpoint that is at `path`.

    Raises:
        CheckpointError: There is something at `path` and not `overwrite`, or it cannot be written.
        InputError: The model, or a value in `extra`, cannot be saved.

    Example:
        >>> import os, tempfile
        >>> import scallax
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges, extra={"epoch": 3})
        ...     print(checkpoint.read(path).extra, checkpoint.load(path)())
        {'epoch': 3} [[0.5]]
    """
    path = as_path(path)
    suffix = path.suffix.lower()
    if form is None and suffix in TORCH_SUFFIXES:
        hint = "torch_bridge.save writes files for torch; torch_bridge.convert turns any form into any other"
        raise CheckpointError(Diagnostic(f"`{path}` has the name of a torch file", hint=hint))
    header, arrays = pack(make_artifact(model, optimizer, extra, ground))
    if (form or ("safetensors" if suffix == SAFETENSORS_SUFFIX else "orbax")) == "safetensors":
        write_file(path, partial(write_safetensors, header=header, arrays=arrays), overwrite=overwrite)
    else:
        check_replaceable(path)
        write_directory(path, partial(write_orbax, header=header, arrays=arrays), overwrite=overwrite)


@checks_call
def read(path: str | Path) -> Artifact:
    """Reads everything that was saved, and verifies it. Nothing from the file is executed.

    Args:
        path: A file or directory that `save` wrote; its form is recognized from its content.

    Returns:
        The saved `Artifact`: specifications, tensors (NumPy arrays by dotted name), `extra`, metrics and groundings.

    Raises:
        CheckpointError: Something is missing, was changed, or is unknown; every problem is listed.

    Example:
        >>> import os, tempfile
        >>> import scallax
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges)
        ...     print(checkpoint.read(path).tensors)
        {'edge.facts': array([0.], dtype=float32)}
    """
    path = as_path(path)
    with located(path):
        if recover(path).is_file():
            return _read_file(path.read_bytes())
        return read_directory(path, read_orbax)


@checks_call
def load(path: str | Path, *, foreign: Sequence[ForeignItem] = (), custom_provenance: object = None) -> Any:
    """Loads a reasoner with its parameters. The path is enough, unless the program uses objects of Python.

    Args:
        path: A file or directory that `save` or `torch_bridge.save` wrote.
        foreign: The foreign functions, predicates, aggregates and attributes that the program uses. With a stored
            grounding, none of them is called.
        custom_provenance: The `scallax.Provenance` that the reasoner was made with, if it was one of your own.

    Returns:
        A `scallax.Reasoner` if one was saved; a `scallax.nn.Reasoner` if a module of Flax or torch was saved.

    Raises:
        CheckpointError: The checkpoint is damaged, holds a larger model than one reasoner, or `foreign` lacks an item
            or has it with another signature.

    Example:
        >>> import os, tempfile
        >>> import scallax
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges)
        ...     print(checkpoint.load(path)())
        [[0.5]]
    """
    artifact = read(path)
    with located(path):
        reasoner = reasoner_of(artifact, foreign, custom_provenance=custom_provenance)
    return reasoner if artifact.door == "reasoner" else import_extra("scallax.nn").Reasoner(reasoner)


@checks_call
def restore(path: str | Path, model: Any, *, optimizer: Any = None) -> Artifact:
    """Gives a Flax NNX model, and its optimizer, the saved values in place.

    Args:
        path: A file or directory that `save` wrote.
        model: A Flax NNX module with the same programs and the same tensors as the saved one.
        optimizer: An `nnx.Optimizer` for the saved optimizer state.

    Returns:
        Everything that was saved, an `Artifact`.

    Raises:
        CheckpointError: The checkpoint is damaged, or programs, names, shapes or dtypes differ. Every difference is
            listed, and the model is unchanged.

    Example:
        >>> import os, tempfile
        >>> import scallax.nn
        >>> from flax import nnx
        >>> from scallax import checkpoint
        >>> edges = scallax.nn.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges)
        ...     artifact = checkpoint.restore(path, edges)
        >>> list(artifact.tensors)
        ['edge.facts']
    """
    artifact = read(path)
    with located(path):
        import_flax_state().restore(artifact, model, optimizer)
    return artifact


def reasoner_of(
    artifact: Artifact,
    foreign: Sequence[ForeignItem] = (),
    *,
    limits: Limits | None = None,
    custom_provenance: object = None,
) -> Reasoner:
    """Makes the reasoner of an artifact, with its parameters.

    It is not grounded again if its grounding is stored.

    Args:
        artifact: The result of `read`, for a model that is one reasoner.
        foreign: The foreign functions, predicates, aggregates and attributes that the program uses.
        limits: Limits of grounding the program again.
        custom_provenance: The `scallax.Provenance` that the reasoner was made with, if it was one of your own.

    Returns:
        A `scallax.Reasoner`.

    Raises:
        CheckpointError: The artifact is a larger model than one reasoner, its parameters are not those of its program,
            or `foreign` lacks an item.

    Example:
        >>> import os, tempfile
        >>> import scallax
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges, ground=True)
        ...     print(checkpoint.reasoner_of(checkpoint.read(path))())
        [[0.5]]
    """
    if set(artifact.specifications) != {""}:
        hint = "scallax.checkpoint.restore gives a model its values, scallax.checkpoint.read shows them"
        raise CheckpointError(Diagnostic(f"this is {_show_model(artifact)}, not one reasoner", hint=hint))
    specification = artifact.specifications[""]
    if "" in artifact.grounds:
        reasoner = Reasoner.from_stored(specification, artifact.grounds[""], foreign, custom_provenance)
    else:
        text = specification.to_json()
        reasoner = Reasoner.from_json(text, foreign, limits=limits, custom_provenance=custom_provenance)
    tensors = {n: a for n, a in artifact.tensors.items() if not n.startswith(OPTIMIZER)}
    try:
        return reasoner.with_parameters(tensors)
    except InputError as error:  # names, shapes or kinds of values are not those of the program
        raise CheckpointError(*error.diagnostics) from None


def make_artifact(model: Any, optimizer: Any, extra: object, ground: bool) -> Artifact:
    """The artifact of a model; arguments and errors as those of `save`."""
    match model:
        case Artifact() | Reasoner() if optimizer is not None:
            hint = "store the leaves of an optimizer's state in `extra`: jax.tree.leaves(state)"
            raise InputError(Diagnostic("an optimizer is saved with a Flax module only", hint=hint))
        case Artifact():
            artifact = model
        case Reasoner():
            tensors = {name: np.asarray(value) for name, value in model.parameters.items()}
            grounds = {"": model.compiled_program.serialized()} if ground else {}
            artifact = Artifact({"": model.specification}, tensors, grounds=grounds)
        # A Flax module is recognized without importing Flax, which is an extra of the package.
        case _ if any(kind.__module__.startswith("flax.nnx.") for kind in type(model).__mro__):
            artifact = import_flax_state().artifact_of(model, optimizer, ground=ground)
        case _:
            raise InputError(f"a {type(model).__name__} cannot be saved: give a reasoner or a Flax NNX module")
    if extra is None:
        return artifact
    if artifact.extra is not None:
        raise InputError("`extra` is given twice: in the artifact and as an argument")
    return replace(artifact, extra=_on_host(extra))


def _on_host(value: object, depth: int = 0) -> object:
    """A copy of the value in which JAX arrays are NumPy arrays."""
    match value:
        case jax.Array() if not jnp.issubdtype(value.dtype, jax.dtypes.extended):
            return np.asarray(value)
        case dict() if depth <= MAX_DEPTH:
            return {key: _on_host(item, depth + 1) for key, item in value.items()}
        case list() | tuple() if depth <= MAX_DEPTH:
            return [_on_host(item, depth + 1) for item in value]
        case _:
            return value


def _show_model(artifact: Artifact) -> str:
    paths = ", ".join(f"`{path}`" for path in artifact.specifications)
    return f"a {artifact.door} model with reasoners at {paths}" if paths else f"a {artifact.door} model without one"


def _read_file(data: bytes) -> Artifact:
    # A safetensors file begins with the length of a JSON object, eight bytes that may be anything.
    if data[8:9] == b"{":
        return read_safetensors(data)
    if data.startswith(b"PK"):
        hint = "torch_bridge.load reads it, and torch_bridge.convert(source, target) turns it into a form for JAX"
        raise CheckpointError(Diagnostic("this is a file of torch", hint=hint))
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        hint = "if you trust it, load it with what wrote it, and save it in another form"
        raise CheckpointError(Diagnostic("this is a pickle, which may run any code: it is not read", hint=hint))
    raise CheckpointError("this file is no checkpoint, or is damaged")
