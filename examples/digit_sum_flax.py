"""Learns to read handwritten digits from nothing but the sums of pairs of them, in JAX alone."""

import argparse

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from sklearn.datasets import load_digits

import scallax.nn

BATCH, PAIRS_PER_EPOCH, TEST_PAIRS = 32, 6400, 5000


def pool(images):
    """The largest value of each 2 x 2 places, in one axis."""
    return nnx.max_pool(images, (2, 2), strides=(2, 2)).reshape(len(images), -1)


class DigitAdder(nnx.Module):
    """Images of two digits to probabilities of their sum; the rule is all it is told about digits."""

    def __init__(self, rngs):
        self.encoder = nnx.Sequential(
            nnx.Conv(1, 32, (3, 3), rngs=rngs),
            nnx.BatchNorm(32, momentum=0.9, rngs=rngs),
            nnx.relu,
            pool,
            nnx.Linear(512, 128, rngs=rngs),
            nnx.relu,
            nnx.Linear(128, 10, rngs=rngs),
        )
        self.adder = scallax.nn.Reasoner(
            provenance="difftopkproofs",
            k=3,
            program="rel sum_2(a + b) = digit_a(a) and digit_b(b)",
            input_mappings={"digit_a": range(10), "digit_b": range(10)},
            output_mapping=("sum_2", range(19)),
        )

    def __call__(self, img_a, img_b):
        """Images `[batch, 8, 8, 1]` in [0, 1] to probabilities `[batch, 19]`."""
        return self.adder(digit_a=nnx.softmax(self.encoder(img_a)), digit_b=nnx.softmax(self.encoder(img_b)))


def load_images():
    """Images and labels for training, then for testing: a fixed split of scikit-learn's 1,797 digits."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images.astype(np.float32).reshape(-1, 8, 8, 1)[order] / 16, labels.astype(np.int32)[order]
    return (images[:1437], labels[:1437]), (images[1437:], labels[1437:])


def make_pairs(images, labels, count, seed):
    """Random pairs of images and their sums; the same for the same seed."""
    first, second = np.random.default_rng(seed).integers(len(images), size=(2, count))
    return images[first], images[second], labels[first] + labels[second]


@nnx.jit
def train_step(model, optimizer, img_a, img_b, sums):
    """One step of the optimizer on a batch of pairs; its loss."""

    def loss_of(model):
        return -jnp.take_along_axis(jnp.log(model(img_a, img_b) + 1e-6), sums[:, None], axis=1).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def predict(model, img_a, img_b):
    """Probabilities of the sums of a batch of pairs."""
    return model(img_a, img_b)


def read_sums(model, pairs):
    """Probabilities of the sums of the pairs, and the share of the pairs whose sum is read right."""
    model.eval()
    probabilities = predict(model, *pairs[:2])
    return probabilities, float((probabilities.argmax(1) == pairs[2]).mean())


def train(epochs):
    """The trained model, and its accuracy on pairs of unseen images."""
    train_images, test_images = load_images()
    test_pairs = make_pairs(*test_images, TEST_PAIRS, seed=0)
    model = DigitAdder(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    start, accuracy = 1, 0.0
    columns = [BarColumn(16), MofNCompleteColumn(), "{task.fields[figures]}", TimeElapsedColumn()]
    with Progress("{task.description}", *columns) as progress:
        for epoch in range(start, epochs + 1):
            pairs = make_pairs(*train_images, PAIRS_PER_EPOCH, seed=epoch)
            task = progress.add_task(f"epoch {epoch}", total=PAIRS_PER_EPOCH // BATCH, figures="")
            model.train()
            loss = 0.0
            for first in range(0, PAIRS_PER_EPOCH, BATCH):
                loss = float(train_step(model, optimizer, *(part[first : first + BATCH] for part in pairs)))
                progress.update(task, advance=1, figures=f"loss {loss:.3f}")
            accuracy = read_sums(model, test_pairs)[1]
            progress.update(task, figures=f"loss {loss:.3f}  {accuracy:.1%} of unseen sums")
    return model, accuracy


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    print(f"accuracy {train(parser.parse_args().epochs)[1]:.1%}")
