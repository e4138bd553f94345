"""Language: what a program is made of, apart from its text.

The core form of programs, values and their types, built-in and foreign functions and predicates, and the decorators by
which Python declares them. Every later stage speaks in these terms.
"""
