"""What a reward model must have: a head of one label, told from its config.json."""

from collections.abc import Mapping
from typing import Any, Literal

from cluster.errors import InputError

Pooling = Literal["classify", "last_token"]
# transformers' own default for a config that names no labels.
_LABELS_UNTOLD = 2
_POOLING_OF: dict[str, Pooling] = {
    "SequenceClassification": "classify",
    "TokenClassification": "last_token",
    "RewardModel": "last_token",
}


def check_head(config: Mapping[str, Any], *, model: str, pooling: Pooling) -> None:
    """Make sure that a model gives one logit a text.

    Args:
        config: its config.json.
        model: how the user calls it.
        pooling: what the user set.

    Raises:
        InputError: it generates, judges steps, has several labels, or its head is of the other
            kind.
    """
    architectures = [str(name) for name in config.get("architectures") or ()]
    kinds = {suffix for name in architectures for suffix in _POOLING_OF if name.endswith(suffix)}
    shown = ", ".join(architectures) or "none"
    if not kinds or "ProcessRewardModel" in shown:
        raise InputError(
            f"field 'model': {model} is no reward model: its config.json has the architecture "
            f"{shown}, expected one that ends in {', '.join(_POOLING_OF)} and gives one logit a "
            "text; a model that generates can be a 'judge' instead"
        )
    found = _n_labels(config, is_reward_model="RewardModel" in kinds)
    if found != 1:
        names = ", ".join(map(str, (config.get("id2label") or {}).values())) or "not named"
        raise InputError(
            f"field 'model': {model} has {found} labels ({names}), expected 1: a reward model "
            "has one logit; choose a model with one label"
        )
    _check_pooling(kinds, model=model, shown=shown, pooling=pooling)


def _check_pooling(kinds: set[str], *, model: str, shown: str, pooling: Pooling) -> None:
    fitting = {_POOLING_OF[kind] for kind in kinds}
    if pooling not in fitting:
        raise InputError(
            f"field 'pooling': {model} ({shown}) does not go with '{pooling}'; set "
            f"'pooling: {fitting.pop()}'"
        )


def _n_labels(config: Mapping[str, Any], *, is_reward_model: bool) -> int:
    """Labels of the head. `...ForRewardModel` has one and need not say so (Qwen2.5-Math-RM)."""
    if config.get("id2label"):
        return len(config["id2label"])
    return int(config.get("num_labels") or (1 if is_reward_model else _LABELS_UNTOLD))
