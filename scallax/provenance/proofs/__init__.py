"""Proof sets: provenances whose tags are sets of proofs, how they are kept, combined and counted."""
