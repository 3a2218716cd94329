"""collect across nodes, of which some die: the same answers, and none is given twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.jobs.generate_pool import MAX_RESTARTS
from cluster.jobs.run import Run

QUERIES, SHARD_ROWS = 120, 8


def givers(nodes) -> set[int]:
    """Process ids of those who have answered since the last `forget`."""
    echo = nodes.echo
    lines = (echo.folder / "log").read_text().splitlines() if echo.generated() else []
    return {int(line.split()[0]) for line in lines[echo.mark :]}


def all_once(nodes, *, lost: int) -> None:
    """Each answer was given, and beside the shards in work none a second time."""
    log = nodes.echo.generated()
    assert len(set(log)) == QUERIES
    assert len(log) <= QUERIES + lost * SHARD_ROWS, "more was generated twice than was in work"


def on(world, *, cpus: float, replicas: int):
    """The same with other workers."""
    (one,) = world.candidates
    resources = one.resources.model_copy(update={"cpus": cpus, "replicas": replicas})
    return replace(world, candidates=(one.model_copy(update={"resources": resources}),))


def test_a_node_dies_and_the_other_does_its_work(
    *, asked, answered, nodes, until, fault_table, tmp_path: Path
) -> None:
    world = asked.copied(tmp_path / "lake")
    nodes.have(2)
    nodes.echo.forget()
    with fault_table.run("a node is killed, none comes", where="collect"):
        with nodes.doing(world.generate()):
            until(lambda: len(givers(nodes)) == 2)
            nodes.kill(nodes.of(max(givers(nodes))))
            assert len(nodes.echo.generated()) < QUERIES, "it was over before the node died"
        all_once(nodes, lost=1)
        world.must_equal(answered.facts())


def test_the_only_node_dies_with_all_workers_and_another_comes(
    *, asked, answered, nodes, until, fault_table, tmp_path: Path
) -> None:
    """More of them than may die one after another: a node is one loss."""
    world = on(asked.copied(tmp_path / "lake"), cpus=0.25, replicas=MAX_RESTARTS + 1)
    for node in nodes.have(1)[1:]:
        nodes.kill(node)
    nodes.echo.forget()
    spec = world.generate()
    with fault_table.run("the only node is killed, another comes", where="collect"):
        with nodes.doing(spec):
            until(lambda: len(nodes.alive[0].those("GenerateWorker")) == MAX_RESTARTS + 1)
            nodes.kill(nodes.alive[0])
            assert len(nodes.echo.generated()) < QUERIES, "it was over before the node died"
            nodes.add()
        all_once(nodes, lost=MAX_RESTARTS + 1)
        world.must_equal(answered.facts(), tables=["queries", "completions"])
        manifest = Run.of(spec).read_manifest()
        assert manifest is not None
        assert [row["generated"] for row in manifest["candidates"]] == [QUERIES]


@pytest.mark.slow
def test_a_node_that_was_away_comes_back_and_harms_nothing(
    *, asked, answered, nodes, until, fault_table, tmp_path: Path
) -> None:
    """Given up by the cluster, its worker still writes the shard that another has by then."""
    world = asked.copied(tmp_path / "lake")
    nodes.have(2)
    nodes.echo.forget()
    with fault_table.run("a node is cut off and comes back", where="collect"):
        with nodes.doing(world.generate()):
            until(lambda: len(givers(nodes)) == 2)
            node = nodes.of(max(givers(nodes)))
            node.freeze()
            until(lambda: len(set(nodes.echo.generated())) == QUERIES)
            node.thaw()
        nodes.alive.remove(node)
        until(lambda: not node.living())
        all_once(nodes, lost=2)
        world.must_equal(answered.facts())
