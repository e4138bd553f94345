"""Learns to see dashes and marks in pictures of small mazes from nothing but whether two marks are joined.

A picture shows a grid of places, two of them marked. Between neighbours is a dash, which joins them, or a wall across.
The rules know what it means that two marks are joined, but not what a dash or a mark looks like. A network that has
learned in small mazes serves in larger ones, where the same rules are grounded for more places.
"""

import torch
from torch import nn

import scallax
import torch_bridge

TRAIN_SIDE, TEST_SIDE, STEPS, BATCH, TEST_MAZES = 4, 6, 200, 32, 500
RULES = """
    rel step(a, b) = dash(a, b) or dash(b, a)
    rel reach(a, b) = mark(a) and step(a, b)
    rel reach(a, c) = reach(a, b) and step(b, c)
    rel joined() = reach(a, b) and mark(b) and a != b
"""


def make_rules(side, provenance):
    """A module from dashes, first those within rows, then those within columns, and marks to what is joined."""
    within_rows = [(side * i + j, side * i + j + 1) for i in range(side) for j in range(side - 1)]
    within_columns = [(side * i + j, side * (i + 1) + j) for j in range(side) for i in range(side - 1)]
    mappings = {"dash": within_rows + within_columns, "mark": range(side * side)}
    return torch_bridge.Module(RULES, provenance=provenance, input_mappings=mappings, output_mapping=("joined", ()))


def cut(pictures):
    """Views of squares of 7 x 7 pixels that lie side by side: `[batch, rows, columns, 7, 7]`."""
    return pictures.unfold(1, 7, 7).unfold(2, 7, 7)


def between_places(pictures):
    """The squares from place to place within rows, and those within columns, turned on their side to look alike."""
    return cut(pictures[:, :, 3:-4]), cut(pictures.transpose(1, 2)[:, :, 3:-4])


def draw(dashes, marks, side):
    """Noisy pictures `[batch, 7 * side, 7 * side]` of mazes."""
    pictures = torch.zeros(len(dashes), 7 * side, 7 * side)
    for squares, part in zip(between_places(pictures), dashes.float().chunk(2, 1), strict=True):
        is_dash = part.reshape(*squares.shape[:3], 1)
        squares[..., 3, 2:5] += is_dash
        squares[..., 1:6, 3] += 1 - is_dash
    cut(pictures)[..., 2:5, 2:5] += marks.float().reshape(-1, side, side, 1, 1)
    return pictures + 0.4 * torch.randn_like(pictures)


def make_mazes(side, count):
    """Pictures of mazes, in half of which the marks are joined, and whether they are."""
    dashes = torch.rand(8 * count, 2 * side * (side - 1)) < 0.5
    marks = torch.rand(8 * count, side * side).argsort(1) < 2
    # For certain facts, the same rules give the truth.
    joined = make_rules(side, "bool")(dash=dashes, mark=marks)
    chosen = torch.cat([torch.nonzero(joined == answer)[: count // 2, 0] for answer in (False, True)])
    return draw(dashes[chosen], marks[chosen], side), joined[chosen]


class Looker(nn.Module):
    """Pictures to probabilities of dashes and of marks."""

    def __init__(self):
        super().__init__()
        self.dash, self.mark = (
            nn.Sequential(nn.Flatten(3), nn.Linear(49, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(), nn.Sigmoid())
            for _ in range(2)
        )

    def forward(self, pictures):
        dash = torch.cat([self.dash(squares) for squares in between_places(pictures)], 1)
        return {"dash": dash, "mark": self.mark(cut(pictures))}


def main():
    """Trains on small mazes, and tells the share of larger ones for which the answer is right."""
    torch.manual_seed(0)
    looker, rules = Looker(), make_rules(TRAIN_SIDE, "difftopkproofs")
    optimizer = torch.optim.Adam(looker.parameters(), lr=1e-2)
    pictures, joined = make_mazes(TRAIN_SIDE, STEPS * BATCH)
    for step, chosen in enumerate(torch.randperm(len(pictures)).split(BATCH), 1):
        answers = rules(**looker(pictures[chosen])).clamp(1e-4, 1 - 1e-4)
        loss = nn.functional.binary_cross_entropy(answers, joined[chosen].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    pictures, joined = make_mazes(TEST_SIDE, TEST_MAZES)
    with torch.no_grad():
        answers = make_rules(TEST_SIDE, "difftopkproofs")(**looker(pictures))
    print(f"accuracy {((answers > 0.5) == joined).float().mean():.1%} of unseen, larger mazes")


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    main()
