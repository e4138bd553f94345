"""Context: a program that is built step by step, run, and run again, `scallax.Context`.

Given texts, facts and rules one after the other, it hands back relations with tags, and their pictures as tables, plans
and files; the prompt and the command line are built on it.
"""


def __getattr__(name: str):
    # Pickles of version 0.1 name the class by this path.
    if name == "Context":
        from importlib import import_module

        return getattr(import_module("scallax.context.context"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
