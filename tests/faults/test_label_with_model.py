"""A label job with a reward model that is killed between two parts goes on with what is missing."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.jobs.label import ROWS_OF_A_MODEL, LabelSpec
from cluster.labels import read_labels
from cluster.lake.tables import REWARDS

from .conftest import echo_candidate, write_queries

QUERIES = 550
ANSWERS = 2 * QUERIES


def save_reward_model(folder: Path) -> None:
    """Random weights, one token a character."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", *map(chr, range(32, 127))]
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            num_labels=1,
            pad_token_id=0,
        )
        LlamaForSequenceClassification(config).save_pretrained(folder)


@pytest.fixture
def world(fresh, site, tmp_path):
    """Enough answers for two parts, and a reward model."""
    save_reward_model(tmp_path / "rm")
    (tmp_path / "labels.yaml").write_text(
        "scorers: {helpful: {scorer: reward_model, model: ./rm, engine: transformers, "
        "template: '{query} {text}'}}"
    )
    texts = [f"how much is {n} and {n}?" for n in range(QUERIES)]
    file = write_queries(tmp_path / "queries.jsonl", texts=texts)
    candidates = (echo_candidate("one"), echo_candidate("two"))
    world = replace(fresh, root=str(tmp_path / "lake"), file=file, candidates=candidates)
    world = replace(world, shard_rows=1000)
    site.succeed(world.ingest())
    site.succeed(world.generate())
    return world


def test_a_killed_label_job_goes_on(world, site, tmp_path: Path) -> None:
    def labelling(*plain: str) -> LabelSpec:
        labels = read_labels(str(tmp_path / "labels.yaml"), scorers=plain, taggers=[])
        return world.label().model_copy(update={"scorers": labels.scorers, "taggers": ()})

    # The scorer's row, its first part, its second part.
    site.crash(labelling(), failpoint="commit.before:3")
    kept = world.lake.read(REWARDS)
    assert kept.height == ROWS_OF_A_MODEL

    rest = site.succeed(labelling())["rewards"]["helpful"]
    assert (rest["new"], rest["without_reward"]) == (ANSWERS - ROWS_OF_A_MODEL, 0)
    rewards = world.lake.read(REWARDS)
    assert rewards.height == ANSWERS
    assert rewards.select(REWARDS.key).is_unique().all()
    assert rewards["value"].null_count() == 0
    assert rewards.join(kept, on=kept.columns, how="semi", nulls_equal=True).height == kept.height

    again = site.succeed(labelling("exact"))["rewards"]
    assert (again["helpful"]["new"], again["helpful"]["prompt_tokens"]) == (0, 0)
    assert again["exact"]["new"] == ANSWERS
