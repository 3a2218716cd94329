import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from scipy.optimize import minimize, minimize_scalar

from cluster.errors import InputError
from cluster.routers import CheckpointMeta, load_router, save_checkpoint
from cluster.routers import similarity_weighted as module
from cluster.routers.similarity_weighted import SimilarityWeighted, SimilarityWeightedRouter

NAN = float("nan")
SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"
ASKED = pl.Series([SUM, NUMERAL, "别的", "", None])
PAIR = {"strong": "adder", "weak": "roman"}


def quotients(query, train, *, normalise):
    """S(q, q_i) one by one, as the docstring has it."""
    cosines = [float(query @ other) for other in train]
    found = []
    for place, cosine in enumerate(cosines):
        if normalise == "code":
            highest = max(cosines)
        else:
            highest = max(
                float(train[place] @ other) for number, other in enumerate(train) if number != place
            )
        found.append(min(1.0, max(-1.0, cosine / (highest if highest > 1e-4 else 1.0))))
    return found


def surprise(xi, *, rewards, weights, ties):
    """The weighted loss of one query over all comparisons, one by one, and the ties."""
    total = 0.0
    scale = sum(
        1 for row in rewards for a in range(len(row)) for b in range(a) if known(row, a, b)
    ) / sum(
        weight
        for weight, row in zip(weights, rewards, strict=True)
        for a in range(len(row))
        for b in range(a)
        if known(row, a, b)
    )
    for weight, row in zip(weights, rewards, strict=True):
        for a in range(len(row)):
            for b in range(a):
                if known(row, a, b):
                    win = (1 + row[a] - row[b]) / 2
                    total += scale * weight * win * math.log1p(math.exp(xi[b] - xi[a]))
                    total += scale * weight * (1 - win) * math.log1p(math.exp(xi[a] - xi[b]))
    for a in range(len(xi)):
        for b in range(len(xi)):
            if a != b:
                total += ties / 2 * math.log1p(math.exp(xi[b] - xi[a]))
    return total


def known(row, a, b):
    return not (math.isnan(row[a]) or math.isnan(row[b]))


def strengths_of(router, texts):
    """(n_queries, n_candidates): as the router has them, without tiers."""
    return router.strengths(router.encoder.encode(texts))


def gaps(router, texts):
    """(n_queries,) strength of the first candidate less that of the second."""
    xi = strengths_of(router, texts)
    return xi[:, 0] - xi[:, 1]


@pytest.mark.parametrize("normalise", ["paper", "code"])
@pytest.mark.parametrize("gamma", [10.0, 1000.0])
def test_two_candidates_are_where_a_solver_for_each_query_puts_them(
    make_two_tasks, normalise, gamma
):
    outcomes = make_two_tasks(40)
    settings = SimilarityWeighted(**PAIR, gamma=gamma, normalise=normalise, ties=0.5)
    router = settings.fit(outcomes, seed=0)
    asked = make_two_tasks(6, seed=5).texts
    queries, train = router.encoder.encode(asked), router.encoder.encode(outcomes.texts)
    rewards = outcomes.reward[:, :2].tolist()
    for query, found in zip(queries, gaps(router, asked), strict=True):
        weights = [gamma ** (1 + s) for s in quotients(query, train, normalise=normalise)]
        expected = minimize_scalar(
            lambda gap, weights=weights: surprise(
                [gap / 2, -gap / 2], rewards=rewards, weights=weights, ties=0.5
            ),
            bounds=(-20, 20),
            method="bounded",
            options={"xatol": 1e-9},
        ).x
        assert found == pytest.approx(expected, abs=1e-4)


def test_three_candidates_with_holes_are_where_a_solver_puts_them(make_two_tasks):
    outcomes = make_two_tasks(30)
    outcomes.reward[::3, 1] = NAN
    outcomes.reward[4, 0] = NAN
    router = SimilarityWeighted(gamma=100.0).fit(outcomes, seed=0)
    asked = make_two_tasks(3, seed=5).texts
    queries, train = router.encoder.encode(asked), router.encoder.encode(outcomes.texts)
    for query, found in zip(queries, strengths_of(router, asked), strict=True):
        weights = [100 ** (1 + s) for s in quotients(query, train, normalise="paper")]
        expected = minimize(
            lambda xi, weights=weights: (
                surprise(xi, rewards=outcomes.reward.tolist(), weights=weights, ties=1.0)
                + xi.sum() ** 2
            ),
            np.zeros(3),
            method="BFGS",
        ).x
        assert found == pytest.approx(expected, abs=1e-3)


