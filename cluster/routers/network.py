"""What the methods that train a network on queries have in common: from outcomes to a router.

The encoder turns a query into a vector; the method's head turns vectors into scores. Frozen, the
encoder runs once and only the head is trained; tuned, the encoder's own weights are trained along.
Either way the router is an encoder and a head.
"""

from abc import abstractmethod
from dataclasses import replace
from hashlib import sha256
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field, ValidationError

from cluster.encoders.encoder import (
    Encoder,
    FittedEncoder,
    Vectors,
    load_encoder,
    pack_encoder,
    unpack_encoder,
)
from cluster.encoders.huggingface import FittedHuggingFace, HuggingFaceEncoder
from cluster.encoders.memory import RememberedEncoder
from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.query import digest
from cluster.routers.context import ALONE, FitContext
from cluster.routers.encoded import fit_encoder
from cluster.routers.gradient import HISTORY_SCHEMA, GradientMethod, Trained
from cluster.routers.means import macro_means, require_rewards
from cluster.routers.router import Prediction, Router, RouterState, Tensors
from cluster.routers.scale import SharedScale
from cluster.state import State
from cluster.training.examples import VECTORS, Arrays, Examples, ragged
from cluster.training.plan import BODY, HEAD, Plan
from cluster.training.settings import TrainingSettings

# Scores of a frozen head are computed for so many queries at a time.
QUERIES_AT_ONCE = 65_536


