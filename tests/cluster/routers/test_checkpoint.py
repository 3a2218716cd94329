import hashlib
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers import CheckpointMeta, load_checkpoint, load_router, save_checkpoint
from cluster.routers.best_single import BestSingle
from cluster.routers.cluster_table import ClusterTable
from cluster.routers.knn import Knn
from cluster.routers.random import Random
from cluster.storage import Storage

META = CheckpointMeta(
    candidate_ids=("id-adder", "id-roman", "id-both"),
    label={"scorer": "numeric"},
    settings={"k": 3},
    data={"outcomes": "ab" * 32},
    metrics={"macro_reward": 0.5},
    code_version="0.1.0",
)
METHODS = [ClusterTable(n_clusters=(3, 5), bags=2), Knn(k=5), Random(), BestSingle()]
ASKED = pl.Series(["What is 12 plus 30?", "Write 44 as a Roman numeral", "别的", "", None])


@pytest.fixture
def saved(tmp_path, make_two_tasks):
    """A folder with a table router in it, and its version."""
    router = METHODS[0].fit(make_two_tasks(60), seed=0)
    return tmp_path / "saved", save_checkpoint(router, str(tmp_path / "saved"), meta=META)


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Replace a file and its hash, as somebody would who means harm."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "router.json").read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "router.json").write_text(json.dumps(manifest))


def edit(folder: Path, **fields) -> None:
    """Change fields of the manifest."""
    manifest = json.loads((folder / "router.json").read_text())
    (folder / "router.json").write_text(json.dumps(manifest | fields))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_loaded_router_predicts_the_same_bit_for_bit(method, root, make_two_tasks):
    router = method.fit(make_two_tasks(60), seed=4)
    version = save_checkpoint(router, root, meta=META)
    loaded = load_router(root, version=version)
    before, after = router.predict(ASKED), loaded.predict(ASKED)
    assert type(loaded) is type(router)
    assert loaded.candidates == router.candidates
    assert np.array_equal(before.reward, after.reward)
    assert np.array_equal(before.completion_tokens, after.completion_tokens, equal_nan=True)


def test_the_version_is_that_of_the_content_wherever_it_lies(saved, tmp_path, make_two_tasks):
    _, version = saved
    again = METHODS[0].fit(make_two_tasks(60), seed=0)
    assert save_checkpoint(again, str(tmp_path / "again"), meta=META) == version
    other = METHODS[0].fit(make_two_tasks(60), seed=1)
    assert save_checkpoint(other, str(tmp_path / "other"), meta=META) != version
    relabelled = META.model_copy(update={"label": {"scorer": "exact"}})
    assert save_checkpoint(again, str(tmp_path / "label"), meta=relabelled) != version


