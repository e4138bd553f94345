"""Analysis: from syntax tree to core form.

Given syntax trees, it resolves names, infers types, checks that variables are bound, and hands on a program of typed
relations, rules, facts and queries (`language.ir`), or every problem at once.
"""
