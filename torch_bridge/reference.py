"""The reference's names for types of tags, and its function about how it was built."""

# Arguments of `tag_type` and `Facts[tag type, ...]`; a probability has a gradient wherever the provenance has one.
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
