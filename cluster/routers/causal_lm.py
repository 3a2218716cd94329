"""RouteLLM's causal-LLM classifier: a language model says by its next token who should answer.

    P(strong wins | q) = sum over labels l of worth(l) · softmax over the label tokens of z_l

RouteLLM (ICLR 2025, arXiv 2406.18665), section 4.2.4. The network is in
`cluster.training.causal_lm`, what is asked in `cluster.routers.question`, the base model's identity
in `cluster.routers.causal_base`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, ValidationError, field_validator

from cluster.encoders.huggingface import best_precision, bounded_threads
from cluster.encoders.pretrained import Precision, find_folder
from cluster.encoders.tokens import batches, padded
from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.causal_base import TOKENIZER_FILE, base_facts, read_tokenizer, rebuilt
from cluster.routers.context import ALONE, FitContext
from cluster.routers.gradient import GradientMethod, Trained
from cluster.routers.instruction import PLACE, Instruction
from cluster.routers.means import macro_means
from cluster.routers.network import history_of, task_numbers
from cluster.routers.pairs import ComparisonMethod
from cluster.routers.question import QUESTIONS, Question, Target, grades, outcome_labels
from cluster.routers.router import Prediction, Router, RouterState
from cluster.routers.scale import SharedScale
from cluster.routers.tier_pair import paired_rows
from cluster.routers.wins import checked_pair_rows, pair_rows
from cluster.state import State
from cluster.training.examples import Examples, ragged
from cluster.training.plan import Plan
from cluster.training.settings import TrainingSettings

WEIGHTS = "weights."
# Tokens, padding among them, that are scored at a time.
TOKENS_AT_ONCE = 8192


class CausalLMRouter(Router):
    """A fitted `CausalLM`."""

    method: ClassVar[str] = "causal_lm"

    def __init__(
        self,
        candidates: tuple[str, ...],
        *,
        settings: "CausalLM",
        base: dict[str, Any],
        tokenizer: Any,
        network: Any,
        scale: SharedScale,
        completion_tokens: FloatMatrix,
    ) -> None:
        """`base`: see `base_facts`; `network`: trained; `completion_tokens`: (2,)."""
        self.candidates = candidates
        self.settings = settings
        self.base = base
        self.tokenizer = tokenizer
        self.network = network
        self.scale = scale
        self.completion_tokens = completion_tokens
        self.instruction = settings.instruction(tokenizer, limit=base["limit"])

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, 2), the strong one first."""
        tokens = np.tile(self.completion_tokens, (len(texts), 1))
        return Prediction(self.scale.reward(self.scores(texts)), tokens)

    def scores(self, texts: pl.Series) -> FloatMatrix:
        """(n_queries, 2): P(strong wins) and P(weak wins)."""
        import torch

        from cluster.training.network import Batch

        ids = self.instruction(texts)
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        found = np.empty((len(texts), 2))
        device = next(self.network.parameters()).device
        with torch.inference_mode(), bounded_threads():
            for rows in batches(lengths, batch_tokens=TOKENS_AT_ONCE):
                table, mask = padded([ids[row] for row in rows.tolist()], padding=0)
                inputs = {"tokens": table, "mask": mask}
                on_device = {k: torch.from_numpy(v).to(device) for k, v in inputs.items()}
                found[rows] = self.network.scores(Batch(on_device, {})).double().cpu().numpy()
        return found

    def state(self) -> RouterState:
        """Trained weights, tokenizer, settings, and what the base model is known by."""
        from cluster.training.run import as_arrays

        weights = as_arrays(self.network.state_dict())
        own = State(
            {"settings": self.settings.model_dump(mode="json"), "base": self.base},
            {f"{WEIGHTS}{name}": array for name, array in weights.items()}
            | {"completion_tokens": self.completion_tokens},
            {TOKENIZER_FILE: self.tokenizer.to_str()},
        )
        return own.holding(self.scale.state(), name="scale")

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`; of an adapter, the base model is looked up where it was.

        Raises:
            InputError: a part is missing or does not fit, or the base model is gone or is another
                one than was trained on.
        """
        settings, tokenizer = read_settings(state), read_tokenizer(state)
        base = state.value("base", dict)
        weights = {
            name.removeprefix(WEIGHTS): array
            for name, array in state.tensors.items()
            if name.startswith(WEIGHTS)
        }
        instruction = settings.instruction(tokenizer, limit=State(base).value("limit", int))
        network = rebuilt(settings, base=base, label_ids=instruction.label_ids, weights=weights)
        return cls(
            candidates,
            settings=settings,
            base=base,
            tokenizer=tokenizer,
            network=network,
            scale=SharedScale.from_state(state.part("scale")),
            completion_tokens=state.tensor("completion_tokens", shape=(2,)),
        )


class CausalLM(ComparisonMethod, GradientMethod, TrainingSettings):
    """Settings of the causal-LLM classifier.

    Attributes:
        model: a local folder, or a hub's id, of a causal language model.
        revision: of a hub's model; a commit's hash pins it.
        target: what the labels say; see `cluster.routers.question`.
        template: the instruction; the query takes the place of `{text}`. Empty: one that asks for
            the target. An instruction-tuned model's own markup may be written into it.
        labels: words to answer with, in the order of the target's own (1 to 5; win, tie, lose),
            each told apart by its first token. Empty: those.
        adapter: train low-rank matrices beside the model's own, or the whole model.
        lora_rank, lora_alpha, lora_dropout: of these matrices.
        lora_modules: names of the layers that have them; empty: all linear ones but the last.
        max_length: tokens, instruction and all; longer queries are cut.
        learning_rate: of adapters.
        tuned_learning_rate: of a whole model; the paper's.
    """

    name: ClassVar[str] = "causal_lm"
    router: ClassVar[type[Router]] = CausalLMRouter
    by_difference: ClassVar[Mapping[str, Any]] = {"target": "outcome"}

    model: str = ""
    revision: str | None = None
    target: Target = "grade"
    template: str = ""
    labels: tuple[str, ...] = ()
    adapter: Literal["lora", "full"] = "lora"
    lora_rank: int = Field(default=16, ge=1)
    lora_alpha: int = Field(default=32, ge=1)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)
    lora_modules: tuple[str, ...] = ()
    max_length: int = Field(default=2048, ge=8, le=131_072)
    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=8, ge=1)
    micro_batch: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    tuned_learning_rate: float = Field(default=1e-6, gt=0, allow_inf_nan=False)

    @field_validator("template")
    @classmethod
    def _names_the_text(cls, template: str) -> str:
        if template and template.count(PLACE) != 1:
            raise ValueError(f"expected {PLACE} once, where the query goes")
        return template

    @property
    def question(self) -> Question:
        """What is asked, with what the settings change of it.

        Raises:
            InputError: not as many labels as the target has.
        """
        usual = QUESTIONS[self.target]
        if self.labels and len(self.labels) != len(usual.labels):
            raise InputError(
                f"method 'causal_lm': target '{self.target}' takes {len(usual.labels)} labels for "
                f"{', '.join(usual.labels)}; found {len(self.labels)}"
            )
        return Question(self.template or usual.template, self.labels or usual.labels, usual.worth)

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:
        """See `Method.check`; a model of a hub is fetched, which training needs anyway.

        Raises:
            InputError: no model named or none there, no such pair, no query with both rewards, or
                rewards that have no grade.
        """
        self._folder()
        for rows in checked_pair_rows(outcomes, validation, strong=self.strong, weak=self.weak):
            self._grades(rows)

    def instruction(self, tokenizer: Any, *, limit: int) -> Instruction:
        """What is asked, in tokens, no more than the model takes.

        Raises:
            InputError: the tokenizer does not tell the labels apart, or no room is left for a text.
        """
        asked = self.question
        return Instruction(
            tokenizer,
            template=asked.template,
            labels=asked.labels,
            max_length=min(self.max_length, limit),
        )

    def network(self, *, n_candidates: int, dimensions: int) -> Any:  # noqa: ARG002 - of tokens
        """The network on the base model, adapters as yet by chance.

        Raises:
            InputError: there is no such model, or a setting does not fit it.
        """
        from cluster.training.base_model import load_causal, load_tokenizer

        assert n_candidates == 2, "a pair"
        folder = find_folder(self.model, revision=self.revision)
        tokenizer, limit = load_tokenizer(folder)
        # A whole model is trained in fp32: bf16 weights would not feel a small learning rate.
        precision = self._precision() if self.adapter == "lora" else "fp32"
        return self.on_model(
            load_causal(folder, precision=precision),
            label_ids=self.instruction(tokenizer, limit=limit).label_ids,
        )

    def on_model(self, model: Any, *, label_ids: list[int]) -> Any:
        """The network on a model, which gets adapters where the settings ask for them."""
        from cluster.training.base_model import Adapter, all_trained, with_adapter
        from cluster.training.body import save_memory
        from cluster.training.causal_lm import CausalLMNetwork

        if self.gradient_checkpointing:
            save_memory(model, where=self.model)
        if self.adapter == "lora":
            adapter = Adapter(self.lora_rank, self.lora_alpha, self.lora_dropout, self.lora_modules)
            model = with_adapter(model, adapter)
        else:
            model = all_trained(model)
        return CausalLMNetwork(model, label_ids=label_ids, worth=self.question.worth)

    def _precision(self) -> Precision:
        return best_precision() if self.precision == "auto" else self.precision

    def train(
        self,
        outcomes: OutcomeMatrix,
        *,
        validation: OutcomeMatrix,
        seed: int,
        context: FitContext = ALONE,
    ) -> Trained:
        """Train on the queries for which both rewards are known.

        Raises:
            InputError: no model named or none there, no such pair, no query with both rewards,
                rewards that have no grade, settings that cannot be run, or weights that went to
                infinity.
        """
        from cluster.training.base_model import load_tokenizer
        from cluster.training.run import run_training

        folder = self._folder()
        tokenizer, limit = load_tokenizer(folder)
        instruction = self.instruction(tokenizer, limit=limit)
        outcomes, validation = paired_rows(self, outcomes, validation)
        sides = pair_rows(outcomes, validation, strong=self.strong, weak=self.weak)
        examples = [self._examples(rows, instruction=instruction) for rows in sides]
        base = base_facts(self, folder=folder, limit=limit, precision=self._precision())
        plan = Plan.of(self, n_candidates=2, dimensions=0, seed=seed)
        weights, notes = run_training(
            plan, train=examples[0], validation=examples[1], context=context
        )
        router = CausalLMRouter(
            sides[0].candidates,
            settings=self,
            base=base,
            tokenizer=tokenizer,
            network=rebuilt(self, base=base, label_ids=instruction.label_ids, weights=weights),
            scale=SharedScale.identity(),
            completion_tokens=macro_means(sides[0].completion_tokens, sides[0].tasks),
        )
        router.scale = SharedScale.fit(router.scores(sides[0].texts), sides[0].reward)
        return Trained(router, history_of(notes))

    def _folder(self) -> Path:
        if not self.model:
            raise InputError(
                "method 'causal_lm': setting 'model' is empty; name the folder, or a hub's id, of "
                "a causal language model to train"
            )
        return find_folder(self.model, revision=self.revision)

    def _examples(self, rows: OutcomeMatrix, *, instruction: Instruction) -> Examples:
        tokens = ragged(instruction(rows.texts))
        return Examples(tokens, {"label": self._grades(rows)}, rows.reward, task_numbers(rows))

    def _grades(self, rows: OutcomeMatrix) -> npt.NDArray[np.int64]:
        return {"grade": grades, "outcome": outcome_labels}[self.target](rows)


def read_settings(state: RouterState) -> CausalLM:
    """The settings of a stored router.

    Raises:
        InputError: they are none.
    """
    try:
        return CausalLM(**state.value("settings", dict))
    except ValidationError as error:
        raise InputError(f"damaged checkpoint: settings of 'causal_lm': {error}") from error
