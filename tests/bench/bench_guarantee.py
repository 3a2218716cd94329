"""Whether a certified saving keeps its promise, by simulation on real outcomes.

    python tests/bench/bench_guarantee.py --data ../shared/data [--lake DIR] [--draws 2000]
        [--sizes 500,1000,2000,4000] [--floors .95] [--deltas .1,.05] [--datasets routellm,routerdc]

Of each table a few thousand rows train a router, name the reference and fix the path of settings.
All other rows are the population: every setting's true mean is known there. Calibration samples
are drawn from it with replacement; a choice is broken where its true mean is below the floor. It
passes where no more are broken than chance allows, two standard deviations above delta. Costs are
in % of the reference alone, and stand against the cheapest setting of the path that truly holds.

Beside the two bounds: what goes wrong with a threshold that is fitted and has no bound, what an
older bound costs, and what becomes of calibrating on training rows, or on other subjects.

Prices of RouterDC's candidates are made up: the better on train, the dearer. In RouteLLM's pair the
weak one costs nothing, so that the cost is the share of strong calls.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from bench_quality import SOURCES, names, open_lake

from cluster.folds import hash_positions, task_folds
from cluster.guarantee.bound import BOUNDS
from cluster.guarantee.path import choices, path
from cluster.lake.outcomes import read_outcomes
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.policies.quality_floor import QualityFloor
from cluster.routers.fit import load_method
from cluster.routers.means import column_means
from cluster.routers.router import Router
from tests.simulation import (
    Population,
    Rule,
    broken,
    certified,
    draw,
    fitted,
    hoeffding_bentkus,
    most_broken,
)

SEED = 0
TRAIN_ROWS = 4_000
METHODS: Mapping[str, str] = {"routellm": "gain", "routerdc": "ridge"}
# Ways of cutting the tasks into halves.
CUTS = 20
RULES: Mapping[str, Rule] = {
    "betting": certified("betting"),
    "clt": certified("clt"),
    "no bound": fitted,
    "Hoeffding-Bentkus": hoeffding_bentkus,
}
SOURCES.setdefault("routellm", "RouteLLM")


@dataclass(frozen=True)
class World:
    """A path of settings, and what it does on rows of all kinds.

    Attributes:
        name: of the dataset.
        pool: the population.
        train: the rows that the router was fitted on.
        halves: two parts of the pool, each of its own tasks; several cuts.
    """

    name: str
    pool: Population
    train: Population
    halves: list[tuple[Population, Population]]


def main() -> None:
    """Import, fit, draw, print; exits 1 where a bound breaks its promise."""
    arguments = parsed()
    failed = False
    with TemporaryDirectory() as folder:
        lake = open_lake(arguments, Path(folder) / "lake")
        for dataset in arguments.datasets:
            outcomes = read_outcomes(lake, dataset=dataset, scorer="accuracy").complete()
            world = world_of(dataset, outcomes)
            for floor in arguments.floors:
                for delta in arguments.deltas:
                    failed |= table(world, floor=floor, delta=delta, arguments=arguments)
    sys.exit(int(failed))


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", default="../shared/data", help="folder with the clones")
    parser.add_argument("--lake", default="", help="a lake that holds the datasets already")
    parser.add_argument("--datasets", type=names, default=tuple(METHODS))
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--sizes", type=numbers(int), default=(500, 1_000, 2_000, 4_000))
    parser.add_argument("--floors", type=numbers(float), default=(0.95,))
    parser.add_argument("--deltas", type=numbers(float), default=(0.1, 0.05))
    parser.set_defaults(path="")
    arguments = parser.parse_args()
    there = [name for name in arguments.datasets if (Path(arguments.data) / SOURCES[name]).exists()]
    if not there and not arguments.lake:
        print(f"skipped: {arguments.data} has none of {', '.join(map(SOURCES.get, METHODS))}")
        sys.exit(0)
    if not arguments.lake:
        arguments.datasets = tuple(there)
    return arguments


def numbers(kind: type) -> Any:
    """A reader of a list with commas."""
    return lambda text: tuple(kind(word) for word in text.split(","))


def world_of(dataset: str, outcomes: OutcomeMatrix) -> World:
    """Fit on some rows, and follow the path on all."""
    if dataset == "routellm":
        outcomes = outcomes.take(outcomes.tasks != "gsm8k")
    order = np.argsort(hash_positions(outcomes.texts, purpose="guarantee"), kind="stable")
    train, pool = outcomes.take(order[:TRAIN_ROWS]), outcomes.take(order[TRAIN_ROWS:])
    started = time.perf_counter()
    router = load_method(METHODS[dataset])().fit(train, seed=SEED)
    prices = prices_of(dataset, train)
    reference = outcomes.candidates[int(column_means(train.reward).argmax())]
    policy = QualityFloor(floor=1.0, reference=reference).among(router.candidates)
    taus = path(
        policy,
        prediction=router.predict(train.texts),
        texts=train.texts,
        cost=cost_of(router, prices, n=len(train)),
    )
    print(
        f"\n{dataset}: {METHODS[dataset]} on {len(train):,} rows, {len(pool):,} are the "
        f"population; reference {reference}, {len(taus)} settings; "
        f"{time.perf_counter() - started:.0f} s"
    )

    def followed(rows: OutcomeMatrix) -> Population:
        return population_of(rows, router=router, policy=policy, taus=taus, prices=prices)

    world = followed(pool)
    return World(dataset, pool=world, train=followed(train), halves=halves(world, pool.tasks))


def halves(pool: Population, tasks: npt.NDArray[np.str_]) -> list[tuple[Population, Population]]:
    """The pool cut into tasks that are drawn from and others that the choice is judged on."""
    cuts = []
    for fold in range(CUTS):
        half = task_folds(tasks, n_folds=2, purpose=f"guarantee {fold}") == 0
        cuts.append((pool.take(half), pool.take(~half)))
    return cuts


def prices_of(dataset: str, train: OutcomeMatrix) -> dict[str, float]:
    """USD of one answer by candidate."""
    order = np.argsort(column_means(train.reward))
    if dataset == "routellm":
        return {train.candidates[column]: float(place) for place, column in enumerate(order)}
    made_up = np.linspace(0.2, 1.0, len(order))
    return {train.candidates[column]: usd for column, usd in zip(order, made_up, strict=True)}


def cost_of(router: Router, prices: Mapping[str, float], *, n: int) -> FloatMatrix:
    """(n, n_candidates): the same for every query."""
    return np.tile([prices[name] for name in router.candidates], (n, 1))


def population_of(
    rows: OutcomeMatrix,
    *,
    router: Router,
    policy: QualityFloor,
    taus: tuple[float, ...],
    prices: Mapping[str, float],
) -> Population:
    """What each setting earns on the rows."""
    columns = [rows.candidates.index(name) for name in router.candidates]
    reward, place = rows.reward[:, columns], np.arange(len(rows))
    cost = cost_of(router, prices, n=len(rows))
    reference = policy.candidates.index(policy.reference)
    prediction = router.predict(rows.texts)
    made = np.stack(choices(policy, taus=taus, prediction=prediction, texts=rows.texts, cost=cost))
    return Population(
        earned=reward[place, made],
        reference=reward[:, reference],
        differs=made != reference,
        cost=cost[place, made].mean(axis=1) / cost[0, reference],
    )


def table(world: World, *, floor: float, delta: float, arguments: argparse.Namespace) -> bool:
    """Print a line a rule, a column a size; whether a bound broke its promise too often."""
    limit = most_broken(arguments.draws, delta=delta)
    least = world.pool.least_cost(floor)
    print(
        f"\n{world.name}, floor {floor:g}, delta {delta:g}: cost in % of the reference alone "
        f"(perfect choice {100 * least:.0f}); broken of {arguments.draws:,} (at most {limit})"
    )
    print(f"{'':24}" + "".join(f"{size:>18,}" for size in arguments.sizes))
    failed = False
    for name, rule, judges in cases(world):
        cells = []
        for size in arguments.sizes:
            cost, n_broken = simulated(
                rule, judges, size=size, floor=floor, delta=delta, samples=arguments.draws
            )
            cells.append(f"{100 * cost:9.1f} /{n_broken:6}")
            failed |= name in BOUNDS and n_broken > limit
        print(f"{name:24}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
    return failed


def cases(world: World) -> Iterator[tuple[str, Rule, list[tuple[Population, Population]]]]:
    """Name, rule, and pairs of what is drawn from and what the choice is judged on."""
    for name, rule in RULES.items():
        yield name, rule, [(world.pool, world.pool)]
    yield "on training rows", RULES["betting"], [(world.train, world.pool)]
    yield "on other subjects", RULES["betting"], world.halves


def simulated(
    rule: Rule,
    pairs: list[tuple[Population, Population]],
    *,
    size: int,
    floor: float,
    delta: float,
    samples: int,
) -> tuple[float, int]:
    """Mean cost of what the samples choose, and how many choices are broken."""
    rng, spent, n_broken = np.random.default_rng(SEED), [], 0
    for source, judged in pairs:
        rows = draw(len(source.reference), n=size, samples=samples // len(pairs), rng=rng)
        chosen = rule(source, rows=rows, floor=floor, delta=delta)
        n_broken += broken(chosen, population=judged, floor=floor)
        spent.append(judged.cost_of(chosen).mean())
    return float(np.mean(spent)), n_broken


if __name__ == "__main__":
    main()
