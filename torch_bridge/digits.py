"""Stores a specification as a tensor of a state dict, so that it survives operations on all tensors."""

import hashlib

import numpy as np
import torch

from scallax import Specification
from scallax.errors import CheckpointError, Diagnostic
from scallax.facts import from_json

# Three bits of the text become a sign and a power of two. A float of any width holds it exactly; it stays under every
# average of equal ones, whatever the weights and their rounding, or they all are multiplied alike. The text is not
# compressed: equal specifications give equal digits whatever library wrote them.
_POWERS = 4
_LEVELS = np.concatenate([sign * np.ldexp(1.0, np.arange(_POWERS)) for sign in (1, -1)])
# Each of the first bits of the text's SHA-256 is a pair of 1 and 0.
_NUM_BITS = 64
# Under an average of different texts the smaller numbers of the pairs are 0, or the weights of some of the texts: so
# many are equal, and not all. Noise makes nearly all of them different.
_FEW = 8
# Differences above this are not noise.
_MOST_NOISE = 0.5
# Distributed checkpoints load a tensor only into one of the same length: round it up.
_BLOCK = 2048


def pack_specification(specification: Specification) -> torch.Tensor:
    """The tensor of `digits_of` for a specification."""
    return torch.from_numpy(digits_of(specification))


def digits_of(specification: Specification) -> np.ndarray:
    """The JSON text as float32 digits `[2048 n]`, after the check digits."""
    text = specification.to_json().encode()
    num_blocks = -(-(3 * 2 * _NUM_BITS + 8 * len(text)) // (3 * _BLOCK))
    text = text.ljust(3 * (num_blocks * _BLOCK - 2 * _NUM_BITS) // 8)
    bits = np.unpackbits(np.frombuffer(text, np.uint8)).reshape(-1, 3)
    return np.concatenate([_check_digits(text), _LEVELS[bits @ [4, 2, 1]]]).astype(np.float32)


def read_specification(state: object) -> Specification:
    """The specification that `pack_specification` packed, from any float dtype.

    It also reads averages of equal ones, multiples of one, ones with a little noise, and the bytes of the text that
    earlier versions packed. CheckpointError if it is damaged, or the average of different specifications.
    """
    if not isinstance(state, torch.Tensor) or state.ndim != 1 or state.is_complex():
        raise _no_text()
    values = state.detach().cpu().double().numpy()
    # Bytes of JSON are at least 32; among the check digits are zeros.
    is_bytes = not state.is_floating_point() or (len(values) > 0 and values.min() > 31)
    text = _text_of_bytes(values) if is_bytes else _text_of_digits(values)
    try:
        return from_json(text.decode())
    except UnicodeDecodeError:  # damaged bytes
        raise _no_text() from None


def _check_digits(text: bytes) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(hashlib.sha256(text).digest(), np.uint8))[:_NUM_BITS]
    return np.stack([bits, 1 - bits], axis=1).reshape(-1)


def _text_of_bytes(values: np.ndarray) -> bytes:
    found = np.rint(values)
    if not ((found >= 0) & (found < 256)).all():
        raise _no_text()
    return found.astype(np.uint8).tobytes()


def _text_of_digits(values: np.ndarray) -> bytes:
    if len(values) % _BLOCK or not len(values) or not np.isfinite(values).all():
        raise _no_text()
    checks = values[: 2 * _NUM_BITS].reshape(-1, 2)
    low, high = checks.min(axis=1), checks.max(axis=1)
    zero = np.median(low)
    one = np.median(high) - zero
    most_equal = np.unique(low, return_counts=True)[1].max()
    if _FEW <= most_equal < _NUM_BITS or np.ptp(low) > _MOST_NOISE * one > 0:
        hint = "average state dicts of modules with equal programs and arguments"
        raise CheckpointError(Diagnostic("the saved specification is an average of different ones", hint=hint))
    digits = (values[2 * _NUM_BITS :] - zero) / max(one, np.finfo(np.float32).tiny)
    if not digits.all() or np.ptp(high) > _MOST_NOISE * one:
        raise _no_text()
    powers = np.rint(np.log2(np.abs(digits))).astype(np.int64)
    if powers.min() < 0 or powers.max() >= _POWERS:
        raise _no_text()
    numbers = powers + _POWERS * (digits < 0)
    text = np.packbits(numbers[:, None] >> np.array([2, 1, 0]) & 1).tobytes()
    if not np.array_equal(checks[:, 0] > checks[:, 1], _check_digits(text)[::2]):
        raise CheckpointError("the saved specification does not match its check digits: it was changed")
    return text


def _no_text() -> CheckpointError:
    hint = (
        "averages of equal ones can be read, and multiples of them; of a difference, or of what was set to 0, take "
        "`_extra_state` from a state dict that was saved"
    )
    return CheckpointError(Diagnostic("the saved specification is no text", hint=hint))
