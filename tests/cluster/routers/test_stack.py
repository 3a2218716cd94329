from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.encoders.lexical import FittedLexical
from cluster.errors import InputError
from cluster.routers import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.best_single import BestSingle
from cluster.routers.context import ALONE
from cluster.routers.knn import Knn
from cluster.routers.stack import Stack, StackPart, StackRouter, Weights, method_of, non_negative

SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"
ASKED = pl.Series([SUM, NUMERAL, "别的", "", None])
META = CheckpointMeta(candidate_ids=("1", "2", "3"))
SMALL = Stack(
    parts=(
        StackPart(method="cluster_table", settings={"n_clusters": (4, 8), "bags": 1}),
        StackPart(method="ridge"),
        StackPart(method="knn", settings={"k": 5}),
        StackPart(method="best_single"),
    )
)


@pytest.fixture
def noise(make_two_tasks, make_outcomes):
    """Rewards that have nothing to do with the query."""
    texts, rng = make_two_tasks(200).texts, np.random.default_rng(3)
    tasks = np.where(np.arange(200) % 2, "numerals", "sums")
    return make_outcomes(texts, tasks, rng.random((200, 3)) < [0.5, 0.6, 0.4])


def test_each_task_goes_to_its_specialist(make_two_tasks):
    prediction = SMALL.fit(make_two_tasks(200), seed=0).predict(ASKED[:2])
    assert prediction.reward.argmax(axis=1).tolist() == [0, 1]
    assert prediction.reward[0] == pytest.approx([0.9, 0.1, 0.6], abs=0.15)
    assert prediction.completion_tokens[1] == pytest.approx([100, 200, 300], rel=0.2)


def test_of_pure_noise_nothing_but_best_single_is_left(noise):
    router = SMALL.fit(noise, seed=0)
    single = BestSingle().fit(noise, seed=0).predict(ASKED)
    assert np.array_equal(router.predict(ASKED).reward, single.reward)
    assert router.state().config["parts"] == []
    assert router.embed(ASKED) is None


def test_a_part_that_says_nothing_is_not_kept(make_two_tasks):
    kept = SMALL.fit(make_two_tasks(200), seed=0).state().config["parts"]
    assert kept
    assert "best_single" not in kept


def test_parts_are_judged_on_rows_they_have_not_seen(make_two_tasks):
    """A neighbour of its own row knows the reward by heart, and nothing about other rows."""
    outcomes = make_two_tasks(300)
    own = StackPart(method="knn", settings={"k": 1, "shrinkage": 1e-9})
    wide = StackPart(method="knn", settings={"k": 40})
    router = Stack(parts=(own, wide)).fit(outcomes, seed=0)
    weight = dict(zip([part.k for part in router.parts], router.weights.own, strict=True))
    assert weight[40] > 3 * weight.get(1, 0.0)


def test_duplicates_stay_in_one_fold(make_two_tasks, noise):
    """Else a part that remembers texts would know the answer of the copy."""
    doubled = noise.take(np.repeat(np.arange(len(noise)), 2))
    own = StackPart(method="knn", settings={"k": 1, "shrinkage": 1e-9})
    assert Stack(parts=(own,)).fit(doubled, seed=0).state().config["parts"] == []


def test_missing_rewards_are_masked_and_not_zeros(make_two_tasks):
    outcomes = make_two_tasks(300)
    hole = np.random.default_rng(0).random(outcomes.reward.shape) < 0.4
    outcomes.reward[hole] = np.nan
    reward = SMALL.fit(outcomes, seed=0).predict(ASKED[:2]).reward
    assert reward.argmax(axis=1).tolist() == [0, 1]
    assert reward[0] == pytest.approx([0.9, 0.1, 0.6], abs=0.2)


def test_a_candidate_known_in_one_fold_alone_leaves_best_single(make_two_tasks):
    outcomes = make_two_tasks(60)
    outcomes.reward[1:, 2] = np.nan
    outcomes.reward[0, 2] = 0.0
    router = SMALL.fit(outcomes, seed=0)
    assert np.array_equal(
        router.predict(ASKED).reward, BestSingle().fit(outcomes, seed=0).predict(ASKED).reward
    )


@pytest.mark.parametrize("n", [1, 3])
def test_few_rows_are_enough_for_something(make_two_tasks, n):
    assert SMALL.fit(make_two_tasks(n), seed=0).predict(ASKED).reward.shape == (5, 3)


def test_one_candidate_and_one_task(make_outcomes):
    texts = [f"how many apples are {n}" for n in range(40)]
    outcomes = make_outcomes(texts, ["t"] * 40, np.full((40, 1), 0.7))
    assert SMALL.fit(outcomes, seed=0).predict(outcomes.texts).reward == pytest.approx(0.7)


def test_tokens_never_seen_are_unknown(make_two_tasks):
    outcomes = make_two_tasks(200)
    outcomes.completion_tokens[:, 1] = np.nan
    tokens = SMALL.fit(outcomes, seed=0).predict(ASKED[:2]).completion_tokens
    assert np.isnan(tokens).tolist() == [[False, True, False]] * 2


