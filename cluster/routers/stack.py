"""Several methods as one: their predictions out of fold, added up with non-negative weights.

    reward(q, c) = mean(c) + sum over parts of [ common_k(q) + own_k(q, c) - those of mean ]

A part's prediction is taken apart into what it expects of all candidates in common and what sets
each apart (`cluster.routers.shrinkage.Parts`); each has a weight per part, fitted by non-negative
least squares (Breiman, "Stacked regressions", 1996) on predictions for rows the parts were not
fitted on. Folds are by the text's hash, so that duplicates stay together.

The weights must earn their place: if the choices made out of fold, with weights of the other
folds, do not gain more over the best single candidate than the gain's standard error, the router
is the best single candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.encoder import (
    FittedEncoder,
    Vectors,
    load_encoder,
    pack_encoder,
    unpack_encoder,
)
from cluster.encoders.latest import LatestEncoder
from cluster.errors import InputError
from cluster.folds import Folds, text_folds
from cluster.outcome import BoolMatrix, FloatMatrix, OutcomeMatrix
from cluster.plugins import load_plugin
from cluster.routers.context import ALONE, FitContext
from cluster.routers.encoded import EncodedMethod, fit_encoder
from cluster.routers.fit import load_method, settings_to_try
from cluster.routers.means import macro_means, require_rewards
from cluster.routers.newcomer.parts import add_to_stack
from cluster.routers.router import Method, Prediction, Router, RouterState
from cluster.routers.search import paired_shortfall
from cluster.routers.shared_encoder import (
    ENCODER,
    ENCODER_NAME,
    SHARES,
    with_encoder_of,
    without_encoder,
)
from cluster.routers.shrinkage import Parts
from cluster.routers.space import is_choice
from cluster.routers.stack_weights import Weights, non_negative, read_later


class StackPart(BaseModel):
    """One of the methods in a stack.

    Attributes:
        method: name of an installed method.
        settings: of it, where they are not its defaults; those of the encoder are the stack's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    settings: dict[str, Any] = Field(default_factory=dict)


DEFAULT_PARTS = (
    StackPart(method="predicted_task"),
    StackPart(method="cluster_table"),
    StackPart(method="ridge"),
    StackPart(method="knn", settings={"k": 80, "shrinkage": 10.0}),
    StackPart(method="knn", settings={"k": 20, "shrinkage": 2.0}),
)


