"""Pictures of trees, by Matplotlib."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from scallax.errors import Diagnostic, InputError

# Inches of a level, of a leaf beside another, and of a character of a label.
_LEVEL, _GAP, _CHARACTER = 0.9, 0.3, 0.085
# Dots an inch, those of a side that Matplotlib can draw, and of a whole picture: larger ones are drawn smaller.
_DOTS, _MOST_SIDE, _MOST_DOTS = 150, 60_000, 1 << 26


@final
class Node:
    """A labelled tree; a label may have several lines.

    `own_width` and `width` are inches of the label with its margin and of the whole tree, `depth` the levels below it.
    """

    def __init__(self, label: str, children: Sequence["Node"]):
        self.label = label
        self.children = children
        self.own_width = _GAP + _CHARACTER * max(map(len, label.split("\n")))
        self.width = max(self.own_width, sum(child.width for child in children))
        self.depth: int = max((1 + child.depth for child in children), default=0)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node is drawn, in inches, and the place of its parent."""

    node: Node
    x: float
    y: float
    parent: "_Place | None"


def draw_trees(trees: Sequence[tuple[str, Node]], target: str | Path | io.StringIO, file_format: str) -> None:
    """Draws trees side by side, each under its title, with the roots on top.

    `file_format` is `png`, `svg` or `pdf`. Raises `InputError` without Matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:  # an extra that is not installed
        hint = "pip install scallax[draw]"
        message = "a picture of proofs is drawn by Matplotlib, which is not installed"
        raise InputError(Diagnostic(message, hint=hint)) from None
    depth = max((tree.depth for _, tree in trees), default=0)
    widths = [max(tree.width, _GAP + _CHARACTER * len(title)) for title, tree in trees]
    figure = Figure(figsize=(max(1.0, sum(widths)), _LEVEL * (depth + 1.5)))
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, max(1.0, sum(widths)))
    axes.set_ylim(-_LEVEL * (depth + 0.5), _LEVEL)
    # Dollars are dollars.
    style = {"ha": "center", "va": "center", "parse_math": False}
    left = 0.0
    for (title, tree), width in zip(trees, widths, strict=True):
        axes.text(left + width / 2, 0.6 * _LEVEL, title, fontsize=9, **style)
        for place in _places(tree, left + (width - tree.width) / 2):
            if place.parent is not None:
                axes.plot([place.x, place.parent.x], [place.y, place.parent.y], color="0.6", linewidth=1, zorder=1)
            box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.3"}
            axes.text(
                place.x,
                place.y,
                place.node.label,
                ha="center",
                va="center",
                parse_math=False,
                fontsize=8,
                bbox=box,
                zorder=2,
            )
        left += width
    width, height = figure.get_size_inches()
    dots = min(_DOTS, _MOST_SIDE / max(width, height), math.sqrt(_MOST_DOTS / (width * height)))
    figure.savefig(target, format=file_format, dpi=dots)


def _places(root: Node, left: float) -> Iterator[_Place]:
    waiting: list[tuple[Node, float, float, _Place | None]] = [(root, left, 0.0, None)]
    while waiting:
        node, left, y, parent = waiting.pop()
        place = _Place(node, left + node.width / 2, y, parent)
        yield place
        left += (node.width - sum(child.width for child in node.children)) / 2
        for child in node.children:
            waiting.append((child, left, y - _LEVEL, place))
            left += child.width
