"""Sixty nights of retraining in a made-up world, of which the truth is known.

Queries have a task and a place near it; a candidate's chance to answer well depends on both. Every
night brings queries of a mix that drifts, and their labels. A ridge regression on all admitted
labels stands for the router, and what decides is the project's own: `cluster.gate.batch.admit`,
`cluster.gate.compare.compare`, `cluster.gate.decision.decide`, the anchor of `cluster.gate.anchor`
and the looks of `cluster.gate.spending`, kept in memory instead of a lake. What a champion is worth
is no estimate here: the chances are known, and so are the prices.

Every night two versions of the same weights go before the gate: one that takes the best answer
whatever it costs, and a thrifty one that gives up some expected reward for money.

- On night 20 the candidate that was best gets worse at everything, silently. When the admission
  says so, it is given another revision the night after, and its answers are collected anew.
- On night 30 a new candidate joins, better than the others at two tasks.
- On night 40 a second file comes, as long as twenty nights, its labels turned round or shuffled.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from cluster.evaluation.metrics import TestSet, macro_mean
from cluster.gate.anchor import anchor
from cluster.gate.batch import Labels, admit
from cluster.gate.compare import VERSION, Contest, compare
from cluster.gate.decision import ANCHOR, CHAMPION, Decision, How, decide
from cluster.gate.events import Event
from cluster.gate.rules import AdmissionRules, GateRules
from cluster.gate.spending import decided_event, look_event, next_look
from cluster.lake.tables import LOOKS
from cluster.outcome import FloatMatrix
from tests.made_up_world import (
    CANDIDATES,
    NEW,
    TASKS,
    Queries,
    Weights,
    World,
    fitted,
    joined,
    predicted,
    route,
)

WORSE_BY = 0.35
NO_GATE = Decision(promote=True, why="there is no gate", how="better")


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
        thrift: reward that the thrifty version gives up for the mean price saved.
        margin: of the gate's rules.
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
    thrift: float = 0.02
    margin: float = 0.01
    guarded: bool = True


@dataclass(frozen=True)
class Move:
    """What a promotion changed, by the truth of its night.

    Attributes:
        night: on which.
        how: it was earned.
        reward: macro mean reward above the champion before.
        cost: as a share of the champion's before, less 1.
        over_anchor: macro mean reward above the anchor, or above the champion where that is it.
        over_highest: macro mean reward above the best of all champions before.
    """

    night: int
    how: How
    reward: float
    cost: float
    over_anchor: float
    over_highest: float


@dataclass(frozen=True)
class Offered:
    """What a poisoned file did.

    Attributes:
        refused: whether it was.
        fall: of the champion's true reward, by that night.
        without: what the newest router is worth less where all is believed and nothing compared.
    """

    refused: bool
    fall: float
    without: float


@dataclass(frozen=True)
class Router:
    """Weights, and what is given up for money."""

    name: str
    weights: Weights
    thrift: float


@dataclass
class Told:
    """What came of the nights.

    Attributes:
        champion: (n_nights,), true macro mean reward of the champion on the fixed test.
        best_single, oracle: the same of these.
        cost: (n_nights,), USD a query of the champion, macro mean.
        moves: every promotion behind the first.
        refused: nights on which an honest batch was refused.
        poison_refused: whether the poisoned one was.
        changed: nights on which the candidate that got worse was told of, and others.
        share_of_new: (n_nights,), of the fixed test's queries, that the champion sends to the new.
    """

    champion: list[float] = field(default_factory=list)
    best_single: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    moves: list["Move"] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    poison_refused: bool = False
    changed: list[tuple[int, str]] = field(default_factory=list)
    share_of_new: list[float] = field(default_factory=list)
    batches: int = 0


class Nights:
    """One lake over the nights."""

    def __init__(self, plan: Plan, *, seed: int) -> None:
        self.plan, self.world = plan, World(seed)
        self.rng = np.random.default_rng([seed, 1])
        first = self.world.mixes[0]
        self.learned = self.world.drawn(plan.start, mix=first, known=NEW)
        even = np.full(TASKS, 1 / TASKS)
        self.frozen = self.world.drawn(plan.frozen, mix=even, known=NEW)
        self.routers: dict[str, Router] = {}
        self.champions: list[str] = []
        self.decisions: dict[str, Decision] = {}
        self.events: list[Event] = []
        self.revise = False
        self.rules = GateRules(horizon=2 * plan.nights, margin=plan.margin)
        self.admission = AdmissionRules(horizon=plan.nights)
        self.told = Told()

    @property
    def champion(self) -> Router | None:
        return self.routers[self.champions[-1]] if self.champions else None

    def run(self, *, until: int | None = None) -> Told:
        """All nights, or those before one."""
        for night in range(self.plan.nights if until is None else until):
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
        mix = self._mix(night)
        batches = [(self.world.drawn(plan.a_night, mix=mix, known=known), False)]
        if night == plan.poison:
            upload = self.world.drawn(20 * plan.a_night, mix=mix, known=known)
            batches.append((upload.with_reward(self._poisoned(upload.reward)), True))
        return batches

    def offered(self, *, share: float, nights: int, night: int) -> "Offered":
        """What a file does whose labels are turned round in part; a lake is good for one."""
        assert self.champion is not None
        size = nights * self.plan.a_night
        batch = self.world.drawn(size, mix=self._mix(night), known=NEW + (night >= self.plan.joins))
        turned = self.rng.random(batch.reward.shape) < share
        batch = batch.with_reward(np.where(turned, 1 - batch.reward, batch.reward))
        newest, believed = (
            Router("newest", fitted(rows), 0.0)
            for rows in (self.learned, joined(self.learned, batch))
        )
        before = self.worth(self.champion)
        refused = not self._is_admitted(batch, night=night, poisoned=True)
        if not refused:
            self.learned = joined(self.learned, batch)
        self._train_and_decide(night)
        return Offered(
            refused=refused,
            fall=before - self.worth(self.champion),
            without=self.worth(newest) - self.worth(believed),
        )

    def _mix(self, night: int) -> FloatMatrix:
        along = night / max(self.plan.nights - 1, 1)
        return (1 - along) * self.world.mixes[0] + along * self.world.mixes[1]

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
        weights = fitted(self.learned) if self.champion is None else self.champion.weights
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
        weights = fitted(self.learned)
        kinds = {"best": 0.0, "thrifty": self.plan.thrift} if self.plan.guarded else {"best": 0.0}
        for kind, thrift in kinds.items():
            version = Router(f"{kind}-{night}", weights, thrift)
            decision = self._gated(version) if self.plan.guarded else NO_GATE
            if decision.promote:
                self._promote(version, decision=decision, night=night)

    def _promote(self, version: Router, *, decision: Decision, night: int) -> None:
        if self.champion is not None:
            self.told.moves.append(self._move(version, how=decision.how, night=night))
        self.routers[version.name] = version
        self.decisions[version.name] = decision
        self.champions.append(version.name)

    def _move(self, version: Router, *, how: How, night: int) -> Move:
        assert self.champion is not None
        worth = self.worth(version)
        before = {router.name: self.worth(router) for router in self._lineage()}
        held = before[self._anchor() or self.champion.name]
        return Move(
            night=night,
            how=how,
            reward=worth - before[self.champion.name],
            cost=self._cost(version) / self._cost(self.champion) - 1,
            over_anchor=worth - held,
            over_highest=worth - max(before.values()),
        )

    def _lineage(self) -> list[Router]:
        """All champions so far, and where there is no gate only the last."""
        names = self.champions if self.plan.guarded else self.champions[-1:]
        return [self.routers[name] for name in names]

    def _anchor(self) -> str | None:
        return anchor(self.champions, decided=self.decisions.get)

    def _gated(self, version: Router) -> Decision:
        events = pl.DataFrame(self.events, schema=LOOKS.schema)
        look, _ = next_look(events, snapshot="s", comparison=version.name, rules=self.rules)
        champion = self.champions[-1] if self.champions else ""
        self.events.append(look_event(look, version=version.name, champion=champion))
        found = compare(self._contest(version), level=look.level)
        how, why = decide(found, margin=self.rules.margin, champion=champion or None)
        decision = Decision(bool(how), why, how, tuple(found), "s", look.number, look.level)
        self.events.append(decided_event(look, version=version.name, decision=decision))
        return decision

    def _contest(self, version: Router) -> Contest:
        known = ~np.isnan(self.frozen.reward).any(axis=0)
        tasks = self.frozen.task.astype(str)
        held = self._anchor()
        roles = {
            VERSION: version,
            CHAMPION: self.champion,
            ANCHOR: self.routers[held] if held else None,
        }
        routes = {role: self.route(one)[:, known] for role, one in roles.items() if one is not None}
        learned = np.nan_to_num(self.learned.reward)
        train = macro_mean(learned, tasks=self.learned.task.astype(str))
        cost = self.world.cost(self.frozen)[:, known]
        names = tuple(np.array(CANDIDATES)[known])
        test = TestSet(names, tasks, self.frozen.reward[:, known], cost)
        return Contest(test=test, routes=routes, train_reward=train[known])

    def route(self, router: Router) -> FloatMatrix:
        """(n_frozen, n_candidates): one-hot, on the fixed test."""
        price, thrift = self.world.price, router.thrift
        return route(router.weights, queries=self.frozen, price=price, thrift=thrift)

    def worth(self, router: Router) -> float:
        """Its true macro mean reward on the fixed test, today."""
        return self._mean(self.route(router) * self.world.chance(self.frozen))

    def _cost(self, router: Router) -> float:
        return self._mean(self.route(router) * self.world.cost(self.frozen))

    def _mean(self, values: FloatMatrix) -> float:
        whole = values.sum(axis=1)[:, None]
        return float(macro_mean(whole, tasks=self.frozen.task.astype(str))[0])

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
            self.told.cost.append(self._mean(self.world.cost(self.frozen)[:, [self.world.best]]))
            self.told.share_of_new.append(0.0)
            return
        self.told.champion.append(self.worth(self.champion))
        self.told.cost.append(self._cost(self.champion))
        sent = self.route(self.champion)[:, NEW]
        self.told.share_of_new.append(float(sent.mean()))
