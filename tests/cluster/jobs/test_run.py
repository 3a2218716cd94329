"""The folder of a run, and a job's entrypoint as one calls it by hand."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from cluster.jobs.run import Part, Run
from cluster.jobs.spec import JobSpec


class Nothing(JobSpec):
    job: ClassVar[str] = "nothing"

    nonce: str = ""


@pytest.fixture
def run(root: str) -> Run:
    return Run.of(Nothing(lake=root, nonce=secrets.token_hex(4)))


def test_a_fresh_run_has_nothing_to_say(run: Run) -> None:
    assert (run.read_manifest(), run.read_error(), run.read_progress()) == (None, None, [])


def test_progress_is_read_as_it_was_told(run: Run) -> None:
    parts = [Part("a", done=1, total=0), Part("ü", done=2, total=4, unit="files", note="10/s")]
    for part in parts:
        run.progress(part, now=True)
    assert run.read_progress() == parts
    run.progress(Part("a", done=3, total=3), now=True)
    assert run.read_progress() == [Part("a", done=3, total=3), parts[1]]


def test_progress_in_quick_succession_is_not_written_each_time(run: Run) -> None:
    run.progress(Part("a", done=0, total=1000), now=True)
    for done in range(1, 1000):
        run.progress(Part("a", done=done, total=1000))
    assert run.read_progress()[0].done < 999


def test_a_manifest_counts_while_all_its_outputs_are_there(run: Run) -> None:
    outputs = [run.uri("parts", name) for name in ("a", "b")]
    for output in outputs:
        run.storage.write(output, b"x")
    run.write_manifest({"outputs": outputs, "rows": 3})
    assert run.read_manifest() == {"outputs": outputs, "rows": 3}
    run.storage.delete(outputs[1])
    assert run.read_manifest() is None


def test_what_a_rerun_would_go_on_from_is_gone_with_the_manifest(run: Run) -> None:
    kept = run.uri("scratch", "training", "epoch")
    run.storage.write(kept, b"x")
    run.clear()
    assert run.storage.read_bytes(kept) == b"x"
    run.write_manifest({"outputs": []})
    assert run.storage.read_bytes_or_none(kept) is None


def test_clearing_forgets_the_words_of_the_attempt_before(run: Run) -> None:
    run.progress(Part("a", done=1, total=1), now=True)
    run.write_error("broken")
    assert run.read_error() == "broken"
    for _ in range(2):
        run.clear()
    assert (run.read_error(), run.read_progress()) == (None, [])


def test_two_specs_have_two_folders(root: str) -> None:
    one, other = (Run.of(Nothing(lake=root, nonce=nonce)) for nonce in "ab")
    one.write_manifest({"outputs": []})
    assert other.read_manifest() is None


def by_hand(spec_uri: str) -> subprocess.CompletedProcess[str]:
    folder = str(Path(__file__).parent)
    return subprocess.run(
        [sys.executable, "-m", "odd_job", spec_uri],
        env=os.environ | {"PYTHONPATH": folder},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def written(folder: Path, *, does: str) -> Path:
    spec = folder / "spec.json"
    spec.write_text(json.dumps({"lake": str(folder / "lake"), "does": does}))
    return spec


def said_in(folder: Path, *, name: str) -> dict:
    [path] = (folder / "lake" / "runs").glob(f"odd_job-*/{name}.json")
    return json.loads(path.read_text())


def test_a_job_runs_by_hand(tmp_path: Path) -> None:
    done = by_hand(str(written(tmp_path, does="finish")))
    assert done.returncode == 0, done.stderr
    assert said_in(tmp_path, name="manifest")["runs"] == 1


def test_a_job_that_fails_by_hand_says_so_and_takes_a_hollow_manifest_along(tmp_path: Path) -> None:
    spec = written(tmp_path, does="complain")
    assert by_hand(str(spec)).returncode == 1
    [folder] = (tmp_path / "lake" / "runs").iterdir()
    (folder / "manifest.json").write_text(json.dumps({"outputs": [str(folder / "gone")]}))
    done = by_hand(str(spec))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "queries.csv row 7" in said_in(tmp_path, name="error")["message"]
    assert not (folder / "manifest.json").exists()


def test_a_missing_spec_is_named(tmp_path: Path) -> None:
    done = by_hand(str(tmp_path / "nothing.json"))
    assert done.returncode == 1
    assert f"{tmp_path}/nothing.json: no spec is there" in done.stderr
