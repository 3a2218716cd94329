"""Similarity-weighted ranking: a Bradley–Terry model of its own for every query.

    omega_i = gamma^(1 + S(q, q_i)),    S(q, q_i) = cos(q, q_i) / max
    xi(q)   = argmin over xi of sum over comparisons i of
              omega_i · [ −y_i log sigmoid(xi_a − xi_b) − (1 − y_i) log sigmoid(xi_b − xi_a) ]

RouteLLM (ICLR 2025, arXiv 2406.18665), section 4.2.1. `max` is each training query's own highest
cosine as the paper has it, or the asked query's as the authors' code does. Nothing is trained and
no solver is called for a query: of two candidates the chance to win is the weighted share of wins;
of more, one product gives all weighted win counts and a few batched Newton steps the strengths.

The weights of a query are scaled to a mean of 1, and every two candidates have come out even
`ties` times besides, so strengths are finite whatever is known. Queries of the same text are one.

The targets are y = (1 + r_a − r_b) / 2, so a model of them is one of rewards but for the level:

    reward(q, c) = level + mean over all candidates j of (2 · P(c beats j | q) − 1)

which is in the order of the strengths. A line from strengths to rewards, fitted, would have a slope
of its own in every sample: on RouteLLM's MMLU rows, pooled over five folds, APGR .636 instead of
.665 with the published gamma, whose strengths hardly differ between queries.
"""

from dataclasses import replace
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from cluster.encoders.encoder import FittedEncoder, Vectors, pack_encoder, unpack_encoder
from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.preference import Comparisons
from cluster.routers.bradley_terry import losses, strengths
from cluster.routers.encoded import EncodedMethod
from cluster.routers.means import group_means, macro_means
from cluster.routers.out_of_fold import most_shrunk_near_best
from cluster.routers.pairs import ComparisonMethod, compare
from cluster.routers.router import Prediction, Router, RouterState
from cluster.routers.scale import SharedScale
from cluster.routers.similarity import first_occurrences, to_weights
from cluster.routers.strong_weak import on_candidates
from cluster.routers.tier_pair import tier_pair
from cluster.routers.tiers import strength_tiers

# Similarities held at a time: 16 million float32 are 64 MB.
PAIRS_AT_ONCE = 16_000_000
# Win counts held at a time, in float64 and several times over while Newton steps.
COUNTS_AT_ONCE = 2_000_000
# Training queries that gamma and the level are fitted on; two numbers need no more.
MAX_ASKED = 4_000
# What gamma may be, the most shrunk first: all queries alike, the published one, …; at 10⁶ only
# the next of kin count.
GAMMAS = (1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6)

Normalise = Literal["paper", "code"]


class Battles(NamedTuple):
    """What is known of the training queries that have a comparison.

    Attributes:
        vectors: (n, d).
        wins: (n, n_players²) float32, the flattened `Comparisons.wins_by_row`.
        highest: (n,) float32, the cosine with the most similar other query; empty where the asked
            query's own maximum is taken.
    """

    vectors: Vectors
    wins: npt.NDArray[np.float32]
    highest: npt.NDArray[np.float32]


