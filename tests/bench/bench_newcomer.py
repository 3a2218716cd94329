"""What a router gains by a candidate it takes up from a few hundred probes, on RouterDC's data.

    python tests/bench/bench_newcomer.py --data ../shared/data [--lake DIR] [--methods knn,routerdc]
        [--probes 300] [--folds 1] [--seed 0] [--output FILE]

Train and validation rows alone, cut into three folds by the text's hash: two are fitted on, the
third is measured on. `--folds` of them are measured on in turn. Each method is fitted without a
candidate and with it, and the first takes it up from probes among the rows it was fitted on. What
is measured is the macro average of the reward over tasks, in %:

    one of seven     each of four candidates left out; the six others make up for most of it
    one of five      three strong candidates joining four weak ones, one at a time

`gain` is what taking it up brings, `of` what a fit with it from the start brings, `worst` the least
gain of all newcomers. `off` is how far the newcomer's expected reward is from its reward, macro
averages, in points; `fitted` the same where it was there from the start.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from bench_quality import names, open_lake

from cluster.encoders.lexical import LexicalEncoder
from cluster.folds import text_folds
from cluster.lake.outcomes import read_outcomes
from cluster.lake.probe import choose_probe
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.fit import load_method
from cluster.routers.means import macro_means
from cluster.routers.newcomer import with_candidate
from cluster.routers.router import Router
from cluster.routers.strong_weak import on_candidates

METHODS = (
    "best_single,predicted_task,cluster_table,knn,ridge,lora_retriever,stack,"
    "multihead,zooter,mf,routerdc"
)
N_FOLDS = 3
LLAMA, ZEPHYR = "meta-llama/Meta-Llama-3-8B", "HuggingFaceH4/zephyr-7b-beta"
METAMATH = "meta-math/MetaMath-Mistral-7B"
DOLPHIN_3, DOLPHIN = (
    "cognitivecomputations/dolphin-2.9-llama3-8b",
    "cognitivecomputations/dolphin-2.6-mistral-7b",
)
# The best single candidate, the best of GSM8K, of MMLU and CMMLU, and of ARC.
LEFT_OUT = (DOLPHIN_3, METAMATH, LLAMA, ZEPHYR)
STRONG = (DOLPHIN_3, METAMATH, DOLPHIN)
ONE_OF_SEVEN, ONE_OF_FIVE = "one of seven", "one of five"


@dataclass(frozen=True)
class Measured:
    """What one newcomer brought to one method.

    Attributes:
        method, setting, newcomer, fold: which.
        without, added, fitted: macro rewards of the router without it, with it taken up, and fitted
            with it from the start, in %.
        off_added, off_fitted: of the newcomer's expected reward, in points.
    """

    method: str
    setting: str
    newcomer: str
    fold: int
    without: float
    added: float
    fitted: float
    off_added: float
    off_fitted: float


def main() -> None:
    """Import, fit, take up, measure, print and write."""
    arguments = parsed()
    with TemporaryDirectory() as folder:
        lake = open_lake(arguments, Path(folder) / "lake")
        outcomes = read_outcomes(lake, dataset="routerdc", scorer="accuracy")
    outcomes = outcomes.on_splits(["train", "validation"])
    folds = text_folds(outcomes.texts, n_folds=N_FOLDS, purpose="newcomer")
    found: list[Measured] = []
    for method in arguments.methods:
        start = time.perf_counter()
        for fold in range(arguments.folds):
            parts = outcomes.take(folds != fold), outcomes.take(folds == fold)
            found += measured(method, *parts, arguments=arguments, fold=fold)
        print(f"{method}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    print_table(found)
    if arguments.output:
        Path(arguments.output).write_text(json.dumps([asdict(one) for one in found], indent=1))


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", default="../shared/data", help="folder with the clone")
    parser.add_argument("--lake", default="", help="a lake that holds the dataset already")
    parser.add_argument("--methods", type=names, default=names(METHODS))
    parser.add_argument("--probes", type=int, default=300)
    parser.add_argument("--folds", type=int, default=1, choices=range(1, N_FOLDS + 1))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="", help="every number, as JSON")
    parser.set_defaults(datasets=("routerdc",), path="")
    return parser.parse_args()


def measured(
    method: str,
    train: OutcomeMatrix,
    test: OutcomeMatrix,
    *,
    arguments: argparse.Namespace,
    fold: int,
) -> Iterator[Measured]:
    """Every newcomer of both settings, for one method and one fold."""
    fitted: dict[tuple[str, ...], Router] = {}

    def fit(candidates: tuple[str, ...]) -> Router:
        if candidates not in fitted:
            rows = only(train, candidates)
            fitted[candidates] = load_method(method)().fit(rows, seed=arguments.seed)
        return fitted[candidates]

    vectors = LexicalEncoder().fit(train.texts, seed=arguments.seed).encode(train.texts)
    for setting, newcomer, others in newcomers(train.candidates):
        everyone = tuple(name for name in train.candidates if name in (*others, newcomer))
        known = only(train, others)
        chosen = choose_probe(known, vectors=vectors, size=arguments.probes, seed=arguments.seed)
        probe = with_outcomes_of(newcomer, chosen=chosen, train=train)
        before, full = fit(others), fit(everyone)
        after = with_candidate(before, newcomer, probe=probe, seed=arguments.seed)
        yield Measured(
            method,
            setting,
            newcomer,
            fold,
            *(macro_reward(router, test) for router in (before, after, full)),
            *(error_of_level(router, newcomer, test=test) for router in (after, full)),
        )


def newcomers(candidates: tuple[str, ...]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Setting, newcomer, and who the router knows."""
    for newcomer in LEFT_OUT:
        yield ONE_OF_SEVEN, newcomer, tuple(each for each in candidates if each != newcomer)
    for newcomer in STRONG:
        yield ONE_OF_FIVE, newcomer, tuple(each for each in candidates if each not in STRONG)


