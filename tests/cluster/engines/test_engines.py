"""What both engines promise, on real vLLM and real transformers."""

import json

import polars as pl
import pytest

from cluster.completion import COMPLETION_SCHEMA
from cluster.lake.tables import COMPLETIONS

from .conftest import QUERIES, SCHEMA

ENGINES = ("vllm", "transformers")
KEY = ["query_id", "sample"]
every_engine = pytest.mark.parametrize("engine", ENGINES)


def test_engines_agree_on_greedy_text(answers):
    texts = [answers[f"{engine}-greedy-all"].drop("candidate_id", "seconds") for engine in ENGINES]
    assert texts[0].equals(texts[1])
    assert texts[0]["text"].n_unique() > 30


@every_engine
@pytest.mark.parametrize("name", ["greedy", "sampled"])
def test_text_does_not_depend_on_the_batch(answers, engine, name):
    sevens = [answers[f"{engine}-{name}-seven{i}"] for i in range(0, 64, 7)]
    small = pl.concat(sevens).select(*KEY, "text")
    assert small.equals(answers[f"{engine}-{name}-all"].select(*KEY, "text"))


@every_engine
def test_one_missing_sample_has_the_text_it_would_have_had(answers, engine):
    alone = answers[f"{engine}-sampled-second"].select(*KEY, "text")
    assert alone["sample"].unique().to_list() == [1]
    among = answers[f"{engine}-sampled-all"].select(*KEY, "text")
    assert alone.join(among, on=[*KEY, "text"]).height == 10


@every_engine
def test_samples_differ_when_sampled_and_not_when_greedy(answers, engine):
    def differing(name: str) -> int:
        table = answers[f"{engine}-{name}-all"]
        return table.group_by("query_id").agg(pl.col("text").n_unique())["text"].eq(2).sum()

    assert differing("greedy") == 0
    assert differing("sampled") > 50


@every_engine
def test_rows_come_in_order_with_schema_and_counts(answers, engine):
    table = answers[f"{engine}-greedy-all"]
    assert table.schema == COMPLETION_SCHEMA
    assert table.select(KEY).rows() == [(f"q{i}", s) for i in range(64) for s in (0, 1)]
    assert table.select(COMPLETIONS.key).is_duplicated().sum() == 0
    assert table["seconds"].min() > 0
    full = table.filter(pl.col("outcome") == "truncated")
    assert full.height > 0
    assert full["completion_tokens"].unique().to_list() == [12]
    assert full["finish_reason"].unique().to_list() == ["length"]
    assert (full["text"].str.len_chars() <= 12).all()


@every_engine
def test_bad_rows_are_errors_and_the_others_are_answered(answers, engine):
    table = answers[f"{engine}-greedy-odd"]
    assert table["outcome"].to_list() == ["error", "error", "truncated", "truncated"]
    assert "128 tokens" in table["error"][0]
    assert "no text" in table["error"][1]
    assert table["error"][2:].null_count() == 2
    assert table["text"].is_null().to_list() == [True, True, False, False]
    # Eight tokens are left in a context of 128 after a prompt of 120.
    assert table["completion_tokens"].to_list() == [0, 0, 12, 8]
    assert answers[f"{engine}-greedy-none"].schema == COMPLETION_SCHEMA
    assert answers[f"{engine}-greedy-none"].is_empty()


@every_engine
def test_not_a_number_is_an_error_of_the_row(answers, engine):
    table = answers[f"{engine}-nan-all"]
    assert table["outcome"].to_list() == ["error"] * 3
    assert table["error"].str.contains("NaN").all()


@every_engine
def test_stop_strings_end_the_text_and_are_cut_off(answers, engine):
    stopped = answers[f"{engine}-stop-all"].filter(pl.col("finish_reason") == "stop")
    assert stopped.height > 0
    assert not answers[f"{engine}-stop-all"]["text"].str.contains("[ae]").any()
    free = answers[f"{engine}-greedy-all"].select(*KEY, free="text")
    joined = stopped.join(free, on=KEY)
    assert joined.filter(pl.col("free").str.starts_with(pl.col("text"))).height == stopped.height