def all_parts(outcomes):
    """A router that keeps every part: which of them earn a weight turns on the last digits."""
    methods = [method_of(part) for part in SMALL.parts]
    encoder, parts = SMALL.fit_parts(methods, outcomes, seed=0, context=ALONE)
    weights = Weights(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1]))
    means = np.array([outcomes.reward.mean(axis=0), outcomes.completion_tokens.mean(axis=0)])
    return StackRouter(
        outcomes.candidates, encoder=encoder, parts=parts, weights=weights, means=means
    )


def test_it_comes_back_from_disk_bit_for_bit_with_its_encoder_once(tmp_path, make_two_tasks):
    router = all_parts(make_two_tasks(200))
    version = save_checkpoint(router, str(tmp_path), meta=META)
    loaded = load_router(str(tmp_path), version=version)
    before, after = router.predict(ASKED), loaded.predict(ASKED)
    assert np.array_equal(before.reward, after.reward)
    assert np.array_equal(before.completion_tokens, after.completion_tokens)
    vocabularies = [path.name for path in tmp_path.iterdir() if path.name.endswith(".txt")]
    assert vocabularies == ["encoder.vocabulary.txt"]


def test_best_single_comes_back_too(tmp_path, noise):
    router = SMALL.fit(noise, seed=0)
    save_checkpoint(router, str(tmp_path), meta=META)
    loaded = load_router(str(tmp_path))
    assert np.array_equal(loaded.predict(ASKED).reward, router.predict(ASKED).reward)


def test_a_query_is_encoded_once(monkeypatch, tmp_path, make_two_tasks):
    save_checkpoint(SMALL.fit(make_two_tasks(200), seed=0), str(tmp_path), meta=META)
    router = load_router(str(tmp_path))
    encoded, real = [], FittedLexical.encode
    monkeypatch.setattr(
        FittedLexical, "encode", lambda self, texts: encoded.append(len(texts)) or real(self, texts)
    )
    router.predict(ASKED)
    router.predict(ASKED[:2])
    assert encoded == [5, 2]


def test_equal_seeds_make_equal_checkpoints(tmp_path, make_two_tasks):
    first, second, other = (
        save_checkpoint(
            SMALL.fit(make_two_tasks(200), seed=seed), str(tmp_path / f"{place}"), meta=META
        )
        for place, seed in enumerate((1, 1, 2))
    )
    assert first == second
    assert first != other


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (StackPart(method="stack"), "part of a stack"),
        (StackPart(method="no_such_method"), "no_such_method"),
        (StackPart(method="knn", settings={"k": 0}), "'knn': k"),
        (StackPart(method="knn", settings={"encoder": "lexical"}), "share the stack's encoder"),
    ],
)
def test_parts_that_cannot_be_are_refused(make_two_tasks, part, message):
    with pytest.raises(InputError, match=message):
        Stack(parts=(part,)).fit(make_two_tasks(40), seed=0)


@pytest.mark.parametrize(
    "change",
    [
        {"parts": ["stack"]},
        {"parts": ["knn"]},
        {"parts": ["no_such_method", "knn"]},
        {"parts": None},
    ],
)
def test_a_damaged_state_is_refused(make_two_tasks, change):
    state = SMALL.fit(make_two_tasks(200), seed=0).state()
    damaged = replace(state, config=state.config | change)
    with pytest.raises(InputError):
        type(SMALL).router.from_state(damaged, candidates=("adder", "roman", "both"))


def test_weights_are_the_mixture_that_was_planted():
    rng = np.random.default_rng(0)
    columns = list(rng.normal(size=(3, 400, 2)))
    target = 0.7 * columns[0] + 0.2 * columns[1] - 0.3 * columns[2]
    target += rng.normal(0, 0.01, target.shape)
    holed = np.where(rng.random(target.shape) < 0.3, np.nan, target)
    found = non_negative(columns, holed)
    # The negative weight is not allowed, and the others hardly move: columns are independent.
    assert found == pytest.approx([0.7, 0.2, 0.0], abs=0.05)


def test_where_a_part_expects_nothing_the_mean_stands_in():
    mean, prediction = np.array([0.2, 0.6]), np.array([[[np.nan, 0.6], [0.9, 0.1]]])
    total = Weights(np.ones(1), np.ones(1)).add_up(prediction, mean=mean)
    assert total == pytest.approx(np.array([[0.2, 0.6], [0.9, 0.1]]))


def test_a_part_with_an_encoder_of_its_own_keeps_it(tmp_path, make_two_tasks):
    outcomes = make_two_tasks(60)
    parts = [Knn(encoder_settings={"dimensions": size}).fit(outcomes, seed=0) for size in (3, 5)]
    router = StackRouter(
        outcomes.candidates,
        encoder=parts[0].encoder,
        parts=parts,
        weights=Weights(np.ones(2), np.full(2, 0.5)),
        means=np.zeros((2, 3)),
    )
    save_checkpoint(router, str(tmp_path), meta=META)
    loaded = load_router(str(tmp_path))
    assert [part.encoder.dimensions for part in loaded.parts] == [3, 5]
    assert np.array_equal(loaded.predict(ASKED).reward, router.predict(ASKED).reward)
