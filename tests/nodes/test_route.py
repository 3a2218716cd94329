"""route across nodes, of which one dies: the same file, from those that are left."""

from pathlib import Path

import pytest

from cluster.jobs.run import Run
from tests.routed import query_rows, run, specs

ROWS, SHARD_ROWS = 40_000, 500
# Small shards, and actors however small the file is.
CODE = """
import sys
from cluster.jobs import route
from cluster.jobs.run import main
route.BATCH_ROWS, route.SMALL_BYTES = {rows}, 0
main(route.RouteSpec, work=route.route)
"""
BUDGET = {"policy": "budget", "policy_settings": {"usd_per_1000": 0.05}}


@pytest.fixture
def spec(tmp_path: Path):
    """Of a Parquet file of four row groups."""
    query_rows(ROWS).write_parquet(tmp_path / "in.parquet", row_group_size=ROWS // 4)
    return specs(tmp_path)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param({}, id="at once"),
        pytest.param(BUDGET, id="sees the file", marks=pytest.mark.slow),
    ],
)
def test_a_node_dies_and_the_other_does_its_work(
    *, spec, nodes, until, monkeypatch, fault_table, policy
) -> None:
    """Nobody can take the dead one's place: there is no other CPU."""
    from cluster.jobs import route as route_module

    monkeypatch.setattr(route_module, "BATCH_ROWS", SHARD_ROWS)
    calm = run(spec("calm", **policy))
    nodes.have(2)
    asked = spec("hit", **policy)
    uri = Run.of(asked).write_spec(asked)
    scratch = Path(Run.of(asked).uri("scratch"))

    def through() -> int:
        return len(list(scratch.rglob("*.json")))

    with fault_table.run("a node is killed, none comes", where="route"):
        with nodes.python("-c", CODE.format(rows=SHARD_ROWS), uri):
            until(lambda: through() > 3)
            nodes.kill(nodes.alive[0])
            assert through() < ROWS / SHARD_ROWS, "it was over before the node died"
        hit = Run.of(asked).read_manifest()
        assert hit is not None
        assert written(hit) == written(calm)


def written(manifest: dict) -> list[bytes]:
    return [Path(uri).read_bytes() for uri in manifest["outputs"]]
