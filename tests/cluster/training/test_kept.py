"""A training in one process that is killed goes on from its last kept epoch."""

import numpy as np
import pytest

from cluster.storage import Storage
from cluster.training import kept


class Killed(BaseException):
    """Stands for the end of the process."""


def die_after(epoch):
    def tell(note):
        if note["epoch"] == epoch:
            raise Killed

    return tell


def same(weights, others):
    return all(np.array_equal(weights[name], others[name]) for name in others)


@pytest.fixture
def eager(monkeypatch):
    """Every epoch is kept."""
    monkeypatch.setattr(kept, "SECONDS_APART", 0.0)


def test_a_killed_training_goes_on_and_ends_as_the_undisturbed_one(scene, root, eager):
    weights, notes = scene.train(0, storage="")
    with pytest.raises(Killed):
        scene.train(0, storage=root, tell=die_after(3))
    resumed, left = scene.train(0, storage=root)
    assert [note["epoch"] for note in left] == [4, 5, 6]
    assert same(resumed, weights)
    for note, undisturbed in zip(left, notes[3:], strict=True):
        assert note["validation_loss"] == undisturbed["validation_loss"]


def test_another_plan_does_not_go_on_from_it(scene, root, eager):
    other = scene.PLAN | {"seed": 6}
    with pytest.raises(Killed):
        scene.train(0, storage=root, tell=die_after(3))
    weights, notes = scene.train(0, storage=root, plan=other)
    assert [note["epoch"] for note in notes] == [1, 2, 3, 4, 5, 6]
    assert same(weights, scene.train(0, storage="", plan=other)[0])


def test_what_is_trained_in_a_moment_keeps_nothing(scene, root):
    scene.train(0, storage=root)
    storage = Storage.at(root)
    assert storage.list(storage.uri) == []
