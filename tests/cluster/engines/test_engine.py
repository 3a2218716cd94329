"""What engines share: rendering, and a prompt that fails takes no other along."""

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.candidate import Candidate
from cluster.engines.engine import (
    Generation,
    LocalEngine,
    Prompt,
    Request,
    first_logprobs,
    messages_of,
    render,
)
from cluster.errors import EngineError

HUB = {"name": "a", "engine": "vllm", "model": "owner/model", "revision": "abc"}


class CharacterEngine(LocalEngine):
    """Answers a prompt of characters with itself; raises on those with a `!` in them."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate, self.candidate_id = candidate, candidate.candidate_id
        self.context = 1000
        self.calls = 0
        self.tokenizer = lambda texts, **_: {"input_ids": [[ord(c) for c in t] for t in texts]}

    def generate(self, prompts: Sequence[Prompt]) -> list[Generation]:
        self.calls += 1
        texts = ["".join(map(chr, prompt.token_ids)) for prompt in prompts]
        for text in texts:
            if "!" in text:
                raise RuntimeError(f"cannot take {text.replace('all', '')}")
        return [Generation(text, "stop", len(text)) for text in texts]

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> CharacterEngine:
    return CharacterEngine(Candidate.model_validate(HUB))


def requests(texts: Sequence[str]) -> list[Request]:
    return [Request(f"q{n}", text, samples=(0, 1)) for n, text in enumerate(texts)]


def test_a_picture_is_not_left_out_in_silence(engine: CharacterEngine) -> None:
    pieces = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "x"}}]
    seen = Request("q", "user: hi", messages=({"role": "user", "content": pieces},))
    rows = engine.answer([seen, Request("r", "hi")])
    assert rows["outcome"].to_list() == ["error", "ok"]
    assert "more than text" in rows["error"][0]


@given(st.lists(st.sampled_from(["good", "bad 1!", "bad 2!", "  "]), min_size=1, max_size=12))
def test_a_prompt_that_raises_is_an_error_row_and_the_others_are_answered(texts):
    engine = CharacterEngine(Candidate.model_validate(HUB))
    texts = [*texts, "good"]
    rows = engine.answer(requests(texts)).to_dicts()
    assert [(row["query_id"], row["sample"]) for row in rows] == [
        (f"q{n}", sample) for n in range(len(texts)) for sample in (0, 1)
    ]
    for row in rows:
        text = texts[int(row["query_id"][1:])]
        assert row["text"] == (text if text == "good" else None)
        assert row["outcome"] == ("ok" if text == "good" else "error")
        if "!" in text:
            assert row["error"] == f"the engine failed on it: RuntimeError: cannot take {text}"
            assert row["seconds"] == 0


def test_one_bad_prompt_of_many_costs_few_calls(engine):
    rows = engine.answer([Request(f"q{n}", "x!" if n == 77 else "x") for n in range(256)])
    assert rows.filter(outcome="error")["query_id"].to_list() == ["q77"]
    assert engine.calls == 1 + 2 * 8


def test_an_engine_that_fails_on_everything_alike_is_broken(engine):
    with pytest.raises(EngineError, match="every query: RuntimeError: cannot take !"):
        engine.answer(requests(["all!", "!", "!"]))


def test_different_reasons_and_a_lone_query_are_the_rows_own_fault(engine):
    for texts in (["bad 1!", "bad 2!"], ["bad 1!"]):
        rows = engine.answer(requests(texts))
        assert rows["outcome"].to_list() == ["error"] * 2 * len(texts)


def test_answers_that_cannot_be_told_apart_are_refused(engine, monkeypatch):
    left_over = [Generation("a", "stop", 1)] * 3
    monkeypatch.setattr(CharacterEngine, "generate", lambda *_: left_over)
    with pytest.raises(EngineError, match="3 answers to 2"):
        engine.answer(requests(["a"]))


@given(st.text(min_size=1).filter(str.strip), st.text().filter(lambda t: "{text}" not in t))
def test_template_takes_any_text_as_it_is(text, before):
    candidate = Candidate.model_validate(HUB | {"template": before + "{text}{0}{x"})
    assert render(Request("q", text), candidate, None) == (before + text + "{0}{x", None)


def test_the_system_message_comes_first_unless_the_chat_has_its_own():
    candidate = Candidate.model_validate(HUB | {"chat": True, "system": "Be brief."})
    user, own = {"role": "user", "content": "hi"}, {"role": "system", "content": "Rhyme."}
    brief = {"role": "system", "content": "Be brief."}
    for messages, expected in (
        (None, [brief, {"role": "user", "content": "text"}]),
        ((user,), [brief, user]),
        ((own, user), [own, user]),
    ):
        assert messages_of(Request("q", "text", messages=messages), candidate=candidate) == expected


def test_tokens_of_one_text_count_together_and_impossible_ones_not_at_all():
    half, quarter = math.log(0.5), math.log(0.25)
    kept = json.loads(
        first_logprobs([("é", half), ("A", quarter), ("A", quarter + 0.1), ("B", -math.inf)])
    )
    assert list(kept) == ["A", "é"]
    assert kept["A"] == pytest.approx(math.log(0.25 + 0.25 * math.exp(0.1)))
    assert kept["é"] == half
