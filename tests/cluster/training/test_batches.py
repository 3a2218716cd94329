import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.training.batches import epoch_steps, share

SHAPES = st.fixed_dictionaries(
    {"batch_size": st.integers(1, 40), "micro_batch": st.integers(1, 40), "seed": st.integers(0, 9)}
)
LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=300).map(np.array)


def rows_of(step):
    return np.concatenate([micro.rows for micro in step])


@given(LENGTHS, SHAPES, st.integers(0, 5))
def test_every_row_comes_up_once_but_for_the_fill_up_of_the_last_step(lengths, shape, epoch):
    steps = epoch_steps(lengths, **shape, epoch=epoch)
    micros = [micro for step in steps for micro in step]
    n_micros = len({micro.rows.tobytes() for micro in micros})
    once = np.concatenate([micro.rows for micro in micros[:n_micros]])
    assert sorted(once) == list(range(len(lengths)))
    for place, micro in enumerate(micros):
        assert np.array_equal(micro.rows, micros[place % n_micros].rows)


@given(LENGTHS, SHAPES)
def test_each_step_has_as_many_micro_batches_and_they_are_small_enough(lengths, shape):
    steps = epoch_steps(lengths, **shape, epoch=0)
    assert len({len(step) for step in steps}) == 1
    assert all(1 <= len(micro.rows) <= shape["micro_batch"] for step in steps for micro in step)
    # A step may hold a row too many a micro-batch where the batch cannot be cut evenly.
    assert all(len(rows_of(step)) < shape["batch_size"] + len(step) for step in steps)


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "sizes"),
    [(16, 64, [16]), (100, 64, [50, 50]), (64, 64, [64]), (64, 16, [16] * 4)],
)
def test_a_batch_is_cut_evenly(batch_size, micro_batch, sizes):
    steps = epoch_steps(
        np.ones(1600, np.int64), batch_size=batch_size, micro_batch=micro_batch, seed=0, epoch=0
    )
    assert all([len(micro.rows) for micro in step] == sizes for step in steps)


@given(LENGTHS, SHAPES, st.integers(1, 7))
def test_the_workers_together_take_the_step_whole(lengths, shape, workers):
    for step in epoch_steps(lengths, **shape, epoch=0):
        parts = [share(step, rank=rank, workers=workers) for rank in range(workers)]
        together = [micro for part in parts for micro in part]
        assert sorted(micro.seed for micro in together) == sorted(micro.seed for micro in step)
        assert sorted(np.concatenate([rows_of([m]) for m in together])) == sorted(rows_of(step))


def test_equal_seeds_are_equal_and_other_seeds_and_epochs_are_not():
    lengths = np.random.default_rng(0).integers(1, 500, 300)

    def drawn(seed, epoch):
        steps = epoch_steps(lengths, batch_size=32, micro_batch=8, seed=seed, epoch=epoch)
        return [(micro.rows.tolist(), micro.seed) for step in steps for micro in step]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(0, 1)
    assert drawn(0, 0) != drawn(1, 0)


def test_each_micro_batch_has_a_seed_of_its_own():
    """Dropout must not repeat itself from step to step."""
    steps = epoch_steps(np.ones(640, np.int64), batch_size=32, micro_batch=8, seed=0, epoch=0)
    seeds = [micro.seed for step in steps for micro in step]
    assert len(set(seeds)) == len(seeds) == 80


@pytest.mark.parametrize(("micro_batch", "at_most"), [(16, 0.05), (64, 0.15)])
def test_little_is_padding(micro_batch, at_most):
    """Lengths as RouterDC's: half under 60 word pieces, one in twenty over 210."""
    lengths = np.random.default_rng(0).lognormal(np.log(60), 0.75, 5300).clip(1, 512).astype(int)
    steps = epoch_steps(lengths, batch_size=64, micro_batch=micro_batch, seed=0, epoch=0)
    micros = [micro.rows for step in steps for micro in step]
    places = sum(len(rows) * lengths[rows].max() for rows in micros)
    words = sum(lengths[rows].sum() for rows in micros)
    assert 1 - words / places < at_most


def test_lengths_come_in_any_order():
    """Sorted within pools, but not from step to step: else every epoch would end on long texts."""
    lengths = np.arange(1, 1001)
    steps = epoch_steps(lengths, batch_size=20, micro_batch=10, seed=0, epoch=0)
    means = [lengths[rows_of(step)].mean() for step in steps]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


def test_equal_lengths_are_shuffled():
    """Vectors have no length: rows next to each other in the data must not stay together."""
    steps = epoch_steps(np.ones(640, np.int64), batch_size=64, micro_batch=64, seed=0, epoch=0)
    assert all(np.ptp(rows_of(step)) > 300 for step in steps)