class StackRouter(Router):
    """A fitted `Stack`."""

    method: ClassVar[str] = "stack"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        encoder: FittedEncoder | None,
        parts: Sequence[Router],
        weights: Weights,
        means: FloatMatrix,
    ) -> None:
        """`encoder`: the one that parts on vectors share; None without such a part.

        `means`: (2, n_candidates), macro means of rewards and of tokens.
        """
        self.candidates = candidates
        if encoder is not None and not isinstance(encoder, LatestEncoder):
            encoder = LatestEncoder(encoder)
        self.encoder = encoder
        self.parts = tuple(parts)
        self.weights = weights
        self.means = means
        for part in self.parts:
            # One encoder object for all: a query is then encoded once, not once a part.
            if self._shares_encoder(part):
                vars(part)[ENCODER] = self.encoder

    def _shares_encoder(self, part: Router) -> bool:
        """Whether a part's encoder is the stack's, and not one of its own."""
        own = getattr(part, ENCODER, None)
        return (
            self.encoder is not None
            and isinstance(own, FittedEncoder)
            and own.bare is self.encoder.bare
        )

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""
        shape = (len(texts), len(self.candidates))
        predictions = [part.predict(texts) for part in self.parts]
        if not predictions:
            reward, tokens = (np.broadcast_to(mean, shape).copy() for mean in self.means)
            return Prediction(reward, tokens)
        rewards = np.stack([each.reward for each in predictions])
        spent = np.mean([each.completion_tokens for each in predictions], axis=0)
        return Prediction(self.weights.add_up(rewards, mean=self.means[0]), spent)

    def embed(self, texts: pl.Series) -> Vectors | None:
        """(n_queries, d): the shared encoder's vectors."""
        return None if self.encoder is None else self.encoder.encode(texts)

    def adding(self, candidate: str, *, probe: OutcomeMatrix, seed: int) -> "StackRouter":
        """See `Router.adding`."""
        return add_to_stack(self, candidate, probe=probe, seed=seed)

    def state(self) -> RouterState:
        """The means, the weights, the parts, and once the encoder they share."""
        later = {"n_later": self.weights.n_later} if self.weights.n_later else {}
        state = RouterState(
            {"parts": [part.method for part in self.parts], **later},
            {
                "means": self.means,
                "weights": np.stack([self.weights.common, self.weights.own]),
            },
        )
        for place, part in enumerate(self.parts):
            own = part.state()
            if self._shares_encoder(part):
                own = without_encoder(own)
            state = state.holding(own, name=f"part_{place}")
        return state if self.encoder is None else pack_encoder(self.encoder, into=state)

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing, not installed, or does not fit the others.
        """
        names = state.value("parts", list)
        weights = state.tensor("weights", shape=(2, len(names)))
        encoder = unpack_encoder(state) if ENCODER_NAME in state.config else None
        return cls(
            candidates,
            encoder=encoder,
            parts=[
                load_part(str(name), state, place=place, encoder=encoder, candidates=candidates)
                for place, name in enumerate(names)
            ],
            weights=Weights(weights[0], weights[1], read_later(state, candidates=candidates)),
            means=state.tensor("means", shape=(2, len(candidates))),
        )


class Stack(Method):
    """Settings of the stack.

    Attributes:
        parts: the methods.
        encoder: name of the installed encoder that parts on vectors share.
        encoder_settings: its settings, where they are not its defaults.
        n_folds: parts are asked about each fold when fitted on the others.
    """

    name: ClassVar[str] = "stack"
    router: ClassVar[type[Router]] = StackRouter

    parts: tuple[StackPart, ...] = Field(default=DEFAULT_PARTS, min_length=1)
    encoder: str = "lexical"
    encoder_settings: dict[str, Any] = Field(default_factory=dict)
    n_folds: int = Field(default=5, ge=2)

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:
        """See `Method.check`; of all parts.

        Raises:
            InputError: as they say, or a part is not installed or does not take its settings.
        """
        super().check(outcomes, validation=validation)
        for part in self.parts:
            method_of(part).check(outcomes, validation=validation)

    def fit(self, outcomes: OutcomeMatrix, *, seed: int, context: FitContext = ALONE) -> Router:
        """Fit the weights out of fold, then the parts that have one on every row.

        Raises:
            InputError: no rows, a candidate without a reward, or a part that is not installed or
                has settings that are unknown or out of range.
        """
        require_rewards(outcomes)
        methods = [method_of(part) for part in self.parts]
        folds = text_folds(outcomes.texts, n_folds=self.n_folds, purpose="stack")
        weights = Weights(np.zeros(len(methods)), np.zeros(len(methods)))
        if every_fold_teaches(outcomes, folds=folds):
            found = OutOfFold.ask(self, methods, outcomes, folds=folds, seed=seed, context=context)
            if found.gains(outcomes, folds=folds):
                weights = found.weights(outcomes.reward, rows=np.ones(len(outcomes), dtype=bool))
        kept = np.flatnonzero((weights.own > 0) | (weights.common > 0))
        means = [
            macro_means(values, outcomes.tasks)
            for values in (outcomes.reward, outcomes.completion_tokens)
        ]
        encoder, routers = self.fit_parts(
            [methods[place] for place in kept], outcomes, seed=seed, context=context
        )
        return StackRouter(
            outcomes.candidates,
            encoder=encoder,
            parts=routers,
            weights=Weights(weights.common[kept], weights.own[kept]),
            means=np.stack(means),
        )

    def fit_parts(
        self,
        methods: Sequence[Method],
        outcomes: OutcomeMatrix,
        *,
        seed: int,
        context: FitContext,
    ) -> tuple[FittedEncoder | None, list[Router]]:
        """The encoder that parts on vectors share, fitted once, and the parts."""
        if not any(isinstance(method, EncodedMethod) for method in methods):
            return None, [method.fit(outcomes, seed=seed, context=context) for method in methods]
        wanted = load_encoder(self.encoder, **self.encoder_settings)
        fitted = fit_encoder(wanted, outcomes=outcomes, seed=seed, context=context)
        encoder = LatestEncoder(fitted)
        vectors = encoder.encode(outcomes.texts)
        routers = []
        for method in methods:
            if isinstance(method, EncodedMethod):
                with one_blas_thread():
                    router = method.fit_vectors(
                        outcomes, vectors=vectors, encoder=encoder, seed=seed
                    )
            else:
                router = method.fit(outcomes, seed=seed, context=context)
            routers.append(router)
        return encoder, routers


@dataclass(frozen=True)
class OutOfFold:
    """What parts say of rows they were not fitted on.

    Attributes:
        reward: (n_parts, n_queries, n_candidates).
        mean: (n_queries, n_candidates), the candidates' macro means on the rows fitted on.
    """

    reward: FloatMatrix
    mean: FloatMatrix

    @classmethod
    def ask(
        cls,
        stack: Stack,
        methods: Sequence[Method],
        outcomes: OutcomeMatrix,
        *,
        folds: Folds,
        seed: int,
        context: FitContext,
    ) -> Self:
        """Fit the parts without each fold in turn, and ask them about it."""
        reward = np.full((len(methods), *outcomes.reward.shape), np.nan)
        mean = np.full(outcomes.reward.shape, np.nan)
        for fold in np.unique(folds):
            held_out = folds == fold
            train, texts = outcomes.take(~held_out), outcomes.texts.filter(pl.Series(held_out))
            _, routers = stack.fit_parts(methods, train, seed=seed, context=context)
            reward[:, held_out] = [router.predict(texts).reward for router in routers]
            mean[held_out] = macro_means(train.reward, train.tasks)
        return cls(np.where(np.isnan(reward), mean, reward), mean)

    def weights(self, reward: FloatMatrix, *, rows: BoolMatrix) -> Weights:
        """Non-negative least squares on the known cells of some rows.

        `reward`: (n_queries, n_candidates); `rows`: (n_queries,).
        """
        known = ~np.isnan(reward[rows])
        base = Parts.of(np.where(known, self.mean[rows], np.nan))
        target = Parts.of(reward[rows])
        parts = [Parts.of(np.where(known, each[rows], np.nan)) for each in self.reward]
        return Weights(
            non_negative(
                [part.common - base.common for part in parts], target.common - base.common
            ),
            non_negative([part.own - base.own for part in parts], target.own - base.own),
        )

    def gains(self, outcomes: OutcomeMatrix, *, folds: Folds) -> bool:
        """Whether the choices gain more over best single than the gain's standard error."""
        choice = np.zeros(len(outcomes), dtype=np.int64)
        single = np.zeros(len(outcomes), dtype=np.int64)
        mask = outcomes.mask
        for fold in np.unique(folds):
            rows = folds == fold
            weights = self.weights(outcomes.reward, rows=~rows)
            sums = weights.add_up(self.reward[:, rows], mean=self.mean[rows][0])
            choice[rows] = np.argmax(np.where(mask[rows], sums, -np.inf), axis=1)
            single[rows] = np.argmax(np.where(mask[rows], self.mean[rows], -np.inf), axis=1)
        every = np.arange(len(outcomes))
        difference = outcomes.reward[every, choice] - outcomes.reward[every, single]
        known = ~np.isnan(difference)
        gain, error = paired_shortfall(difference[known], outcomes.tasks[known])
        return bool(gain > error)


