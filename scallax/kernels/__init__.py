"""Kernels: operations on arrays alone, without a word of the language.

Given rows, runs, tiles and schedules as arrays, they number, join, fold and reverse; the stages above say what the rows
mean. Beside them lie three helps of all rooms: names imported at their first use, how far long work is, for the log,
and caches with bounds.
"""
