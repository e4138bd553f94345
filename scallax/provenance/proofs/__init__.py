"""Proof sets: provenances whose tags are sets of proofs, how they are kept, combined and counted."""


def __getattr__(name: str):
    # Pickles of version 0.1 name the class by this path.
    if name == "TopKProofs":
        from importlib import import_module

        return getattr(import_module("scallax.provenance.proofs.top_k"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
