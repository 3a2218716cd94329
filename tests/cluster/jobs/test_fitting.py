import pytest
import ray

from cluster.jobs import fitting
from cluster.jobs.run import Run
from cluster.jobs.train import TrainSpec, train
from cluster.routers.fit import fit_method


@pytest.fixture
def lake(make_lake, scores):
    return make_lake(scores=scores())


@pytest.mark.parametrize(("gpus", "each"), [(0, 0.0), (1, 0.0), (2, 1.0)])
def test_workers_hold_a_gpu_where_there_is_one_for_each(lake, versions_of, monkeypatch, gpus, each):
    given = []

    def fit(*arguments, context, **more):
        given.append(context.gpus_per_worker)
        return fit_method(*arguments, context=context, **more)

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": float(gpus)})
    monkeypatch.setattr(fitting, "fit_method", fit)
    spec = TrainSpec(
        lake=lake,
        methods=("prompt_length",),
        dataset="scores",
        scorer="",
        normalisation="none",
        candidates=(),
        prices={},
        seed=0,
        inputs=versions_of(lake),
        workers=2,
        champion=None,
    )
    train(spec, Run.of(spec))
    assert given == [each]