def test_the_version_can_be_computed_by_anyone(saved):
    folder, version = saved
    listed = sorted(
        [path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in folder.iterdir()
    )
    text = json.dumps(listed, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == version


def test_it_opens_with_plain_safetensors_and_json(saved):
    from safetensors.numpy import load_file

    folder, _ = saved
    manifest = json.loads((folder / "router.json").read_text())
    assert manifest["method"] == "cluster_table"
    assert manifest["encoder"] == "lexical"
    assert manifest["candidates"] == ["adder", "roman", "both"]
    assert load_file(folder / "model.safetensors")["task_reward"].shape[1] == 3
    assert "roman" in (folder / "encoder.vocabulary.txt").read_text().splitlines()


def test_what_is_known_about_it_comes_back(saved):
    folder, version = saved
    checkpoint = load_checkpoint(str(folder))
    assert checkpoint.version == version
    assert checkpoint.meta.candidate_ids == META.candidate_ids
    assert checkpoint.meta.data == META.data


def test_the_manifest_is_written_last(tmp_path, make_two_tasks, monkeypatch):
    router = METHODS[0].fit(make_two_tasks(60), seed=0)
    real_write = Storage.write

    def fail_at_manifest(self, uri, data):
        if uri.endswith("router.json"):
            raise OSError("killed")
        real_write(self, uri, data)

    monkeypatch.setattr(Storage, "write", fail_at_manifest)
    with pytest.raises(OSError, match="killed"):
        save_checkpoint(router, str(tmp_path / "half"), meta=META)
    assert len(list((tmp_path / "half").iterdir())) == 2
    with pytest.raises(InputError, match=r"router\.json: no such file"):
        load_router(str(tmp_path / "half"))


@pytest.mark.parametrize("name", ["router.json", "model.safetensors", "encoder.vocabulary.txt"])
def test_a_changed_or_lost_file_is_noticed(saved, name):
    folder, version = saved
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content.replace(b"e", b"o", 1))
    with pytest.raises(InputError, match="damaged"):
        load_router(str(folder), version=version)
    (folder / name).unlink()
    with pytest.raises(InputError, match="no such file"):
        load_router(str(folder))


def test_another_version_than_asked_for_is_refused(saved):
    with pytest.raises(InputError, match="expected 0000"):
        load_router(str(saved[0]), version="0" * 64)


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/passwd", "..", "a/b.txt", ".hidden", "", "router.json", "a\0b"]
)
def test_files_outside_the_folder_are_not_read(saved, name, monkeypatch):
    folder, _ = saved
    (folder.parent / "secret.txt").write_text("secret")
    edit(folder, files={name: hashlib.sha256(b"secret").hexdigest()})
    asked = []
    real_read = Storage.read_bytes
    monkeypatch.setattr(
        Storage, "read_bytes", lambda self, uri: asked.append(uri) or real_read(self, uri)
    )
    with pytest.raises(InputError, match="is no file name"):
        load_router(str(folder))
    assert [Path(uri).name for uri in asked] == ["router.json"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "no_such_method"}, "no_such_method"),
        ({"format": 99}, "format 99"),
        ({"candidates": ["a", "a", "b"]}, "candidates"),
        ({"candidates": ["a", "b"]}, "candidates"),
        ({"candidates": []}, "candidates"),
        ({"candidates": "abc"}, "candidates"),
        ({"candidate_ids": ["x"]}, "candidates"),
        ({"candidates": ["a", "b"], "candidate_ids": ["x", "y"]}, "shape"),
        ({"config": {}}, "encoder_name"),
        ({"config": []}, "config"),
        ({"files": {}}, "not listed"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_hostile_manifest_is_refused(saved, fields, message):
    folder, _ = saved
    edit(folder, **fields)
    with pytest.raises(InputError, match=message):
        load_router(str(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_name": "no_such_encoder"},
        {"table_sizes": [1, 2]},
        {"table_sizes": []},
        {"table_sizes": ["3"]},
        {"table_sizes": [-3, 3]},
        {"table_sizes": [10**30]},
        {"task": {"tasks": ["just one"]}},
        {"task": "sums"},
    ],
)
def test_a_hostile_config_is_refused(saved, change):
    folder, _ = saved
    config = json.loads((folder / "router.json").read_text())["config"]
    edit(folder, config=config | change)
    with pytest.raises(InputError):
        load_router(str(folder))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}'],
    ids=["empty", "cut", "list", "null", "bytes", "deep", "nan"],
)
def test_a_manifest_that_is_none_is_refused(saved, content):
    folder, _ = saved
    (folder / "router.json").write_bytes(content)
    with pytest.raises(InputError, match=r"router\.json"):
        load_router(str(folder))


def safetensors_bytes(header: bytes, *, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04.",
        safetensors_bytes(b"{}", length=2**63),
        safetensors_bytes(b"{}", length=2**40),
        safetensors_bytes(b'{"centroids":{"dtype":"F32","shape":[9,9],"data_offsets":[0,4]}}'),
        safetensors_bytes(
            b'{"centroids":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'
        ),
        safetensors_bytes(
            b'{"centroids":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', data=b"0"
        ),
        safetensors_bytes(b"{}"),
    ],
    ids=["empty", "pickle", "huge", "large", "offsets", "overflow", "odd type", "no tensors"],
)
def test_hostile_tensors_are_refused(saved, content):
    folder, _ = saved
    rewrite(folder, "model.safetensors", content)
    with pytest.raises(InputError):
        load_router(str(folder))


def test_text_that_is_not_utf8_is_refused(saved):
    folder, _ = saved
    rewrite(folder, "encoder.vocabulary.txt", b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        load_router(str(folder))


def test_there_is_no_checkpoint(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in ("nowhere", "file"):
        with pytest.raises(InputError, match="expected a checkpoint folder"):
            load_router(str(tmp_path / place))


def test_extra_files_beside_it_do_not_matter(saved):
    folder, version = saved
    shutil.copy(folder / "router.json", folder / "notes.txt")
    assert load_checkpoint(str(folder), version=version).version == version


def test_knn_settings_out_of_range_are_refused(tmp_path, make_two_tasks):
    router = Knn(k=5).fit(make_two_tasks(60), seed=0)
    save_checkpoint(router, str(tmp_path), meta=META)
    config = json.loads((tmp_path / "router.json").read_text())["config"]
    for change in ({"k": 0}, {"k": "5"}, {"shrinkage": -1.0}, {"k": None}):
        edit(tmp_path, config=config | change)
        with pytest.raises(InputError):
            load_router(str(tmp_path))
