"""The checks of a reasoner's calls, which warn once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from scallax.errors import Diagnostic, InputError, warn
from scallax.evaluation.batch import Arguments, ArrayLike
from scallax.evaluation.checks import (
    are_finite,
    check_kind,
    check_logits,
    check_shapes,
    is_concrete,
    is_on_host,
    locate,
)
from scallax.facts.fact_checks import (
    ROUNDING,
    find_outside,
    find_overfull,
    find_overfull_entries,
    find_shares,
    tag_message,
    undeclared_shares,
)
from scallax.facts.fact_table import FactTable
from scallax.facts.mappings import InputMapping
from scallax.facts.parameters import Parameter
from scallax.language.tag_domains import MAX_WEIGHT, Domain
from scallax.provenance.traits import Traits


@final
class InputChecks:
    """Checks of one reasoner's inputs, with a memory of the warnings that were given already.

    `undeclared` are the relations to be looked at once: whether their entries exclude each other was not said.
    `observed` are the names of arrays that say what was observed: NaN for what was not looked at.
    """

    def __init__(
        self,
        mappings: Mapping[str, InputMapping],
        parameters: Sequence[Parameter],
        traits: Traits,
        undeclared: set[str],
        observed: frozenset[str] = frozenset(),
    ):
        self._mappings = mappings
        self._shapes = {relation: mapping.shape for relation, mapping in mappings.items()}
        self._parameters = parameters
        self._traits = traits
        self._counts_groups = traits.has_multivalued_variables
        self._undeclared = undeclared
        self._observed = observed
        self._has_logs = any(mapping.log for mapping in mappings.values())
        self._has_warned = False
        self._has_warned_of_sums = False
        self._has_checked_device = False

    def check(self, arguments: Arguments, *, are_logits_given: bool) -> None:
        """InputError unless kinds and shapes, and the values of arrays that are not traced, fit."""
        arrays = arguments.arrays
        self.check_forms(arrays)
        # Reading values back from an accelerator waits for it: worth it in the first call.
        on_device = not self._has_checked_device
        self.check_values(arrays, on_device)
        if are_logits_given:
            self.check_logits(arguments, arrays[0].shape[0] if arrays else None, on_device)
        if on_device and any(is_concrete(array) and not is_on_host(array) for array in arrays + arguments.logits):
            self._has_checked_device = True

    def check_forms(self, arrays: Sequence[ArrayLike]) -> None:
        """InputError unless kinds and shapes fit."""
        for relation, array in zip(self._mappings, arrays, strict=True):
            self.check_kind(relation, array)
        check_shapes(self._shapes, [array.shape for array in arrays])

    def check_entries(self, arrays: Sequence[ArrayLike], entries: np.ndarray) -> None:
        """`check_values` of probabilities; `entries` are all their values, at least one."""
        if (
            self._undeclared
            or self._has_logs
            or not _are_inside(entries)
            or (self._counts_groups and not self._has_warned_of_sums)
        ):
            self.check_values(arrays, on_device=False)

    def check_logits(self, arguments: Arguments, num_samples: int | None = None, on_device: bool = False) -> None:
        """InputError for logits that are no finite floats of the parameters' shapes, perhaps for each sample."""
        check_logits(self._parameters, arguments.logits, num_samples, on_device)

    def check_kind(self, relation: str, array: object) -> None:
        """InputError for what is no array of a dtype that the provenance reads."""
        check_kind(relation, array, self._shapes[relation], self._traits)

    def check_values(self, arrays: Sequence[ArrayLike], on_device: bool) -> None:
        """InputError for inputs that the provenance cannot read; one warning for probabilities outside [0, 1].

        Values on an accelerator are looked at only if `on_device`.
        """
        for relation, array in zip(self._mappings, arrays, strict=True):
            if array.dtype == np.bool_ or not array.shape[0] or not is_concrete(array):
                continue
            if on_device or is_on_host(array):
                self.check_numbers(relation, np.asarray(array))
        if self._undeclared:
            self.check_undeclared(dict(zip(self._mappings, arrays, strict=True)))

    def check_undeclared(self, arrays: Mapping[str, ArrayLike]) -> None:
        """One warning of the first values that add up to 1 where it was not said whether entries exclude each other.

        Values that are traced or on an accelerator are not looked at.
        """
        found = {}
        for relation in self._undeclared.intersection(arrays):
            array = arrays[relation]
            if array.dtype != np.bool_ and array.shape[0] and is_concrete(array) and is_on_host(array):
                self._undeclared.discard(relation)
                mapping, values = self._mappings[relation], np.asarray(array)
                found[relation] = find_shares(mapping, np.exp(values) if mapping.log else values)
        options = {relation: found[relation] for relation in self._mappings if found.get(relation) is not None}
        if options:
            self._undeclared.clear()
            warn(str(undeclared_shares(options, self._traits.name)))

    def check_numbers(self, relation: str, values: np.ndarray) -> None:
        """`check_values` of one relation's, at least one."""
        if relation in self._observed:
            values = np.where(np.isnan(values), 0, values)
        if self._mappings[relation].log:
            values = self._read_logarithms(relation, values)
        if self._traits.domain is not Domain.PROBABILITY:
            self._check_domain(relation, values)
            return
        if not _are_inside(values):
            self._check_outside(relation, values)
        if self._counts_groups and not self._has_warned_of_sums:
            text = find_overfull_entries(relation, self._mappings[relation], values)
            if text is not None:
                self._has_warned_of_sums = True
                warn(text)

    def check_tags(self, facts: Sequence[FactTable], tags: ArrayLike) -> None:
        """InputError for finite tags of facts that the provenance cannot read.

        One warning of one outside [0, 1], and one of exclusive facts that add up to more than 1.

        Tags that are traced or on an accelerator are not looked at.
        """
        if not is_concrete(tags) or not is_on_host(tags):
            return
        domain = self._traits.domain
        if domain is Domain.NATURAL:
            wrong = np.flatnonzero(_is_not_natural(np.asarray(tags)))
            if len(wrong):
                place = int(wrong[0])
                raise InputError(tag_message(facts, place, f"has the tag {float(tags[place]):g}; give {domain.value}"))
        if domain is not Domain.PROBABILITY or self._traits.is_discrete:
            return
        text = None if self._has_warned else find_outside(facts, np.asarray(tags), self._traits.is_log)
        if text is not None:
            if self._traits.is_log:
                raise InputError(text)
            self._has_warned = True
            warn(text)
        if self._counts_groups and not self._has_warned_of_sums:
            text = find_overfull(facts, np.asarray(tags))
            if text is not None:
                self._has_warned_of_sums = True
                warn(text)

    def _read_logarithms(self, relation: str, values: np.ndarray) -> np.ndarray:
        """The probabilities of logarithms. InputError for what is none, and where a provenance has no probabilities."""
        if self._traits.domain is not Domain.PROBABILITY:
            message = (
                f"`{relation}` is mapped with `log=True`, and tags under `{self._traits.name}` are no probabilities"
            )
            raise InputError(Diagnostic(message, hint="leave `log` out of its mapping"))
        # NaN is not at most 0 either.
        wrong = ~(values <= ROUNDING)
        if wrong.any():
            place = locate(self._mappings[relation], relation, values, wrong)
            raise InputError(f"`{relation}` {place}; the logarithm of a probability is at most 0")
        return np.exp(values.astype(np.float64))

    def _check_domain(self, relation: str, values: np.ndarray) -> None:
        """InputError for inputs that the provenance, not one of probabilities, cannot read."""
        domain = self._traits.domain
        wrong = ~are_finite(values)
        if domain is Domain.NATURAL:
            wrong |= _is_not_natural(values)
        if wrong.any():
            place = locate(self._mappings[relation], relation, values, wrong)
            raise InputError(f"`{relation}` {place}; give {domain.value}")

    def _check_outside(self, relation: str, values: np.ndarray) -> None:
        """InputError or a warning for some values that are outside [0, 1]."""
        finite = are_finite(values)
        if not finite.all():
            place = locate(self._mappings[relation], relation, values, ~finite)
            raise InputError(f"`{relation}` {place}; a probability is a finite number")
        if self._traits.is_log:
            place = locate(self._mappings[relation], relation, values, (values < 0) | (values > 1))
            raise InputError(f"`{relation}` {place}, outside [0, 1]; it has no logarithm of a probability")
        if not self._has_warned:
            self._has_warned = True
            place = locate(self._mappings[relation], relation, values, (values < 0) | (values > 1))
            warn(f"`{relation}` {place}, outside [0, 1]; it is computed as it is")


def _are_inside(values: np.ndarray) -> bool:
    return bool(values.min() >= -ROUNDING and values.max() <= 1 + ROUNDING)


def _is_not_natural(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.result_type(values, np.float32), copy=False)  # float16 has not all of them
    return (wide < 0) | (wide > MAX_WEIGHT) | (wide != np.floor(wide))