def every_fold_teaches(outcomes: OutcomeMatrix, *, folds: Folds) -> bool:
    """Whether there are folds, and every candidate has a reward outside each of them."""
    fold_names = np.unique(folds)
    counts = [outcomes.mask[folds != fold].any(axis=0).all() for fold in fold_names]
    return len(fold_names) > 1 and all(counts)


def method_of(part: StackPart) -> Method:
    """The method of a part with its settings.

    Raises:
        InputError: it is not installed, or a setting is unknown or out of range.
    """
    method = load_method(part.method)
    if issubclass(method, Stack):
        raise InputError("a stack cannot be a part of a stack; name its parts instead")
    if issubclass(method, EncodedMethod) and part.settings.keys() & {ENCODER, "encoder_settings"}:
        raise InputError(
            f"stack, part '{part.method}': parts share the stack's encoder; name it there"
        )
    if any(is_choice(value) for value in part.settings.values()):
        raise InputError(
            f"stack, part '{part.method}': a part's settings are fixed; leave out 'try'"
        )
    return settings_to_try(method, fixed={**method().model_dump(), **part.settings})[0]


def load_part(
    name: str,
    stack: RouterState,
    *,
    place: int,
    encoder: FittedEncoder | None,
    candidates: tuple[str, ...],
) -> Router:
    """A stored part; with the stack's encoder, if that is what it had.

    Raises:
        InputError: its method is not installed, or its state is damaged.
    """
    method = load_plugin("routers", name=name)
    if not (isinstance(method, type) and issubclass(method, Method)) or issubclass(method, Stack):
        raise InputError(f"damaged checkpoint: '{name}' cannot be a part of a stack")
    state = stack.part(f"part_{place}")
    shares = SHARES in state.config
    part = method.router.from_state(
        with_encoder_of(stack, part=state) if shares else state, candidates=candidates
    )
    if shares:
        vars(part)[ENCODER] = encoder
    return part
