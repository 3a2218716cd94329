"""A reward model's opinion of an answer: the raw logit of its one label."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from cluster.candidate import Candidate, Resources, resolve
from cluster.errors import InputError
from cluster.rewards.logit_model import LogitModel, load_logit_model
from cluster.rewards.reward_head import Pooling, check_head
from cluster.rewards.reward_prompt import ANSWER, QUERY, reward_prompts
from cluster.rewards.scorer import RATING_SCHEMA, Rated, Rater, Scorer, Usage


class RewardModel(Scorer):
    """A Hugging Face reward model with one label, in vLLM or transformers.

    Value and raw are its logit, without a sigmoid: how logits become rewards of one scale is a
    setting of the outcomes view, and differs between models (ZOOTER, arXiv 2311.08692, takes a
    softmax over the candidates at temperature 1 of theirs).

    Attributes:
        model: a model folder, or a hub id.
        revision: the hub's commit; needed for a hub id.
        engine: vllm, or transformers for architectures that vLLM lacks.
        pooling: `classify` for a head on the whole text (`...ForSequenceClassification`: Skywork
            and most others), `last_token` for a head on every token of which the last one counts
            (`...ForRewardModel`: Qwen2.5-Math-RM).
        dtype: `auto` computes in the type the weights are stored in.
        template: the text that is judged, with `{query}` and `{text}`; by default the model's own
            chat template, the query's turns and the answer as the assistant's.
        system: a system message in front of the chat, where it has none of its own.
        max_model_len: tokens of query and answer together; the model's own limit if not set.
        resources: what one of its actors needs, and how many there may be.
        model_digest: content of a local folder, filled by `resolved`.
    """

    name: ClassVar[str] = "reward_model"
    needs_actor: ClassVar[bool] = True
    unhashed: ClassVar[frozenset[str]] = frozenset({"resources"})

    model: str = Field(min_length=1)
    revision: str | None = None
    engine: Literal["vllm", "transformers"] = "vllm"
    pooling: Pooling = "classify"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    template: str | None = None
    system: str | None = None
    max_model_len: int | None = Field(default=None, ge=2)
    resources: Resources = Resources()
    model_digest: str | None = None

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> Self:
        if self.template is not None and not (QUERY in self.template and ANSWER in self.template):
            raise ValueError(f"template must contain {QUERY} and {ANSWER}")
        if self.template is not None and self.system is not None:
            raise ValueError("system belongs to the chat template: write it into the template")
        return self

    @property
    def placement(self) -> Resources:
        return self.resources

    def spec(self) -> dict[str, Any]:
        """As of every spec; a local folder counts by its content, not by its path."""
        spec = super().spec()
        if self.model_digest is not None:
            del spec["model"], spec["revision"]
        return spec

    def resolved(self, folder: Path) -> Self:
        """The same with a local folder known by its content, and its head looked at.

        Raises:
            InputError: there is no such folder, a hub id has no revision, or the model has no
                head, or one of several labels.
        """
        if self.model_digest is not None:
            raise InputError("field 'model_digest' is filled by signalbox; remove it")
        found = resolve(self.loaded, folder=folder)
        if found.model_digest is None:
            return self
        config = json.loads((Path(found.model) / "config.json").read_text(encoding="utf-8"))
        check_head(config, model=self.model, pooling=self.pooling)
        return self.model_copy(update={"model": found.model, "model_digest": found.model_digest})

    @property
    def loaded(self) -> Candidate:
        """What an engine needs to know to load it."""
        return Candidate(
            name=self.name,
            engine=self.engine,
            model=self.model,
            revision=self.revision,
            dtype=self.dtype,
            max_model_len=self.max_model_len,
            resources=self.resources,
        )

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """The logits, (n_answers,); the model is loaded for this call alone."""
        with self.open() as rate:
            return rate(answers).ratings["value"]

    @contextmanager
    def open(self) -> Iterator[Rater]:
        """Load the model.

        Raises:
            EngineError: it cannot be loaded.
            InputError: it has no head, or one of several labels.
        """
        model = load_logit_model(self.loaded, pooling=self.pooling)
        try:
            yield lambda answers: self._rate(answers, model=model)
        finally:
            model.close()

    def _rate(self, answers: pl.DataFrame, *, model: LogitModel) -> Rated:
        numbered = answers.with_row_index("row")
        there = numbered.filter(pl.col("text").is_not_null())
        prompts = reward_prompts(there, model=model, template=self.template, system=self.system)
        sound = [prompt.token_ids for prompt in prompts if prompt.reason is None]
        logits = iter(model.logits(sound) if sound else [])
        raw = [next(logits) if prompt.reason is None else None for prompt in prompts]
        rated = there.select("row").with_columns(
            raw=pl.Series(raw, dtype=pl.Float64),
            reason=pl.Series([prompt.reason for prompt in prompts], dtype=pl.String),
        )
        ratings = numbered.select("row").join(rated, on="row", how="left", maintain_order="left")
        return Rated(_finite(ratings), usage=Usage(sum(map(len, sound)), cost_usd=None))


def _finite(ratings: pl.DataFrame) -> pl.DataFrame:
    """`RATING_SCHEMA` from `raw` and `reason`: a logit that is no number is none, and says so."""
    odd = pl.col("raw").is_not_null() & ~pl.col("raw").is_finite()
    told = pl.format("the reward model's logit is {}", pl.col("raw"))
    cleaned = ratings.with_columns(
        reason=pl.when(odd).then(told).otherwise("reason"),
        raw=pl.when(~odd).then("raw"),
    )
    return cleaned.with_columns(value=pl.col("raw")).select(
        pl.col(name).cast(kind) for name, kind in RATING_SCHEMA.items()
    )
