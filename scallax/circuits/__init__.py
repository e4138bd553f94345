"""Circuits: from derivations to arrays that are evaluated many times.

Given the derivations of a grounding, it prunes, orders and lays them out as index arrays, compiles knowledge for exact
inference, and hands on a circuit. `compile.py` is the table of contents from source to circuit.
"""
