"""What a warm start saves and costs: nights that grow, each trained anew and from the one before.

    python tests/bench/bench_warm_start.py --data ../shared/data [--nights 5] [--seeds 5]
        [--methods multihead,mf,routerdc,zooter] [--encoder-model FOLDER]

RouterDC's own rows, a clone of which `--data` holds. The first night has `--first` training rows,
every other one `--more`; a tenth of them validates, by the texts' hash. Each night each method is
trained anew (its grid of settings, the encoder fitted on the night's texts) and warm (settings,
encoder and weights of its own last night; the first night is the same for both). Measured on the
same rows that no night trains on: macro mean reward of the choices. Seconds are CPU seconds of this
process with one thread. `difference` is warm less anew on the last night, mean over seeds, with
twice its standard error; in points.
"""

import argparse
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from cluster.encoders.memory import VectorMemory
from cluster.outcome import OutcomeMatrix
from cluster.routers.context import FitContext
from cluster.routers.fit import Fit, fit_method
from cluster.routers.gradient import hold_out
from cluster.routers.means import macro_means

FILES = "RouterDC/datasets/split2_model7_cluster"
METHODS = "multihead,mf,routerdc,zooter"


@dataclass(frozen=True)
class Trained:
    """One method on one night.

    Attributes:
        fit: the fitted method.
        seconds: CPU seconds it took, the grid included.
        epochs: of the settings that were chosen.
        reward: macro mean reward on the rows that nobody trains on.
    """

    fit: Fit
    seconds: float
    epochs: int
    reward: float


def read_rows(data: Path, *, seed: int) -> OutcomeMatrix:
    """All training rows, in an order by the seed."""
    found = [
        (path.name.split("_train")[0].split("-train")[0], row)
        for path in sorted((data / FILES).glob("*train.json"))
        for row in json.loads(path.read_text())
    ]
    random.Random(seed).shuffle(found)
    names = tuple(found[0][1]["scores"])
    reward = np.array([[row["scores"][name] for name in names] for _, row in found], dtype=float)
    unknown = np.full(reward.shape, np.nan)
    queries = pl.DataFrame(
        {
            "query_id": [str(place) for place in range(len(found))],
            "dataset": "routerdc",
            "task": [task for task, _ in found],
            "split": "train",
            "text": [row["question"] for _, row in found],
            "sampling_probability": 1.0,
        }
    )
    return OutcomeMatrix(
        queries, names, names, np.clip(reward, 0, 1), *(unknown,) * 3, np.ones_like(reward), unknown
    )


def train(
    name: str,
    rows: OutcomeMatrix,
    *,
    test: OutcomeMatrix,
    seed: int,
    memory: VectorMemory,
    encoder: dict[str, Any],
    before: Trained | None = None,
) -> Trained:
    """A method on a night's rows; `before` is what it goes on from."""
    learn, judge = hold_out(rows)
    fixed = encoder if before is None else before.fit.settings.model_dump(mode="json")
    start = None if before is None else before.fit.router.state()
    context = FitContext(memory=memory, start=start)
    began = time.process_time()
    fit = fit_method(name, train=learn, validation=judge, seed=seed, fixed=fixed, context=context)
    seconds = time.process_time() - began
    assert fit.history is not None
    chosen = fit.router.predict(test.texts).reward.argmax(axis=1)
    earned = test.reward[np.arange(len(test)), chosen]
    reward = float(macro_means(earned[:, None], test.tasks)[0])
    return Trained(fit, seconds, int(fit.history["epoch"].max()), reward)  # type: ignore[arg-type]


def nights(
    name: str, rows: OutcomeMatrix, *, arguments: argparse.Namespace, seed: int
) -> list[tuple[Trained, Trained]]:
    """(anew, warm) of every night."""
    test = rows.take(np.arange(arguments.test))
    memory = VectorMemory()
    encoder: dict[str, Any] = {}
    if arguments.encoder_model:
        settings = {"model": arguments.encoder_model}
        encoder = {"encoder": "huggingface", "encoder_settings": settings}
    done: list[tuple[Trained, Trained]] = []
    for night in range(arguments.nights):
        end = arguments.test + arguments.first + night * arguments.more
        own = rows.take(np.arange(arguments.test, end))
        shared: dict[str, Any] = {"test": test, "seed": seed, "memory": memory, "encoder": encoder}
        anew = train(name, own, **shared)
        warm = train(name, own, before=done[-1][1], **shared) if done else anew
        done.append((anew, warm))
    return done


def row_of(name: str, found: list[list[tuple[Trained, Trained]]]) -> dict[str, Any]:
    """What the seeds' nights came to, the first night left out."""
    later = [pair for one in found for pair in one[1:]]
    last = np.array([one[-1][1].reward - one[-1][0].reward for one in found]) * 100
    return {
        "method": name,
        "seconds anew": np.mean([anew.seconds for anew, _ in later]),
        "seconds warm": np.mean([warm.seconds for _, warm in later]),
        "epochs anew": np.mean([anew.epochs for anew, _ in later]),
        "epochs warm": np.mean([warm.epochs for _, warm in later]),
        "reward anew": 100 * np.mean([one[-1][0].reward for one in found]),
        "reward warm": 100 * np.mean([one[-1][1].reward for one in found]),
        "difference": last.mean(),
        "±": 2 * last.std(ddof=1) / len(last) ** 0.5 if len(last) > 1 else float("nan"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--encoder-model", default="")
    for name, default in (("nights", 5), ("seeds", 5), ("first", 2000), ("more", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--test", type=int, default=1500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for name in arguments.methods.split(","):
        found = [
            nights(name, read_rows(arguments.data, seed=seed), arguments=arguments, seed=seed)
            for seed in range(arguments.seeds)
        ]
        table.append(row_of(name, found))
        with pl.Config(tbl_cols=-1, tbl_width_chars=200, float_precision=2):
            print(pl.DataFrame(table), flush=True)


if __name__ == "__main__":
    main()
