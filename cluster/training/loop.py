"""The training loop: plain, the same in one process and on every Ray Train worker.

It reads top to bottom: for each epoch, for each step, for each micro-batch of this worker's share,
backward; then one optimizer step, and at the epoch's end the validation score decides whether
these are the weights to keep.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cluster.routers.means import macro_means
from cluster.training.batches import MicroBatch, epoch_steps, share
from cluster.training.examples import VECTORS, Examples
from cluster.training.network import Network, to_batch
from cluster.training.settings import TrainingSettings

Weights = dict[str, Tensor]
Note = dict[str, Any]

# Vectors scored at a time on validation; texts as many as in a micro-batch.
SCORED_AT_ONCE = 256


@dataclass
class Progress:
    """Where a training run stands; with the optimizer's state all a checkpoint must hold.

    Attributes:
        epoch: epochs that are done.
        best_score, best_epoch: of the validation score so far; of equals the lowest loss.
        best: weights of the best epoch.
        notes: one an epoch: `epoch`, `step`, `train_loss`, `validation_loss`, `validation_score`.
        train_seconds: of the last epoch's steps; of no account to a run that goes on.
        train_cpu_seconds: of this process meanwhile: less than `train_seconds` for each core it
            uses where it had to wait for others.
    """

    epoch: int = 0
    best_score: float = -np.inf
    best_epoch: int = 0
    best: Weights = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    train_seconds: float = 0.0
    train_cpu_seconds: float = 0.0

    @property
    def told(self) -> Note:
        """What is told of the last epoch: its note, and how long its steps took."""
        return {
            **self.notes[-1],
            "train_seconds": self.train_seconds,
            "train_cpu_seconds": self.train_cpu_seconds,
        }

    @property
    def best_loss(self) -> float:
        """Validation loss of the best epoch."""
        return float(self.notes[self.best_epoch - 1]["validation_loss"]) if self.best else np.inf

    def is_over(self, settings: TrainingSettings) -> bool:
        """Whether all epochs are done, or the score has stopped rising."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= settings.epochs or (self.epoch > 0 and waited >= settings.patience)


@dataclass(frozen=True)
class Place:
    """Where the loop runs: alone, or as one of several workers that average their gradients.

    Attributes:
        rank, workers: which of how many.
        device: of the network.
        wrap: puts the network into what averages gradients (DistributedDataParallel).
        saved: called after every epoch with the state to resume from.
    """

    rank: int = 0
    workers: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network
    saved: Callable[[Network, torch.optim.Optimizer, Progress], None] = lambda *_: None


def train_network(
    network: Network,
    *,
    train: Examples,
    validation: Examples,
    settings: TrainingSettings,
    seed: int,
    place: Place | None = None,
    resume: Callable[[Network, torch.optim.Optimizer], Progress] = lambda *_: Progress(),
) -> Progress:
    """Train until the validation score stops rising; the network ends with the best weights.

    Where no epoch's scores were finite there are none: `Progress.best` stays empty.

    Args:
        network: freshly made from the seed, on any device.
        train, validation: the rows; the score on validation is the macro mean reward of the
            candidate scored highest.
        settings: of the loop.
        seed: of the batches and of what is drawn within them.
        place: where it runs.
        resume: puts an interrupted run's state into network and optimizer, and says how far it was.
    """
    place = place or Place()
    settings.require_workers(place.workers)
    network.to(place.device)
    optimizer = make_optimizer(network, settings=settings)
    progress = resume(network, optimizer)
    wrapped = place.wrap(network)
    n_steps = len(steps_of(train, settings=settings, seed=seed, epoch=0))
    while not progress.is_over(settings):
        network.train()
        losses, started, worked = [], time.perf_counter(), time.process_time()
        for number, step in enumerate(
            steps_of(train, settings=settings, seed=seed, epoch=progress.epoch)
        ):
            at = progress.epoch * n_steps + number
            set_learning_rate(optimizer, at=at, total=n_steps * settings.epochs, settings=settings)
            mine = share(step, rank=place.rank, workers=place.workers)
            # The workers' gradients are averaged, so each counts its rows as often as there are
            # workers: together they are the mean over the rows of the step.
            n_rows = sum(len(micro.rows) for micro in step) / place.workers
            for left, micro in zip(reversed(range(len(mine))), mine, strict=True):
                with sync_only_last(wrapped, is_last=left == 0):
                    batch = to_batch(train, micro, device=place.device)
                    set_seed(micro.seed, device=place.device)
                    with autocast(settings, device=place.device):
                        loss = wrapped(batch)
                    (loss * (len(micro.rows) / n_rows)).backward()
                losses.append(loss.detach())
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        train_loss = mean_of(losses)
        progress.train_seconds = time.perf_counter() - started
        progress.train_cpu_seconds = time.process_time() - worked
        score, loss = validate(network, validation, settings=settings, device=place.device)
        record(progress, network, score=score, losses=(train_loss, loss), step=n_steps)
        place.saved(network, optimizer, progress)
    if progress.best:
        network.load_state_dict(progress.best)
    return progress


