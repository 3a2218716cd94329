"""Reward models: their logits are Hugging Face's, and what cannot be scored says why."""

import json
import shutil

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.rewards.scorer import load_scorer

from .conftest import answers_of, last_token_model

TEXTS = ["4", "", "it is four, I think", "x" * 60, "四 ist 🙂 четыре"]
CHAT = json.dumps(
    [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yo"},
        {"role": "user", "content": "what is 2+2?"},
    ]
)
ANSWERS = answers_of(
    *({"query": "what is 2+2?", "text": text} for text in TEXTS),
    {"query": "what is 2+2?", "text": "4", "messages": CHAT},
    {"query": "what is 2+2?", "text": "y" * 500},
    {"query": "what is 2+2?", "text": None},
    *({"query": f"say {n}", "text": "abc {query}"[:n]} for n in range(12)),
)
TOO_LONG, NO_ANSWER = 6, 7
SCORED = [row for row in range(ANSWERS.height) if row not in (TOO_LONG, NO_ANSWER)]
TEMPLATE = "Q: {query} {query}\nA: {text}"


def prompts(*, template=None, system=None):
    """What Hugging Face is given, one text an answer."""
    for row in ANSWERS.iter_rows(named=True):
        if template:
            yield template.replace("{query}", row["query"]).replace(
                "A: {text}", f"A: {row['text']}"
            )
            continue
        turns = json.loads(row["messages"] or "null") or [{"role": "user", "content": row["query"]}]
        turns = [*turns, {"role": "assistant", "content": row["text"]}]
        head = f"[s]{system}<eos>" if system else ""
        yield head + "".join(f"[{turn['role'][0]}]{turn['content']}<eos>" for turn in turns)


