"""Secrets planted for a whole loop are nowhere: lake, runs, Prefect, Ray, words to the user."""

import base64
import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from conftest import PLANTED, World
from echoing_endpoint import echoing_endpoint

NOTIFY_BLOCK = """
import os
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook
# Nobody listens there, so the word cannot be sent, and its error would name the address.
Webhook(
    name="night", url="http://127.0.0.1:9/{{word}}", secrets={"word": os.environ["NOTIFY_WORD"]}
).save("night")
"""
CANDIDATE = """
- name: {model}
  engine: openai
  model: {model}
  endpoint: {{url: "{url}", key_variable: GATEWAY_KEY, retries: 0}}
  chat: true
  sampling: {{max_tokens: 8}}
  price: {{input: {price}, output: {price}}}
"""


def questions(*numbers: int) -> str:
    rows = ({"text": f"{one} plus {one * 7}", "reference": str(one * 8)} for one in numbers)
    return "\n".join(json.dumps(row) for row in rows)


def readable(content: bytes) -> bytes:
    """An object's bytes; of a Parquet file, which is compressed, its rows as text as well."""
    if content[:4] != b"PAR1":
        return content
    return content + pl.read_parquet(io.BytesIO(content)).write_ndjson().encode()


def with_words_in_addresses(world: World, *, lake: str) -> list[int]:
    """Three commands with a password in an address, where none belongs."""
    words = world.secrets
    store = world.variables["AWS_ENDPOINT_URL"].replace(
        "//", f"//admin:{words['in_store_address']}@"
    )
    files = ("--queries", "few.jsonl", "--candidates", "parrot.yaml", "--dataset", "few")
    ray = f"http://admin:{words['in_ray_address']}@127.0.0.1:9"
    return [
        world.run("collect", *files, "--lake", lake, AWS_ENDPOINT_URL=store),
        world.run("collect", *files, "--lake", lake, "--ray-address", ray),
        world.run("lake", "--lake", f"s3://admin:{words['in_lake_address']}@planted/lake"),
    ]


@pytest.fixture(scope="module")
def loop(world: World) -> tuple[World, list[int]]:
    """A night with everything in it, and a collect whose endpoint repeats the key it was sent."""
    import boto3

    s3 = {name: world.variables[name] for name in ("AWS_ENDPOINT_URL", "AWS_REGION")}
    store = boto3.client(
        "s3", endpoint_url=s3["AWS_ENDPOINT_URL"], region_name=s3["AWS_REGION"],
        aws_access_key_id="x", aws_secret_access_key="x",
    )  # fmt: skip
    store.create_bucket(Bucket="planted")
    lake = "s3://planted/lake"
    word = world.secrets["notify"]
    subprocess.run(
        [sys.executable, "-c", NOTIFY_BLOCK],
        env=os.environ | world.variables | {"NOTIFY_WORD": word},
        check=True,
        capture_output=True,
    )
    (world.folder / "new").mkdir()
    (world.folder / "new" / "q.jsonl").write_text(questions(*range(150)))
    (world.folder / "few.jsonl").write_text(questions(*range(200, 205)))
    with echoing_endpoint(world.secrets["endpoint_key"]) as url:
        for name, models in {"two.yaml": ("able", "poor"), "parrot.yaml": ("parrot",)}.items():
            text = "".join(
                CANDIDATE.format(model=model, url=url, price=len(model)) for model in models
            )
            (world.folder / name).write_text(text)
        status = [
            world.run(
                "retrain", "--watch", "new", "--candidates", "two.yaml", "--settle-seconds", "0",
                "--methods", "cluster_table", "--notify", "custom-webhook/night", "--lake", lake,
            ),
            world.run(
                "collect", "--queries", "few.jsonl", "--candidates", "parrot.yaml",
                "--dataset", "few", "--lake", lake,
            ),
            world.run("lake", "--lake", "s3://nowhere/lake"),
            *with_words_in_addresses(world, lake=lake),
        ]  # fmt: skip
    listed = store.list_objects_v2(Bucket="planted")["Contents"]
    kept = [store.get_object(Bucket="planted", Key=one["Key"])["Body"].read() for one in listed]
    (world.folder / "bucket").write_bytes(b"".join(map(readable, kept)))
    return world, status


def test_the_loop_ran_and_its_failures_were_told(loop: tuple[World, list[int]]) -> None:
    world, status = loop
    told = "".join(world.told)
    assert status[0] == 0, told
    assert status[1:] == [1] * 5, told
    assert told.count("no user, password or key in an address") >= 3
    assert "custom-webhook/night' could not be notified" in told
    assert "401" in told
    kept = (world.folder / "bucket").read_bytes()
    assert b"GATEWAY_KEY" in kept, "the specs, with the variable's name, were looked at"
    assert b'"text":"203 plus 1421"' in kept, "rows of compressed tables were looked at"


def forms(secret: str) -> list[bytes]:
    """A secret as it stands, and as HTTP's basic authentication has it."""
    basic = base64.b64encode(f"admin:{secret}".encode())
    return [secret.encode(), basic]


def places(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_secret_is_nowhere(loop: tuple[World, list[int]], name: str) -> None:
    world, _ = loop
    looked_at = dict(places(world.folder))
    assert any("/session_" in str(path) and "/logs/" in str(path) for path in looked_at)
    assert any(path.name == "prefect.db" for path in looked_at)
    found = [
        str(path)
        for path, content in looked_at.items()
        for form in forms(world.secrets[name])
        if form in content
    ]
    assert found == []
    told = "".join(world.told)
    assert not any(form.decode() in told for form in forms(world.secrets[name]))


def test_ray_s_job_list_holds_none(loop: tuple[World, list[int]]) -> None:
    world, _ = loop
    request = urllib.request.Request(
        f"{world.variables['SIGNALBOX_RAY_ADDRESS']}/api/jobs/",
        headers={"Authorization": f"Bearer {world.secrets['ray_token']}"},
    )
    with urllib.request.urlopen(request) as answer:
        told = answer.read().decode()
    assert "cluster.jobs.generate" in told
    assert not [name for name, secret in world.secrets.items() if secret in told]


def test_the_prefect_server_lets_nobody_in_without_the_word(world: World) -> None:
    api = world.variables["PREFECT_API_URL"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{api}/admin/version")