def steps_of(
    examples: Examples, *, settings: TrainingSettings, seed: int, epoch: int
) -> list[list[MicroBatch]]:
    """The optimizer steps of an epoch."""
    return epoch_steps(
        examples.lengths,
        batch_size=settings.batch_size,
        micro_batch=settings.micro_batch,
        seed=seed,
        epoch=epoch,
    )


def make_optimizer(network: Network, *, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only, pretrained weights at a rate of their own.

    A group's `peak` is its rate after the warm-up.
    """
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            kind = network.is_pretrained(name), weight.ndim <= 1
            groups.setdefault(kind, {"params": []})["params"].append(weight)
    for (pretrained, single), group in groups.items():
        group["weight_decay"] = 0.0 if single else settings.weight_decay
        group["peak"] = settings.tuned_learning_rate if pretrained else settings.learning_rate
    return torch.optim.AdamW([groups[kind] for kind in sorted(groups)], lr=settings.learning_rate)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, *, at: int, total: int, settings: TrainingSettings
) -> None:
    """Rise evenly over the warm-up, then stay."""
    warmup = settings.warmup_share * total
    reached = min(1.0, (at + 1) / warmup if warmup else 1.0)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * reached


def set_seed(seed: int, *, device: torch.device) -> None:
    """What dropout draws from here on, on the CPU and on the device.

    Not `torch.manual_seed`, which takes a quarter of a small head's step to note its caller.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextlib.contextmanager
def sync_only_last(network: nn.Module, *, is_last: bool) -> Iterator[None]:
    """Gradients of a step's earlier micro-batches are added up here, not sent to the others."""
    quiet = getattr(network, "no_sync", None)
    if quiet is None or is_last:
        yield
        return
    with quiet():
        yield


def autocast(settings: TrainingSettings, *, device: torch.device) -> Any:
    """bf16 arithmetic for a block, where the settings ask for it and the hardware has it."""
    wanted = settings.precision == "bf16" or (settings.precision == "auto" and has_bf16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively; elsewhere it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported())


@torch.no_grad()
def validate(
    network: Network, rows: Examples, *, settings: TrainingSettings, device: torch.device
) -> tuple[float, float]:
    """Macro mean reward of the highest-scored candidate, and the mean loss.

    The reward is NaN, and no epoch's best, where a score is not finite.
    """
    network.eval()
    scores, losses = [], []
    order = np.argsort(rows.lengths, kind="stable")
    at_once = SCORED_AT_ONCE if VECTORS in rows.inputs else settings.micro_batch
    for start in range(0, len(rows), at_once):
        micro = MicroBatch(order[start : start + at_once], seed=0)
        batch = to_batch(rows, micro, device=device)
        with autocast(settings, device=device):
            batch = network.read(batch)
            scores.append(network.scores(batch).float().cpu())
            losses.append((len(micro.rows), float(network(batch))))
    found = np.empty_like(rows.reward)
    found[order] = torch.cat(scores).numpy()
    known = np.where(np.isnan(rows.reward), -np.inf, found)
    earned = rows.reward[np.arange(len(rows)), np.argmax(known, axis=1)]
    score = float(macro_means(earned[:, None], rows.tasks.astype(str))[0])
    score = score if np.isfinite(found).all() else np.nan
    return score, sum(n * loss for n, loss in losses) / len(rows)


def mean_of(losses: list[Tensor]) -> float:
    """The mean of an epoch's losses on this worker."""
    return float(torch.stack(losses).float().mean())


def record(
    progress: Progress, network: Network, *, score: float, losses: tuple[float, float], step: int
) -> None:
    """Count the epoch, and keep its weights if its score is higher than all before.

    Of equal scores the lower loss is the better: where every choice is worth the same, as with one
    candidate, the score alone would keep the first epoch.
    """
    progress.epoch += 1
    judged = -losses[1] if network.judged_by_loss and np.isfinite(score) else score
    if (judged, -losses[1]) > (progress.best_score, -progress.best_loss):
        progress.best_score, progress.best_epoch = judged, progress.epoch
        progress.best = {name: w.detach().clone() for name, w in network.state_dict().items()}
    progress.notes.append(
        {
            "epoch": progress.epoch,
            "step": progress.epoch * step,
            "train_loss": losses[0],
            "validation_loss": losses[1],
            "validation_score": score,
        }
    )