def test_each_task_goes_to_its_specialist(make_two_tasks):
    router = SimilarityWeighted().fit(make_two_tasks(200), seed=0)
    prediction = router.predict(pl.Series([SUM, NUMERAL]))
    assert prediction.reward.argmax(axis=1).tolist() == [0, 1]
    assert prediction.completion_tokens == pytest.approx(np.array([[55, 110, 165]] * 2))


def test_rewards_have_the_rewards_unit_and_the_strengths_order(make_two_tasks):
    outcomes, fresh = make_two_tasks(200), make_two_tasks(100, seed=7)
    router = SimilarityWeighted(gamma=1000.0).fit(outcomes, seed=0)
    reward = router.predict(fresh.texts).reward
    order = np.argsort(strengths_of(router, fresh.texts), axis=1)
    assert np.array_equal(np.argsort(reward, axis=1), order)
    assert reward.mean() == pytest.approx(outcomes.reward.mean(), abs=0.03)
    by_task = [reward[fresh.tasks == task].mean(axis=0) for task in ("sums", "numerals")]
    # 0.9, 0.1, 0.6 and 0.1, 0.9, 0.6; a gamma of 1000 still hears the other task a little.
    assert by_task[0] == pytest.approx([0.9, 0.1, 0.6], abs=0.15)
    assert by_task[1] == pytest.approx([0.1, 0.9, 0.6], abs=0.15)


def test_the_gain_of_a_pair_is_its_margin(make_two_tasks):
    outcomes = make_two_tasks(100)
    router = SimilarityWeighted(**PAIR).fit(outcomes, seed=0)
    reward = router.predict(outcomes.texts).reward
    chance = 1 / (1 + np.exp(-gaps(router, outcomes.texts)))
    assert reward[:, 0] - reward[:, 1] == pytest.approx(2 * chance - 1)
    assert reward.mean() == pytest.approx(outcomes.reward[:, :2].mean(), abs=1e-6)


def test_a_training_query_does_not_vouch_for_itself(make_outcomes):
    # Labels without meaning: with its own label among the nearest, every query would be foreseen.
    rng = np.random.default_rng(0)
    words = rng.choice(["fig", "plum", "pear", "lime", "kiwi", "date"], size=(200, 5))
    reward = np.column_stack([rng.integers(0, 2, 200), rng.integers(0, 2, 200)])
    outcomes = make_outcomes([" ".join(each) for each in words], ["t"] * 200, reward)
    router = SimilarityWeighted(gamma=1e6, ties=0.01).fit(outcomes, seed=0)
    assert router.predict(outcomes.texts).reward.std() < 0.2


@pytest.mark.parametrize("normalise", ["paper", "code"])
def test_a_query_like_nothing_has_everybodys_strengths(make_two_tasks, normalise):
    outcomes = make_two_tasks(60)
    settings = SimilarityWeighted(gamma=1e4, normalise=normalise)
    router = settings.fit(outcomes, seed=0)
    unlike = strengths_of(router, pl.Series(["", "别的"]))
    assert unlike == pytest.approx(np.tile(router.start, (2, 1)), abs=1e-5)


def test_a_quotient_beyond_one_counts_as_one():
    # Of a training query with no relatives, asked word for word: 0.9 / 0.1 would weigh 10⁹.
    similarity = np.array([[0.9, 0.5, -0.9]], dtype=np.float32)
    module.to_weights(similarity, highest=np.array([0.1, 1.0, 0.1], np.float32), gamma=100.0)
    assert similarity[0] == pytest.approx([1.0, 0.1, 1e-4])


