"""collect across nodes, of which some die: the same answers, and none is given twice."""

from pathlib import Path

from cluster.jobs.run import Run

QUERIES, SHARD_ROWS = 120, 8


def givers(nodes) -> set[int]:
    """Process ids of those who have answered since the last `forget`."""
    echo = nodes.site.echo
    lines = (echo.folder / "log").read_text().splitlines() if echo.generated() else []
    return {int(line.split()[0]) for line in lines[echo.mark :]}


def all_once(nodes) -> None:
    """Each answer was given, and beside the shard in work none a second time."""
    log = nodes.site.echo.generated()
    assert len(set(log)) == QUERIES
    assert len(log) <= QUERIES + SHARD_ROWS, "more was generated twice than the shard in work"


def test_a_node_dies_and_the_other_does_its_work(asked, answered, nodes, until, tmp_path: Path):
    world = asked.copied(tmp_path / "lake")
    nodes.have(2)
    nodes.site.echo.forget()
    with nodes.doing(world.generate()):
        until(lambda: len(givers(nodes)) == 2)
        nodes.kill(nodes.of(max(givers(nodes))))
        assert len(nodes.site.echo.generated()) < QUERIES, "it was over before the node died"
    all_once(nodes)
    world.must_equal(answered.facts())


def test_the_only_node_dies_and_another_comes(asked, answered, nodes, until, tmp_path: Path):
    world = asked.copied(tmp_path / "lake")
    for node in nodes.have(1)[1:]:
        nodes.kill(node)
    nodes.site.echo.forget()
    spec = world.generate()
    with nodes.doing(spec):
        until(lambda: bool(givers(nodes)))
        nodes.kill(nodes.alive[0])
        assert len(nodes.site.echo.generated()) < QUERIES, "it was over before the node died"
        nodes.add()
    all_once(nodes)
    world.must_equal(answered.facts())
    manifest = Run.of(spec).read_manifest()
    assert manifest is not None
    assert [row["generated"] for row in manifest["candidates"]] == [QUERIES]
