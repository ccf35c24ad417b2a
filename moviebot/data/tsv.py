r"""IMDb's TSV dialect, streamed: no quoting, ``\N`` is null, perhaps gzipped, perhaps cut off mid-line.

The files have unbalanced quotes, so quoting must be off; pandas' pyarrow engine rejects that, ``pyarrow.csv`` with
``quote_char=False`` streams it. Cells are read as bytes, so that one wrong byte costs one row and not the file.
"""

import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
from isal import isal_zlib

from moviebot.data.rejects import CatalogueReason, Rejects
from moviebot.errors import UserError

BLOCK_BYTES = 4 << 20  # Arrow reads up to 32 blocks ahead of the parser: 128 MiB
POSITION = "position"
_PACKED_BYTES = 1 << 18
_GZIP_WBITS = 31  # 15 bits of window, and a gzip header
_BROKEN: tuple[type[Exception], ...] = (EOFError, zlib.error, cast(type[Exception], isal_zlib.IsalError))
log = logging.getLogger(__name__)


@dataclass
class ImdbFile:
    """One IMDb TSV and what was found in it.

    Attributes:
        path: the file, ``.tsv`` or ``.tsv.gz``.
        rejects: where rows that can't be read go.
        rows: data rows read so far, the rejected ones among them.
        rejected: rows of this file rejected so far, by reason.
        filtered: rows of this file passed over so far, by the setting that did it.
        fault: why the file can't be read on; set before :meth:`stream` raises it.
        on_read: told the bytes read from disk, as they are read.
    """

    path: Path
    rejects: Rejects
    rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    fault: UserError | None = None
    on_read: Callable[[int], None] = lambda size: None

    def reject(self, reason: CatalogueReason, tconst: str | None, raw: str) -> None:
        """Note one row of this file as thrown away."""
        self.rejected[reason] += 1
        self.rejects.add(reason, tconst, f"{self.path.name}: {raw}")

    def read_header(self) -> list[str]:
        """Return the names of the columns; ``[""]`` of an empty file."""
        with self.path.open("rb") as raw:
            return _split_header(WholeLines(self._open(raw)))

    def find_problem(self, columns: list[str]) -> str | None:
        """Say why columns can't be read from this file, or None where they can."""
        header = self.read_header()
        if header == [""]:
            return f"{self.path} is empty: download it again"
        missing = [name for name in columns if name not in header]
        if not missing:
            return None
        return (
            f"{self.path} lacks the column(s) {', '.join(missing)} (it has {', '.join(header)[:200]}): give IMDb's "
            "files as they are, with their first line, or use --table for a table of your own"
        )

    def stream(self, columns: list[str]) -> "Iterator[pa.RecordBatch]":
        r"""Yield the rows as Arrow batches of text columns and an int64 ``position``, the row's place in the file.

        Cut lines, rows of another number of fields and rows that are not UTF-8 are rejected; null is still ``\N``.

        Args:
            columns: names of the columns wanted, which :meth:`find_problem` found; the first is the id.

        Raises:
            UserError: a line is longer than a block.
        """
        with self.path.open("rb") as raw:
            lines = WholeLines(self._open(raw))
            position = 0
            for batch in self._parse(lines, columns):
                self.rows += batch.num_rows
                places = pa.array(np.arange(position, position + batch.num_rows))
                position += batch.num_rows
                yield self._decode(batch.append_column(POSITION, places), columns)
        if lines.cut is not None:
            self.rows += 1
            text = lines.cut.decode("utf-8", "surrogateescape")
            self.reject("cut_line", text.split("\t")[0] if "\t" in text else None, text)
            log.warning("%s ends in the middle of a line: that line is left out", self.path)

    def _open(self, raw: BinaryIO) -> "_Source":
        counted = _Counted(raw, self.on_read)
        return _Gunzip(counted) if self.path.suffix == ".gz" else counted

    def _parse(self, lines: "WholeLines", columns: list[str]) -> "Iterator[pa.RecordBatch]":
        header = _split_header(lines)
        try:
            yield from pyarrow.csv.open_csv(
                lines,
                # One thread: the order of rows and of rejects is then the file's.
                read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=header, block_size=BLOCK_BYTES),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter="\t", quote_char=False, double_quote=False, invalid_row_handler=self._skip_row
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=columns, column_types=dict.fromkeys(columns, pa.binary()), check_utf8=False
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV" not in str(error):
                self.fault = UserError(f"{self.path} can't be read as a TSV ({error}): download it again")
                raise self.fault from error

    def _decode(self, batch: "pa.RecordBatch", columns: list[str]) -> "pa.RecordBatch":
        """Return the batch with text for bytes, without the rows that are not UTF-8, which are rejected."""
        schema = pa.schema([*((name, pa.string()) for name in columns), (POSITION, pa.int64())])
        try:
            return batch.cast(schema)
        except pa.ArrowInvalid:
            good = []
            for row in zip(*(batch[name].to_pylist() for name in columns), strict=True):
                raw = b"\t".join(row)
                good.append(_is_utf8(raw))
                if not good[-1]:
                    self.reject("not_utf8", row[0].decode("utf-8", "replace"), raw.decode("utf-8", "surrogateescape"))
            return batch.filter(pa.array(good)).cast(schema)

    def _skip_row(self, row: "pyarrow.csv.InvalidRow") -> str:
        self.rows += 1
        self.reject("bad_row", None, f"{row.actual_columns} fields, not {row.expected_columns}: {row.text}")
        return "skip"


