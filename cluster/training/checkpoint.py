"""What a training run resumes from: weights, best weights, optimizer state; no pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cluster.training.loop import Progress
from cluster.training.network import Network

TENSORS, PROGRESS = "training.safetensors", "progress.json"


def save_training(
    folder: Path, *, network: Network, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the state after an epoch; the small file last."""
    tensors = {
        **{f"network.{name}": weight for name, weight in network.state_dict().items()},
        **{f"best.{name}": weight for name, weight in progress.best.items()},
        **{
            f"optimizer.{place}.{name}": torch.as_tensor(value)
            for place, state in optimizer.state_dict()["state"].items()
            for name, value in state.items()
        },
    }
    # Copies, because safetensors refuses weights that share their memory, as tied ones do.
    copies = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    save_file(copies, folder / TENSORS)
    facts = {
        "epoch": progress.epoch,
        "best_score": progress.best_score,
        "best_epoch": progress.best_epoch,
        "notes": progress.notes,
    }
    (folder / PROGRESS).write_text(json.dumps(facts))


def load_training(folder: Path, *, network: Network, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a stored state into network and optimizer; where the run stood."""
    tensors = load_file(folder / TENSORS)
    network.load_state_dict(part(tensors, "network."))
    fresh = optimizer.state_dict()
    state: dict[int, dict[str, Any]] = {}
    for name, value in part(tensors, "optimizer.").items():
        place, key = name.split(".", 1)
        state.setdefault(int(place), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": fresh["param_groups"]})
    facts = json.loads((folder / PROGRESS).read_text())
    return Progress(best=part(tensors, "best."), **facts)


def load_best(folder: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The best weights, and the notes of the run."""
    tensors = load_file(folder / TENSORS)
    return part(tensors, "best."), json.loads((folder / PROGRESS).read_text())["notes"]


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
