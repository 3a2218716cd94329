"""The gain head of a strong/weak pair: what asking the strong candidate instead is worth.

The target is (1 + s − w) / 2 with s and w the rewards of the pair, so that a tie is half a win.
Leaving ties out, as RouteLLM's code does (arXiv 2406.18665), targets another quantity: with the
same ridge an APGR of .599 instead of .665 on its MMLU rows, of which 77 % are ties.

    score(q) = mean over encoders of z(ridge(q)) + z(neighbours(q))
               + length_weight * z(log length(q)) + z(tag means(q)), where tags are given

`z` is the standardisation by out-of-fold scores on the training rows. Nothing in the sum is
weighed by regression: learned weights of ridges, tables and surface features fall behind plain
length (APGR .573 against .586) on subjects never seen, an equal sum with length does not. How
heavy length is, how strong a ridge's penalty and how many neighbours, is one of a few values,
chosen on training rows left out of the fit: the most shrunk (of lengths, the heaviest) within one
standard error of the least squared error, which may be nothing but the mean. With `unseen`
"tasks" whole tasks are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.encoder import FittedEncoder, Vectors, pack_encoder, unpack_encoder
from cluster.errors import InputError
from cluster.folds import Folds
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
from cluster.routers.means import macro_means
from cluster.routers.one_target import (
    NEIGHBOURS,
    PENALTIES,
    Neighbours,
    Ridge,
    neighbour_path,
    ridge_path,
    ridges,
)
from cluster.routers.out_of_fold import held_out, most_shrunk_near_best, out_of_fold
from cluster.routers.router import Prediction, Router, RouterState
from cluster.routers.strong_weak import PairMethod, half_win, pair_prediction
from cluster.routers.surface import Standard, log_length
from cluster.routers.tag_means import TagMeans
from cluster.state import State

# Of the level (s + w) / 2, which decides no order.
LEVEL_PENALTY = 100.0


@dataclass(frozen=True)
class View:
    """What one encoder sees of a query.

    Attributes:
        encoder: the encoder.
        ridge, neighbours: the two ways to learn from its vectors.
        standard: of their scores.
    """

    encoder: FittedEncoder
    ridge: Ridge
    neighbours: Neighbours
    standard: Standard

    def score(self, vectors: Vectors) -> FloatMatrix:
        """(n,): the sum of the standardised scores of the encoder's vectors, (n, d)."""
        scores = [self.ridge.score(vectors), self.neighbours.score(vectors)]
        total: FloatMatrix = self.standard.apply(np.column_stack(scores)).sum(axis=1)
        return total

    def state(self) -> State:
        """Everything."""
        own = pack_encoder(self.encoder, into=State({}))
        for name, part in (
            ("ridge", self.ridge.state()),
            ("neighbours", self.neighbours.state()),
            ("standard", self.standard.state()),
        ):
            own = own.holding(part, name=name)
        return own

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing or does not fit the encoder.
        """
        encoder = unpack_encoder(state)
        return cls(
            encoder,
            Ridge.from_state(state.part("ridge"), dimensions=encoder.dimensions),
            Neighbours.from_state(state.part("neighbours"), dimensions=encoder.dimensions),
            Standard.from_state(state.part("standard"), columns=2),
        )


@dataclass(frozen=True)
class Scale:
    """From a score to a gain: gain = mean + slope * score.

    Attributes:
        mean: gain of the training rows, strong − weak.
        slope: for queries without tags.
        tagged_slope: for queries with tags.
    """

    mean: float
    slope: float
    tagged_slope: float


class GainRouter(Router):
    """A fitted `Gain`; its candidates are the pair, the strong one first."""

    method: ClassVar[str] = "gain"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        views: Sequence[View],
        length: Standard,
        length_weight: float,
        tags: TagMeans,
        tag_standard: Standard,
        scale: Scale,
        level: Ridge,
        completion_tokens: FloatMatrix,
    ) -> None:
        """`level`: expects (s + w) / 2 from the first view; `completion_tokens`: (2,)."""
        self.candidates = candidates
        self.views = tuple(views)
        self.length = length
        self.length_weight = length_weight
        self.tags = tags
        self.tag_standard = tag_standard
        self.scale = scale
        self.level = level
        self.completion_tokens = completion_tokens

    def predict(self, texts: pl.Series, *, tags: pl.Series | None = None) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, 2).

        `tags`: (n_queries,) lists of tags, where they are known.
        """
        vectors = [view.encoder.encode(texts) for view in self.views]
        return pair_prediction(
            self.level.score(vectors[0]),
            gain=self._gain(texts, vectors=vectors, tags=tags),
            completion_tokens=self.completion_tokens,
        )

    def _gain(
        self, texts: pl.Series, *, vectors: Sequence[Vectors], tags: pl.Series | None
    ) -> FloatMatrix:
        """(n_queries,): expected reward of the strong candidate − that of the weak one."""
        read = [view.score(each) for view, each in zip(self.views, vectors, strict=True)]
        length = self.length.apply(log_length(texts)[:, None])[:, 0]
        score: FloatMatrix = np.mean(read, axis=0) + self.length_weight * length
        if tags is None:
            return self.scale.mean + self.scale.slope * score
        prior = self.tag_standard.apply(self.tags.score(tags)[:, None])[:, 0]
        return self.scale.mean + self.scale.tagged_slope * (score + prior)

    def state(self) -> RouterState:
        """The views, the standardisations and the tags' means."""
        own = RouterState(
            {"n_views": len(self.views), "length_weight": self.length_weight, **vars(self.scale)},
            {"completion_tokens": self.completion_tokens},
        )
        parts = {
            "length": self.length.state(),
            "tags": self.tags.state(),
            "tag_standard": self.tag_standard.state(),
            "level": self.level.state(),
            **{f"view{place}": view.state() for place, view in enumerate(self.views)},
        }
        for name, part in parts.items():
            own = own.holding(part, name=name)
        return own

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing or the parts do not fit each other.
        """
        n_views = state.value("n_views", int)
        if n_views < 1 or len(candidates) != 2:
            raise InputError("damaged checkpoint: a gain head has two candidates and an encoder")
        views = [View.from_state(state.part(f"view{place}")) for place in range(n_views)]
        first = views[0].encoder.dimensions
        return cls(
            candidates,
            views=views,
            length=Standard.from_state(state.part("length"), columns=1),
            length_weight=state.value("length_weight", float),
            tags=TagMeans.from_state(state.part("tags")),
            tag_standard=Standard.from_state(state.part("tag_standard"), columns=1),
            scale=Scale(*(state.value(name, float) for name in ("mean", "slope", "tagged_slope"))),
            level=Ridge.from_state(state.part("level"), dimensions=first),
            completion_tokens=state.tensor("completion_tokens", shape=(2,)),
        )


class Gain(PairMethod):
    """Settings of the gain head.

    Attributes:
        length_weights: of the standardised log length, against 1 for the ridges and 1 for the
            neighbours. A single one is fixed. Of several, which stand from the heaviest to the
            lightest, it is the first within one standard error of the best on rows left out.
        tag_shrinkage: rows at which the mean of a tag counts half.
    """

    name: ClassVar[str] = "gain"
    router: ClassVar[type[Router]] = GainRouter

    length_weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        default=(1.0, 0.5, 0.25, 0.0), min_length=1
    )
    tag_shrinkage: float = Field(default=30.0, gt=0)

    def fit(self, outcomes: OutcomeMatrix, *, seed: int, context: FitContext = ALONE) -> GainRouter:
        """Fit on the queries for which both rewards are known.

        Raises:
            InputError: no rows, no such pair, or no query with both rewards.
        """
        pair = self.pair(outcomes)
        encoders = self.fitted_encoders(pair, seed=seed, context=context)
        vectors = [encoder.encode(pair.texts) for encoder in encoders]
        with one_blas_thread():
            return self._fit_vectors(pair, encoders=encoders, vectors=vectors)

    def _fit_vectors(
        self, pair: OutcomeMatrix, *, encoders: Sequence[FittedEncoder], vectors: Sequence[Vectors]
    ) -> GainRouter:
        target, folds, groups = half_win(pair.reward), self.folds(pair), self.groups(pair)
        seen = [
            fit_view(encoder, each, target=target, folds=folds, groups=groups)
            for encoder, each in zip(encoders, vectors, strict=True)
        ]
        read: FloatMatrix = np.mean([scores for _, scores in seen], axis=0)
        length, lengths = standardised(log_length(pair.texts))
        tags, tag_scores = self._tags(pair, target=target, folds=folds)
        tag_standard, prior = standardised(tag_scores)
        blends = np.stack([read + weight * lengths for weight in self.length_weights])
        place = most_shrunk_near_best(line_errors(target, blends), groups=groups)
        return GainRouter(
            pair.candidates,
            views=[view for view, _ in seen],
            length=length,
            length_weight=self.length_weights[place],
            tags=tags,
            tag_standard=tag_standard,
            scale=Scale(
                mean=float(2 * target.mean() - 1),
                slope=2 * slope_of(target, blends[place]),
                tagged_slope=2 * slope_of(target, blends[place] + prior),
            ),
            level=ridges(vectors[0], pair.reward.mean(axis=1), penalties=(LEVEL_PENALTY,))[0],
            completion_tokens=macro_means(pair.completion_tokens, pair.tasks),
        )

    def _tags(
        self, pair: OutcomeMatrix, *, target: FloatMatrix, folds: Folds
    ) -> tuple[TagMeans, FloatMatrix]:
        """The tags' means, and (n_queries,) what they say of rows they were not made of."""
        scores = np.zeros(len(target))
        for held in held_out(folds):
            part = TagMeans.fit(pair.tags.filter(~held), target[~held], strength=self.tag_shrinkage)
            scores[held] = part.score(pair.tags.filter(held))
        return TagMeans.fit(pair.tags, target, strength=self.tag_shrinkage), scores


