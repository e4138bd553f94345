"""Context: a program that is built step by step, run, and run again; the prompt and the command line use it too.

It is given texts, facts and rules one after the other, and makes checked programs of them. It hands on relations with
their tags (`Collection`), their tables, plans and files, and a compiled function of the program (`Reasoner`).
"""


def __getattr__(name: str):
    # Pickles of version 0.1 name the class by this path.
    if name == "Context":
        from importlib import import_module

        return getattr(import_module("scallax.context.context"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
