"""Converts tensors to JAX arrays and back; large ones without a copy if the devices are the same."""

import contextlib
import functools
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.utils.dlpack

from scallax.errors import Diagnostic, InputError, warn

_NO_CONTEXT = contextlib.nullcontext()

# Up to this number of elements, a copy takes less time than sharing memory.
_MAX_COPIED = 1 << 13


def to_jax(tensor: torch.Tensor) -> np.ndarray | jax.Array:
    """The values of a tensor for a JAX function; a view of the same memory if the tensor is contiguous.

    On the CPU it is a NumPy view (for bfloat16 too); on a CUDA device that JAX uses it is a JAX array. A tensor on any
    other device is copied to the CPU. The view must not outlive the call, and results of it must be ready before the
    tensor can change.
    """
    is_on_host = tensor.device.type == "cpu"
    if is_on_host and tensor.layout is torch.strided and tensor.dtype is not torch.bfloat16:
        return np.asarray(tensor.numpy(force=True), order="C")
    if tensor.layout is not torch.strided or tensor.device.type == "meta":
        raise InputError(f"a tensor of layout {tensor.layout} on the device {tensor.device} has no array of values")
    tensor = tensor.detach().contiguous().resolve_neg()
    if tensor.device.type == "cuda" and jax_drives_cuda():
        # Torch exports tensors of its current device only.
        with torch.cuda.device(tensor.device):
            return jax.dlpack.from_dlpack(tensor)
    if not is_on_host:
        tensor = tensor.cpu()
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(jnp.bfloat16)
    return tensor.numpy()


def to_torch(array: np.ndarray | jax.Array, device: torch.device) -> torch.Tensor:
    """The array as a tensor on `device`; waits for its values.

    Large arrays of JAX on the same device share their memory; arrays of NumPy are copied.
    """
    size = array.size
    if size == 0:
        return torch.empty(array.shape, dtype=_torch_dtype(array), device=device)
    if size <= _MAX_COPIED and device.type == "cpu" and array.dtype != jnp.bfloat16:
        return torch.from_numpy(np.array(array))
    if isinstance(array, np.ndarray):
        return from_numpy(array).to(device)
    if device.type == "cpu" and all(place.platform == "cpu" for place in array.devices()):
        # The device is given, so that torch need not look it up.
        return torch.utils.dlpack.from_dlpack(array.__dlpack__())
    return torch.from_dlpack(array).to(device)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A NumPy copy of the tensor, of the same dtype."""
    tensor = tensor.detach().cpu().contiguous().resolve_neg()
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(jnp.bfloat16).copy()
    return tensor.numpy().copy()


def from_numpy(array: np.ndarray) -> torch.Tensor:
    """A tensor on the CPU with a copy of the array, of the same dtype."""
    array = np.array(array, order="C")
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def common_dtype(tensors: Iterable[torch.Tensor], *others: torch.Tensor) -> torch.dtype:
    """The dtype of all tensors of floats; where they differ, the wider of float32 and float64, of `others` too."""
    dtypes = {tensor.dtype for tensor in tensors if tensor.dtype.is_floating_point}
    if len(dtypes) == 1:
        return dtypes.pop()
    return torch.float64 if torch.float64 in dtypes else computing_dtype(others)


def computing_dtype(tensors: Iterable[torch.Tensor]) -> torch.dtype:
    """The dtype that values are computed in: float64 if a tensor is, else float32."""
    return torch.float64 if any(tensor.dtype is torch.float64 for tensor in tensors) else torch.float32


def check_tensor(relation: str, value: object) -> torch.Tensor:
    """The tensor of a relation. InputError for what is none."""
    if not isinstance(value, torch.Tensor):
        raise InputError(f"`{relation}` is a {type(value).__name__}; give a tensor")
    return value


def common_device(tensors: Mapping[str, torch.Tensor]) -> torch.device:
    """The one device of the tensors; the CPU if there are none. Warns once if JAX cannot compute on it."""
    devices = [tensor.device for tensor in tensors.values()] or [torch.device("cpu")]
    device = devices[0]
    if any(other != device for other in devices[1:]):
        shown = ", ".join(f"`{name}` is on {tensor.device}" for name, tensor in tensors.items())
        message = f"the inputs are on different devices: {shown}"
        raise InputError(Diagnostic(message, hint="move them to one device first: `tensor.to(device)`"))
    if device.type not in ("cpu", "meta") and not (device.type == "cuda" and jax_drives_cuda()):
        _warn_of_copies(device.type)
    return device


def precision_and_place(tensors: Sequence[torch.Tensor]) -> contextlib.AbstractContextManager:
    """Lets JAX compute in float64 if a tensor is, and on the CPU unless the tensors are on JAX's device."""
    is_double = computing_dtype(tensors) is torch.float64
    is_elsewhere = _default_platform() != "cpu" and not any(tensor.device.type == "cuda" for tensor in tensors)
    if not is_double and not is_elsewhere:
        return _NO_CONTEXT
    stack = contextlib.ExitStack()
    if is_double:
        stack.enter_context(jax.enable_x64(True))
    if is_elsewhere:
        stack.enter_context(jax.default_device(jax.local_devices(backend="cpu")[0]))
    return stack


@functools.cache
def _default_platform() -> str:
    return jax.default_backend()


@functools.cache
def jax_drives_cuda() -> bool:
    """Whether this JAX can compute on CUDA devices."""
    try:
        return bool(jax.devices("cuda"))
    except RuntimeError:  # this JAX knows no such platform, or finds no device of it
        return False


@functools.cache
def _warn_of_copies(device_type: str) -> None:
    warn(f"this JAX has no {device_type} device: tensors are copied to the CPU and back; install JAX for that device")


def _torch_dtype(array: np.ndarray | jax.Array) -> torch.dtype:
    return getattr(torch, str(array.dtype))
