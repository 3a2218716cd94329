"""Bad input of the route job: told in words, nothing mixed, nothing half-written."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cluster import registry
from cluster.errors import InputError
from cluster.gate.decision import Decision
from cluster.jobs import route as route_module
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.price import Price
from cluster.routing.spec import RouteSpec
from tests.routed import query_rows, run, save_router, specs

MakeSpec = Callable[..., RouteSpec]


@pytest.fixture
def spec(tmp_path: Path) -> MakeSpec:
    return specs(tmp_path)


def test_files_of_several_schemas_fit_a_folder_and_no_file(tmp_path, spec) -> None:
    query_rows(5).write_parquet(tmp_path / "in.1.parquet")
    more = query_rows(5, start=5).with_columns(tag=pl.lit("t"))
    more.write_parquet(tmp_path / "in.2.parquet")
    with pytest.raises(InputError, match=r"in\.2\.parquet: its columns differ.*folder"):
        run(spec("out.parquet"))
    assert not (tmp_path / "out.parquet").exists()
    one, two = run(spec("folder"))["outputs"]
    assert pl.read_parquet(one)["id"].to_list() == list(range(5))
    assert pl.read_parquet(two).select("id", "tag").rows() == [(n, "t") for n in range(5, 10)]


def test_files_of_several_schemas_are_not_answered_together(tmp_path, spec) -> None:
    """Before anybody is paid: all answers go to one file."""
    query_rows(5).write_parquet(tmp_path / "in.1.parquet")
    query_rows(5).with_columns(tag=pl.lit("t")).write_parquet(tmp_path / "in.2.parquet")
    with pytest.raises(InputError, match=r"in\.2\.parquet.*one file of answers; route them one"):
        run(spec("folder", answer_rows=-1))
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("output", ["out.csv", "out.tsv.gz"])
@pytest.mark.parametrize(
    ("dtype", "what"),
    [(pl.Binary(), "bytes"), (pl.List(pl.Binary()), "bytes"), (pl.Duration(), "durations")],
)
def test_a_column_that_the_output_cannot_hold_is_told_before_anything_is_routed(
    tmp_path, spec, output, dtype, what
) -> None:
    rows = query_rows(5).with_columns(odd=pl.lit(None, dtype=dtype))
    rows.write_parquet(tmp_path / "in.parquet")
    asked = spec(output)
    with pytest.raises(InputError, match=f"column 'odd' holds {what}; write .parquet"):
        run(asked)
    storage = Run.of(asked).storage
    assert not [uri for uri, _ in storage.list(storage.uri) if "parts" in uri]


def test_a_difference_of_schemas_is_told_before_anything_is_routed(tmp_path, spec) -> None:
    query_rows(5).write_parquet(tmp_path / "in.1.parquet")
    other = query_rows(5).with_columns(pl.col("id").cast(pl.String))
    other.write_parquet(tmp_path / "in.2.parquet")
    asked = spec("out.parquet")
    with pytest.raises(InputError, match=r"in\.2\.parquet"):
        run(asked)
    storage = Run.of(asked).storage
    assert not [uri for uri, _ in storage.list(storage.uri) if "parts" in uri]


def test_a_text_column_of_the_wrong_type_is_refused(tmp_path, spec) -> None:
    query_rows(5).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(InputError, match="'id' is Int64 in every row, expected a text"):
        run(spec("out.parquet", text_column="id", max_error_share=1.0))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("dtype", [pl.Categorical(), pl.Enum(query_rows(5)["text"])])
def test_texts_that_are_kept_as_categories_are_texts(tmp_path, spec, dtype) -> None:
    query_rows(5).with_columns(pl.col("text").cast(dtype)).write_parquet(tmp_path / "in.parquet")
    query_rows(5).write_parquet(tmp_path / "in.2.parquet")
    run(spec("out.parquet"))
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["text"].to_list() == query_rows(5)["text"].to_list() * 2


def test_values_that_are_no_texts_are_broken_rows(tmp_path, spec) -> None:
    lines = [*query_rows(40).write_ndjson().splitlines(), '{"id": 40, "text": ["a", "b"]}']
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    manifest = run(spec("out.jsonl"))
    assert (manifest["rows"], manifest["broken"]) == (40, 1)
    assert "expected text" in json.loads(Path(manifest["quarantine"]).read_text())["reason"]


@pytest.mark.parametrize("name", ["in.parquet", "in.csv"])
def test_a_file_without_rows_is_refused(tmp_path, spec, name) -> None:
    empty = query_rows(0)
    if name == "in.csv":
        empty.write_csv(tmp_path / name)
    else:
        empty.write_parquet(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: no rows in it"):
        run(spec("out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl", "in.csv"])
def test_a_query_of_ten_megabytes_is_routed_like_any_other(tmp_path, spec, name) -> None:
    rows = query_rows(4).with_columns(
        text=pl.when(pl.col("id") == 2)
        .then(pl.col("text").repeat_by(600_000).list.join(" "))
        .otherwise("text")
    )
    assert rows["text"].str.len_bytes().max() > 10_000_000
    write = {"parquet": rows.write_parquet, "jsonl": rows.write_ndjson, "csv": rows.write_csv}
    write[name.split(".")[1]](tmp_path / name)
    manifest = run(spec("out.parquet"))
    assert (manifest["rows"], manifest["broken"]) == (4, 0)
    assert pl.read_parquet(tmp_path / "out.parquet")["text"].equals(rows["text"])


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
def test_long_rows_make_short_shards(tmp_path, spec, monkeypatch, name) -> None:
    rows = query_rows(40).with_columns(pl.col("text") + "!" * 50_000)
    write = {"in.parquet": rows.write_parquet, "in.jsonl": rows.write_ndjson}
    write[name](tmp_path / name)
    monkeypatch.setattr(route_module, "BATCH_BYTES", 500_000)
    outputs = run(spec("folder"))["outputs"]
    assert len(outputs) >= 4
    assert pl.concat(map(pl.read_parquet, outputs)).select("id", "text").equals(rows)


def test_a_tensor_that_was_changed_is_refused(tmp_path, spec) -> None:
    query_rows(5).write_parquet(tmp_path / "in.parquet")
    tensors = tmp_path / "router" / "model.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged checkpoint"):
        run(spec("out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


def test_a_router_that_was_trained_anew_in_its_place_is_refused(tmp_path, spec) -> None:
    query_rows(5).write_parquet(tmp_path / "in.parquet")
    asked = spec("out.parquet")
    other = save_router(tmp_path / "router", strong=0.9)
    with pytest.raises(InputError, match=rf"content has version {other}, expected {asked.router}"):
        run(asked)


def test_a_champion_that_changes_in_the_middle_changes_nothing(tmp_path, spec, monkeypatch) -> None:
    query_rows(25).write_parquet(tmp_path / "in.parquet")
    monkeypatch.setattr(route_module, "BATCH_ROWS", 7)
    lake = Lake.open(str(tmp_path / "lake"))
    old, new = (tmp_path / "lake" / name for name in ("old", "new"))
    versions = [save_router(old), save_router(new, strong=0.9)]
    for version, folder in zip(versions, (old, new), strict=True):
        registry.register(
            lake,
            version=version,
            checkpoint=str(folder),
            method="knn",
            dataset="d",
            metrics={},
            why="test",
        )
    promote = lambda version: registry.promote(  # noqa: E731
        lake, version=version, decide=lambda _: Decision(promote=True, why="test")
    )
    promote(versions[0])
    champion = registry.resolve(lake, version="champion")
    asked = spec("out.parquet", router=champion["version"], checkpoint=champion["checkpoint"])
    code = (
        "import sys; from cluster.jobs import route; from cluster.jobs.run import main;"
        f"route.BATCH_ROWS = 7; sys.argv = ['route', {Run.of(asked).write_spec(asked)!r}];"
        "main(route.RouteSpec, work=route.route)"
    )
    monkeypatch.setenv("SIGNALBOX_FAILPOINT", "route.after_part:2")
    died = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert died.returncode < 0, died.stderr.decode()
    monkeypatch.delenv("SIGNALBOX_FAILPOINT")
    promote(versions[1])
    run(asked)
    assert set(pl.read_parquet(tmp_path / "out.parquet")["router"]) == {versions[0]}


def test_candidates_that_are_not_in_the_price_list_are_named(tmp_path, spec, caplog) -> None:
    query_rows(5).write_parquet(tmp_path / "in.parquet")
    prices = {"cheap": Price(input=1, output=1)}
    manifest = run(spec("out.parquet", prices=prices))
    assert manifest["predicted_cost_usd"] is None
    assert "no price for strong" in caplog.text
    utility = {"policy": "utility", "policy_settings": {"lambda_usd": 1.0}}
    with pytest.raises(InputError, match="no price for 'strong'"):
        run(spec("other.parquet", prices=prices, **utility))
    assert not (tmp_path / "other.parquet").exists()


FULL = """
set -e
mount -t tmpfs -o size={size} none {disk}
{run} && echo unexpectedly done && exit 3
find {disk} -name '.*' -type f | grep . && echo half-written && exit 4
mount -o remount,size=64m {disk}
{run}
"""


@pytest.mark.parametrize("full", ["lake", "output"])
def test_a_disk_that_fills_is_told_and_a_rerun_goes_on(tmp_path, spec, full) -> None:
    probe = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here to mount a small disk in")
    noise = [hashlib.sha512(str(n).encode()).hexdigest() for n in range(3000)]
    rows = query_rows(3000).with_columns(noise=pl.Series(noise))
    rows.write_ndjson(tmp_path / "in.jsonl")
    (tmp_path / full).mkdir()
    lake, output = str(tmp_path / "lake"), "output/out.jsonl"
    asked = spec(output, lake=lake)
    uri = f"{lake}/runs/{asked.work_id}/spec.json"
    code = (
        "import os, sys; from cluster.jobs import route; from cluster.jobs.run import main;"
        f"route.BATCH_ROWS = 500; sys.argv = ['route', {uri!r}];"
        f"os.makedirs(os.path.dirname({uri!r}), exist_ok=True);"
        f"open({uri!r}, 'w').write({asked.model_dump_json()!r});"
        "main(route.RouteSpec, work=route.route)"
    )
    (tmp_path / "job.py").write_text(code)
    script = FULL.format(
        disk=tmp_path / full, size="200k", run=f"{sys.executable} {tmp_path / 'job.py'}"
    )
    # What is on the small disk goes with it; the last command keeps a copy.
    script += f"cp -r {tmp_path / full} {tmp_path / 'kept'}\n"
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    assert "free some space and run again" in done.stderr
    kept = tmp_path / ("output" if full == "lake" else "kept") / "out.jsonl"
    assert pl.read_ndjson(kept)["id"].to_list() == list(range(3000))