class SimilarityWeightedRouter(Router):
    """A fitted `SimilarityWeighted`."""

    method: ClassVar[str] = "similarity_weighted"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        encoder: FittedEncoder,
        battles: Battles,
        players: npt.NDArray[np.int64],
        offsets: FloatMatrix,
        start: FloatMatrix,
        gamma: float,
        ties: float,
        scale: SharedScale,
        completion_tokens: FloatMatrix,
    ) -> None:
        """`players`: (n_candidates,), the player, candidate or tier, that each candidate is.

        `offsets`: (n_candidates,), what a candidate's strength has beyond its player's. `start`:
        (n_players,), strengths over all queries, where Newton begins. `completion_tokens`:
        (n_candidates,).
        """
        self.candidates = candidates
        self.encoder = encoder
        self.battles = battles
        self.players = players
        self.offsets = offsets
        self.start = start
        self.gamma = gamma
        self.ties = ties
        self.scale = scale
        self.completion_tokens = completion_tokens

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""
        xi = self.strengths(self.encoder.encode(texts))
        tokens = np.tile(self.completion_tokens, (len(texts), 1))
        return Prediction(self.scale.reward(self.margins(xi)), tokens)

    def margins(self, xi: FloatMatrix) -> FloatMatrix:
        """(n_queries, n_candidates): how far each wins, from (n_queries, n_players) strengths.

        The mean over all candidates j, itself included, of 2 · P(c beats j) − 1.
        """
        own = xi[:, self.players] + self.offsets
        total = np.zeros_like(own)
        for other in own.T:
            total += np.tanh((own - other[:, None]) / 2)
        return total / max(len(self.candidates), 1)

    def strengths(
        self, vectors: Vectors, *, without: npt.NDArray[np.int64] | None = None
    ) -> FloatMatrix:
        """(n_queries, n_players): the players' strengths on each query, (n_queries, d).

        `without`: (n_queries,), a row of the battles that each query must not learn from.
        """
        n_players = len(self.start)
        rows = max(
            1,
            min(
                PAIRS_AT_ONCE // max(len(self.battles.vectors), 1),
                COUNTS_AT_ONCE // max(n_players**2, 1),
            ),
        )
        found = [np.zeros((0, n_players))]
        for first in range(0, len(vectors), rows):
            part = slice(first, first + rows)
            own = None if without is None else without[part]
            counts = self._counts(vectors[part], without=own)
            found.append(strengths(counts, ties=self.ties, start=self.start))
        return np.concatenate(found)

    def _counts(self, vectors: Vectors, *, without: npt.NDArray[np.int64] | None) -> FloatMatrix:
        """(n, n_players, n_players): weighted win counts; they add up to the comparisons."""
        n_players = len(self.start)
        weights = vectors @ self.battles.vectors.T
        if without is not None:
            weights[np.arange(len(weights)), without] = -np.inf
        to_weights(weights, highest=self.battles.highest, gamma=self.gamma)
        wins = (weights @ self.battles.wins).astype(np.float64)
        total = wins.sum(axis=1, keepdims=True)
        everything = float(self.battles.wins.sum(dtype=np.float64))
        scaled: FloatMatrix = wins * np.divide(
            everything, total, out=np.zeros_like(total), where=total > 0
        )
        return scaled.reshape(len(vectors), n_players, n_players)

    def state(self) -> RouterState:
        """The encoder, the training queries' vectors and wins, and the scale."""
        own = RouterState(
            {
                "gamma": self.gamma,
                "ties": self.ties,
                "players": self.players.tolist(),
            },
            {
                "vectors": self.battles.vectors,
                "wins": self.battles.wins,
                "highest": self.battles.highest,
                "offsets": self.offsets,
                "start": self.start,
                "completion_tokens": self.completion_tokens,
            },
        )
        return pack_encoder(self.encoder, into=own.holding(self.scale.state(), name="scale"))

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing, out of range, or does not fit the others.
        """
        encoder = unpack_encoder(state)
        gamma, ties = (state.value(name, float) for name in ("gamma", "ties"))
        SimilarityWeighted(gamma=gamma, ties=ties)  # both in range
        start = state.tensor("start", shape=(None,))
        return cls(
            candidates,
            encoder=encoder,
            battles=read_battles(state, dimensions=encoder.dimensions, n_players=len(start)),
            players=read_players(state, n_candidates=len(candidates), n_players=len(start)),
            offsets=state.tensor("offsets", shape=(len(candidates),)),
            start=start,
            gamma=gamma,
            ties=ties,
            scale=SharedScale.from_state(state.part("scale")),
            completion_tokens=state.tensor("completion_tokens", shape=(len(candidates),)),
        )


class SimilarityWeighted(ComparisonMethod, EncodedMethod):
    """Settings of similarity-weighted ranking.

    Attributes:
        gamma: weight of the most similar query against one without anything in common. None: one
            of `GAMMAS`, chosen on the training queries, each asked without itself: the smallest
            within one standard error of the least cross-entropy.
        normalise: which maximum a cosine is divided by: each training query's own, over the other
            training queries (`paper`; with itself among them it would always be 1), or the asked
            query's (`code`). Beyond ±1 a quotient is cut off.
        tiers: cut the candidates into so many tiers by strength, and compare tiers; 0 compares
            candidates. Within a tier candidates differ by their strengths over all queries. With
            `strong_tiers` and `weak_tier` the pair is what is compared.
        ties: comparisons of every two players that came out even, besides those that are known.
    """

    name: ClassVar[str] = "similarity_weighted"
    router: ClassVar[type[Router]] = SimilarityWeightedRouter
    compares_tiers: ClassVar[bool] = True

    gamma: float | None = Field(default=10.0, ge=1, le=1e6)
    normalise: Normalise = "paper"
    ties: float = Field(default=1.0, gt=0, le=1e6)

    @classmethod
    def grid(cls) -> list[Self]:
        """A gamma of the data's own.

        What the choices of a candidate are worth cannot tell gammas of a strong/weak pair apart:
        nearly every choice is the strong one.
        """
        return [cls(gamma=None)]

    def fit_vectors(
        self, outcomes: OutcomeMatrix, *, vectors: Vectors, encoder: FittedEncoder, seed: int
    ) -> SimilarityWeightedRouter:
        """Keep the vectors, (n_queries, d), and the comparisons; fit gamma and the level.

        Raises:
            InputError: no such pair, or no query with rewards of two candidates.
        """
        if self.learns_tiers and len(outcomes.candidates) > 2:
            outcomes, origin = tier_pair(self, outcomes).rows(outcomes)
            vectors = vectors[origin]
        columns = self.columns(outcomes)
        narrowed = on_candidates(outcomes, columns)
        comparisons, players, offsets = self._players(outcomes, narrowed=narrowed, columns=columns)
        first = first_occurrences(outcomes.texts)
        by_text = replace(comparisons, row=first[comparisons.row])
        rows = np.unique(by_text.row)
        router = SimilarityWeightedRouter(
            narrowed.candidates,
            encoder=encoder,
            battles=self._battles(by_text, rows=rows, vectors=vectors),
            players=players,
            offsets=offsets,
            start=strengths(comparisons.wins()[None], ties=self.ties)[0],
            gamma=self.gamma or GAMMAS[0],
            ties=self.ties,
            scale=SharedScale.identity(),
            completion_tokens=macro_means(narrowed.completion_tokens, narrowed.tasks),
        )
        reward = group_means(narrowed.reward, first, n_groups=len(outcomes))
        # A candidate alone meets nobody and has its mean.
        self._tune(router, reward=reward[rows] if len(rows) else reward, seed=seed)
        return router

    def _players(
        self, outcomes: OutcomeMatrix, *, narrowed: OutcomeMatrix, columns: list[int]
    ) -> tuple[Comparisons, npt.NDArray[np.int64], FloatMatrix]:
        """What is compared, and the player and the offset of each of the router's candidates."""
        if not self.tiers or self.learns_tiers:
            n_candidates = len(columns)
            return compare(narrowed), np.arange(n_candidates), np.zeros(n_candidates)
        everyone = compare(outcomes)
        tiers = strength_tiers(everyone, n_tiers=self.tiers, ties=self.ties)
        return tiers.between(everyone), tiers.tier_of[columns], tiers.offsets[columns]

    def _battles(
        self, comparisons: Comparisons, *, rows: npt.NDArray[np.int64], vectors: Vectors
    ) -> Battles:
        """The training queries that have a comparison."""
        wins = comparisons.only_rows(rows).wins_by_row()
        kept = np.ascontiguousarray(vectors[rows])
        highest = (
            highest_cosines(kept) if self.normalise == "paper" else np.zeros(0, dtype=np.float32)
        )
        return Battles(
            kept, wins.reshape(len(rows), wins.shape[1] ** 2).astype(np.float32), highest
        )

    def _tune(self, router: SimilarityWeightedRouter, *, reward: FloatMatrix, seed: int) -> None:
        """Give the router its gamma and its level, by queries that do not learn from themselves.

        `reward`: (n_battles, n_candidates).
        """
        n = len(router.battles.vectors)
        if not n:
            router.scale = SharedScale(mean_of_known(reward), 1.0)
            return
        drawn = np.arange(n)
        if n > MAX_ASKED:
            drawn = np.sort(np.random.default_rng(seed).choice(n, MAX_ASKED, replace=False))
        said = []
        gammas = GAMMAS if self.gamma is None else (self.gamma,)
        for gamma in gammas:
            router.gamma = gamma
            said.append(router.strengths(router.battles.vectors[drawn], without=drawn))
        wins = router.battles.wins[drawn].astype(np.float64)
        surprise = [losses(each, wins.reshape(*each.shape, -1)) for each in said]
        best = most_shrunk_near_best(np.stack(surprise), groups=np.arange(len(drawn)))
        router.gamma = gammas[best]
        level = mean_of_known(reward[drawn] - router.margins(said[best]))
        router.scale = SharedScale(level, 1.0)


