"""Facts: everything that a caller gives to a program.

Specifications, arguments, mappings, facts in lists, files, tables and databases, read and checked at the border, and
handed on in columns.
"""
