"""A folder as the output of the route job: Parquet or JSON Lines, local or on S3, all at once."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs import route as route_module
from cluster.jobs.run import Run
from cluster.policies.constraints import Constraints
from cluster.routing import publish as publish_module
from cluster.routing import store as store_module
from cluster.storage import Storage
from tests.routed import query_rows, run, specs


@pytest.fixture(autouse=True)
def short_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_module, "BATCH_ROWS", 10)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_lake_and_output_may_be_anywhere(tmp_path: Path, root: str, kind: str) -> None:
    query_rows(25).write_parquet(tmp_path / "in.parquet")
    lake, folder = Storage.at(f"{root}/lake"), Storage.at(f"{root}/out")
    spec = specs(tmp_path)(folder.uri, lake=lake.uri, output_format=kind)
    manifest = run(spec)
    assert [uri for uri, _ in folder.list(folder.uri)] == manifest["outputs"]
    assert len(manifest["outputs"]) == 3
    assert not lake.list(Run.of(spec).uri("scratch")), "the parts have served"
    read = pl.read_parquet if kind == "parquet" else pl.read_ndjson
    rows = pl.concat(read(io.BytesIO(folder.read_bytes(uri))) for uri in manifest["outputs"])
    assert rows.select("id", "text").equals(query_rows(25))
    assert rows["candidate"].to_list() == ["cheap" if n % 2 else "strong" for n in range(25)]


def test_what_was_an_object_is_one_again_in_json_lines(tmp_path: Path) -> None:
    lines = [{"text": f"add {n} and 7", "meta": {"of": [n]}} for n in range(25)]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    manifest = run(specs(tmp_path)("folder", output_format="jsonl"))
    written = "".join(Path(uri).read_text() for uri in manifest["outputs"])
    found = [json.loads(line) for line in written.splitlines()]
    assert [{name: row[name] for name in ("text", "meta")} for row in found] == lines


def test_a_folder_may_change_its_format_when_it_is_replaced(tmp_path: Path) -> None:
    query_rows(25).write_parquet(tmp_path / "in.parquet")
    spec = specs(tmp_path)
    run(spec("folder"))
    manifest = run(spec("folder", output_format="jsonl", overwrite=True))
    assert sorted(map(str, (tmp_path / "folder").iterdir())) == manifest["outputs"]


@pytest.mark.parametrize("name", ["data.parquet", "part-00000-000000000099.parquet", "a/notes"])
def test_files_of_others_are_neither_mixed_with_nor_removed(tmp_path, root, name) -> None:
    """Whatever they are called, and though this lake has written there before."""
    folder = Storage.at(f"{root}/out")
    query_rows(25).write_parquet(tmp_path / "in.parquet")
    spec = specs(tmp_path)
    run(spec(folder.uri))
    folder.write(folder.join(name), b"mine")
    before = folder.list(folder.uri)
    query_rows(5).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(InputError, match=f"{name}: is in the way"):
        run(spec(folder.uri, overwrite=True))
    assert folder.list(folder.uri) == before
    folder.delete(folder.join(name))
    assert len(run(spec(folder.uri, overwrite=True))["outputs"]) == 1


def meanwhile(monkeypatch: pytest.MonkeyPatch, *, place: str, work: Callable[[], object]) -> None:
    """Do some work when a run first comes to a failpoint."""
    left = [work]

    def passed(name: str) -> None:
        if name == place and left:
            left.pop()()

    for module in (store_module, publish_module):
        monkeypatch.setattr(module, "failpoint", passed)


@pytest.mark.parametrize("output", ["out", "out.jsonl"])
def test_of_two_works_on_one_output_the_one_that_was_replaced_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    query_rows(25).write_parquet(tmp_path / "in.parquet")
    spec = specs(tmp_path)
    other = spec(output, constraints=Constraints(allowed=("cheap",)), overwrite=True)
    meanwhile(monkeypatch, place="route.before_output", work=lambda: run(other))
    with pytest.raises(InputError, match="another run has begun to write there"):
        run(spec(output))
    assert chosen(Run.of(other).read_manifest()) == {"cheap"}


@pytest.mark.parametrize("output", ["out", "out.jsonl"])
def test_what_came_while_a_run_worked_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    query_rows(25).write_parquet(tmp_path / "in.parquet")
    spec = specs(tmp_path)
    other = spec(output, constraints=Constraints(allowed=("cheap",)))
    meanwhile(monkeypatch, place="route.after_part", work=lambda: run(other))
    with pytest.raises(InputError, match="is there already"):
        run(spec(output))
    assert chosen(Run.of(other).read_manifest()) == {"cheap"}


def chosen(manifest: dict | None) -> set[str]:
    assert manifest is not None
    kinds = {".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson}
    rows = [kinds[Path(uri).suffix](uri) for uri in manifest["outputs"]]
    return {name for frame in rows for name in frame["candidate"]}


@pytest.mark.parametrize("output", ["", "in.jsonl", "in.jsonl/out", "link"])
def test_an_input_is_never_replaced(tmp_path: Path, output: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    query_rows(5).write_ndjson(tmp_path / "in.jsonl")
    before = (tmp_path / "in.jsonl").read_bytes()
    with pytest.raises(InputError, match="never replaces its input"):
        run(specs(tmp_path)(output, overwrite=True))
    assert (tmp_path / "in.jsonl").read_bytes() == before


def test_what_is_published_is_left_alone_when_the_scratch_folder_goes(tmp_path: Path) -> None:
    """On one disk a part and its copy are one file with two names."""
    query_rows(25).write_parquet(tmp_path / "in.parquet")
    manifest = run(specs(tmp_path)("folder"))
    assert all(Path(uri).stat().st_nlink == 1 for uri in manifest["outputs"])
    assert sum(pl.read_parquet(uri).height for uri in manifest["outputs"]) == 25
