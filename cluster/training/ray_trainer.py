"""The loop on Ray Train: workers that share each step's micro-batches and average gradients.

A worker that dies is started again with the others, and all go on from the last epoch's
checkpoint, which lies in the run's storage. Ray Train finds it by the run's name, so the name
carries what is trained on what.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from cluster.errors import JobError
from cluster.routers.context import FitContext
from cluster.routers.router import Tensors
from cluster.storage import Storage
from cluster.training.checkpoint import TRAINING, load_best, load_training, part, save_training
from cluster.training.examples import Examples
from cluster.training.loop import Place, Progress, train_network
from cluster.training.memory import ENVIRONMENT
from cluster.training.network import Network
from cluster.training.plan import Plan, run_name
from cluster.training.run import begun

# A node that is preempted once an hour must not end a night's training.
MAX_FAILURES = 5
Config = dict[str, Any]
OVER = "over"
START = "start."


def run_on_ray(
    plan: Plan, *, train: Examples, validation: Examples, context: FitContext, start: Tensors
) -> tuple[Tensors, list[dict[str, Any]]]:
    """Train on `context.workers` workers; the best weights by name, and the loop's notes.

    Raises:
        InputError: the workers cannot share the batches evenly.
        JobError: training failed more often than it may.
    """
    from ray.train import TrainingFailedError
    from ray.train.torch import TorchTrainer

    from cluster.ray_cluster import connect
    from cluster.training.process_group import MeetingConfig

    plan.spelled_out().require_workers(context.workers)
    connect()
    with _folder(context) as storage, _listener(context) as queue:
        name = run_name(
            plan, name=context.name, workers=context.workers, train=train, validation=validation
        )
        examples = storage.join(name, "examples.safetensors")
        storage.write(examples, pack(train, validation, start=start))
        trainer = TorchTrainer(
            work,
            train_loop_config={"plan": asdict(plan), "examples": examples, "queue": queue},
            torch_config=MeetingConfig(),
            scaling_config=_scaling(context),
            run_config=_run_config(name, storage=storage),
        )
        try:
            result = trainer.fit()
        except TrainingFailedError as error:
            raise JobError(
                f"training '{plan.method}' failed {MAX_FAILURES + 1} times; the last time: {error}"
            ) from error
        assert result.checkpoint is not None, "a run that ends has reported an epoch"
        with result.checkpoint.as_directory() as folder:
            best, notes = load_best(Path(folder) / TRAINING)
    return {name: weight.float().numpy() for name, weight in best.items()}, notes


def pack(train: Examples, validation: Examples, *, start: Tensors) -> bytes:
    """Both, and the weights to go on from, as safetensors."""
    from safetensors.numpy import save

    rows = train.arrays(prefix="train") | validation.arrays(prefix="validation")
    return save(rows | {f"{START}{name}": array for name, array in start.items()})


def work(config: Config) -> None:
    """What every worker runs."""
    from ray import train as ray_train
    from ray.train.torch import get_device, prepare_model
    from safetensors.numpy import load

    # Each worker's every report is logged at INFO, by a logger that `log_level` does not reach.
    logging.getLogger().setLevel(logging.WARNING)
    plan = Plan(**config["plan"])
    arrays = load(Storage.at(config["examples"]).read_bytes(config["examples"]))
    here = ray_train.get_context()
    network = begun(plan, start=part(arrays, START))
    place = Place(
        rank=here.get_world_rank(),
        workers=here.get_world_size(),
        device=get_device(),
        wrap=prepare_model,
    )
    train_network(
        network,
        train=Examples.from_arrays(arrays, prefix="train"),
        validation=Examples.from_arrays(arrays, prefix="validation"),
        settings=plan.spelled_out(),
        seed=plan.seed,
        place=replace(place, saved=_reporter(place, plan=plan, queue=config["queue"])),
        resume=_resume,
    )


def _reporter(place: Place, *, plan: Plan, queue: Any) -> Any:
    """Hand state and numbers to Ray Train after an epoch; the first worker speaks for all."""
    from ray import train as ray_train

    epochs = plan.spelled_out().epochs

    def saved(network: Network, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        note = progress.notes[-1]
        if place.rank != 0:
            ray_train.report(note)
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / TRAINING
            save_training(file, network=network, optimizer=optimizer, progress=progress)
            ray_train.report(note, checkpoint=ray_train.Checkpoint.from_directory(folder))
        queue.put({"method": plan.method, "epochs": epochs, **progress.told})

    return saved


def _resume(network: Network, optimizer: torch.optim.Optimizer) -> Progress:
    from ray import train as ray_train

    checkpoint = ray_train.get_checkpoint()
    if checkpoint is None:
        return Progress()
    with checkpoint.as_directory() as folder:
        return load_training(Path(folder) / TRAINING, network=network, optimizer=optimizer)


def _scaling(context: FitContext) -> Any:
    """How many workers, and what each of them holds."""
    from ray.train import ScalingConfig

    gpus = {"GPU": context.gpus_per_worker} if context.gpus_per_worker > 0 else {}
    return ScalingConfig(
        num_workers=context.workers, use_gpu=bool(gpus), resources_per_worker={"CPU": 1.0} | gpus
    )


def _run_config(name: str, *, storage: Storage) -> Any:
    """Where the run keeps its checkpoints, how often it may fail, what its workers start with."""
    from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig

    return RunConfig(
        name=name,
        storage_path=storage.bare(storage.uri),
        storage_filesystem=storage.pyarrow_filesystem(),
        failure_config=FailureConfig(max_failures=MAX_FAILURES),
        checkpoint_config=CheckpointConfig(num_to_keep=2),
        # At INFO every epoch takes two lines; the numbers are in the notes.
        logging_config=LoggingConfig(log_level="WARNING"),
        worker_runtime_env={"env_vars": ENVIRONMENT},
    )


@contextmanager
def _folder(context: FitContext) -> Iterator[Storage]:
    """The storage of checkpoints: the context's, or a temporary folder."""
    if context.storage:
        yield Storage.at(context.storage)
        return
    with tempfile.TemporaryDirectory(prefix="signalbox-training-") as folder:
        yield Storage.at(folder)


@contextmanager
def _listener(context: FitContext) -> Iterator[Any]:
    """A queue whose notes are told to the context's listener.

    On this process's node: on a worker's, it would go with it, and the workers started again would
    fail at the first note they hand over.
    """
    import ray
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    def listen() -> None:
        while (note := queue.get()) != OVER:
            context.tell(note)

    thread = Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        queue.put(OVER)
        thread.join()
        queue.shutdown()