class NetworkRouter(Router):
    """A fitted `NetworkMethod`: encoder, head, and the scale from scores to rewards."""

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        settings: "NetworkMethod",
        encoder: FittedEncoder,
        head: Tensors,
        scale: SharedScale,
        completion_tokens: FloatMatrix,
    ) -> None:
        """`head`: the network's weights by name; `completion_tokens`: (n_candidates,)."""
        self.candidates = candidates
        self.settings = settings
        self.encoder = encoder
        self.head = head
        self.scale = scale
        self.completion_tokens = completion_tokens

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, n_candidates)."""
        tokens = np.tile(self.completion_tokens, (len(texts), 1))
        return Prediction(self.scale.reward(self.scores(texts)), tokens)

    def scores(self, texts: pl.Series) -> FloatMatrix:
        """(n_queries, n_candidates): the network's own, before the scale."""
        return self._run(self.encoder.encode(texts), part="scores")

    def embed(self, texts: pl.Series) -> Vectors:
        """(n_queries, d): the queries as the head's last layer before the candidates sees them."""
        return self._run(self.encoder.encode(texts), part="embed").astype(np.float32)

    def _run(self, vectors: Vectors, *, part: str) -> FloatMatrix:
        from cluster.training.inference import run_head

        plan = Plan.of(
            self.settings, n_candidates=len(self.candidates), dimensions=self.encoder.dimensions
        )
        return run_head(plan, weights=self.head, vectors=vectors, part=part, rows=QUERIES_AT_ONCE)

    def state(self) -> RouterState:
        """The settings the network is built from, its weights, the scale and the encoder."""
        own = State(
            {"settings": self.settings.model_dump(mode="json")},
            {f"head.{name}": array for name, array in self.head.items()}
            | {"completion_tokens": self.completion_tokens},
        )
        return pack_encoder(self.encoder, into=own.holding(self.scale.state(), name="scale"))

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing, or the weights do not fit the settings.
        """
        from cluster.training.inference import check_head

        encoder = unpack_encoder(state)
        settings = read_settings(state, method=cls.method)
        plan = Plan.of(settings, n_candidates=len(candidates), dimensions=encoder.dimensions)
        head = head_of(state)
        check_head(plan, weights=head)
        return cls(
            candidates,
            settings=settings,
            encoder=encoder,
            head=head,
            scale=SharedScale.from_state(state.part("scale")),
            completion_tokens=state.tensor("completion_tokens", shape=(len(candidates),)),
        )


class NetworkMethod(GradientMethod, TrainingSettings):
    """A method that trains a network on the vectors of an encoder.

    Attributes:
        encoder: name of an installed encoder.
        encoder_settings: its settings, where they are not its defaults.
        tune: train the encoder's weights too; needs a pretrained encoder. None: as the method does
            where nothing is said, which most do not.
        hidden: units of the layer between the encoder and the candidates.
        dropout: share of these dropped in training; a tuned encoder drops what it was made to.
    """

    scores_are_rewards: ClassVar[bool] = False

    encoder: str = "lexical"
    encoder_settings: dict[str, Any] = Field(default_factory=dict)
    tune: bool | None = None
    hidden: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @property
    def is_tuned(self) -> bool:
        """Whether the encoder's weights are trained."""
        return bool(self.tune)

    def wanted_encoder(self) -> Encoder:
        """The encoder as set.

        Raises:
            InputError: it is not installed or does not take its settings, or is to be tuned and is
                not a pretrained one.
        """
        encoder = load_encoder(self.encoder, **self.encoder_settings)
        if self.is_tuned and not isinstance(encoder, HuggingFaceEncoder):
            raise InputError(
                f"method '{self.name}': setting 'tune' trains a pretrained encoder's weights, and "
                f"encoder '{self.encoder}' has none: take encoder 'huggingface' with a model, or "
                "leave 'tune' out"
            )
        return encoder

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:
        """See `Method.check`.

        Raises:
            InputError: no rows, a candidate without a reward, or an encoder that cannot be tuned.
        """
        super().check(outcomes, validation=validation)
        self.wanted_encoder()

    @abstractmethod
    def network(self, *, n_candidates: int, dimensions: int) -> Any:
        """The method's `cluster.training.network.Network`, its weights as yet by chance."""

    @abstractmethod
    def labels(
        self,
        train: OutcomeMatrix,
        validation: OutcomeMatrix,
        *,
        vectors: tuple[Vectors, Vectors],
        seed: int,
    ) -> tuple[Arrays, Arrays]:
        """What the loss compares with, for train and for validation rows.

        `vectors` are those of the encoder as it is before training. Nothing is learned from the
        validation rows' rewards.
        """

    def train(
        self,
        outcomes: OutcomeMatrix,
        *,
        validation: OutcomeMatrix,
        seed: int,
        context: FitContext = ALONE,
    ) -> Trained:
        """Train on `outcomes`; the checkpoint is the one best on `validation`.

        Raises:
            InputError: no rows, a candidate without a reward, no reward to stop by, settings that
                cannot be run, or weights that went to infinity.
        """
        from cluster.training.run import run_training

        require_rewards(outcomes)
        if not validation.mask.any():
            raise InputError("no validation row has a reward: there is nothing to stop training by")
        encoder = self._encoder(outcomes, seed=seed, context=context)
        vectors = (encoder.encode(outcomes.texts), encoder.encode(validation.texts))
        labels = self.labels(outcomes, validation, vectors=vectors, seed=seed)
        examples = [
            Examples(
                self._inputs(encoder, rows, vectors=own), label, rows.reward, task_numbers(rows)
            )
            for own, label, rows in zip(vectors, labels, (outcomes, validation), strict=True)
        ]
        plan = Plan.of(
            self,
            n_candidates=len(outcomes.candidates),
            dimensions=encoder.dimensions,
            seed=seed,
            tuned=self.is_tuned,
        )
        start = {} if context.start is None else head_of(context.start)
        weights, notes = run_training(
            replace(plan, start=weights_digest(start)),
            train=examples[0],
            validation=examples[1],
            context=context,
            start=start,
        )
        if self.is_tuned:
            encoder, weights = apart(encoder, weights)
            vectors = encoder.encode(outcomes.texts), vectors[1]
        router = self._router(outcomes, encoder=encoder, head=weights, vectors=vectors[0])
        return Trained(router, history_of(notes))

    def _encoder(self, outcomes: OutcomeMatrix, *, seed: int, context: FitContext) -> FittedEncoder:
        """Fitted on the texts, or that of the router training goes on from: of another's vectors
        its weights would say nothing."""
        wanted = self.wanted_encoder()
        if context.start is None:
            return fit_encoder(wanted, outcomes=outcomes, seed=seed, context=context)
        assert not self.is_tuned, "a tuned encoder begins anew"
        kept = unpack_encoder(context.start)
        return RememberedEncoder(kept, context.memory) if wanted.is_slow else kept

    def reopened(
        self, state: RouterState, *, candidates: tuple[str, ...], context: FitContext
    ) -> Router:
        """See `GradientMethod.reopened`; what a slow encoder says is remembered here too."""
        router = super().reopened(state, candidates=candidates, context=context)
        assert isinstance(router, NetworkRouter), f"{router} is not a NetworkRouter"
        if self.wanted_encoder().is_slow and not self.is_tuned:
            router.encoder = RememberedEncoder(router.encoder, context.memory)
        return router

    def _inputs(self, encoder: FittedEncoder, rows: OutcomeMatrix, *, vectors: Vectors) -> Arrays:
        """What passes through the network: a frozen encoder's vectors, or a tuned one's tokens."""
        return tokens_of(encoder, rows.texts) if self.is_tuned else {VECTORS: vectors}

    def _router(
        self, outcomes: OutcomeMatrix, *, encoder: FittedEncoder, head: Tensors, vectors: Vectors
    ) -> NetworkRouter:
        """The router, its scale fitted on the training rows."""
        kind = self.router
        assert issubclass(kind, NetworkRouter), f"{kind} is not a NetworkRouter"
        router = kind(
            outcomes.candidates,
            settings=self,
            encoder=encoder,
            head=head,
            scale=SharedScale.identity(),
            completion_tokens=macro_means(outcomes.completion_tokens, outcomes.tasks),
        )
        if not self.scores_are_rewards:
            router.scale = SharedScale.fit(router._run(vectors, part="scores"), outcomes.reward)
        return router


