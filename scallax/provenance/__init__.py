"""Provenances: the algebras of tags, which derivations are folded over.

The room is given the tags of facts and blocks of operands, as arrays; it hands on the tags of tuples, and the values
that they stand for. `traits` has what is true of each algebra, for stages that do not import JAX; `table` makes the
algebra of a name.
"""
