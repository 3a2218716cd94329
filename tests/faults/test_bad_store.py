"""S3 that answers a tenth of all requests 500 or 503, and another tenth slowly."""

from dataclasses import replace

import pytest

FAULT = "S3: 10 % of requests answered 500 or 503, as many slowly"
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 7))]


@pytest.fixture
def world(fresh, s3_root: str):
    """An empty lake on S3."""
    return replace(fresh, root=s3_root)


@pytest.mark.parametrize("seed", SEEDS)
def test_collect(seed: int, world, labelled, site, fault_table) -> None:
    site.echo.forget()
    with fault_table.run(FAULT, where="collect"):
        with site.store.having_a_bad_day(share=0.1, seed=seed):
            site.succeed(world.ingest())
            site.succeed(world.generate())
            site.succeed(world.label())
            told = site.store.told
        assert told["refused"] + told["lost"] > 0.05 * told["all"], told
        log = site.echo.generated()
        assert len(log) == len(set(log)) == 60
        world.must_equal(labelled.facts())