def mean_of_known(values: FloatMatrix) -> float:
    """The mean of all that is not NaN; 0 of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def highest_cosines(vectors: Vectors) -> npt.NDArray[np.float32]:
    """(n,): each vector's cosine with the most similar other one; 1 for one alone."""
    n = len(vectors)
    rows = max(1, PAIRS_AT_ONCE // max(n, 1))
    found = np.ones(n, dtype=np.float32)
    if n < 2:
        return found
    for first in range(0, n, rows):
        similarity = vectors[first : first + rows] @ vectors.T
        own = np.arange(len(similarity))
        similarity[own, first + own] = -np.inf
        found[first : first + rows] = similarity.max(axis=1)
    return found


def read_battles(state: RouterState, *, dimensions: int, n_players: int) -> Battles:
    """The battles of a stored router.

    Raises:
        InputError: a part is missing or does not fit the others.
    """
    vectors = state.tensor("vectors", shape=(None, dimensions))
    wins = state.tensor("wins", shape=(len(vectors), n_players**2))
    highest = state.tensor("highest", shape=(None,))
    if len(highest) not in (0, len(vectors)):
        raise InputError(
            f"damaged checkpoint: tensor 'highest' has {len(highest)} values, expected none or "
            f"{len(vectors)}"
        )
    return Battles(vectors, wins, highest)


def read_players(state: RouterState, *, n_candidates: int, n_players: int) -> npt.NDArray[np.int64]:
    """(n_candidates,) the player of each candidate of a stored router.

    Raises:
        InputError: they are not one player a candidate.
    """
    found = state.value("players", list)
    if len(found) != n_candidates or not all(
        type(player) is int and 0 <= player < n_players for player in found
    ):
        raise InputError(
            f"damaged checkpoint: 'players' must be {n_candidates} numbers below {n_players}"
        )
    return np.array(found, dtype=np.int64)
