"""A loaded reward model: token ids in, one logit a text out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from cluster.candidate import Candidate
from cluster.rewards.reward_head import Pooling, check_head


class LogitModel(ABC):
    """A model with a head of one label.

    Attributes:
        name: how the user calls it.
        tokenizer: its tokenizer (Hugging Face).
        context: tokens it holds.
        padding: the token its config names for padding, or None.
    """

    name: str
    tokenizer: Any
    context: int
    padding: int | None

    @abstractmethod
    def logits(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        """(n_prompts,) raw logits of prompts that are neither empty nor too long."""

    @abstractmethod
    def close(self) -> None:
        """Free its memory."""


def load_logit_model(candidate: Candidate, *, pooling: Pooling) -> LogitModel:
    """Load a reward model in the engine it names.

    Raises:
        EngineError: the engine cannot load it.
        InputError: it has no head, or one of several labels.
    """
    from transformers import PretrainedConfig

    config, _ = PretrainedConfig.get_config_dict(candidate.model, revision=candidate.revision)
    check_head(config, model=candidate.model, pooling=pooling)
    if candidate.engine == "vllm":
        from cluster.rewards.vllm_logits import VllmLogits

        return VllmLogits(candidate, pooling=pooling)
    from cluster.rewards.transformers_logits import TransformersLogits

    return TransformersLogits(candidate, pooling=pooling)
