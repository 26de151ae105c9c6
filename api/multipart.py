"""The file in a form that was uploaded, as browsers and Qdrant's clients send it, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from vsearch.errors import InvalidArgument
from vsearch.storage.files import spool

PIECE_BYTES: Final = 1 << 20
FORM: Final = b"multipart/form-data"


@contextmanager
def extract_file(upload: Path, content_type: str, folder: Path) -> Iterator[Path]:
    """The one file of a form, in a temporary file in `folder`; what is no form is the file itself.

    Raises InvalidArgument for a form that is malformed or has not exactly one file.
    """
    kind, options = parse_options_header(content_type)
    if kind != FORM:
        yield upload
        return
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidArgument("the form names no boundary", "Send multipart/form-data; boundary=...")
    with spool(folder) as file:
        parts = 0

        def begin() -> None:
            nonlocal parts
            parts += 1

        def write(data: bytes, start: int, end: int) -> None:
            if parts == 1:
                file.write(data[start:end])

        callbacks: Any = {"on_part_begin": begin, "on_part_data": write}
        try:
            parser = MultipartParser(boundary, callbacks)
            with upload.open("rb") as form:
                while piece := form.read(PIECE_BYTES):
                    parser.write(piece)
            parser.finalize()
        except MultipartParseError as error:
            raise InvalidArgument(f"the form cannot be read: {error}", "Send one file as multipart/form-data") from None
        if parts != 1:
            raise InvalidArgument(f"the form has {parts} parts", "Send one file")
        file.flush()
        yield file.path
