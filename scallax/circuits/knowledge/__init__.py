"""Exact inference: a ground program compiled to a circuit that sum and product evaluate exactly."""
