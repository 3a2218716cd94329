import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent / "train_on_ray.py"
EPOCHS = 6


def trained_on_ray(folder, ways, **environment):
    """Way → weights and notes, from a process with a Ray of its own."""
    subprocess.run(
        [sys.executable, SCRIPT, folder, *ways],
        env=os.environ | environment,
        check=True,
        timeout=600,
        stdout=subprocess.DEVNULL,
    )
    return {
        way: (
            dict(np.load(folder / f"{way}.npz")),
            json.loads((folder / f"{way}.json").read_text()),
        )
        for way in ways
    }


@pytest.fixture(scope="module")
def here(scene):
    """Trained in this process."""
    return scene.train(0, storage="")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return trained_on_ray(folder, ["two", "killed"], TRAINING_STORAGE=str(folder / "storage"))


@pytest.fixture(scope="module")
def slow_runs(tmp_path_factory, s3_environment):
    import boto3

    s3 = boto3.client("s3", endpoint_url=s3_environment["AWS_ENDPOINT_URL"], **KEYS)
    s3.create_bucket(Bucket="training")
    return trained_on_ray(
        tmp_path_factory.mktemp("slow"),
        ["one", "killed", "again", "broken"],
        TRAINING_STORAGE="s3://training/prefix",
        **s3_environment,
    )


KEYS = {
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
    "region_name": "us-east-1",
}


def distance(weights, others):
    assert weights.keys() == others.keys()
    return max(float(np.abs(weights[name] - others[name]).max()) for name in weights)


def test_two_workers_end_with_the_parameters_of_one_process(here, runs):
    weights, notes = runs["two"]
    assert distance(weights, here[0]) < 1e-6
    assert [note["epoch"] for note in notes] == list(range(1, EPOCHS + 1))
    for note, alone in zip(notes, here[1], strict=True):
        assert note["method"] == "routerdc"
        assert note["validation_score"] == pytest.approx(alone["validation_score"])
        assert note["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-5)


@pytest.mark.slow
def test_one_worker_ends_with_the_parameters_of_one_process(here, slow_runs):
    assert distance(slow_runs["one"][0], here[0]) < 1e-6


@pytest.mark.parametrize(
    "where", ["runs", pytest.param("slow_runs", marks=pytest.mark.slow)], ids=["local", "s3"]
)
def test_a_killed_worker_changes_nothing(here, where, request):
    """Of six epochs those before the kill are not trained again."""
    weights, notes = request.getfixturevalue(where)["killed"]
    epochs = [note["epoch"] for note in notes]
    assert epochs[:3] == [1, 2, 3]
    assert epochs[-1] == EPOCHS
    assert len(epochs) < EPOCHS + 3
    assert distance(weights, here[0]) < 1e-6


@pytest.mark.slow
def test_what_is_trained_is_not_trained_again(slow_runs):
    weights, notes = slow_runs["again"]
    assert notes == []
    assert distance(weights, slow_runs["killed"][0]) == 0.0


@pytest.mark.slow
def test_workers_that_fail_for_good_are_told(slow_runs):
    (error,) = slow_runs["broken"][1]
    assert error.startswith("training 'routerdc' failed 2 times; the last time: ")