def test_a_larger_gamma_listens_to_the_near(make_two_tasks):
    outcomes = make_two_tasks(200)
    texts = pl.Series([SUM, NUMERAL])
    spread = [
        np.diff(gaps(SimilarityWeighted(**PAIR, gamma=gamma).fit(outcomes, seed=0), texts))[0]
        for gamma in (1.0, 10.0, 1000.0)
    ]
    assert spread[0] == pytest.approx(0, abs=1e-6)
    assert spread[0] > spread[1] > spread[2]


def test_gamma_is_chosen_on_queries_that_are_asked_without_themselves(make_two_tasks):
    told = make_two_tasks(300)
    chosen = SimilarityWeighted(gamma=None).fit(told, seed=0)
    fixed = [SimilarityWeighted(gamma=gamma).fit(told, seed=0) for gamma in module.GAMMAS]
    assert chosen.gamma > 10
    same = fixed[module.GAMMAS.index(chosen.gamma)].predict(told.texts)
    assert np.array_equal(chosen.predict(told.texts).reward, same.reward)


def test_labels_without_meaning_leave_all_queries_alike(make_two_tasks):
    outcomes = make_two_tasks(300)
    outcomes.reward[:] = np.random.default_rng(0).permutation(outcomes.reward)
    assert SimilarityWeighted(gamma=None).fit(outcomes, seed=0).gamma <= 10


def test_a_text_that_repeats_is_one_query(make_two_tasks):
    once = make_two_tasks(60)
    # Left in, its like would vouch for each, and gamma be the largest.
    thrice = once.take(np.tile(np.arange(60), 3))
    single = SimilarityWeighted(gamma=None, ties=1.0).fit(once, seed=0)
    repeated = SimilarityWeighted(gamma=None, ties=3.0).fit(thrice, seed=0)
    assert len(repeated.battles.vectors) == len(single.battles.vectors)
    assert repeated.gamma == single.gamma < module.GAMMAS[-1]
    expected = single.predict(ASKED).reward
    assert repeated.predict(ASKED).reward == pytest.approx(expected, abs=0.02)