@every_engine
def test_an_answer_goes_on_beyond_its_limit_by_what_it_may_be_extended(answers, engine):
    table = answers[f"{engine}-stop-all"]
    cut = table.filter(pl.col("finish_reason") == "length").select(*KEY, "text", "outcome")
    assert cut["outcome"].unique().to_list() == ["truncated"]
    free = answers[f"{engine}-greedy-all"].select(*KEY, "text", "outcome")
    assert cut.height > 0
    assert cut.equals(free.join(cut, on=KEY, how="semi", maintain_order="left"))
    assert table.filter(finish_reason="stop")["completion_tokens"].max() > 5


def test_engines_agree_on_the_likeliest_first_tokens(answers):
    columns = [answers[f"{engine}-sampled-all"]["first_logprobs"] for engine in ENGINES]
    for one, other in zip(*(map(json.loads, column) for column in columns), strict=True):
        assert list(one) == list(other)
        assert len(one) == 5
        assert list(one.values()) == pytest.approx(list(other.values()), abs=1e-3)
        assert list(one.values()) == sorted(one.values(), reverse=True)
    assert answers["vllm-greedy-all"]["first_logprobs"].null_count() == 128


def test_first_logprobs_are_the_models_own(answers, models):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models / "two")
    model = AutoModelForCausalLM.from_pretrained(models / "two")
    with torch.inference_mode():
        logits = model(**tokenizer(QUERIES[3], return_tensors="pt")).logits[0, -1]
    row = answers["transformers-sampled-all"].row(6, named=True)
    assert row["query_id"] == "q3"
    for token, logprob in json.loads(row["first_logprobs"]).items():
        (number,) = tokenizer(token)["input_ids"]
        assert logits.log_softmax(-1)[number].item() == pytest.approx(logprob, abs=1e-4)


def test_answers_follow_the_schema_in_its_order(answers):
    import jsonschema

    texts = answers["vllm-schema-all"]["text"].to_list()
    assert len(set(texts)) > 1
    for text in texts:
        answer = json.loads(text)
        jsonschema.validate(answer, SCHEMA)
        assert list(answer) == ["verdict", "sure"]


@every_engine
def test_chat_template_and_its_failure(answers, engine):
    table = answers[f"{engine}-chat-all"]
    assert table["outcome"].is_in(["error"]).to_list() == [False, True, False]
    assert "no bad words" in table["error"][1]
    # "hi|yo|go|": a token for each character.
    assert table["prompt_tokens"][2] == 9


@every_engine
def test_a_model_loaded_again_after_others_answers_the_same(answers, engine):
    first, again = (answers[f"{engine}-{name}-all"] for name in ("greedy", "again"))
    assert first.drop("seconds").equals(again.drop("seconds"))


@every_engine
@pytest.mark.parametrize("name", ["cut", "roomy"])
def test_what_cannot_be_loaded_says_so_and_leaves_the_process_usable(answers, engine, name):
    (error,) = answers[f"{engine}-{name}"]["error"]
    assert f"candidate '{name}'" in error
    assert "Traceback" not in error


def test_a_prompt_vllm_fails_on_takes_no_other_along(answers):
    table = answers["vllm-poison-all"]
    assert table.filter(outcome="error").select("query_id", "error").rows() == [
        ("q4", "the engine failed on it: RuntimeError: poisoned")
    ]
    others = table.filter(pl.col("query_id") != "q4").select(*KEY, "text")
    undisturbed = answers["vllm-greedy-all"].select(*KEY, "text")
    assert others.height == 8
    assert others.equals(undisturbed.join(others, on=KEY, how="semi", maintain_order="left"))
