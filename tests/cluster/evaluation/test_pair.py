"""PGR, APGR and CPT against a loop over thresholds, and what they must not depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.evaluation.bootstrap import Bootstrap, estimate, resample, row_counts
from cluster.evaluation.pair import Pair, choose_pair, curve, pair_statistics, with_lift


def measured(score, gain, tasks=None, **bootstrap):
    gain = np.asarray(gain, dtype=float)
    found = pair_statistics(
        {"r": np.asarray(score, dtype=float)},
        gain=gain,
        tasks=np.asarray(["t"] * len(gain) if tasks is None else tasks),
        bootstrap=Bootstrap(**{"resamples": 50, **bootstrap}),
    )
    return found["r"]


def value(score, gain, metric="apgr"):
    return float(measured(score, gain)[metric][0])


def made_up(n, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n)
    win = rng.random(n) < 1 / (1 + np.exp(-(signal * score - 1.5)))
    return score, win.astype(float) - (~win & (rng.random(n) < 0.1))


def by_thresholds(score, gain):
    """The published way: quantile thresholds, one routed set after another, the trapezoid rule."""
    shares, recovered = [], []
    for number, threshold in enumerate(np.quantile(score, np.linspace(0, 1, 11))):
        strong = score > threshold if number == 10 else score >= threshold
        shares.append(strong.mean())
        recovered.append(gain[strong].sum() / gain.sum())
    order = np.argsort(shares)
    return np.trapezoid(np.array(recovered)[order], np.array(shares)[order])


def by_every_cut(score, gain):
    """Send 0, 1, 2 … queries to the strong candidate; of tied ones an average one each time."""
    expected = {each: gain[score == each].mean() for each in set(score.tolist())}
    order = sorted(score.tolist(), reverse=True)
    recovered = np.cumsum([0.0, *(expected[each] for each in order)]) / gain.sum()
    return (recovered[1:] + recovered[:-1]).mean() / 2


rows = st.lists(
    st.tuples(st.integers(-4, 4), st.sampled_from([-1.0, 0.0, 0.5, 1.0])), min_size=1, max_size=70
).filter(lambda found: sum(gain for _, gain in found) > 0)


@given(rows)
def test_the_area_is_that_over_every_single_cut(found) -> None:
    score, gain = map(np.array, zip(*found, strict=True))
    assert value(score, gain) == pytest.approx(by_every_cut(score, gain))


@given(st.integers(0, 10_000), st.sampled_from([30, 47, 203, 508]))
def test_apgr_11_is_that_of_eleven_quantile_thresholds(seed, n) -> None:
    score, gain = made_up(n, seed)
    if gain.sum() > 0:
        assert value(score, gain, "apgr_11") == pytest.approx(by_thresholds(score, gain))


def test_apgr_11_sends_tied_scores_together() -> None:
    score, gain = made_up(500)
    tied = np.round(score)
    assert value(tied, gain, "apgr_11") == pytest.approx(by_thresholds(tied, gain))


@given(rows)
def test_only_the_order_of_the_scores_counts(found) -> None:
    score, gain = map(np.array, zip(*found, strict=True))
    one, other = measured(score, gain), measured(np.exp(score / 3) - 7, gain)
    for metric, each in one.items():
        assert np.array_equal(each, other[metric], equal_nan=True)


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_count(found, random) -> None:
    score, gain = map(np.array, zip(*found, strict=True))
    index = random.sample(range(len(gain)), len(gain))
    assert value(score, gain) == pytest.approx(value(score[index], gain[index]))


def test_known_curves() -> None:
    # Two of ten queries gain: sent first, PGR is 1 from a share of 0.2 on.
    gain = np.array([1.0, 1.0] + [0.0] * 8)
    assert value(gain, gain) == pytest.approx(0.9)
    assert value(-gain, gain) == pytest.approx(0.1)
    assert value(gain, gain, "cpt50") == pytest.approx(0.1)
    assert value(gain, gain, "cpt80") == pytest.approx(0.16)
    constant = measured(np.zeros(10), gain)
    assert {name: each[0] for name, each in constant.items()} == pytest.approx(
        {"apgr": 0.5, "apgr_11": 0.5, "cpt50": 0.5, "cpt80": 0.8}
    )


def test_apgr_11_by_hand() -> None:
    """One of twenty queries gains, and is sent first: all is recovered from a share of .05 on."""
    score = np.arange(20.0)
    gain = (score == 19).astype(float)
    assert value(score, gain) == pytest.approx(0.05 / 2 + 0.95)
    # The deciles' thresholds send 0, 2, 4 … 20: the first step rises over two queries.
    assert value(score, gain, "apgr_11") == pytest.approx(0.1 / 2 + 0.9)


def test_cpt_is_the_first_share_that_suffices() -> None:
    # Up to all of the gap at once, down to nothing, and up again.
    gain = np.array([1.0, -1.0, 1.0])
    assert value([3, 2, 1], gain, "cpt80") == pytest.approx(0.8 / 3)


def test_random_scores_have_half_and_the_interval_says_so() -> None:
    _, gain = made_up(3000, seed=3)
    found = measured(np.random.default_rng(9).random(3000), gain, resamples=300)
    apgr = estimate(found["apgr"], level=0.95)
    assert apgr.low < 0.5 < apgr.high
    assert apgr.value == pytest.approx(0.5, abs=0.05)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    truth = value(*made_up(200_000, seed=1))
    covered = 0
    for seed in range(100):
        found = measured(*made_up(400, seed=seed + 10), resamples=200, seed=seed)
        interval = estimate(found["apgr"], level=0.95)
        covered += interval.low <= truth <= interval.high
    assert 86 <= covered <= 100


def test_a_resample_is_the_data_with_rows_repeated() -> None:
    score, gain = made_up(60)
    tasks = np.array(["a"] * 40 + ["b"] * 20)
    found = measured(score, gain, tasks, resamples=5)
    counts = np.concatenate(list(row_counts(tasks, bootstrap=Bootstrap(resamples=5))))
    for row, drawn in enumerate(counts.astype(int), start=1):
        again = measured(np.repeat(score, drawn), np.repeat(gain, drawn))
        for metric, each in found.items():
            assert each[row] == pytest.approx(again[metric][0], abs=1e-5)


@pytest.mark.parametrize("unit", ["query", "task"])
def test_the_draws_are_those_of_the_other_metrics(unit) -> None:
    rng = np.random.default_rng(0)
    values, tasks = rng.random(90), np.repeat(["a", "b", "c"], 30)
    bootstrap = Bootstrap(resamples=40, seed=5, unit=unit)
    counts = np.concatenate(list(row_counts(tasks, bootstrap=bootstrap)))
    means = counts @ values / counts.sum(axis=1)
    kept = resample(values[:, None], tasks=tasks, bootstrap=bootstrap).micro[1:, 0]
    assert means == pytest.approx(kept, abs=1e-6)


def test_resampling_tasks_is_wider_when_the_router_suits_some_of_them() -> None:
    score, gain = made_up(800, signal=2.0)
    tasks = np.repeat(list("abcdefgh"), 100)
    score[tasks > "d"] *= -1
    rows, whole = (
        estimate(measured(score, gain, tasks, resamples=300, unit=unit)["apgr"], level=0.95)
        for unit in ("query", "task")
    )
    assert rows.value == whole.value
    assert whole.high - whole.low > 1.5 * (rows.high - rows.low)


def test_a_strong_candidate_that_is_no_better_has_no_metrics() -> None:
    assert pair_statistics(
        {"r": np.zeros(2)}, gain=np.array([1.0, -1.0]), tasks=np.array(["t"] * 2),
        bootstrap=Bootstrap(resamples=3),
    ) == {}  # fmt: skip
    assert curve(np.zeros(2), gain=np.array([1.0, -1.0])) is None


def test_the_curve_goes_from_the_weak_to_the_strong_candidate() -> None:
    score, gain = made_up(101)
    found = curve(np.round(score, 1), gain=gain)
    assert (found.share[0], found.pgr[0]) == (0.0, 0.0)
    assert (found.share[-1], found.pgr[-1]) == (1.0, 1.0)
    assert (np.diff(found.share) > 0).all()
    assert np.trapezoid(found.pgr, found.share) == pytest.approx(value(np.round(score, 1), gain))


def test_lifts_are_paired() -> None:
    score, gain = made_up(300)
    found = pair_statistics(
        {"length": score, "same": 2 * score, "worse": -score},
        gain=gain, tasks=np.array(["t"] * 300), bootstrap=Bootstrap(resamples=20),
    )  # fmt: skip
    lifted = with_lift(found, over="length")
    assert not lifted["same"]["apgr_lift_over_length"].any()
    assert "apgr_lift_over_length" not in lifted["length"]
    assert lifted["worse"]["apgr_lift_over_length"][0] < 0
    assert with_lift(found, over="absent") == found


def test_the_pair_is_named_or_the_only_one() -> None:
    means = np.array([0.2, 0.7])
    assert choose_pair(("a", "b"), strong="", weak="", train_reward=means) == Pair("b", "a")
    assert choose_pair(("a", "b"), strong="a", weak="b", train_reward=means) == Pair("a", "b")
    three = {"train_reward": np.array([0.1, 0.2, 0.3])}
    assert choose_pair(("a", "b", "c"), strong="", weak="", **three) is None
    assert choose_pair(("a", "b", "c"), strong="a", weak="c", **three) == Pair("a", "c")
    with pytest.raises(InputError, match="weak candidate '' is not among a, b, c"):
        choose_pair(("a", "b", "c"), strong="a", weak="", **three)
    with pytest.raises(InputError, match="strong candidate 'z' is not among"):
        choose_pair(("a", "b", "c"), strong="z", weak="a", **three)
    with pytest.raises(InputError, match="both 'a'"):
        choose_pair(("a", "b", "c"), strong="a", weak="a", **three)
