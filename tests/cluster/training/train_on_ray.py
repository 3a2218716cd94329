"""Trains the same network on Ray in some ways, in a process and on a cluster of its own.

    train_on_ray.py FOLDER WAY...

Writes FOLDER/WAY.npz with the weights and FOLDER/WAY.json with the notes that were told.
`killed` keeps its checkpoints at TRAINING_STORAGE, where `again` finds them.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

from cluster.ray_cluster import LOOPBACK, prepare_environment

PLAN = {
    "method": "routerdc",
    "settings": {
        "batch_size": 64,
        "micro_batch": 16,
        "epochs": 6,
        "patience": 6,
        "hidden": 16,
        "dropout": 0.2,
        "precision": "fp32",
    },
    "n_candidates": 3,
    "dimensions": 8,
    "seed": 5,
}


def rows(n, *, seed):
    """Made-up rows with labels as RouterDC wants them; a few rewards are missing."""
    from cluster.routers.routerdc import places
    from cluster.training.examples import VECTORS, Examples

    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    reward = (vectors[:, :3] + rng.normal(size=(n, 3)) > 0).astype(float)
    reward[::11, 1] = np.nan
    labels = {
        "positive": places(reward, n_places=2).astype(np.float32),
        "negative": places(-reward, n_places=2).astype(np.float32),
        "reward": np.nan_to_num(reward).astype(np.float32),
        "group": (vectors[:, 3] > 0).astype(np.int64),
    }
    return Examples({VECTORS: vectors}, labels, reward, np.arange(n) % 2)


def sides():
    """What is trained and validated on: not a multiple of any batch."""
    return {"train": rows(2_021, seed=0), "validation": rows(150, seed=1)}


def train(workers, *, storage, tell=lambda note: None, plan=PLAN):
    from cluster.routers.context import FitContext
    from cluster.training.plan import Plan
    from cluster.training.run import run_training

    notes = []

    def both(note):
        notes.append(note)
        tell(note)

    context = FitContext(workers=workers, storage=storage, name="run", tell=both)
    weights, _ = run_training(Plan(**plan), **sides(), context=context)
    return weights, notes


def training_processes():
    """Process ids of Ray's training workers that descend from this process."""
    parents, found = {}, []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            name = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(entry.name)] = int(fields[1])
        if name.startswith(b"ray::") and b"TrainWorker" in name:
            found.append(int(entry.name))

    def is_ours(process):
        while process > 1 and process != os.getpid():
            process = parents.get(process, 0)
        return process == os.getpid()

    return sorted(process for process in found if is_ours(process))


def killed(storage):
    """A worker is killed after the third epoch; the last note tells who runs by then."""
    seen = {}

    def tell(note):
        if note["epoch"] == 3 and "victim" not in seen:
            seen["victim"] = training_processes()[-1]
            os.kill(seen["victim"], signal.SIGKILL)
        seen["running"] = training_processes()

    weights, notes = train(2, storage=storage, tell=tell)
    assert seen["victim"] not in seen["running"], seen
    assert len(seen["running"]) == 2, seen
    return weights, notes


def broken(storage):
    """The workers fail for good: the rows have not as many candidates as the network."""
    from cluster.errors import JobError
    from cluster.training import ray_trainer

    ray_trainer.MAX_FAILURES = 1
    try:
        train(2, storage=storage, plan=PLAN | {"n_candidates": 5})
    except JobError as error:
        return {}, [str(error)]
    raise AssertionError("it trained")


WAYS = {
    "one": lambda storage: train(1, storage=storage),
    "two": lambda storage: train(2, storage=storage),
    "again": lambda storage: train(2, storage=storage),
    "killed": killed,
    "broken": broken,
}


def main(folder, ways):
    prepare_environment()
    os.environ.update(LOOPBACK)
    import ray

    ray.init(address="local", num_cpus=2, logging_level="WARNING", _node_ip_address="127.0.0.1")
    for way in ways:
        is_kept = way in ("killed", "again")
        storage = os.environ["TRAINING_STORAGE"] if is_kept else tempfile.mkdtemp(dir=folder)
        weights, notes = WAYS[way](storage)
        np.savez(folder / f"{way}.npz", **weights)
        (folder / f"{way}.json").write_text(json.dumps(notes))
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
