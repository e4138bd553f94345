"""Learns to read handwritten digits and operators from nothing but the values of formulas of any length.

The facts differ from formula to formula: which symbols may stand at which place. They are known before the network has
read anything, so the workers of the data loader ground each batch, and a training step evaluates it. Readings exclude
each other, and parts of a formula share no symbol: so `diffaddmultprob`, which adds and multiplies, is exact.
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

import scallax
import torch_bridge

FORMULAS = 6400
SYMBOLS = [*map(str, range(10)), "+", "-", "*"]
PROGRAM = """
    type symbol(place: usize, glyph: String), length(n: usize)
    rel digit = {("0", 0), ("1", 1), ("2", 2), ("3", 3), ("4", 4), ("5", 5), ("6", 6), ("7", 7), ("8", 8), ("9", 9)}
    rel factor(x, b, b + 1) = symbol(b, s) and digit(s, x)
    rel product(x, b, e) = factor(x, b, e)
    rel product(x * y, b, e) = product(x, b, m) and symbol(m, "*") and factor(y, m + 1, e)
    rel sum(x, b, e) = product(x, b, e)
    rel sum(x + y, b, e) = sum(x, b, m) and symbol(m, "+") and product(y, m + 1, e)
    rel sum(x - y, b, e) = sum(x, b, m) and symbol(m, "-") and product(y, m + 1, e)
    rel value(x) = sum(x, 0, n) and length(n)
    query value
"""
OPERATORS = {"+": torch.zeros(8, 8), "-": torch.zeros(8, 8), "*": torch.eye(8) + torch.eye(8).flip(0)}
OPERATORS["+"][3:5, 1:7] = OPERATORS["+"][1:7, 3:5] = OPERATORS["-"][3:5, 1:7] = 1


def draw_operator(glyph, generator):
    """An 8 x 8 image of an operator, a little off its place and with noise."""
    shift = torch.randint(-1, 2, (2,), generator=generator).tolist()
    return (OPERATORS[glyph].roll(shift, (0, 1)) + 0.3 * torch.rand(8, 8, generator=generator)).clamp(0, 1)


class Formulas(Dataset):
    """Random formulas: their images, the symbols and the value. `lengths` are the numbers of operators to draw from."""

    def __init__(self, images, labels, count, lengths):
        self.images, self.count, self.lengths = images, count, lengths
        self.of_digit = [torch.flatten(torch.nonzero(labels == digit)) for digit in range(10)]

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        generator = torch.Generator().manual_seed(number)

        def pick(choices):
            return choices[int(torch.randint(len(choices), (), generator=generator))]

        text = pick(SYMBOLS[:10])
        for _ in range(pick(self.lengths)):
            text += pick("+-*") + pick(SYMBOLS[:10])
        drawn = [self.images[pick(self.of_digit[int(s)])] if s.isdigit() else draw_operator(s, generator) for s in text]
        return torch.stack(drawn), text, eval(text)


class Reader(nn.Module):
    """Images of symbols to their probabilities, and groundings with them to probabilities of values."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        self.encoder = nn.Sequential(*layers, nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, len(SYMBOLS)))
        self.rules = torch_bridge.Module(PROGRAM, provenance="diffaddmultprob", non_probabilistic=["length"])

    def forward(self, images, kinds, grounding):
        # At even places stand digits, at odd ones operators: the others are no facts.
        scores = self.encoder(images[:, None]).masked_fill(~kinds, -torch.inf)
        return self.rules.evaluate_grounded(grounding, scores.softmax(1)[kinds])


def collate(rules, formulas):
    """A batch of formulas with its grounding."""
    images, texts, values = zip(*formulas, strict=True)
    facts = [[(i, s) for i in range(len(text)) for s in SYMBOLS if (s in "+-*") == i % 2] for text in texts]
    kinds = [[(s in "+-*") == i % 2 for s in SYMBOLS] for text in texts for i in range(len(text))]
    grounding = rules.ground({"symbol": facts, "length": [[(len(text),)] for text in texts]})
    return torch.cat(images), torch.tensor(kinds), grounding, torch.tensor(values)


def main():
    """Trains on short formulas, and tells the share of longer ones, of unseen images, whose value is read right."""
    torch.manual_seed(0)
    images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    order = torch.randperm(len(images))
    images, labels = images.float().reshape(-1, 8, 8)[order] / 16, labels[order]
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    options = {"batch_size": 16, "collate_fn": partial(collate, model.rules.reasoner)}
    train = Formulas(images[:1400], labels[:1400], FORMULAS, [0, 1, 1])
    # The workers are forked at the first batch, before JAX starts.
    for step, (symbols, kinds, grounding, values) in enumerate(DataLoader(train, num_workers=2, **options), 1):
        tuples, found = model(symbols, kinds, grounding)
        place = {value: i for i, (value,) in enumerate(tuples)}
        loss = nn.functional.nll_loss((found + 1e-6).log(), torch.tensor([place[v] for v in values.tolist()]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    model.eval()
    right = []
    with torch.no_grad():
        for batch in DataLoader(Formulas(images[1400:], labels[1400:], 320, [2]), **options):
            tuples, found = model(*batch[:3])
            right += [tuples[i][0] == v for i, v in zip(found.argmax(1).tolist(), batch[3].tolist(), strict=True)]
    print(f"accuracy {sum(right) / len(right):.1%} of the values of unseen, longer formulas")


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    main()
