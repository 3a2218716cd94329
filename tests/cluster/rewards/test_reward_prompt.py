"""What a reward model reads, row by row: a chat its template refuses is that row's affair."""

import json
from typing import Any

import polars as pl

from cluster.rewards.logit_model import LogitModel
from cluster.rewards.reward_prompt import reward_prompts

TEMPLATE = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }} {% endfor %}"
)


class Reader(LogitModel):
    """A model that reads and gives no logits."""

    def __init__(self, tokenizer: Any) -> None:
        self.name, self.tokenizer, self.context, self.padding = "reader", tokenizer, 60, None

    def logits(self, prompts):
        raise AssertionError

    def close(self) -> None:
        pass


def test_one_odd_chat_leaves_the_others_as_they_are(pretrained):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pretrained("llama"))
    tokenizer.chat_template = TEMPLATE
    twice = json.dumps([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
    answers = pl.DataFrame(
        {"query": ["case", "b", "win"], "text": ["tie", "lose", "grade"],
         "messages": [None, twice, None]}
    )  # fmt: skip
    found = reward_prompts(answers, model=Reader(tokenizer), template=None, system=None)
    assert found[1].token_ids == []
    assert found[1].reason == "the chat template failed: roles must alternate"
    texts = [tokenizer.decode(found[place].token_ids) for place in (0, 2)]
    assert texts == ["case tie", "win grade"]
