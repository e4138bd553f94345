"""Learns to read handwritten digits from nothing but the sums of pairs of them; Ctrl-C and --resume work."""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from sklearn.datasets import load_digits
from torch import nn

import scallax
import torch_bridge

BATCH, PAIRS_PER_EPOCH, TEST_PAIRS = 32, 6400, 5000


class DigitAdder(nn.Module):
    """Images of two digits to probabilities of their sum; the rule is all it is told about digits."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        self.encoder = nn.Sequential(*layers, nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10))
        self.adder = torch_bridge.Module(
            provenance="difftopkproofs",
            k=3,
            program="rel sum_2(a + b) = digit_a(a) and digit_b(b)",
            input_mappings={"digit_a": range(10), "digit_b": range(10)},
            output_mapping=("sum_2", range(19)),
        )

    def forward(self, img_a, img_b):
        return self.adder(digit_a=self.encoder(img_a).softmax(1), digit_b=self.encoder(img_b).softmax(1))


# The classes that torch.load may take from the file of a whole network, beside torch_bridge's own.
LAYERS = [nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear]
torch.serialization.add_safe_globals([DigitAdder, *LAYERS])


def load_images():
    """Images and labels for training, then for testing: a fixed split of scikit-learn's 1,797 digits."""
    images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images.float().reshape(-1, 1, 8, 8)[order] / 16, labels[order]
    return (images[:1437], labels[:1437]), (images[1437:], labels[1437:])


def make_pairs(images, labels, count, seed):
    """Random pairs of images and their sums; the same for the same seed."""
    first, second = torch.randint(len(images), (2, count), generator=torch.Generator().manual_seed(seed))
    return images[first], images[second], labels[first] + labels[second]


def read_sums(model, pairs):
    """Probabilities of the sums of the pairs, and the share of the pairs whose sum is read right."""
    with torch.no_grad():
        probabilities = model.eval()(*pairs[:2])
    return probabilities, (probabilities.argmax(1) == pairs[2]).float().mean().item()


def train(folder, epochs, resume):
    """Trains, with a checkpoint after each epoch; then saves the network and its answers for unseen pairs."""
    torch.manual_seed(0)
    train_images, test_images = load_images()
    test_pairs = make_pairs(*test_images, TEST_PAIRS, seed=0)
    model = DigitAdder()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    start, saved = 1, sorted(folder.glob("checkpoint_epoch_*.pth"), key=lambda path: path.stat().st_mtime_ns)
    if resume and saved:
        checkpoint = torch_bridge.load(saved[-1])
        model.load_state_dict(checkpoint["model_state_dict"])
        optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        start = checkpoint["epoch"] + 1
        print(f"resumed from {saved[-1]}")
    columns = [BarColumn(16), MofNCompleteColumn(), "{task.fields[figures]}", TimeElapsedColumn()]
    with Progress("{task.description}", *columns) as progress:
        for epoch in range(start, epochs + 1):
            pairs = make_pairs(*train_images, PAIRS_PER_EPOCH, seed=epoch)
            task = progress.add_task(f"epoch {epoch}", total=PAIRS_PER_EPOCH // BATCH, figures="")
            model.train()
            for img_a, img_b, sums in zip(*(part.split(BATCH) for part in pairs), strict=True):
                optimizer.zero_grad()
                loss = nn.functional.nll_loss((model(img_a, img_b) + 1e-6).log(), sums)
                loss.backward()
                optimizer.step()
                progress.update(task, advance=1, figures=f"loss {loss.item():.3f}")
            progress.update(task, figures=f"loss {loss:.3f}  {read_sums(model, test_pairs)[1]:.1%} of unseen sums")
            states = {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
            torch_bridge.save(folder / f"checkpoint_epoch_{epoch}.pth", {"epoch": epoch, **states}, overwrite=True)
    torch.save(model, folder / "digit_adder_final.pt")
    torch.save(read_sums(model, test_pairs)[0], folder / "answers.pth")


def compare(folder):
    """Loads the final network, in a process that has not trained it, and compares its answers bit for bit."""
    model = torch.load(folder / "digit_adder_final.pt")
    probabilities, accuracy = read_sums(model, make_pairs(*load_images()[1], TEST_PAIRS, seed=0))
    same = torch.equal(probabilities, torch.load(folder / "answers.pth"))
    print(f"loaded in a new process: {'the same answers' if same else 'OTHER answers'}, accuracy {accuracy:.1%}")
    sys.exit(not same)


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("digit_sum"), help="for checkpoints and the final network")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in the folder")
    parser.add_argument("--compare", action="store_true", help="only load the final network and compare its answers")
    arguments = parser.parse_args()
    if arguments.compare:
        compare(arguments.folder)
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        train(arguments.folder, arguments.epochs, arguments.resume)
    except KeyboardInterrupt:
        sys.exit(f"\ninterrupted; continue with: python {sys.argv[0]} --folder {arguments.folder} --resume")
    sys.exit(subprocess.run([sys.executable, __file__, "--folder", arguments.folder, "--compare"]).returncode)
