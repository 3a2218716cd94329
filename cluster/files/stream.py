"""The bytes of a text file: decompressed, in blocks that end where a line ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from cluster.errors import InputError
from cluster.files.source import Compression, SourceFile

BLOCK_BYTES = 4 << 20
MAX_RECORD_BYTES = 64 << 20
CODECS: dict[Compression, str] = {"gz": "gzip", "zst": "zstd"}
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def line_blocks(source: SourceFile, *, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Blocks of whole lines; the last one gets a line end when it has none. No UTF-8 mark.

    Raises:
        InputError: the compressed data is damaged or cut short, the file is UTF-16, or a line is
            longer than 64 MiB.
    """
    rest = b""
    for block in _blocks(source, block_bytes=block_bytes):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield rest + block[:cut]
            rest = block[cut:]
        else:
            rest += block
        if len(rest) > MAX_RECORD_BYTES:
            raise InputError(
                f"{source.uri}: a line is longer than {MAX_RECORD_BYTES >> 20} MiB, so this is "
                f"not a {source.format} file; write one row a line"
            )
    if rest:
        yield rest + b"\n"


def _blocks(source: SourceFile, *, block_bytes: int) -> Iterator[bytes]:
    first = True
    with _decompressed(source) as stream:
        while block := _read(stream, source=source, size=block_bytes):
            if first and block.startswith(UTF16_BOMS):
                raise InputError(f"{source.uri}: the file is UTF-16; save it as UTF-8")
            yield block.removeprefix(UTF8_BOM) if first else block
            first = False


def _read(stream: Any, *, source: SourceFile, size: int) -> bytes:
    """At least three bytes unless the stream ends, so that a mark at its start is seen whole."""
    try:
        block = bytes(stream.read(max(size, 3)))
    except OSError as error:
        if source.compression == "none":
            raise
        raise InputError(
            f"{source.uri}: the .{source.compression} data is damaged or cut short ({error}); "
            "make or copy the file again"
        ) from error
    return block


@contextmanager
def _decompressed(source: SourceFile) -> Iterator[Any]:
    with source.open() as stored:
        if source.compression == "none":
            yield stored
            return
        with pa.CompressedInputStream(
            pa.PythonFile(stored, mode="r"), CODECS[source.compression]
        ) as stream:
            yield stream
