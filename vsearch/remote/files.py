"""Files that are sent and files that answers are saved in, a piece at a time."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import httpx

from vsearch.errors import Corruption, InvalidArgument, NotFound

if TYPE_CHECKING:
    from vsearch.storage.files import WritableFile

PIECE_BYTES: Final = 1 << 20  # of a file in memory at any time


def checked_file(path: str | Path) -> Path:
    """The path of a file. Raises NotFound."""
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"there is no file {path}", "Give the path of a file on this machine")
    return path


class Sending(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The bytes of a file, as the body of a request."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        file: BinaryIO = await asyncio.to_thread(self.path.open, "rb")
        try:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece
        finally:
            file.close()


class Saving:
    """A file that an answer is saved in: a context manager, in which `write` takes the bytes and `finish` ends.

    The file takes its name, in the place of another of that name, when all is there and on disk; without `finish`
    nothing remains. `sha256`: what the checksum must be, in hex.

    Raises NotFound for a missing folder, InvalidArgument for the path of one, Corruption when the checksum differs,
    DurabilityError when the disk refuses.
    """

    def __init__(self, path: str | Path, sha256: str | None = None) -> None:
        self.path = Path(path)
        self.nbytes = 0
        self._sha256 = sha256
        if not self.path.parent.is_dir():
            raise NotFound(f"there is no folder {self.path.parent}", "Create it first")
        if self.path.is_dir():
            raise InvalidArgument(f"{self.path} is a folder", "Give the path of a file")

    def __enter__(self) -> Saving:
        from vsearch.storage.files import TEMPORARY_PREFIX, WritableFile

        self.nbytes = 0
        self._hash: Any = hashlib.sha256()
        self._file: WritableFile = WritableFile(self.path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"))
        self._finished = False
        return self

    def write(self, piece: bytes) -> None:
        """Append bytes."""
        self._file.write(piece)
        self.nbytes += len(piece)
        if self._sha256 is not None:
            self._hash.update(piece)

    def finish(self) -> None:
        """Verify, sync, and give the file its name."""
        from vsearch.storage.files import replace

        found = self._hash.hexdigest()
        if self._sha256 is not None and found != self._sha256:
            message = f"{self.path.name} came with the checksum {found}, not {self._sha256}"
            raise Corruption(message, "Download it again")
        self._file.close()
        replace(self._file.path, self.path)
        self._finished = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            self._file.abandon()
