"""Checkpoint folders from strangers: links to what never ends, and manifests that fill a memory."""

import os
from pathlib import Path

import pytest

from cluster.errors import InputError
from cluster.routers.checkpoint import MOST_MANIFEST_BYTES, load_router, read_manifest


@pytest.mark.parametrize("what", ["device", "pipe", "large", "link to nothing", "itself"])
def test_what_cannot_be_read_to_its_end_is_refused(tmp_path: Path, what: str) -> None:
    file = tmp_path / "router.json"
    if what == "device":
        file.symlink_to("/dev/zero")
    elif what == "pipe":
        os.mkfifo(file)
    elif what == "large":
        with file.open("wb") as stream:
            stream.truncate(MOST_MANIFEST_BYTES + 1)
    else:
        file.symlink_to("nowhere" if what == "link to nothing" else "router.json")
    for look in (load_router, read_manifest):
        with pytest.raises(InputError, match=r"router\.json"):
            look(str(tmp_path))
