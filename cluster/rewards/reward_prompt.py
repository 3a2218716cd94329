"""What a reward model reads: query and answer as token ids."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from cluster.errors import InputError
from cluster.rewards.logit_model import LogitModel

QUERY, ANSWER = "{query}", "{text}"
_EITHER = re.compile(f"{re.escape(QUERY)}|{re.escape(ANSWER)}")


@dataclass(frozen=True)
class RewardPrompt:
    """An answer as a reward model reads it: token ids, or the reason why it cannot."""

    token_ids: list[int]
    reason: str | None = None


@dataclass(frozen=True)
class Rendered:
    """The text of a prompt, or the reason why there is none."""

    text: str
    reason: str | None = None


def reward_prompts(
    answers: pl.DataFrame, *, model: LogitModel, template: str | None, system: str | None
) -> list[RewardPrompt]:
    """(n_answers,) prompts of `query`, `text` and `messages` (where there is one).

    Raises:
        InputError: the model has no chat template and none is set.
    """
    if template is not None:
        rendered = [Rendered(text) for text in _filled(answers, template=template)]
    else:
        rendered = _chats(answers, model=model, system=system)
    texts = [one.text for one in rendered if one.reason is None]
    # A chat template writes the special tokens itself.
    special = template is not None
    encoded = iter(model.tokenizer(texts, add_special_tokens=special)["input_ids"] if texts else [])
    return [
        _checked(next(encoded), model=model) if one.reason is None else RewardPrompt([], one.reason)
        for one in rendered
    ]


def _filled(answers: pl.DataFrame, *, template: str) -> list[str]:
    """One pass over the template, so that a query with `{text}` in it stays as it is."""
    rows = answers.select("query", "text").iter_rows()
    return [_fill(template, values={QUERY: query, ANSWER: text}) for query, text in rows]


def _fill(template: str, *, values: Mapping[str, str]) -> str:
    return _EITHER.sub(lambda found: values[found[0]], template)


def _chats(answers: pl.DataFrame, *, model: LogitModel, system: str | None) -> list[Rendered]:
    if not model.tokenizer.chat_template:
        raise InputError(
            f"the reward model {model.name} has no chat template; set 'template', such as "
            f"'{QUERY}\\n{ANSWER}', as it was trained"
        )
    messages = answers["messages"] if "messages" in answers.columns else [None] * answers.height
    rows = zip(answers["query"], answers["text"], messages, strict=True)
    return [
        _rendered(_chat(query, text, messages=given, system=system), model=model)
        for query, text, given in rows
    ]


def _rendered(chat: list[dict[str, str]], *, model: LogitModel) -> Rendered:
    """One chat by the model's template, which may refuse it: roles that do not alternate, say."""
    from jinja2 import TemplateError

    try:
        return Rendered(str(model.tokenizer.apply_chat_template(chat, tokenize=False)))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        return Rendered("", f"the chat template failed: {error}")


def _chat(
    query: str, text: str, *, messages: str | None, system: str | None
) -> list[dict[str, str]]:
    turns = json.loads(messages) if messages else [{"role": "user", "content": query}]
    if system is not None and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": system}, *turns]
    return [*turns, {"role": "assistant", "content": text}]


def _checked(ids: Sequence[int], *, model: LogitModel) -> RewardPrompt:
    """The ids as the head reads them: transformers looks at the last token that is no padding."""
    end = len(ids)
    while end and ids[end - 1] == model.padding:
        end -= 1
    if not end:
        return RewardPrompt([], "the prompt is empty: the tokenizer made no token of it")
    if end > model.context:
        return RewardPrompt(
            [],
            f"too long: query and answer have {end} tokens, the reward model holds {model.context}",
        )
    return RewardPrompt(list(ids[:end]))
