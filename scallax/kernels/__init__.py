"""Kernels: operations on arrays alone, without a word of the language.

Given rows, runs, tiles and schedules as arrays, they number, join, fold and reverse; the stages above say what the rows
mean. Beside them lies how long work tells the log how far it is.
"""