def fit_view(
    encoder: FittedEncoder,
    vectors: Vectors,
    *,
    target: FloatMatrix,
    folds: Folds,
    groups: npt.NDArray[np.int64],
) -> tuple[View, FloatMatrix]:
    """A view, and (n,) what it says of rows it has not seen."""
    scores, chosen = [], []
    for path in (ridge_path, neighbour_path):
        tried = out_of_fold(path, vectors, target, folds=folds)
        chosen.append(most_shrunk_near_best((tried - target) ** 2, groups=groups))
        scores.append(tried[chosen[-1]])
    unseen = np.column_stack(scores)
    standard = Standard.fit(unseen)
    view = View(
        encoder,
        ridges(vectors, target, penalties=PENALTIES[chosen[0] : chosen[0] + 1])[0],
        Neighbours(vectors, target, *NEIGHBOURS[chosen[1]]),
        standard,
    )
    return view, standard.apply(unseen).sum(axis=1)


def standardised(scores: FloatMatrix) -> tuple[Standard, FloatMatrix]:
    """The standardisation of (n,) scores, and the scores standardised."""
    standard = Standard.fit(scores[:, None])
    return standard, standard.apply(scores[:, None])[:, 0]


def line_errors(target: FloatMatrix, scores: FloatMatrix) -> FloatMatrix:
    """(k, n): squared errors of the line from each of (k, n) scores to the target."""
    lines = [slope_of(target, score) * (score - score.mean()) for score in scores]
    errors: FloatMatrix = (np.stack(lines) - (target - target.mean())) ** 2
    return errors


def slope_of(target: FloatMatrix, score: FloatMatrix) -> float:
    """Of the least squares line, at least 0: a score that misleads is not turned around."""
    apart = score - score.mean()
    spread = float(apart @ apart)
    return max(0.0, float(apart @ (target - target.mean())) / spread) if spread > 0 else 0.0
