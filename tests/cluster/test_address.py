"""Passwords and keys in addresses: refused, and never repeated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.address import names_user, refuse_user
from cluster.errors import InputError
from cluster.jobs.client import check_cluster
from cluster.ray_cluster import given_address
from cluster.s3_options import S3Options
from cluster.storage import Storage
from flows.params import FlowParams

WORD = "hidden/word"
FOREIGN = [
    f"http://admin:{WORD}@host:8265",
    f"https://{WORD.replace('/', '')}@host",
    f"http://admin:{WORD.replace('/', '')}@[::1]:9000/x",
]
PLAIN = [
    "http://host:8265",
    "http://[::1]:8265/x",
    "http://host",
    "http://host:80/a:b@c",
    "s3://bucket/a@b:c",
    "s3://bucket",
    "s3://arn:aws:s3:eu-west-1:123:accesspoint/name/x",
    "./lake:a@b",
    "solve a:b@c",
    "",
]


@pytest.mark.parametrize("address", FOREIGN)
def test_no_word_in_an_address_is_taken_or_repeated(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = "s3://" + address.partition("://")[2]
    bare = address.partition("://")[2]
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    for refused in (
        lambda: Storage.at(bucket),
        lambda: Storage.at(address),
        lambda: FlowParams(lake=bucket),
        lambda: given_address(address),
        lambda: given_address(bare),
        lambda: check_cluster(address),
        S3Options.from_environment,
    ):
        with pytest.raises(InputError, match="no user, password or key") as caught:
            refused()
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("address", PLAIN)
def test_an_address_without_one_is_taken(address: str) -> None:
    assert not names_user(address)
    refuse_user(address if "://" in address else "", what="it", instead="do")


@given(st.text(min_size=1), st.sampled_from(["s3", "http", "S3A", "https"]))
def test_any_word_before_a_host_is_found(word: str, scheme: str) -> None:
    assert names_user(f"{scheme}://user:x{word}@host/x")
