"""The second of two processes that train a model together: `python -m tests.distributed_process FOLDER`."""

import sys
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from tests.digit_models import Adder, descend, features


def train(rank: int, folder: Path) -> None:
    """Trains as one of the two, and stores the parameters."""
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    # Only the first process starts as the single process does: the other one is sent its parameters.
    torch.manual_seed(rank)
    parameters = descend(DistributedDataParallel(Adder()), features(8)[rank::2])
    torch.save(parameters, folder / f"parameters_{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    train(1, Path(sys.argv[1]))
