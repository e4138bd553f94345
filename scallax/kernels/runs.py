"""Runs of equal keys and ranges of integers, vectorised."""

import numpy as np


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`starts[i], starts[i] + 1, ...`, `counts[i]` of them, for every `i` in turn."""
    total = int(counts.sum())
    ends = np.cumsum(counts)
    return np.arange(total) - np.repeat(ends - counts - starts, counts)


def ranks(keys: np.ndarray) -> np.ndarray:
    """For keys in runs: the place of each element in its run, from 0."""
    if not len(keys):
        return np.zeros(0, np.int64)
    starts = run_starts(keys)
    return np.arange(len(keys)) - np.repeat(starts, np.diff(np.concatenate([starts, [len(keys)]])))


def run_starts(keys: np.ndarray) -> np.ndarray:
    """For keys in runs: the index of the first element of each run."""
    if not len(keys):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def run_ids(*keys: np.ndarray) -> np.ndarray:
    """For rows in runs of equal keys: 0 for the first run, 1 for the next, ..."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    changes = np.zeros(len(keys[0]) - 1, bool)
    for key in keys:
        changes |= key[1:] != key[:-1]
    return np.concatenate([[0], np.cumsum(changes)])