def _split_header(lines: "WholeLines") -> list[str]:
    return lines.read_line().decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Source(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class _Counted:
    """A file that tells how much was read from it."""

    def __init__(self, raw: BinaryIO, on_read: Callable[[int], None]) -> None:
        self._raw = raw
        self._on_read = on_read

    def read1(self, size: int, /) -> bytes:
        block = self._raw.read(size)
        self._on_read(len(block))
        return block


class _Gunzip:
    """The bytes of a gzip file, of one member or several; all that stands before a cut or broken place is given.

    ``isal``'s own file object is as fast, but loses up to a megabyte before a cut.
    """

    def __init__(self, packed: _Source) -> None:
        self._packed = packed
        self._inflate = isal_zlib.decompressobj(_GZIP_WBITS)
        self._begun = False  # inside a member

    def read1(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, empty at the end.

        Raises:
            EOFError: the file ends inside a member.
            isal_zlib.error: the bytes are damaged.
        """
        while True:
            if self._inflate.eof:
                left = self._inflate.unused_data
                self._inflate = isal_zlib.decompressobj(_GZIP_WBITS)
                self._begun = False
            else:
                left = self._inflate.unconsumed_tail
            data = left or self._packed.read1(_PACKED_BYTES)
            if not self._begun:
                data = data.lstrip(b"\0")  # padding between members and at the end
                if not data and not left:
                    return b""
            self._begun = self._begun or bool(data)
            out = self._inflate.decompress(data, size) if self._begun else b""
            if out:
                return out
            if not data and self._begun and not self._inflate.eof:
                raise EOFError("the file ends inside a gzip member")


class WholeLines:
    """A binary file that ends at its last newline; what stands after it is kept in ``cut``.

    IMDb's files end with a newline, so a last line without one was cut off by a broken download, even where it has all
    its fields. A gzip stream that breaks off ends here too. A carriage return ends no line: inside one it is a space.

    Args:
        source: an open binary file.
    """

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._held = b""  # read, but not yet given
        self._ended = False
        self._broken = False
        self.cut: bytes | None = None
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes of whole lines (of a part of a line longer than that); empty at the end."""
        self._fill(size)
        limit = len(self._held) if size < 0 else size
        end = self._held.rfind(b"\n", 0, limit) + 1
        if not end and len(self._held) >= limit and (b"\n" in self._held or not self._ended):
            end = limit
        piece, self._held = self._held[:end], self._held[end:]
        if self._ended and b"\n" not in self._held:
            self.cut = self._held if self._held or self._broken else self.cut
            self._held, self._broken = b"", False
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b" ") if b"\r" in piece else piece

    def read_line(self) -> bytes:
        """Return the first line, with its newline; a file of one cut line gives that line."""
        while b"\n" not in self._held and not self._ended:
            self._fill(len(self._held) + 1)
        end = self._held.find(b"\n") + 1 or len(self._held)
        line, self._held = self._held[:end], self._held[end:]
        return line

    def readable(self) -> bool:
        """Say that this file can be read."""
        return True

    def close(self) -> None:
        """Close the file."""
        self.closed = True

    def _fill(self, size: int) -> None:
        blocks, length = [self._held], len(self._held)
        while not self._ended and (size < 0 or length < size):
            try:
                block = self._source.read1(1 << 20)
            except _BROKEN:
                block, self._broken = b"", True
            self._ended = not block
            blocks.append(block)
            length += len(block)
        self._held = b"".join(blocks)
