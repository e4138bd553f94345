"""Names of the reference's package for types of tags, and what it was built with."""

# What `tag_type` and `Facts[tag type, ...]` take; a probability has a gradient wherever the provenance has one.
none = None
natural = int
exclusion = int
boolean = bool
prob = float
diff_prob = float
exclusive_prob = tuple[float, int]
exclusive_diff_prob = tuple[float, int]


def torch_tensor_enabled() -> bool:
    """Tells whether programs have values of type Tensor.

    Returns:
        True.

    Example:
        >>> import torch_bridge
        >>> torch_bridge.torch_tensor_enabled()
        True
    """
    return True
