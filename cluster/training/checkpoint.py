"""What a training run resumes from: weights, best weights, optimizer state; no pickle.

One safetensors file, where the run stood in its metadata: it is there whole or not at all.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from cluster.training.loop import Progress
from cluster.training.network import Network

ArrayT = TypeVar("ArrayT")
TRAINING, PROGRESS = "training.safetensors", "progress"


def save_training(
    file: Path, *, network: Network, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the state after an epoch."""
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
    facts = {
        "epoch": progress.epoch,
        "best_score": progress.best_score,
        "best_epoch": progress.best_epoch,
        "notes": progress.notes,
    }
    save_file(copies, file, metadata={PROGRESS: json.dumps(facts)})


def load_training(file: Path, *, network: Network, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a stored state into network and optimizer; where the run stood."""
    tensors = load_file(file)
    network.load_state_dict(part(tensors, "network."))
    fresh = optimizer.state_dict()
    state: dict[int, dict[str, Any]] = {}
    for name, value in part(tensors, "optimizer.").items():
        place, key = name.split(".", 1)
        state.setdefault(int(place), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": fresh["param_groups"]})
    return Progress(best=part(tensors, "best."), **_facts(file))


def load_best(file: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The best weights, and the notes of the run."""
    return part(load_file(file), "best."), _facts(file)["notes"]


def _facts(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        facts: dict[str, Any] = json.loads(opened.metadata()[PROGRESS])
    return facts


def part(tensors: Mapping[str, ArrayT], prefix: str) -> dict[str, ArrayT]:
    """The tensors whose names start with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