def head_of(state: State) -> Tensors:
    """The head's weights by name, in a stored router."""
    start = "head."
    return {k.removeprefix(start): v for k, v in state.tensors.items() if k.startswith(start)}


def weights_digest(weights: Tensors) -> str:
    """A hash of weights by name; empty for none."""
    parts = [f"{name} {sha256(array.tobytes()).hexdigest()}" for name, array in weights.items()]
    return digest(sorted(parts))[:16] if parts else ""


def tokens_of(encoder: FittedEncoder, texts: pl.Series) -> Arrays:
    """`tokens` and `ends` of the texts, cut as the encoder cuts them.

    Raises:
        InputError: no text has any token.
    """
    assert isinstance(encoder.bare, FittedHuggingFace), "only a pretrained encoder is tuned"
    ids = encoder.bare.tokenized(texts)
    if not any(ids):
        raise InputError("every text is blank: there is nothing to tune an encoder on")
    return ragged(ids)


def apart(encoder: FittedEncoder, weights: Tensors) -> tuple[FittedEncoder, Tensors]:
    """A tuned network's weights as the encoder it has become, and its head's."""
    assert isinstance(encoder.bare, FittedHuggingFace), "only a pretrained encoder is tuned"
    body, head = (
        {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}
        for start in (BODY, HEAD)
    )
    return encoder.bare.with_weights(body), head


def task_numbers(outcomes: OutcomeMatrix) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(n,) the number of each row's task, in the order of the tasks' names."""
    return np.unique(outcomes.tasks, return_inverse=True)[1].astype(np.int64)


def history_of(notes: list[dict[str, Any]]) -> pl.DataFrame:
    """The loop's notes in `HISTORY_SCHEMA`."""
    names = {
        "train_loss": ("train", "loss"),
        "validation_loss": ("validation", "loss"),
        "validation_score": ("validation", "score"),
    }
    rows = [(note["epoch"], *names[name], note[name]) for note in notes for name in names]
    return pl.DataFrame(rows, schema=HISTORY_SCHEMA, orient="row")


def read_settings(state: RouterState, *, method: str) -> NetworkMethod:
    """The settings of a stored router.

    Raises:
        InputError: they are not the method's.
    """
    from cluster.plugins import load_plugin

    kind: type[NetworkMethod] = load_plugin("routers", name=method)
    try:
        return kind(**state.value("settings", dict))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise InputError(f"damaged checkpoint: settings of '{method}': {faults}") from error
