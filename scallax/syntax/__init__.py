"""Syntax: from text to syntax tree and back.

Given the sources of a program, it hands on a tree whose every node knows its place in a source, or the problems found
in the text.
"""
