"""Predicted task, cosine classifier and the cluster rule."""

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.plugins import plugin_names
from cluster.routers.checkpoint import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.cosine_classifier import CosineClassifier, class_shares
from cluster.routers.lora_retriever import LoraRetriever
from cluster.routers.predicted_task import PredictedTask
from cluster.routers.prompt_length import PromptLength

SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"
METHODS = [PredictedTask(), CosineClassifier(), LoraRetriever(n_clusters=4)]
NAN = float("nan")


@pytest.mark.parametrize("method", METHODS, ids=lambda each: each.name)
def test_each_task_goes_to_its_specialist_without_its_label(method, make_two_tasks):
    said = method.fit(make_two_tasks(200), seed=0).predict(pl.Series([SUM, NUMERAL]))
    assert said.reward.argmax(axis=1).tolist() == [0, 1]
    assert said.completion_tokens.shape == (2, 3)


@pytest.mark.parametrize("method", [*METHODS, PromptLength()], ids=lambda each: each.name)
def test_a_checkpoint_says_the_same(method, make_two_tasks, tmp_path):
    outcomes = make_two_tasks(60)
    router = method.fit(outcomes, seed=0)
    meta = CheckpointMeta(candidate_ids=outcomes.candidate_ids)
    version = save_checkpoint(router, str(tmp_path), meta=meta)
    loaded = load_router(str(tmp_path), version=version)
    one, other = router.predict(outcomes.texts), loaded.predict(outcomes.texts)
    assert np.array_equal(one.reward, other.reward)
    assert np.array_equal(one.completion_tokens, other.completion_tokens)


@pytest.mark.parametrize("method", [*METHODS, PromptLength()], ids=lambda each: each.name)
def test_it_is_installed_and_refuses_what_teaches_nothing(method, make_two_tasks):
    assert method.name in plugin_names("routers")
    outcomes = make_two_tasks(40)
    outcomes.reward[:, 1] = NAN
    with pytest.raises(InputError, match="candidate 'roman' has no reward"):
        method.fit(outcomes, seed=0)


@pytest.mark.parametrize("method", [*METHODS, PromptLength()], ids=lambda each: each.name)
def test_an_empty_batch_is_predicted(method, make_two_tasks):
    router = method.fit(make_two_tasks(40), seed=0)
    assert router.predict(pl.Series([], dtype=pl.String)).reward.shape == (0, 3)


def test_predicted_task_expects_the_means_of_the_label(make_two_tasks):
    outcomes = make_two_tasks(200)
    said = PredictedTask().fit(outcomes, seed=0).predict(pl.Series([SUM])).reward[0]
    assert said == pytest.approx(outcomes.reward[outcomes.tasks == "sums"].mean(axis=0))


def test_a_candidate_not_seen_on_a_task_has_its_mean_elsewhere(make_two_tasks):
    outcomes = make_two_tasks(200)
    outcomes.reward[outcomes.tasks == "numerals", 2] = NAN
    said = PredictedTask().fit(outcomes, seed=0).predict(pl.Series([NUMERAL])).reward[0]
    assert said[2] == pytest.approx(np.nanmean(outcomes.reward[:, 2]))


def test_one_cluster_is_the_mean_of_everything(make_two_tasks):
    outcomes = make_two_tasks(100)
    said = LoraRetriever(n_clusters=1).fit(outcomes, seed=0).predict(pl.Series([SUM])).reward[0]
    assert said == pytest.approx(outcomes.reward.mean(axis=0))


def test_classes_are_the_best_candidates_shared_by_equals():
    shares = class_shares(np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [NAN, 0.2, 0.1], [NAN] * 3]))
    expected = [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert shares.tolist() == expected


def test_a_candidate_that_is_never_the_best_is_never_chosen(make_two_tasks):
    outcomes = make_two_tasks(60)
    outcomes.reward[:, 2] = -1.0
    texts = pl.Series(["unrelated words", "", SUM])
    assert CosineClassifier().fit(outcomes, seed=0).predict(texts).reward.argmax(axis=1).max() < 2
