"""What a choice of queries to label is worth to a router, against as many drawn at random.

    python tests/bench/bench_choice.py --data ../shared/data [--lake DIR] [--draws 10]
        [--sizes 150,300,600,1200] [--methods ridge,cluster_table] [--datasets routerdc,llmrouter]

Train and validation rows alone, cut into folds by the text's hash. In each turn the queries to
label are drawn from all folds but one, a router is fitted on these, and the fold left out is
measured: the macro average of the reward over tasks, in %. `chosen at once` knows nothing of the
rewards; `chosen in two` draws half, looks at its rewards, and draws the other half. The gain is
over a random draw of the same size, same fold and same seed, with a 95 % interval over draws.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from bench_quality import names, open_lake

from cluster.choice.choose import Known, draw_texts
from cluster.folds import text_folds
from cluster.lake.outcomes import read_outcomes
from cluster.outcome import OutcomeMatrix
from cluster.routers.fit import load_method

N_FOLDS = 5
Rows = npt.NDArray[np.int64]


def main() -> None:
    """Import, draw, fit, measure, print."""
    arguments = parsed()
    print(f"{'dataset':10} {'method':14} {'size':>5} {'random':>7} {'at once':>24} {'in two':>24}")
    with TemporaryDirectory() as folder:
        lake = open_lake(arguments, Path(folder) / "lake")
        for dataset in arguments.datasets:
            outcomes = read_outcomes(lake, dataset=dataset, scorer="accuracy")
            rows = outcomes.on_splits(["train", "validation"])
            for method in arguments.methods:
                for size in arguments.sizes:
                    line(dataset, method, rows, size=size, draws=arguments.draws)


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", default="../shared/data", help="folder with the clones")
    parser.add_argument("--lake", default="", help="a lake that holds the datasets already")
    parser.add_argument("--datasets", type=names, default=names("routerdc,llmrouter"))
    parser.add_argument("--methods", type=names, default=names("ridge,cluster_table"))
    parser.add_argument("--sizes", type=numbers, default=(150, 300, 600, 1200))
    parser.add_argument("--draws", type=int, default=10, help="draws of each fold")
    parser.set_defaults(path="")
    return parser.parse_args()


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def line(dataset: str, method: str, rows: OutcomeMatrix, *, size: int, draws: int) -> None:
    """Measure one size and print it."""
    folds = text_folds(rows.texts, n_folds=N_FOLDS, purpose="choice")
    found = np.array([turn(rows, folds, method=method, size=size, seed=n) for n in range(draws)])
    mean = f"{found[:, 0].mean():7.2f}"
    gains = [f"{told(found[:, column] - found[:, 0]):>24}" for column in (1, 2)]
    print(f"{dataset:10} {method:14} {size:5} {mean} {gains[0]} {gains[1]}", flush=True)


def turn(rows: OutcomeMatrix, folds: Rows, *, method: str, size: int, seed: int) -> list[float]:
    """What each design is worth in one draw, on one fold."""
    pool, test = split(rows, folds, fold=seed % N_FOLDS)
    return [worth(pool, one, test, method=method, seed=seed) for one in designs(pool, size, seed)]


def split(rows: OutcomeMatrix, folds: Rows, *, fold: int) -> tuple[OutcomeMatrix, OutcomeMatrix]:
    return rows.take(folds != fold), rows.take(folds == fold)


def designs(pool: OutcomeMatrix, size: int, seed: int) -> list[Rows]:
    """Positions drawn at random, chosen at once, and chosen in two."""
    rng = np.random.default_rng(seed)
    random = rng.choice(len(pool), size=size, replace=False)
    _, once = draw_texts(pool.texts, size=size, known=None, seed=seed)
    _, first = draw_texts(pool.texts, size=size // 2, known=None, seed=seed)
    rest = np.setdiff1d(np.arange(len(pool)), first)
    known = Known(pool.take(first).texts, pool.take(first).reward)
    _, second = draw_texts(
        pool.take(rest).texts, size=size - len(first), known=known, seed=seed + 1
    )
    return [np.sort(random), once, np.sort(np.concatenate([first, rest[second]]))]


def worth(
    pool: OutcomeMatrix, drawn: Rows, test: OutcomeMatrix, *, method: str, seed: int
) -> float:
    """Macro reward in %, on the rows measured, of a router fitted on those drawn."""
    router = load_method(method)().fit(pool.take(drawn), seed=seed)
    choice = np.nanargmax(router.predict(test.texts).reward, axis=1)
    names_of = {name: place for place, name in enumerate(test.candidates)}
    columns = np.array([names_of[name] for name in router.candidates])[choice]
    reward = test.reward[np.arange(len(test)), columns]
    return 100 * float(
        np.mean([np.nanmean(reward[test.tasks == t]) for t in np.unique(test.tasks)])
    )


def told(gains: npt.NDArray[np.float64]) -> str:
    """Mean and 95 % interval over draws (normal)."""
    half = 1.96 * gains.std(ddof=1) / np.sqrt(len(gains))
    return f"{gains.mean():+.2f} [{gains.mean() - half:+.2f}, {gains.mean() + half:+.2f}]"


if __name__ == "__main__":
    main()
