"""Facts: everything that a caller gives to a program.

Specifications, arguments, mappings, facts in lists, files, tables and databases, read and checked at the border, and
handed on in columns.
"""

from typing import TYPE_CHECKING

from scallax.kernels.lazy_names import lazy_names

if TYPE_CHECKING:
    from scallax.facts.arguments import read_by_relation as read_by_relation
    from scallax.facts.fact_checks import check_tags as check_tags
    from scallax.facts.fact_checks import wrong_tag as wrong_tag
    from scallax.facts.fact_table import FactTable as FactTable
    from scallax.facts.files import text_reader as text_reader
    from scallax.facts.mappings import Tuples as Tuples
    from scallax.facts.outputs import check_named as check_named
    from scallax.facts.outputs import choose as choose
    from scallax.facts.outputs import read_asked as read_asked
    from scallax.facts.sample_facts import is_array as is_array
    from scallax.facts.specification import evidence_of as evidence_of
    from scallax.facts.specification import from_json as from_json

# The public face of the room: where each name lives, imported at its first use.
__getattr__ = lazy_names(
    __name__,
    {
        "FactTable": "fact_table",
        "Tuples": "mappings",
        "check_named": "outputs",
        "check_tags": "fact_checks",
        "choose": "outputs",
        "evidence_of": "specification",
        "from_json": "specification",
        "is_array": "sample_facts",
        "read_asked": "outputs",
        "read_by_relation": "arguments",
        "text_reader": "files",
        "wrong_tag": "fact_checks",
    },
)
