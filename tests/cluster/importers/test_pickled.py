import pickle
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.errors import InputError
from cluster.importers import routerbench, routereval
from cluster.importers.pickled import refuse_pickles


class Bomb:
    """What makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.mkdir, (self.folder,))


@pytest.mark.parametrize(
    ("name", "read", "line"),
    [
        (
            "routerbench_0shot.pkl",
            routerbench.read,
            "python -c \"import pandas; pandas.read_pickle('{folder}/routerbench_0shot.pkl')"
            ".to_parquet('{folder}/routerbench_0shot.parquet')\"",
        ),
        (
            "arc_router_dataset.pkl",
            routereval.read,
            "open('{folder}/arc_router_dataset.json', 'w')",
        ),
    ],
)
@pytest.mark.parametrize("whole_folder", [True, False])
def test_a_pickle_is_refused_unopened(
    name: str, read: Any, line: str, whole_folder: bool, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(InputError, match="to load one is to run whatever code is in it") as told:
        read(str(tmp_path if whole_folder else tmp_path / name))
    assert name in str(told.value)
    assert line.format(folder=tmp_path) in str(told.value)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["a.pkl", "a.pkl.gz", "a.PICKLE"])
def test_every_way_to_call_a_pickle(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"convert it yourself.*'{tmp_path}/a\.parquet'"):
        refuse_pickles(str(tmp_path / name), form="routerbench")
    with pytest.raises(InputError, match=r"import the result$"):
        refuse_pickles(str(tmp_path / name), form="table")


def test_a_folder_that_has_been_converted_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").touch()
    (tmp_path / "a.parquet").touch()
    refuse_pickles(str(tmp_path), form="routerbench")
    refuse_pickles(str(tmp_path / "absent"), form="routerbench")


def converted(path: Path, content: object, read: Any) -> Any:
    """What is read after the line in the refusal has been run."""
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError) as told:
        read(str(path.parent))
    line = str(told.value).partition("python -c ")[2]
    subprocess.run(f"{shlex.quote(sys.executable)} -c {line}", shell=True, check=True)
    return read(str(path.parent))


def test_the_line_that_is_given_converts_a_table(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "sample_id": ["s.1", "s.2"],
            "prompt": ["['one']", "['two']"],
            "eval_name": ["t", "t"],
            "a": [1.0, float("nan")],
            "a|total_cost": [0.5, 0.25],
        }
    )
    table = converted(tmp_path / "routerbench_0shot.pkl", frame, routerbench.read)
    assert table.rows.select("text", "value", "cost_usd").rows() == [("one", 1.0, 0.5)]


def test_the_line_that_is_given_converts_a_tree(tmp_path: Path) -> None:
    scores = {"train_score": np.array([[1.0, 0.0]])}
    pools = {3: {"all_strong": {"model": np.array(["a", "b"]), "data": scores}}}
    tree = {
        "easy": pools,
        "hard": {},
        "prompt": {"train_prompt": np.array(["one"])},
        "embedding": {"train_embed": np.zeros((1, 768))},
    }
    table = converted(tmp_path / "arc_router_dataset.pkl", tree, routereval.read)
    found = table.rows.select("task", "candidate", "value").rows()
    assert found == [("arc", "a", 1.0), ("arc", "b", 0.0)]
    assert b"embed" not in (tmp_path / "arc_router_dataset.json").read_bytes()
