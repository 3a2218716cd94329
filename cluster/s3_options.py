"""How to reach an S3 store, in the words of every library that does.

Every library names its S3 options differently. They are held once and rendered for polars,
deltalake, s3fs and pyarrow. Credentials come from the standard `AWS_*` variables of the process
that uses them and are never part of a spec.
"""

import os
from dataclasses import dataclass, field
from typing import Any

from cluster.address import refuse_user

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
USE_VARIABLES = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
# A store that is not there should be told within seconds, not after botocore's five minutes.
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
# Of a store that fails a tenth of its requests four tries lose one request in 10,000, and with it a
# run now and then; eight lose one in 100 million.
RETRIES = 8


@dataclass(frozen=True)
class S3Options:
    """What is needed to talk to an S3 store; read from the environment, never written anywhere.

    Attributes:
        endpoint: URL of a store that is not AWS's own, or None.
        region: region name.
        key: access key id, or None for the machine's own role.
        secret: its secret.
        token: session token of temporary credentials.
    """

    endpoint: str | None
    region: str
    key: str | None
    secret: str | None = field(repr=False)
    token: str | None = field(repr=False)

    @classmethod
    def from_environment(cls) -> "S3Options":
        """What the standard variables say.

        Raises:
            InputError: the endpoint's address holds a user or a password.
        """
        env = os.environ
        for name in ENDPOINT_VARIABLES:
            refuse_user(env.get(name, ""), what=name, instead=USE_VARIABLES)
        return cls(
            endpoint=next(filter(None, map(env.get, ENDPOINT_VARIABLES)), None),
            region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1",
            key=env.get("AWS_ACCESS_KEY_ID"),
            secret=env.get("AWS_SECRET_ACCESS_KEY"),
            token=env.get("AWS_SESSION_TOKEN"),
        )

    def object_store(self) -> dict[str, str]:
        """Options of Rust's object_store, which polars and deltalake share."""
        options = {
            "aws_region": self.region,
            "aws_endpoint_url": self.endpoint,
            "aws_access_key_id": self.key,
            "aws_secret_access_key": self.secret,
            "aws_session_token": self.token,
            "aws_allow_http": "true" if (self.endpoint or "").startswith("http://") else None,
        }
        return {name: value for name, value in options.items() if value}

    def s3fs(
        self, *, attempts: int = RETRIES, read_timeout: int = READ_TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        """Arguments of `s3fs.S3FileSystem`."""
        return {
            "key": self.key,
            "secret": self.secret,
            "token": self.token,
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": self.region},
            "config_kwargs": {
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "read_timeout": read_timeout,
                "retries": {"total_max_attempts": attempts, "mode": "standard"},
            },
        }

    def pyarrow(self) -> dict[str, Any]:
        """Arguments of `pyarrow.fs.S3FileSystem`, whose own patience are three tries."""
        from pyarrow.fs import AwsStandardS3RetryStrategy

        return {
            "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=RETRIES),
            "access_key": self.key,
            "secret_key": self.secret,
            "session_token": self.token,
            "endpoint_override": self.endpoint,
            "region": self.region,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "request_timeout": READ_TIMEOUT_SECONDS,
        }