def test_ties_are_half_wins(make_outcomes):
    reward = np.array([[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 2 + [[1.0, 1.0]] * 88)
    texts = [f"apples and pears, {n % 40}" for n in range(100)]
    router = SimilarityWeighted(gamma=1.0).fit(make_outcomes(texts, ["t"] * 100, reward), seed=0)
    # 54 of 100, and one more that came out even; among the decided alone 10 of 12.
    assert gaps(router, pl.Series(texts[:1])) == pytest.approx(np.log(54.5 / 46.5), abs=1e-5)


def test_parts_change_nothing(make_two_tasks, monkeypatch):
    outcomes = make_two_tasks(60)
    whole = SimilarityWeighted().fit(outcomes, seed=0).predict(outcomes.texts).reward
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 200)
    parts = SimilarityWeighted().fit(outcomes, seed=0).predict(outcomes.texts).reward
    assert parts == pytest.approx(whole, abs=1e-5)


def test_a_sample_gives_the_level_of_all(make_two_tasks, monkeypatch):
    outcomes = make_two_tasks(300)
    whole = SimilarityWeighted().fit(outcomes, seed=0).scale
    monkeypatch.setattr(module, "MAX_ASKED", 150)
    part = SimilarityWeighted().fit(outcomes, seed=0).scale
    assert part.offset == pytest.approx(whole.offset, abs=0.05)
    assert part != whole


def test_tiers_stand_for_their_candidates(make_two_tasks):
    outcomes = make_two_tasks(200)
    # `both` and `roman` nearly equal, `adder` far ahead.
    outcomes.reward[:, 0] = 1.0
    outcomes.reward[:, 2] = outcomes.reward[:, 1]
    outcomes.reward[:10, 2] = 1.0
    router = SimilarityWeighted(tiers=2).fit(outcomes, seed=0)
    reward = router.predict(pl.Series([SUM, NUMERAL])).reward
    assert strengths_of(router, pl.Series([SUM])).shape == (1, 2)
    assert np.argsort(-reward, axis=1).tolist() == [[0, 2, 1]] * 2
    assert (reward[:, 2] - reward[:, 1] < 0.1).all()
    assert (reward[:, 0] - reward[:, 1] > 0.1).all()


def test_a_pair_of_tiers_learns_from_all_their_members(make_two_tasks):
    outcomes = make_two_tasks(200)
    # Of the pair no query knows both; their tiers have met all the same.
    outcomes.reward[:] = np.where(outcomes.tasks[:, None] == "sums", [1, 0.0, 0.0], [0.6, 0.5, 0.5])
    outcomes.reward[:, 1] = np.where(np.arange(200) % 3 == 0, outcomes.reward[:, 1], NAN)
    outcomes.reward[:, 0] = np.where(np.arange(200) % 3 == 0, NAN, outcomes.reward[:, 0])
    outcomes.reward[0, 0] = 1.0
    router = SimilarityWeighted(**PAIR, tiers=2).fit(outcomes, seed=0)
    assert router.candidates == ("adder", "roman")
    assert gaps(router, pl.Series([SUM]))[0] > gaps(router, pl.Series([NUMERAL]))[0] > 0


def test_missing_pairs_are_left_out(make_two_tasks):
    outcomes = make_two_tasks(60)
    holes = replace(outcomes, reward=outcomes.reward.copy())
    holes.reward[::3, 0] = NAN
    holes.reward[1::3, 1] = NAN
    first = SimilarityWeighted(**PAIR).fit(holes, seed=0)
    assert len(first.battles.vectors) == 20


def test_one_candidate_is_worth_its_mean(make_outcomes):
    outcomes = make_outcomes(["a text", "b text", "c text"], ["t"] * 3, [[1.0], [0.0], [1.0]])
    reward = SimilarityWeighted().fit(outcomes, seed=0).predict(outcomes.texts).reward
    assert reward == pytest.approx(np.full((3, 1), 2 / 3))


def test_equal_rewards_everywhere_are_all_the_same(make_outcomes):
    outcomes = make_outcomes([f"text {row}" for row in range(30)], ["t"] * 30, np.ones((30, 3)))
    router = SimilarityWeighted().fit(outcomes, seed=0)
    assert router.predict(outcomes.texts).reward == pytest.approx(np.ones((30, 3)))


@pytest.mark.parametrize("n", [1, 2])
def test_hardly_any_rows(make_outcomes, n):
    outcomes = make_outcomes(["one apple", "two pears"][:n], ["t"] * n, [[1.0, 0.0]] * n)
    reward = SimilarityWeighted().fit(outcomes, seed=0).predict(outcomes.texts).reward
    assert np.isfinite(reward).all()
    assert (reward[:, 0] >= reward[:, 1]).all()


@pytest.mark.parametrize(
    "settings", [{}, {"normalise": "code", "gamma": 100.0}, {"tiers": 2}, {**PAIR, "tiers": 2}]
)
def test_a_loaded_router_says_the_same_bit_for_bit(root, make_two_tasks, settings):
    outcomes = make_two_tasks(60)
    router = SimilarityWeighted(**settings).fit(outcomes, seed=0)
    ids = tuple(f"id-{name}" for name in router.candidates)
    version = save_checkpoint(router, root, meta=CheckpointMeta(candidate_ids=ids))
    loaded = load_router(root, version=version)
    found, expected = loaded.predict(ASKED), router.predict(ASKED)
    assert np.array_equal(found.reward, expected.reward)
    assert np.array_equal(found.completion_tokens, expected.completion_tokens)


@pytest.mark.parametrize("players", [[0, 1], [0, 1, 3], [0, 1, "2"], "012"])
def test_damaged_players_are_refused(make_two_tasks, players):
    state = SimilarityWeighted().fit(make_two_tasks(20), seed=0).state()
    damaged = replace(state, config={**state.config, "players": players})
    with pytest.raises(InputError, match="players"):
        SimilarityWeightedRouter.from_state(damaged, candidates=("adder", "roman", "both"))


@pytest.mark.parametrize(
    "settings", [{"gamma": 0.5}, {"normalise": "none"}, {"ties": 0.0}, {"tiers": -1}]
)
def test_settings_out_of_range(settings):
    with pytest.raises(ValidationError):
        SimilarityWeighted(**settings)
