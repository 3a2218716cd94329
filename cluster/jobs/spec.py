"""A job's spec: everything it depends on, frozen, with the versions of its inputs."""

from importlib.metadata import version
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict

from cluster.query import digest


class JobSpec(BaseModel):
    """Base of every job's spec.

    Attributes:
        lake: URI of the lake the job reads and writes. Credentials are never part of a spec.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: ClassVar[str]

    lake: str

    @property
    def module(self) -> str:
        """What runs it: `python -m <module> <spec uri>`."""
        return f"cluster.jobs.{self.job}"

    @property
    def work_id(self) -> str:
        """Identity of the work: equal specs are the same work, whoever asks and when.

        Another version of the code is other work: it may say more in its manifest. What is in the
        lake already is not done again for that.
        """
        parts = [self.job, version("signalbox"), self.model_dump_json()]
        return f"{self.job}-{digest(parts)[:16]}"

    @classmethod
    def parse(cls, content: bytes) -> Self:
        return cls.model_validate_json(content)
