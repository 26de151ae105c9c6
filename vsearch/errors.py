"""Every error that vsearch raises on purpose.

    VSearchError
    ├── InvalidArgument (ValueError)   the call is wrong; the same call will fail again
    │   ├── DimensionMismatch          a vector's length is not the field's
    │   └── InvalidFilter              a filter cannot be understood
    ├── NotFound                       no such collection, field or point
    ├── AlreadyExists                  the name or the id is taken
    ├── LimitExceeded                  a documented limit would be passed
    ├── Locked                         another process has the database open for writing
    ├── ReadOnly                       this handle, or the database after a failed write, takes no writes
    ├── Closed                         the database was closed
    ├── MissingExtra (ImportError)     an optional dependency is not installed
    ├── NotSupported                   this release cannot do it (yet)
    ├── PermissionDenied               a server wants a key, or another one
    ├── ResourceExhausted              a server is at its limits now: try again later
    ├── Unavailable                    a server cannot be reached, or is stopping
    │   └── Timeout (TimeoutError)     a server did not answer in time; a write may have been made
    ├── DurabilityError                a write could not be made durable; it was not acknowledged
    └── Corruption                     stored bytes are damaged
        └── UnsupportedFormat          stored bytes are of a format that this release cannot read

Each class has a stable `code` for programs and says whether the same call is worth repeating (`retryable`); each
error carries a `hint`: what to do about it.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "Closed",
    "Corruption",
    "DimensionMismatch",
    "DurabilityError",
    "InvalidArgument",
    "InvalidFilter",
    "LimitExceeded",
    "Locked",
    "MissingExtra",
    "NotFound",
    "NotSupported",
    "PermissionDenied",
    "ReadOnly",
    "ResourceExhausted",
    "Timeout",
    "Unavailable",
    "UnsupportedFormat",
    "VSearchError",
]


class VSearchError(Exception):
    """Base of the tree. `str()` is the message, followed by the hint when there is one."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)  # both arguments, so that the error survives a process boundary
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class InvalidArgument(VSearchError, ValueError):
    """The call is wrong as it stands: a type, a value, a shape or a name."""

    code = "invalid_argument"


class DimensionMismatch(InvalidArgument):
    """A vector's length differs from the dimension declared for its field."""

    code = "dimension_mismatch"


class InvalidFilter(InvalidArgument):
    """A filter has an unknown operator, a value of the wrong type, or too many levels."""

    code = "invalid_filter"


class NotFound(VSearchError):
    """The named collection, field or point does not exist."""

    code = "not_found"


class AlreadyExists(VSearchError):
    """The collection name or point id is already in use."""

    code = "already_exists"


class LimitExceeded(VSearchError):
    """A documented limit (vsearch.types) would be passed."""

    code = "limit_exceeded"


class Locked(VSearchError):
    """Another process holds the writer's lock of the database."""

    code = "locked"
    retryable = True


class ReadOnly(VSearchError):
    """The database takes no writes: opened read-only, or stopped writing after a failed write."""

    code = "read_only"


class Closed(VSearchError):
    """The database or collection handle is closed."""

    code = "closed"


class MissingExtra(VSearchError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    code = "missing_extra"


class NotSupported(VSearchError):
    """The call is understood, and this release cannot do it. The message names what is missing."""

    code = "not_supported"


class PermissionDenied(VSearchError):
    """A server refuses the call without a key, with a wrong one, or with one that may only read."""

    code = "permission_denied"


class ResourceExhausted(VSearchError):
    """A server takes no more of this now: its memory budget or its number of requests at once is reached."""

    code = "resource_exhausted"
    retryable = True


class Unavailable(VSearchError):
    """A server cannot be reached, went away before it answered, or is stopping."""

    code = "unavailable"
    retryable = True


class Timeout(Unavailable, TimeoutError):
    """A server did not answer in time. A write may have been made all the same."""

    code = "timeout"


class DurabilityError(VSearchError):
    """The operating system refused to store or sync a write, which is therefore not acknowledged."""

    code = "durability_error"
    retryable = True


class Corruption(VSearchError):
    """Stored bytes do not match their checksum or their description. The message names the file."""

    code = "corruption"


class UnsupportedFormat(Corruption):
    """The stored format is newer, or older, than this release reads."""

    code = "unsupported_format"
