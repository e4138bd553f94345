"""The options of grounding: how facts, rules and choices become literals, and how far a fixpoint may go."""

from collections.abc import Mapping
from dataclasses import field

from scallax.grounding.annotated_disjunctions import ChoiceReading, Choices
from scallax.grounding.certainty import CannotFail
from scallax.grounding.conjunction import Weigh
from scallax.grounding.limits import DEFAULT_LIMITS, Limits
from scallax.language.records import record


@record
class GroundingOptions:
    """The options with which a plan is grounded."""

    # Whether tuples that hold whatever the literals have the operand ONE and no derivation; if not, every tuple but a
    # lone uncertain fact is a node.
    collapse_certain: bool = True
    # Whether a rule with a tag is uncertain.
    rule_tags: bool = True
    # The choices of heads with alternatives; where they are exclusive, derivations whose facts exclude each other may
    # be left out.
    choices: Choices = field(default_factory=lambda: Choices(ChoiceReading(exclusive=False)))
    # The trainable parameter that is the tag of a rule, by the rule's index in the program.
    rule_parameters: Mapping[int, int] = field(default_factory=dict)
    # A stratum ends after one round more than this.
    iter_limit: int | None = None
    limits: Limits = DEFAULT_LIMITS
    # Is asked for the weights that become values of tuples.
    weigh: Weigh | None = None
    # Says which facts with constant tags hold in every world, beside untagged ones.
    is_certain: CannotFail | None = None
