"""Pictures of trees, by Matplotlib: a row for each node, from the root down, as a folder's contents are listed."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from scallax.errors import Diagnostic, InputError

# Inches of a row, of a level's indentation, between two trees, and of a character of a label.
_ROW, _LEVEL, _GAP, _CHARACTER = 0.34, 0.3, 0.4, 0.075
# Dots an inch, those of a side that Matplotlib can draw, and of a whole picture: larger ones are drawn smaller.
_DOTS, _MOST_SIDE, _MOST_DOTS = 150, 60_000, 1 << 26


@final
class Node:
    """A labelled tree; `reason` is written on the line from a node to its children. Nodes are told apart by identity.

    A node that occurs twice in a tree is drawn with its children once; after that by its label alone.
    """

    def __init__(self, label: str, children: Sequence["Node"], reason: str | None = None):
        self.label = label
        self.children = children
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a picture: a label, or a reason in grey. `parent` is the row of the node above, by number."""

    text: str
    level: int
    parent: int | None
    is_reason: bool = False
    is_repeated: bool = False

    @property
    def right(self) -> float:
        return _LEVEL * self.level + _CHARACTER * (len(self.text) + 2)


def draw_trees(trees: Sequence[tuple[str, Node]], target: str | Path | io.StringIO, file_format: str) -> None:
    """Draws trees side by side, each under its title.

    `file_format` is `png`, `svg` or `pdf`. Raises `InputError` without Matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:  # an extra that is not installed
        hint = "pip install scallax[draw]"
        message = "a picture of proofs is drawn by Matplotlib, which is not installed"
        raise InputError(Diagnostic(message, hint=hint)) from None
    listed = [(title, list(_rows(tree))) for title, tree in trees]
    widths = [max(_CHARACTER * len(title), *(row.right for row in rows)) + _GAP for title, rows in listed]
    width = max(1.0, _GAP + sum(widths))
    height = _ROW * (2 + max((len(rows) for _, rows in listed), default=0))
    figure = Figure(figsize=(width, height))
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(-height, 0)
    left = _GAP
    for (title, rows), own_width in zip(listed, widths, strict=True):
        # Dollars are dollars.
        axes.text(left, -0.75 * _ROW, title, fontsize=9, va="center", parse_math=False)
        _draw_rows(axes, rows, left)
        left += own_width
    dots = min(_DOTS, _MOST_SIDE / max(width, height), math.sqrt(_MOST_DOTS / (width * height)))
    figure.savefig(target, format=file_format, dpi=dots)


def _rows(root: Node) -> Iterator[_Row]:
    """The rows of a tree, from the top down.

    The last child that has children of its own comes after the others and is not indented: a proof by a recursion that
    is as deep as it is long stays a narrow column.
    """
    shown: set[int] = set()
    waiting: list[tuple[Node, int, int | None]] = [(root, 0, None)]
    number = 0
    while waiting:
        node, level, parent = waiting.pop()
        is_repeated = id(node) in shown and len(node.children) > 0
        shown.add(id(node))
        yield _Row(f"{node.label} (see above)" if is_repeated else node.label, level, parent, False, is_repeated)
        own, number = number, number + 1
        if is_repeated:
            continue
        if node.reason is not None:
            yield _Row(node.reason, level, own, is_reason=True)
            number += 1
        deep = [child for child in node.children if child.children]
        last = deep[-1:]
        others = [child for child in node.children if not last or child is not last[0]]
        waiting += [(child, level, own) for child in last]
        waiting += [(child, level + 1, own) for child in reversed(others)]


def _draw_rows(axes: Any, rows: Sequence[_Row], left: float) -> None:
    # Lines run down from below a label's first characters.
    def spine(row: _Row) -> float:
        return left + _LEVEL * row.level + 0.12

    lines: list[list[tuple[float, float]]] = []
    for number, row in enumerate(rows):
        y = -_ROW * (number + 1.75)
        x = left + _LEVEL * row.level
        if row.is_reason:
            axes.text(x + 0.24, y, row.text, fontsize=7, va="center", style="italic", color="0.4", parse_math=False)
            continue
        if row.parent is not None:
            above = rows[row.parent]
            top = -_ROW * (row.parent + 1.75)
            lines.append([(spine(above), top), (spine(above), y), (x, y)])
        edge = "0.7" if row.is_repeated else "0.3"
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": edge}
        axes.text(x + 0.04, y, row.text, fontsize=8, va="center", parse_math=False, bbox=box, zorder=2)
    if lines:
        from matplotlib.collections import LineCollection  # installed: the caller has checked

        axes.add_collection(LineCollection(lines, colors="0.6", linewidths=1, zorder=1))
