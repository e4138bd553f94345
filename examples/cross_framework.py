"""A network trained in torch answers and learns the same in Flax, trains on there, and goes back to torch."""

import sys
import tempfile

import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx
from sklearn.datasets import load_digits

import scallax.nn
import torch_bridge

BATCH, PAIRS, TEST_PAIRS, TORCH_EPOCHS, FLAX_EPOCHS = 32, 6400, 5000, 1, 6

ADDER = {
    "program": "rel sum_2(a + b) = digit_a(a) and digit_b(b)",
    "input_mappings": {"digit_a": range(10), "digit_b": range(10)},
    "output_mapping": ("sum_2", range(19)),
}


class TorchAdder(torch.nn.Module):
    """Images of two digits, `[batch, 64]` in [0, 1], to probabilities of their sum, `[batch, 19]`."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
        self.adder = torch_bridge.Module(**ADDER)

    def forward(self, img_a, img_b):
        return self.adder(digit_a=self.encoder(img_a).softmax(1), digit_b=self.encoder(img_b).softmax(1))


class FlaxAdder(nnx.Module):
    """The same: attributes and places in sequences have the same names."""

    def __init__(self, rngs):
        self.encoder = nnx.Sequential(nnx.Linear(64, 128, rngs=rngs), nnx.relu, nnx.Linear(128, 10, rngs=rngs))
        self.adder = scallax.nn.Reasoner(**ADDER)

    def __call__(self, img_a, img_b):
        return self.adder(digit_a=nnx.softmax(self.encoder(img_a)), digit_b=nnx.softmax(self.encoder(img_b)))


def load_batches():
    """Pairs of images with their sums, in batches; and pairs of other images, to test."""
    rng = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(images))
    images, labels = images.astype(np.float32)[order] / 16, labels.astype(np.int32)[order]
    places = rng.integers(1437, size=(2, PAIRS)), rng.integers(1437, len(images), size=(2, TEST_PAIRS))
    training, testing = ((images[a], images[b], labels[a] + labels[b]) for a, b in places)
    return list(zip(*(np.split(part, PAIRS // BATCH) for part in training), strict=True)), testing


def torch_loss(model, *pairs):
    """The negative logarithm of the right sum's probability."""
    img_a, img_b, sums = map(torch.from_numpy, pairs)
    return torch.nn.functional.nll_loss((model(img_a, img_b) + 1e-6).log(), sums.long())


def flax_loss(model, img_a, img_b, sums):
    """The same in JAX."""
    return -jnp.take_along_axis(jnp.log(model(img_a, img_b) + 1e-6), sums[:, None], axis=1).mean()


flax_gradients, flax_answers = nnx.jit(nnx.grad(flax_loss)), nnx.jit(FlaxAdder.__call__)
flax_step = nnx.jit(lambda model, optimizer, *pairs: optimizer.update(model, nnx.grad(flax_loss)(model, *pairs)))


def check(claim, holds):
    """Prints the claim; ends the program if it does not hold."""
    print(f"{'yes' if holds else 'NO'}: {claim}")
    if not holds:
        sys.exit(1)


def compare(model, twin, pairs):
    """Checks that torch's and Flax's answers are the same; the share of the pairs whose sum is read right."""
    with torch.no_grad():
        answers = model(*map(torch.from_numpy, pairs[:2])).numpy()
    difference = np.abs(answers - flax_answers(twin, *pairs[:2])).max()
    check(f"the same predictions in torch and in Flax: they differ by {difference:.1e}", difference <= 1e-6)
    return (answers.argmax(1) == pairs[2]).mean()


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    torch.manual_seed(0)
    batches, testing = load_batches()
    model = TorchAdder()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for batch in batches * TORCH_EPOCHS:
        optimizer.zero_grad()
        torch_loss(model, *batch).backward()
        optimizer.step()
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model.state_dict(), f"{folder}/adder.pt")
        twin = FlaxAdder(nnx.Rngs(0))
        torch_bridge.weights.to_flax(torch.load(f"{folder}/adder.pt"), twin)
    before = compare(model, twin, testing)
    print(f"trained in torch: accuracy {before:.1%} on sums of unseen digits")

    expected = torch.autograd.grad(torch_loss(model, *batches[0]), list(model.parameters()))
    gradients = nnx.clone(twin)
    nnx.update(gradients, flax_gradients(twin, *batches[0]))
    by_name = torch_bridge.weights.to_torch(gradients, model)
    by_place = [by_name[name] for name, _ in model.named_parameters()]
    difference = max((a - b).abs().max().item() for a, b in zip(by_place, expected, strict=True))
    check(f"the same gradients in torch and in Flax: they differ by {difference:.1e}", difference <= 1e-5)

    optimizer = nnx.Optimizer(twin, optax.adam(2e-3), wrt=nnx.Param)
    for batch in batches * FLAX_EPOCHS:
        flax_step(twin, optimizer, *batch)
    model.load_state_dict(torch_bridge.weights.to_torch(twin, model))
    after = compare(model, twin, testing)
    check(f"trained on in Flax, back in torch: accuracy {after:.1%}", after > before and after >= 0.95)
