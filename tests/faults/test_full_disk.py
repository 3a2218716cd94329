"""A disk that is full: the job ends with a word for the user, and with room again it goes on."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.jobs.run import Run
from cluster.jobs.spec import JobSpec
from tests.faults.toy import toy_lake, train_spec, trained
from tests.routed import query_rows, run, specs

FAULT = "the disk is full"
WORDS = ("No space left on device", "free some space")
ROOMS = [0, pytest.param(12, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.slow)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("a small disk cannot be mounted by this user")
        yield folder
    finally:
        if folder.is_mount():
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path, *, but_kib: int) -> Iterator[None]:
    """Nearly full for the length of a block."""
    found = os.statvfs(disk)
    filler = disk / "filler"
    try:
        filler.write_bytes(bytes(max(0, found.f_bavail * found.f_frsize - but_kib * 1024)))
        yield
    finally:
        filler.unlink(missing_ok=True)


@pytest.fixture
def ends_and_goes_on(site, small_disk: Path, fault_table) -> Callable[..., None]:
    """Let a job meet a disk with so little room, and then give it room."""

    def meet(spec: JobSpec, *, room: int, where: str) -> None:
        uri = Run.of(spec).write_spec(spec)
        with fault_table.run(FAULT, where=where):
            with filled(small_disk, but_kib=room):
                done = site.driver("-m", spec.module, uri)
            if done.returncode:
                assert any(word in done.stderr for word in WORDS), done.stderr[-3000:]
                assert "Traceback" not in done.stderr, done.stderr[-3000:]
            else:
                assert room, "there was no room at all"
            site.wait_for_workers()
            site.succeed(spec)

    return meet


@pytest.mark.parametrize("room", ROOMS)
def test_ingest(room: int, fresh, ingested, small_disk, ends_and_goes_on) -> None:
    world = fresh.copied(small_disk / "lake")
    ends_and_goes_on(world.ingest(), room=room, where="collect, ingest")
    world.must_equal(ingested.facts())


@pytest.mark.parametrize("room", ROOMS)
def test_generate(room: int, ingested, generated, small_disk, ends_and_goes_on) -> None:
    world = ingested.copied(small_disk / "lake")
    ends_and_goes_on(world.generate(), room=room, where="collect, generate")
    world.must_equal(generated.facts())


@pytest.mark.parametrize("room", ROOMS)
def test_label(room: int, generated, labelled, small_disk, ends_and_goes_on) -> None:
    world = generated.copied(small_disk / "lake")
    ends_and_goes_on(world.label(), room=room, where="collect, label")
    world.must_equal(labelled.facts())


@pytest.mark.parametrize("room", ROOMS)
def test_train(*, room: int, site, small_disk: Path, ends_and_goes_on, tmp_path: Path) -> None:
    calm = toy_lake(str(tmp_path / "lake"), folder=tmp_path)
    site.succeed(train_spec(calm))
    lake = toy_lake(str(small_disk / "lake"), folder=tmp_path)
    ends_and_goes_on(train_spec(lake), room=room, where="train")
    (metrics, files), (calm_metrics, calm_files) = trained(lake), trained(calm)
    assert metrics.equals(calm_metrics)
    assert files == calm_files


@pytest.mark.parametrize("room", ROOMS)
def test_route(room: int, small_disk: Path, ends_and_goes_on) -> None:
    """Its router, its input and its output lie on that disk too."""
    query_rows(300).write_parquet(small_disk / "in.parquet", row_group_size=100)
    spec = specs(small_disk)
    [calm] = run(spec("calm"))["outputs"]
    asked = spec("out")
    ends_and_goes_on(asked, room=room, where="route")
    manifest = Run.of(asked).read_manifest()
    assert manifest is not None
    [output] = manifest["outputs"]
    assert Path(output).read_bytes() == Path(calm).read_bytes()
