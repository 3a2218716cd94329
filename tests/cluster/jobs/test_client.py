"""Jobs on one living Ray: attach, return or try again; words, stops and secrets."""

import contextlib
import importlib.util
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import JobError
from cluster.jobs.client import Listener, check_cluster, run_job
from cluster.jobs.import_table import ImportSpec, path_digest
from cluster.jobs.run import Part, Run
from cluster.lake.lake import Lake
from cluster.lake.tables import REWARDS

found = importlib.util.spec_from_file_location("odd_job", Path(__file__).with_name("odd_job.py"))
odd_job = importlib.util.module_from_spec(found)
found.loader.exec_module(odd_job)
OddSpec = odd_job.OddSpec


class Heard:
    """Everything a listener was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.parts: list[list[Part]] = []

    def progress(self, parts: list[Part]) -> None:
        self.parts.append(parts)

    @property
    def listener(self) -> Listener:
        return Listener(log=self.lines.append, progress=self.progress)


@pytest.fixture
def do(ray_address: str) -> Callable:
    """Run a spec on the living Ray; returns its manifest."""

    def run(spec: OddSpec, heard: Heard | None = None) -> dict:
        return run_job(spec, address=ray_address, listener=(heard or Heard()).listener)

    return run


def spec_in(tmp_path: Path, **fields) -> OddSpec:
    return OddSpec(lake=str(tmp_path / "lake"), nonce=secrets.token_hex(4), **fields)


def submissions(address: str, *, spec: OddSpec) -> list[str]:
    from ray.job_submission import JobSubmissionClient

    jobs = JobSubmissionClient(address).list_jobs()
    return sorted(job.submission_id for job in jobs if spec.work_id in job.submission_id)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def finished(ray_address, tmp_path_factory) -> tuple[OddSpec, dict, Heard]:
    """A spec that was run, its manifest and what was heard meanwhile."""
    spec, heard = spec_in(tmp_path_factory.mktemp("finished"), lines=3), Heard()
    return spec, run_job(spec, address=ray_address, listener=heard.listener), heard


def test_log_and_progress_reach_the_listener(finished) -> None:
    _, manifest, heard = finished
    assert heard.lines[-3:] == ["line 0", "line 1", "line 2"]
    assert heard.parts[-1] == [Part("steps", done=3, total=3, note="odd")]
    assert manifest["interpreter"] == sys.executable


def test_finished_work_is_returned_and_needs_no_ray(finished) -> None:
    spec, manifest, _ = finished
    again = Heard()
    returned = run_job(spec, address="http://127.0.0.1:9", listener=again.listener)
    assert returned == manifest | {"done_before": True}
    assert (again.lines, again.parts) == ([], [])


def test_work_whose_output_is_gone_is_done_again(do, ray_address, finished) -> None:
    spec, manifest, _ = finished
    output = Path(manifest["outputs"][0])
    output.unlink()
    assert do(spec)["runs"] == 2
    assert output.exists()
    assert submissions(ray_address, spec=spec) == [f"{spec.work_id}-{n}" for n in (1, 2)]


def test_callers_at_once_share_one_job(do, ray_address, tmp_path) -> None:
    spec = spec_in(tmp_path, lines=2)
    barrier = threading.Barrier(4)
    heard = [Heard() for _ in range(4)]

    def call(one: Heard) -> dict:
        barrier.wait()
        return do(spec, one)

    with ThreadPoolExecutor(4) as pool:
        manifests = list(pool.map(call, heard))
    assert [manifest["runs"] for manifest in manifests] == [1] * 4
    assert submissions(ray_address, spec=spec) == [f"{spec.work_id}-1"]
    assert all(one.lines[-1] == "line 1" for one in heard)


def test_a_caller_that_comes_later_attaches_to_the_running_job_and_outlives_it(
    do, ray_address, tmp_path
) -> None:
    """Where the first is cancelled and its job stopped, the second goes on with one of its own."""
    spec = spec_in(tmp_path, does="wait", fails_first=True)
    run = Run.of(spec)
    heard = Heard()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(do, spec)
        wait_until(lambda: Path(run.uri("actor")).exists())
        second = pool.submit(do, spec, heard)
        wait_until(lambda: any("waiting" in line for line in heard.lines))
        assert submissions(ray_address, spec=spec) == [f"{spec.work_id}-1"]
        _stop(ray_address, submission=f"{spec.work_id}-1")
        with pytest.raises(JobError, match="STOPPED"):
            first.result()
        assert second.result()["runs"] == 2


FOLLOWER = """
import sys
from cluster.jobs.client import Listener, run_job
from odd_job import OddSpec
silent = Listener(log=lambda line: None, progress=lambda parts: None)
run_job(OddSpec.parse(sys.argv[1].encode()), address=sys.argv[2], listener=silent)
"""


def test_a_job_ends_by_itself_when_its_follower_is_killed(do, ray_address, tmp_path) -> None:
    """Within the 30 s that a cancelled run has; a rerun goes on."""
    spec = spec_in(tmp_path, does="wait", fails_first=True)
    run = Run.of(spec)
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOWER, spec.model_dump_json(), ray_address],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    ) as follower:
        wait_until(lambda: Path(run.uri("actor")).exists())
        follower.kill()
    killed = time.monotonic()
    processes = [int(Path(run.uri("actor")).read_text())]
    processes += [int(Path(uri).name) for uri, _ in run.storage.list(run.uri("pids"))]
    assert all(map(is_alive, processes))
    wait_until(lambda: not any(map(is_alive, processes)))
    assert time.monotonic() - killed < 30
    assert "nobody follows this job" in run.read_error()
    assert do(spec)["runs"] == 2
    assert not Path(run.uri("follower.json")).exists()


def test_work_goes_on_in_another_job_where_ours_thought_that_nobody_follows(do, tmp_path) -> None:
    assert do(spec_in(tmp_path, does="be_reaped", fails_first=True))["runs"] == 2


def test_it_does_not_go_on_so_for_ever(do, ray_address, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("cluster.jobs.client.REAPED_TIMES", 1)
    spec = spec_in(tmp_path, does="be_reaped")
    with pytest.raises(JobError, match="nobody follows this job"):
        do(spec)
    assert submissions(ray_address, spec=spec) == [f"{spec.work_id}-{n}" for n in (1, 2)]


def _stop(address: str, *, submission: str) -> None:
    from ray.job_submission import JobSubmissionClient

    JobSubmissionClient(address).stop_job(submission)


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("complain", "queries.csv row 7, field 'text': is empty; fill it in"),
        ("complain_in_actor", "candidates.yaml, candidate 'a': its model is not there"),
    ],
)
def test_a_user_error_comes_in_its_own_words_and_nothing_else(do, tmp_path, does, words) -> None:
    with pytest.raises(JobError) as caught:
        do(spec_in(tmp_path, does=does))
    assert str(caught.value) == words


def test_a_fault_of_ours_comes_with_its_traceback_and_the_next_attempt_works(
    do, ray_address, tmp_path
) -> None:
    spec = spec_in(tmp_path, does="break", fails_first=True)
    with pytest.raises(JobError, match=r"(?s)Traceback.*odd_job\.py.*our own fault"):
        do(spec)
    assert do(spec)["runs"] == 2
    assert submissions(ray_address, spec=spec) == [f"{spec.work_id}-{n}" for n in (1, 2)]
    assert Run.of(spec).read_error() is None


def test_a_job_that_dies_without_a_word_is_told_by_the_end_of_its_log(do, tmp_path) -> None:
    spec = spec_in(tmp_path, does="die")
    with pytest.raises(JobError, match=rf"(?s){spec.work_id}-1 ended as FAILED.*last words"):
        do(spec)


def test_the_log_is_heard_to_its_last_line(do, tmp_path) -> None:
    heard = Heard()
    do(spec_in(tmp_path, lines=20_000), heard)
    said = [line for line in heard.lines if line.startswith("line ")]
    assert said == [f"line {number}" for number in range(20_000)]


def test_an_interrupt_stops_the_job_with_its_processes(do, ray_address, tmp_path) -> None:
    spec = spec_in(tmp_path, does="wait")
    run = Run.of(spec)
    actor = Path(run.uri("actor"))

    class Interrupted(Heard):
        def progress(self, parts: list[Part]) -> None:
            wait_until(actor.exists)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(spec, Interrupted())
    pids = [int(path.name) for path in Path(run.uri("pids")).iterdir()]
    pids.append(int(actor.read_text()))
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_alive, pids)), seconds=20)
    assert run.read_manifest() is None


def test_an_address_nobody_answers_at_is_named() -> None:
    for call in (
        lambda: check_cluster("http://127.0.0.1:9"),
        lambda: run_job(
            OddSpec(lake="/nowhere"), address="http://127.0.0.1:9", listener=Heard().listener
        ),
    ):
        with pytest.raises(JobError, match=r"no Ray cluster answers at http://127\.0\.0\.1:9 "):
            call()


def test_a_cluster_that_refuses_the_token_is_told_apart(ray_address: str) -> None:
    code = (
        "import sys; from cluster.jobs.client import check_cluster\n"
        "from cluster.errors import JobError\n"
        "try: check_cluster(sys.argv[1])\nexcept JobError as error: print(error)"
    )
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run(
        [sys.executable, "-c", code, ray_address],
        env=os.environ | wrong,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{ray_address} refuses the token" in done.stdout
    assert "RAY_AUTH_TOKEN" in done.stdout


def test_a_lake_with_an_odd_name_is_no_obstacle(do, tmp_path) -> None:
    folder = tmp_path / 'it\'s a "lake" $HOME ü'
    assert do(spec_in(folder))["runs"] == 1


def test_a_real_job_on_s3_leaves_no_secret_behind(
    do, ray_address, s3_root, tmp_path, planted_secret
) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("text,task,a,b\n1+1?,sums,1,0\n2+2?,sums,0,1\n")
    spec = ImportSpec(
        lake=s3_root,
        format="table",
        path=str(table),
        digest=path_digest(str(table)),
        dataset="scores",
    )
    assert do(spec)["new_rewards"] == 4
    lake = Lake.open(s3_root)
    assert lake.read(REWARDS).height == 4
    written = [lake.storage.read_bytes(uri) for uri, _ in lake.storage.list(lake.storage.uri)]
    assert any(b"import_table" in content or b"scores.csv" in content for content in written)
    assert not any(planted_secret.encode() in content for content in written)
    assert planted_secret not in _everything_ray_tells(ray_address, spec=spec)


def _everything_ray_tells(address: str, *, spec: ImportSpec) -> str:
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(address)
    [submission] = submissions(address, spec=spec)
    told = [client.get_job_info(submission), client.get_job_logs(submission), *client.list_jobs()]
    assert spec.work_id in str(told)
    return str(told)