def only(outcomes: OutcomeMatrix, candidates: tuple[str, ...]) -> OutcomeMatrix:
    """The same queries with these candidates alone."""
    return on_candidates(outcomes, [outcomes.candidates.index(name) for name in candidates])


def with_outcomes_of(
    newcomer: str, *, chosen: OutcomeMatrix, train: OutcomeMatrix
) -> OutcomeMatrix:
    """The chosen queries with the newcomer in the last column."""
    place = {key: row for row, key in enumerate(train.queries["query_id"])}
    rows = np.array([place[key] for key in chosen.queries["query_id"]])
    known = only(train.take(rows), (*chosen.candidates, newcomer))
    return replace(known, queries=chosen.queries)


def macro_reward(router: Router, test: OutcomeMatrix) -> float:
    """Of the candidates it expects the most of, in %."""
    own = only(test, router.candidates)
    choice = router.predict(test.texts).reward.argmax(axis=1)
    return macro(own.reward[np.arange(len(own)), choice], test)


def error_of_level(router: Router, newcomer: str, *, test: OutcomeMatrix) -> float:
    """How far the mean of what is expected of the newcomer is from the mean of its rewards."""
    expected = router.predict(test.texts).reward[:, router.candidates.index(newcomer)]
    reward = test.reward[:, test.candidates.index(newcomer)]
    return abs(macro(expected, test) - macro(reward, test))


def macro(values: FloatMatrix, test: OutcomeMatrix) -> float:
    """The mean over tasks, in %."""
    return 100 * float(macro_means(values[:, None], test.tasks)[0])


def print_table(found: list[Measured]) -> None:
    """A line a method and setting: means over the newcomers and folds."""
    columns = ("without", "added", "fitted", "gain", "of", "worst", "off", "fitted")
    print(f"{'method':16} {'newcomer':14}" + "".join(f"{name:>9}" for name in columns))
    for setting in (ONE_OF_SEVEN, ONE_OF_FIVE):
        for method in dict.fromkeys(one.method for one in found):
            rows = [one for one in found if (one.method, one.setting) == (method, setting)]
            gain = [one.added - one.without for one in rows]
            means = [
                *(np.mean([getattr(one, key) for one in rows]) for key in columns[:3]),
                np.mean(gain),
                np.mean([one.fitted - one.without for one in rows]),
                min(gain),
                np.mean([one.off_added for one in rows]),
                np.mean([one.off_fitted for one in rows]),
            ]
            print(f"{method:16} {setting:14}" + "".join(f"{value:9.2f}" for value in means))


if __name__ == "__main__":
    main()
