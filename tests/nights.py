"""Sixty nights of retraining in a made-up world, of which the truth is known.

Queries have a task and a place near it; a candidate's chance to answer well depends on both. Every
night brings queries of a mix that drifts, and their labels. A ridge regression on all admitted
labels stands for the router, and what decides is the project's own: `cluster.gate.batch.admit`,
`cluster.gate.compare.compare`, `cluster.gate.decision.decide` and the levels of
`cluster.gate.spending`. What a champion is worth is no estimate here: the chances are known.

- On night 20 the candidate that was best gets worse at everything, silently. When the admission
  says so, it is given another revision the night after, and its answers are collected anew.
- On night 30 a new candidate joins, better than the others at two tasks.
- On night 40 a second file comes, as long as twenty nights, its labels turned round or shuffled.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from cluster.evaluation.metrics import TestSet, macro_mean
from cluster.gate.batch import Labels, admit
from cluster.gate.compare import VERSION, Contest, compare
from cluster.gate.decision import CHAMPION, How, decide
from cluster.gate.rules import AdmissionRules, GateRules
from cluster.gate.spending import level
from cluster.outcome import FloatMatrix

CANDIDATES = ("a", "b", "c", "d", "e")
NEW = 4
TASKS, DIMENSIONS = 6, 10
WORSE_BY = 0.35


@dataclass(frozen=True)
class Plan:
    """What happens when.

    Attributes:
        nights: how many.
        worse, joins, poison: the nights of the three events.
        a_night: queries of a night.
        start: train queries there are before the first night.
        frozen: queries of the snapshot.
        kind: of poison: `turned` or `shuffled`.
        guarded: whether there are admission and gate; otherwise the newest router is champion.
    """

    nights: int = 60
    worse: int = 20
    joins: int = 30
    poison: int = 40
    a_night: int = 200
    start: int = 1500
    frozen: int = 1000
    kind: str = "turned"
    guarded: bool = True


@dataclass
class Told:
    """What came of the nights.

    Attributes:
        champion: (n_nights,), true macro mean reward of the champion on the fixed test.
        best_single, oracle: the same of these.
        promoted: nights with a promotion, and how the true value moved by it.
        refused: nights on which an honest batch was refused.
        poison_refused: whether the poisoned one was.
        changed: nights on which the candidate that got worse was told of, and others.
        share_of_new: (n_nights,), of the fixed test's queries, that the champion sends to the new.
    """

    champion: list[float] = field(default_factory=list)
    best_single: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    promoted: dict[int, float] = field(default_factory=dict)
    how: list[How] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    poison_refused: bool = False
    changed: list[tuple[int, str]] = field(default_factory=list)
    share_of_new: list[float] = field(default_factory=list)
    batches: int = 0


@dataclass(frozen=True)
class Queries:
    """Queries, and what their answers were worth.

    Attributes:
        task: (n,).
        place: (n, DIMENSIONS), what a router sees.
        reward: (n, n_candidates), NaN where there is no label.
    """

    task: npt.NDArray[np.int64]
    place: FloatMatrix
    reward: FloatMatrix

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

    def chance(self, queries: Queries) -> FloatMatrix:
        """(n, n_candidates): the truth of today."""
        own = self.level + self.skill[queries.task] + queries.place @ self.slope
        return np.clip(own + self.hard[queries.task][:, None], 0.03, 0.97)

    def drawn(self, n: int, *, mix: FloatMatrix, known: int) -> Queries:
        """Queries with labels of the first `known` candidates."""
        task = self.rng.choice(TASKS, size=n, p=mix)
        place = self.centre[task] + self.rng.normal(0, 1, (n, DIMENSIONS))
        queries = Queries(task, place, np.full((n, len(CANDIDATES)), np.nan))
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


def route(weights: Weights, *, queries: Queries) -> FloatMatrix:
    """(n, n_candidates): one-hot."""
    said = np.where(np.isnan(weights[0]), -np.inf, predicted(weights, queries=queries))
    return np.eye(len(CANDIDATES))[said.argmax(axis=1)]


def joined(first: Queries, second: Queries) -> Queries:
    return Queries(
        np.concatenate([first.task, second.task]),
        np.concatenate([first.place, second.place]),
        np.concatenate([first.reward, second.reward]),
    )


class Nights:
    """One lake over the nights."""

    def __init__(self, plan: Plan, *, seed: int) -> None:
        self.plan, self.world = plan, World(seed)
        self.rng = np.random.default_rng([seed, 1])
        first = self.world.mixes[0]
        self.learned = self.world.drawn(plan.start, mix=first, known=NEW)
        even = np.full(TASKS, 1 / TASKS)
        self.frozen = self.world.drawn(plan.frozen, mix=even, known=NEW)
        self.champion: Weights | None = None
        self.looks, self.handed_on, self.revise = 0, 0.0, False
        self.rules, self.admission = GateRules(horizon=plan.nights), AdmissionRules()
        self.told = Told()

    def run(self) -> Told:
        for night in range(self.plan.nights):
            self._happens(night)
            for batch, poisoned in self._batches(night):
                if self._is_admitted(batch, night=night, poisoned=poisoned):
                    self.learned = joined(self.learned, batch)
            self._train_and_decide(night)
            self._note()
        return self.told

    def _happens(self, night: int) -> None:
        world, plan = self.world, self.plan
        if self.revise:
            self.revise = False
            self._collect_anew([world.best])
        if night == plan.worse:
            world.level = world.level - WORSE_BY * (np.arange(len(CANDIDATES)) == world.best)
        if night == plan.joins:
            self._collect_anew([NEW])

    def _collect_anew(self, columns: list[int]) -> None:
        self.learned = self.learned.with_reward(self.world.labelled(self.learned, columns=columns))
        self.frozen = self.frozen.with_reward(self.world.labelled(self.frozen, columns=columns))

    def _batches(self, night: int) -> list[tuple[Queries, bool]]:
        plan, known = self.plan, NEW + (night >= self.plan.joins)
        along = night / max(plan.nights - 1, 1)
        mix = (1 - along) * self.world.mixes[0] + along * self.world.mixes[1]
        batches = [(self.world.drawn(plan.a_night, mix=mix, known=known), False)]
        if night == plan.poison:
            upload = self.world.drawn(20 * plan.a_night, mix=mix, known=known)
            batches.append((upload.with_reward(self._poisoned(upload.reward)), True))
        return batches

    def _poisoned(self, reward: FloatMatrix) -> FloatMatrix:
        if self.plan.kind == "turned":
            return 1 - reward
        known = ~np.isnan(reward)
        shuffled = reward.copy()
        shuffled[known] = self.rng.permutation(reward[known])
        return shuffled

    def _is_admitted(self, batch: Queries, *, night: int, poisoned: bool) -> bool:
        """Looked at before it is learned from; a guarded lake keeps out what does not fit.

        As long as there is no champion, what is expected is what earlier labels say.
        """
        if not self.plan.guarded:
            return True
        weights = fitted(self.learned) if self.champion is None else self.champion
        looked, usual = (
            Labels(CANDIDATES, one.reward, predicted(weights, queries=one))
            for one in (batch, self.frozen)
        )
        batches = 1 + (night == self.plan.poison)
        found = admit("b", batch=looked, usual=usual, rules=self.admission, batches=batches)
        for one in found.changed:
            self.told.changed.append((night, one.candidate))
            if one.candidate == CANDIDATES[self.world.best] and one.shift < 0:
                self.revise = True
        self.told.batches += not poisoned
        if poisoned:
            self.told.poison_refused = found.verdict == "refused"
        elif found.refused:
            self.told.refused.append(night)
        return not found.refused

    def _train_and_decide(self, night: int) -> None:
        version = fitted(self.learned)
        how: How = self._gated(version) if self.plan.guarded else "better"
        if not how:
            return
        if self.champion is not None:
            self.told.promoted[night] = self._worth(version) - self._worth(self.champion)
            self.told.how.append(how)
        self.champion = version

    def _gated(self, version: Weights) -> How:
        self.looks += 1
        tonight = level(self.looks, rules=self.rules, handed_on=self.handed_on)
        known = ~np.isnan(self.frozen.reward).any(axis=0)
        tasks = self.frozen.task.astype(str)
        test = TestSet(
            tuple(np.array(CANDIDATES)[known]),
            tasks,
            self.frozen.reward[:, known],
            np.full((len(tasks), int(known.sum())), np.nan),
        )
        routes = {
            role: route(weights, queries=self.frozen)[:, known]
            for role, weights in ((VERSION, version), (CHAMPION, self.champion))
            if weights is not None
        }
        learned = np.nan_to_num(self.learned.reward)
        train = macro_mean(learned, tasks=self.learned.task.astype(str))
        contest = Contest(test=test, routes=routes, train_reward=train[known])
        found = compare(contest, level=tonight)
        there = "champion" if self.champion is not None else None
        how, _ = decide(found, margin=self.rules.margin, champion=there)
        self.handed_on = tonight if how else 0.0
        return how

    def _worth(self, weights: Weights) -> float:
        chances = (route(weights, queries=self.frozen) * self.world.chance(self.frozen)).sum(axis=1)
        return float(macro_mean(chances[:, None], tasks=self.frozen.task.astype(str))[0])

    def _note(self) -> None:
        chance = self.world.chance(self.frozen)
        there = ~np.isnan(self.frozen.reward).any(axis=0)
        tasks = self.frozen.task.astype(str)
        self.told.best_single.append(float(macro_mean(chance[:, there], tasks=tasks).max()))
        best = chance[:, there].max(axis=1, keepdims=True)
        self.told.oracle.append(float(macro_mean(best, tasks=tasks)[0]))
        # Before there is a champion, all goes to the one that was best at first.
        if self.champion is None:
            alone = macro_mean(chance[:, [self.world.best]], tasks=tasks)
            self.told.champion.append(float(alone[0]))
            self.told.share_of_new.append(0.0)
            return
        self.told.champion.append(self._worth(self.champion))
        sent = route(self.champion, queries=self.frozen)[:, NEW]
        self.told.share_of_new.append(float(sent.mean()))
