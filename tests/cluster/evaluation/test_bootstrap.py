"""The bootstrap: seeded, stratified, and its intervals cover as often as they say."""

import numpy as np

from cluster.evaluation.bootstrap import Bootstrap, estimate, resample


def interval(values, tasks, *, seed: int = 0, unit: str = "query"):
    found = resample(
        values, tasks=np.asarray(tasks), bootstrap=Bootstrap(resamples=400, seed=seed, unit=unit)
    )
    return estimate(found.macro[:, 0], level=0.95)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(1).random((50, 1))
    tasks = ["x"] * 20 + ["y"] * 30
    assert interval(values, tasks) == interval(values, tasks)
    assert interval(values, tasks) != interval(values, tasks, seed=1)


def test_a_constant_has_no_width() -> None:
    found = interval(np.full((30, 1), 0.25), ["x"] * 30)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    tasks = ["x"] * 100 + ["y"] * 60
    truth = (0.3 + 0.8) / 2
    covered = 0
    for draw in range(200):
        values = np.concatenate([rng.random(100) < 0.3, rng.random(60) < 0.8]).astype(float)
        found = interval(values[:, None], tasks, seed=draw)
        covered += found.low <= truth <= found.high
    # 95 % of 200 is 190; below 175 or all 200 would be far outside what chance allows.
    assert 175 <= covered < 200


def test_resampling_tasks_is_wider_than_resampling_rows_when_tasks_differ() -> None:
    rng = np.random.default_rng(0)
    tasks = np.repeat(list("abcdefgh"), 50)
    values = (rng.random(400) < np.repeat(rng.random(8), 50)).astype(float)[:, None]
    rows, whole = interval(values, tasks), interval(values, tasks, unit="task")
    assert whole.high - whole.low > 2 * (rows.high - rows.low)
