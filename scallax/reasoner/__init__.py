"""Reasoner: the public function of probabilities, `scallax.Reasoner`.

Given a specification and inputs, it hands back outputs by name, Jacobians, and proofs of tuples for people.
"""


def __getattr__(name: str):
    # Pickles of version 0.1 name the class by this path.
    if name in ("Reasoner", "_restore"):
        from importlib import import_module

        return getattr(import_module("scallax.reasoner.reasoner"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
