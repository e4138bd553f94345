"""Evaluation: a provenance folded over a circuit, with its reverse.

Given a circuit and the tags of a batch's facts, it computes the tags of all outputs and their gradients by compiled
functions of one bounded cache, and hands on arrays.
"""
