"""Planner: from core form to relational algebra.

Given a program in core form, it orders strata, expands recursive rules into semi-naive versions, orders joins, and
hands on a plan of operators for each rule: one pass a file.
"""