def by_hugging_face(folder, *, kind="plain", **shape):
    """Logits of one prompt at a time: no batch, no padding."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if kind == "last":
        model = last_token_model(folder)
    elif kind == "bert":
        model = AutoModelForTokenClassification.from_pretrained(folder)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.eval()
    texts = list(prompts(**shape))
    values = []
    with torch.inference_mode():
        for row in SCORED:
            ids = tokenizer(texts[row], return_tensors="pt", add_special_tokens=False)["input_ids"]
            if kind == "last":
                logit = model.score(model.model(ids).last_hidden_state)[0, -1, 0]
            else:
                logit = model(ids).logits.flatten()[-1]
            values.append(float(logit))
    return values


CASES = {
    "chat": ("plain", {}, {}),
    "system": ("plain", {"system": "be strict"}, {"system": "be strict"}),
    "template": ("mute", {"template": TEMPLATE}, {"template": TEMPLATE}),
    "unpadded": ("unpadded", {}, {}),
    "eos": ("eos", {}, {}),
    "last": ("last", {"pooling": "last_token"}, {}),
    "bert": ("bert", {"pooling": "last_token"}, {}),
}
# The prompt is made before the engine is asked: one engine shows what a template does.
ENGINES = [
    *(("vllm", case) for case in ("chat", "eos", "last", "bert")),
    *(("transformers", case) for case in CASES if case != "last"),
]


@pytest.fixture(scope="module")
def rated(drive, reward_models):
    plan = {}
    for engine, case in ENGINES:
        model, settings, _ = CASES[case]
        own = {"model": str(reward_models / model), "engine": engine, **settings}
        plan[f"{engine}-{case}"] = ("reward_model", own, ANSWERS)
    for engine in ("vllm", "transformers"):
        own = {"model": str(reward_models / "nan"), "engine": engine}
        plan[f"{engine}-nan"] = ("reward_model", own, ANSWERS.head(3))
    return drive(plan)


@pytest.mark.parametrize(("engine", "case"), ENGINES)
def test_logits_are_hugging_faces(rated, reward_models, engine, case):
    model, _, shape = CASES[case]
    ratings = rated[f"{engine}-{case}"]["ratings"]
    expected = by_hugging_face(reward_models / model, kind=model, **shape)
    assert len(set(expected)) > 10
    assert ratings["raw"][SCORED].to_list() == pytest.approx(expected, abs=1e-3)
    assert ratings["value"].equals(ratings["raw"])
    assert ratings["reason"][SCORED].null_count() == len(SCORED)


@pytest.mark.parametrize(("engine", "case"), ENGINES)
def test_what_cannot_be_scored_says_why(rated, engine, case):
    ratings = rated[f"{engine}-{case}"]["ratings"]
    assert ratings["value"][[TOO_LONG, NO_ANSWER]].to_list() == [None, None]
    assert "too long: " in ratings["reason"][TOO_LONG]
    assert "holds 128" in ratings["reason"][TOO_LONG]
    assert ratings["reason"][NO_ANSWER] is None


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_a_logit_that_is_no_number_is_missing(rated, engine):
    ratings = rated[f"{engine}-nan"]["ratings"]
    assert ratings["value"].null_count() == ratings["raw"].null_count() == 3
    assert ratings["reason"].to_list() == ["the reward model's logit is NaN"] * 3


def test_the_tokens_read_are_told(rated):
    read = rated["vllm-chat"]["usage"]
    texts = list(prompts())
    characters = sum(len(texts[row].replace("<eos>", "|")) for row in SCORED)
    assert read == {"prompt_tokens": characters, "completion_tokens": 0, "cost_usd": None}


def test_a_model_is_known_by_its_content(reward_models, tmp_path):
    shutil.copytree(reward_models / "plain", tmp_path / "moved")
    here = load_scorer("reward_model", model=str(reward_models / "plain")).resolved(tmp_path)
    there = load_scorer("reward_model", model="./moved", resources={"replicas": 2})
    found = there.resolved(tmp_path)
    assert here.scorer_id == found.scorer_id
    assert found.model == str(tmp_path / "moved")
    assert str(tmp_path) not in json.dumps(found.spec())
    other = load_scorer("reward_model", model=str(reward_models / "nan")).resolved(tmp_path)
    assert other.scorer_id != here.scorer_id
    assert load_scorer("reward_model", model=str(tmp_path), dtype="bfloat16").scorer_id != (
        load_scorer("reward_model", model=str(tmp_path)).scorer_id
    )


def causal(folder):
    from transformers import LlamaConfig

    folder.mkdir()
    LlamaConfig(architectures=["LlamaForCausalLM"]).save_pretrained(folder)
    (folder / "model.safetensors").touch()
    return str(folder)


def test_models_that_are_no_reward_models_are_refused(reward_models, tmp_path):
    for settings, words in (
        ({"model": causal(tmp_path / "writer")}, ["writer", "LlamaForCausalLM", "judge"]),
        ({"model": str(reward_models / "several")}, ["several", "3 labels", "LABEL_2", "1"]),
        ({"model": str(reward_models / "last")}, ["ForRewardModel", "pooling: last_token"]),
        (
            {"model": str(reward_models / "plain"), "pooling": "last_token"},
            ["LlamaForSequenceClassification", "pooling: classify"],
        ),
        ({"model": "some/model"}, ["some/model", "revision"]),
        ({"model": "./nowhere/at/all"}, ["nowhere"]),
        ({"model": str(reward_models / "plain"), "model_digest": "0"}, ["model_digest"]),
    ):
        with pytest.raises(InputError) as error:
            load_scorer("reward_model", **settings).resolved(tmp_path)
        assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"template": "{text}"}, ["{query}"]),
        ({"template": "{query}{text}", "system": "s"}, ["system", "template"]),
        ({"engine": "openai"}, ["engine", "transformers"]),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(InputError) as error:
        load_scorer("reward_model", model="m", **settings)
    assert all(word in str(error.value) for word in words)


def test_without_a_chat_template_one_must_be_set(reward_models):
    scorer = load_scorer("reward_model", model=str(reward_models / "mute"), engine="transformers")
    with scorer.open() as rate, pytest.raises(InputError, match=r"mute.*no chat template.*set"):
        rate(ANSWERS)


def test_a_head_that_transformers_lacks_is_refused(reward_models):
    folder = str(reward_models / "last")
    scorer = load_scorer("reward_model", model=folder, engine="transformers", pooling="last_token")
    with pytest.raises(InputError, match="engine: vllm"), scorer.open():
        pass


def test_no_answer_at_all(reward_models):
    scorer = load_scorer("reward_model", model=str(reward_models / "plain"), engine="transformers")
    assert scorer.score(pl.DataFrame(schema=ANSWERS.schema)).len() == 0
    assert scorer.score(ANSWERS[[NO_ANSWER]]).to_list() == [None]
