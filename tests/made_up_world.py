"""A made-up world of queries and candidates, of which the truth is known, and a router for it."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix

CANDIDATES = ("a", "b", "c", "d", "e")
NEW = 4
TASKS, DIMENSIONS = 6, 10


@dataclass(frozen=True)
class Queries:
    """Queries, and what their answers were worth.

    Attributes:
        task: (n,).
        place: (n, DIMENSIONS), what a router sees.
        reward: (n, n_candidates), NaN where there is no label.
        length: (n,), what an answer costs beside the usual one, whoever gives it.
    """

    task: npt.NDArray[np.int64]
    place: FloatMatrix
    reward: FloatMatrix
    length: FloatMatrix

    def with_reward(self, reward: FloatMatrix) -> "Queries":
        return replace(self, reward=reward)


class World:
    """Who is good at what."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.centre = self.rng.normal(0, 1.2, (TASKS, DIMENSIONS))
        self.skill = self.rng.normal(0, 0.24, (TASKS, len(CANDIDATES)))
        self.level = np.array([0.5, 0.5, 0.47, 0.44, 0.4])
        self.slope = self.rng.normal(0, 0.03, (DIMENSIONS, len(CANDIDATES)))
        self.hard = self.rng.normal(0, 0.12, TASKS)
        self.skill[self.rng.choice(TASKS, 2, replace=False), NEW] = 0.5
        self.best = int(np.argmax((self.level + self.skill)[:, :NEW].mean(axis=0)))
        self.mixes = self.rng.dirichlet(np.full(TASKS, 3.0), size=2)
        self.purse = np.random.default_rng([seed, 2])
        self.price = self._prices()

    def _prices(self) -> FloatMatrix:
        """(n_candidates,), USD an answer: who can do more costs more, but not in step."""
        able = (self.level + self.skill).mean(axis=0)
        return 0.001 * np.exp(6 * (able - able.mean()) + self.purse.normal(0, 0.3, len(able)))

    def cost(self, queries: "Queries") -> FloatMatrix:
        """(n, n_candidates), USD."""
        return queries.length[:, None] * self.price

    def chance(self, queries: Queries) -> FloatMatrix:
        """(n, n_candidates): the truth of today."""
        own = self.level + self.skill[queries.task] + queries.place @ self.slope
        return np.clip(own + self.hard[queries.task][:, None], 0.03, 0.97)

    def drawn(self, n: int, *, mix: FloatMatrix, known: int) -> Queries:
        """Queries with labels of the first `known` candidates."""
        task = self.rng.choice(TASKS, size=n, p=mix)
        place = self.centre[task] + self.rng.normal(0, 1, (n, DIMENSIONS))
        length = np.clip(self.purse.lognormal(0, 0.3, n), 0.5, 2)
        queries = Queries(task, place, np.full((n, len(CANDIDATES)), np.nan), length)
        return queries.with_reward(self.labelled(queries, columns=range(known)))

    def labelled(self, queries: Queries, *, columns: range | list[int]) -> FloatMatrix:
        """The rewards with those of some candidates drawn anew."""
        reward = queries.reward.copy()
        fresh = self.rng.random(reward.shape) < self.chance(queries)
        reward[:, list(columns)] = fresh[:, list(columns)]
        return reward


Weights = FloatMatrix


def fitted(queries: Queries) -> Weights:
    """(1 + features, n_candidates): ridge on places and their squares; NaN without a label."""
    seen = _features(queries.place)
    weights = np.full((seen.shape[1], len(CANDIDATES)), np.nan)
    for column in range(len(CANDIDATES)):
        known = ~np.isnan(queries.reward[:, column])
        if known.sum() < 50:
            continue
        x, y = seen[known], queries.reward[known, column]
        weights[:, column] = np.linalg.solve(x.T @ x + 20 * np.eye(x.shape[1]), x.T @ y)
    return weights


def _features(place: FloatMatrix) -> FloatMatrix:
    pairs = [place[:, [i]] * place[:, i:] for i in range(DIMENSIONS)]
    return np.concatenate([np.ones((len(place), 1)), place, *pairs], axis=1)


def predicted(weights: Weights, *, queries: Queries) -> FloatMatrix:
    return _features(queries.place) @ weights


def route(
    weights: Weights, *, queries: Queries, price: FloatMatrix, thrift: float = 0.0
) -> FloatMatrix:
    """(n, n_candidates): one-hot; `thrift` is the reward given up for the mean price saved."""
    said = np.where(np.isnan(weights[0]), -np.inf, predicted(weights, queries=queries))
    return np.eye(len(CANDIDATES))[(said - thrift * price / price.mean()).argmax(axis=1)]


def joined(first: Queries, second: Queries) -> Queries:
    return Queries(
        np.concatenate([first.task, second.task]),
        np.concatenate([first.place, second.place]),
        np.concatenate([first.reward, second.reward]),
        np.concatenate([first.length, second.length]),
    )
