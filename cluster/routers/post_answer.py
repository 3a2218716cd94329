"""The post-answer head of a cascade: is the weak candidate's own answer good enough?

    gain = ridge([vectors of the query, vectors of the answer, what is plain to see of both])

The weak candidate answers first; from its answer beside the query the head predicts what the
strong one would gain, with the target (1 + s − w) / 2 as in `cluster.routers.gain`. On RouteLLM's
GSM8K rows (arXiv 2406.18665) that is worth .11 of APGR over the query alone, for one weak call.
Before there is an answer, and where it is missing, the gain head of the query decides.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.encoder import FittedEncoder, load_encoder, pack_encoder, unpack_encoder
from cluster.encoders.memory import RememberedEncoder
from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
from cluster.routers.gain import Gain, GainRouter
from cluster.routers.one_target import PENALTIES, Ridge, ridge_path, ridges
from cluster.routers.out_of_fold import most_shrunk_near_best, out_of_fold
from cluster.routers.router import Prediction, Router, RouterState
from cluster.routers.strong_weak import PairMethod, half_win, pair_prediction
from cluster.routers.surface import N_BESIDE, N_SURFACE, Standard, beside, surface
from cluster.state import State

# A standardised feature beside vectors of norm 1; .1 and .3 differ by .005 of APGR on GSM8K.
SURFACE_SCALE = 0.3
N_PLAIN = 2 * N_SURFACE + N_BESIDE


@dataclass(frozen=True)
class Reader:
    """What a query and its answer look like to the ridges.

    Attributes:
        query: the encoders of the query.
        answer: the encoder of the answer.
        standard: of what is plain to see, `N_PLAIN` columns.
    """

    query: tuple[FittedEncoder, ...]
    answer: FittedEncoder
    standard: Standard

    @property
    def dimensions(self) -> int:
        """Columns of a design."""
        return sum(each.dimensions for each in (*self.query, self.answer)) + N_PLAIN

    def read(self, texts: pl.Series, answers: pl.Series) -> FloatMatrix:
        """(n, dimensions): the vectors side by side, and the plain features."""
        vectors = [encoder.encode(texts) for encoder in self.query]
        plain_to_see = self.standard.apply(plain(texts, answers))
        design: FloatMatrix = np.hstack(
            [*vectors, self.answer.encode(answers), SURFACE_SCALE * plain_to_see]
        )
        return design


def plain(texts: pl.Series, answers: pl.Series) -> FloatMatrix:
    """(n, `N_PLAIN`): the surface of both, and how they stand to each other."""
    return np.hstack([surface(texts), surface(answers), beside(texts, answers=answers)])


class PostAnswerRouter(Router):
    """A fitted `PostAnswer`; its candidates are the pair, the strong one first."""

    method: ClassVar[str] = "post_answer"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        alone: GainRouter,
        reader: Reader,
        gain: Ridge,
        level: Ridge,
    ) -> None:
        """`alone`: decides by the query; `gain`, `level`: expect s − w and (s + w) / 2."""
        self.candidates = candidates
        self.reads_answer_of = candidates[1]
        self.alone = alone
        self.reader = reader
        self.gain = gain
        self.level = level

    def predict(self, texts: pl.Series) -> Prediction:
        """Before there is an answer: reward and completion tokens, each (n_queries, 2)."""
        return self.alone.predict(texts)

    def predict_after(self, texts: pl.Series, answers: pl.Series) -> Prediction:
        """With the weak candidate's answers, (n_queries,); as `predict` where one is null."""
        design = self.reader.read(texts, answers)
        found = pair_prediction(
            self.level.score(design),
            gain=self.gain.score(design),
            completion_tokens=self.alone.completion_tokens,
        )
        missing = answers.is_null().to_numpy()
        if missing.any():
            found.reward[missing] = self.alone.predict(texts.filter(missing)).reward
        return found

    def state(self) -> RouterState:
        """The head of the query, the answer's encoder and the ridges."""
        parts = {
            "alone": self.alone.state(),
            "standard": self.reader.standard.state(),
            "gain": self.gain.state(),
            "level": self.level.state(),
        }
        own = pack_encoder(self.reader.answer, into=State({}))
        for name, part in parts.items():
            own = own.holding(part, name=name)
        return own

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing or the parts do not fit each other.
        """
        alone = GainRouter.from_state(state.part("alone"), candidates=candidates)
        standard = Standard.from_state(state.part("standard"), columns=N_PLAIN)
        encoders = tuple(view.encoder for view in alone.views)
        reader = Reader(encoders, unpack_encoder(state), standard)
        return cls(
            candidates,
            alone=alone,
            reader=reader,
            gain=Ridge.from_state(state.part("gain"), dimensions=reader.dimensions),
            level=Ridge.from_state(state.part("level"), dimensions=reader.dimensions),
        )


class PostAnswer(PairMethod):
    """Settings of the post-answer head.

    Attributes:
        answer_encoder, answer_encoder_settings: an installed encoder for the answers, and its
            settings where they are not its defaults.
    """

    name: ClassVar[str] = "post_answer"
    router: ClassVar[type[Router]] = PostAnswerRouter
    needs_answers: ClassVar[bool] = True

    answer_encoder: str = "lexical"
    answer_encoder_settings: dict[str, Any] = Field(default_factory=dict)

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:  # noqa: ARG002
        """See `Method.check`.

        Raises:
            InputError: no rows, no such pair, no query with both rewards, or no answers.
        """
        self._answers(self.pair(outcomes))

    def answer_read(self, outcomes: OutcomeMatrix) -> str:
        """The weak candidate.

        Raises:
            InputError: no such pair, or no query with both rewards.
        """
        return self.pair(outcomes).candidates[1]

    def fit(
        self, outcomes: OutcomeMatrix, *, seed: int, context: FitContext = ALONE
    ) -> PostAnswerRouter:
        """Fit on the queries for which both rewards are known, the ridges on those answered too.

        Raises:
            InputError: no rows, no such pair, no query with both rewards, or no answers.
        """
        pair = self.pair(outcomes)
        answered, answers = self._answers(pair)
        shared = self.model_dump(include=set(PairMethod.model_fields))
        alone = Gain(**shared).fit(pair, seed=seed, context=context)
        wanted = load_encoder(self.answer_encoder, **self.answer_encoder_settings)
        fitted = wanted.fit(answers, seed=seed)
        reader = Reader(
            tuple(view.encoder for view in alone.views),
            RememberedEncoder(fitted, context.memory) if wanted.is_slow else fitted,
            Standard.fit(plain(answered.texts, answers)),
        )
        with one_blas_thread():
            gain, level = self._ridges(answered, reader.read(answered.texts, answers))
        return PostAnswerRouter(pair.candidates, alone=alone, reader=reader, gain=gain, level=level)

    def _answers(self, pair: OutcomeMatrix) -> tuple[OutcomeMatrix, pl.Series]:
        """The queries that the weak candidate has answered, and the answers."""
        weak = pair.candidates[1]
        if pair.answers is None or pair.answers[weak].null_count() == len(pair):
            raise InputError(
                f"method '{self.name}' reads the answers of '{weak}', and there is none on a "
                "training query with both rewards: collect its answers, or import a table that "
                "holds them"
            )
        there = pair.answers[weak].is_not_null()
        return pair.take(there.to_numpy()), pair.answers[weak].filter(there)

    def _ridges(self, pair: OutcomeMatrix, design: FloatMatrix) -> tuple[Ridge, Ridge]:
        """Of the gain, with the penalty that rows left out choose, and of the level."""
        target = half_win(pair.reward)
        tried = out_of_fold(ridge_path, design, target, folds=self.folds(pair))
        place = most_shrunk_near_best((tried - target) ** 2, groups=self.groups(pair))
        penalty = PENALTIES[place : place + 1]
        gain = pair.reward[:, 0] - pair.reward[:, 1]
        return (
            ridges(design, gain, penalties=penalty)[0],
            ridges(design, pair.reward.mean(axis=1), penalties=penalty)[0],
        )
