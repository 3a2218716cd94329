"""A scorer's actors across nodes, of which one dies: every part is scored, in order."""

import json
from pathlib import Path

PARTS = 40
# Says who works on a part, in a file that is named for it.
CODE = """
import json, os, sys, time
from contextlib import contextmanager
from pathlib import Path
import polars as pl
from cluster.candidate import Resources
from cluster.jobs.label_worker import work_in_actors
from cluster.ray_cluster import connect

folder, parts = Path(sys.argv[1]), int(sys.argv[2])

class Slow:
    kind, name = "scorer", "slow"

    @contextmanager
    def open(self):
        yield self.rate

    def rate(self, part):
        number = int(part["number"][0])
        time.sleep(0.2)
        (folder / str(number)).write_text(str(os.getpid()))
        return 2 * number

connect()
frames = [pl.DataFrame({"number": [number]}) for number in range(parts)]
made = list(work_in_actors(Slow(), parts=frames, placement=Resources(cpus=1, replicas=2)))
(folder / "made").write_text(json.dumps(made))
"""


def test_a_node_dies_and_the_other_does_its_work(nodes, until, fault_table, tmp_path: Path) -> None:
    """Nobody can take the dead one's place: there is no other CPU."""
    nodes.have(2)

    def workers() -> set[int]:
        # The file is there before its word is.
        told = [file.read_text() for file in tmp_path.iterdir() if file.name.isdigit()]
        return {int(pid) for pid in told if pid}

    with fault_table.run("a node is killed, none comes", where="label"):
        with nodes.python("-c", CODE, str(tmp_path), str(PARTS)):
            until(lambda: len(workers()) == 2)
            assert len(list(tmp_path.iterdir())) < PARTS, "it was over before the node died"
            nodes.kill(nodes.of(max(workers())))
        assert json.loads((tmp_path / "made").read_text()) == [2 * n for n in range(PARTS)]
