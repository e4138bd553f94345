"""Grounding: the tuples of every relation and their derivations, and nothing else.

Given a plan and facts in columns, it runs semi-naive rounds until nothing grows, and hands on derivations over numbered
nodes and literals.
"""
