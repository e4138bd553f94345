"""Learns to read handwritten digits from nothing but comparisons of two of them, and then sorts lists of digits.

The network learns what each image shows: so it can be used with other rules than those it was trained by.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import scallax
import torch_bridge

STEPS, BATCH, LENGTH, TEST_LISTS = 500, 64, 5, 1000
COMPARE = """
    rel order("less") = first(x) and second(y) and x < y
    rel order("equal") = first(x) and second(x)
    rel order("greater") = first(x) and second(y) and x > y
"""
# An image's place in the sorted list is the number of those ahead of it: of equal digits, the one given first.
SORT = """
    type digit(i: usize, x: usize)
    rel ahead(i, j) = digit(i, x) and digit(j, y) and x < y
    rel ahead(i, j) = digit(i, x) and digit(j, x) and i < j
    rel place(j, n) = n := count(i: ahead(i, j) where j: digit(j, x))
"""


def make_reader():
    """A network from images `[batch, 1, 8, 8]` to scores of digits `[batch, 10]`."""
    layers = [nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10))


def train(reader, images, labels):
    """Trains the network on pairs of images, of which it is told how their digits compare."""
    compare = torch_bridge.Module(
        COMPARE,
        provenance="diffaddmultprob",
        input_mappings={"first": range(10), "second": range(10)},
        output_mapping=("order", ["less", "equal", "greater"]),
    )
    optimizer = torch.optim.Adam(reader.parameters(), lr=3e-3)
    for step in range(1, STEPS + 1):
        first, second = torch.randint(len(images), (2, BATCH))
        order = 1 + torch.sign(labels[first] - labels[second])
        digits = reader(torch.cat([images[first], images[second]])).softmax(1)
        found = compare(first=digits[:BATCH], second=digits[BATCH:])
        loss = nn.functional.nll_loss((found + 1e-6).log(), order)
        # Entropy is rewarded at first: a network that is sure too early may take two digits for one, for good.
        doubt = max(0, 0.5 - step / STEPS)
        entropy = -(digits * (digits + 1e-6).log()).sum(1).mean()
        optimizer.zero_grad()
        (loss - doubt * entropy).backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}")


def main():
    """Tells the share of lists of unseen images that are sorted without a mistake."""
    torch.manual_seed(0)
    images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    order = torch.randperm(len(images))
    images, labels = images.float().reshape(-1, 1, 8, 8)[order] / 16, labels[order]
    reader = make_reader()
    train(reader, images[:1437], labels[:1437])
    places = [(j, n) for j in range(LENGTH) for n in range(LENGTH)]
    sort = torch_bridge.Module(SORT, provenance="bool", non_probabilistic=["digit"], output_mapping=("place", places))
    lists = torch.randint(1437, len(images), (TEST_LISTS, LENGTH))
    with torch.no_grad():
        digits = reader.eval()(images[lists.flatten()]).argmax(1).reshape(TEST_LISTS, LENGTH)
    # Now what is read are certain facts: those of each list are its places with their digits.
    found = sort(digit=[list(enumerate(read)) for read in digits.tolist()])
    found = found.reshape(TEST_LISTS, LENGTH, LENGTH).int().argmax(2)
    right = labels[lists].argsort(dim=1, stable=True).argsort(dim=1)
    print(f"{(digits == labels[lists]).float().mean():.1%} of the digits themselves are read right")
    print(f"accuracy {(found == right).all(1).float().mean():.1%} of sorted lists of unseen digits")


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    main()
