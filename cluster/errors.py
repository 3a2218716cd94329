"""Errors a user can mend.

Their text says where the trouble is (file, row, field), what was expected and what to do;
commands print it without a traceback. Anything else that is raised is a fault of ours.
"""


class SignalboxError(Exception):
    """Base of every error that is meant for the user."""


class InputError(SignalboxError):
    """A file, row, field or flag is not what it should be."""


class LakeError(SignalboxError):
    """The lake cannot be reached, is of another schema version, or refused a commit."""


class JobError(SignalboxError):
    """A job on Ray failed, was stopped, or could not be submitted."""


class EngineError(SignalboxError):
    """A candidate's engine could not be loaded or produced too many errors."""


class NotComparableError(InputError):
    """A router cannot be measured on a snapshot as it is; what is missing can be collected."""
