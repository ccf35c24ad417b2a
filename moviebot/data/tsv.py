r"""IMDb's TSV dialect, streamed: no quoting, ``\N`` is null, perhaps gzipped, perhaps cut off mid-line.

The files have unbalanced quotes, so quoting must be off; pandas' pyarrow engine rejects that, ``pyarrow.csv`` with
``quote_char=False`` streams it. Cells come as bytes, so that one wrong byte costs one row and not the file.
"""

import gzip
import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from moviebot.data.rejects import CatalogueReason, Rejects
from moviebot.errors import UserError

BLOCK_BYTES = 16 << 20  # large blocks: the set of wanted ids is hashed once a block
NULL = b"\\N"
log = logging.getLogger(__name__)


@dataclass
class ImdbFile:
    """One IMDb TSV and what was found in it.

    Attributes:
        path: the file, ``.tsv`` or ``.tsv.gz``.
        rejects: where rows that can't be read go.
        rows: data rows read so far, the rejected ones among them.
        rejected: rows of this file rejected so far, by reason.
    """

    path: Path
    rejects: Rejects
    rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def reject(self, reason: CatalogueReason, tconst: str | None, raw: str) -> None:
        """Note one row of this file as thrown away."""
        self.rejected[reason] += 1
        self.rejects.add(reason, tconst, f"{self.path.name}: {raw}")

    def stream(self, columns: Iterable[str], wanted: Iterable[bytes] | None = None) -> Iterator[list[tuple[str, ...]]]:
        r"""Yield the rows, a block at a time.

        Args:
            columns: names of the columns wanted; the first is the id.
            wanted: ids to keep; None keeps all.

        Yields:
            A block of rows, each with its cells as text; null is ``\N``.

        Raises:
            UserError: the file is empty or lacks a column.
        """
        columns = list(columns)
        ids = None if wanted is None else pa.array(sorted(wanted), pa.binary())
        for batch in self.stream_batches(columns):
            kept = batch if ids is None else batch.filter(pc.is_in(batch[columns[0]], value_set=ids))
            yield list(self.decode(kept, columns))

    def stream_batches(self, columns: list[str]) -> "Iterator[pa.RecordBatch]":
        """Yield the rows as Arrow batches of binary columns (arguments and errors as :meth:`stream`)."""
        with gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb") as source:
            lines = WholeLines(source)
            header = lines.read_line().decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")
            self._check_header(header, columns)
            try:
                reader = pyarrow.csv.open_csv(
                    lines,
                    # One thread: the order of rows and of rejects is then the file's.
                    read_options=pyarrow.csv.ReadOptions(
                        use_threads=False, column_names=header, block_size=BLOCK_BYTES
                    ),
                    parse_options=pyarrow.csv.ParseOptions(
                        delimiter="\t", quote_char=False, double_quote=False, invalid_row_handler=self._skip_row
                    ),
                    convert_options=pyarrow.csv.ConvertOptions(
                        include_columns=columns, column_types=dict.fromkeys(columns, pa.binary()), check_utf8=False
                    ),
                )
            except pa.ArrowInvalid as error:
                if "Empty CSV" not in str(error):
                    raise UserError(f"{self.path} can't be read as a TSV: {error}") from error
                reader = ()
            for batch in reader:
                self.rows += batch.num_rows
                yield batch
        if lines.cut is not None:
            self.rows += 1
            text = lines.cut.decode("utf-8", "surrogateescape")
            self.reject("cut_line", text.split("\t")[0] if "\t" in text else None, text)
            log.warning("%s ends in the middle of a line: that line is left out", self.path)

    def decode(self, batch: "pa.RecordBatch", columns: list[str]) -> Iterator[tuple[str, ...]]:
        """Yield a batch's rows as text, rejecting those that are not UTF-8."""
        for row in zip(*(batch[name].to_pylist() for name in columns), strict=True):
            try:
                yield tuple([cell.decode() for cell in row])
            except UnicodeDecodeError:
                text = b"\t".join(row).decode("utf-8", "surrogateescape")
                self.reject("not_utf8", row[0].decode("utf-8", "replace"), text)

    def _check_header(self, header: list[str], columns: list[str]) -> None:
        if header == [""]:
            raise UserError(f"{self.path} is empty: download it again")
        missing = [name for name in columns if name not in header]
        if missing:
            raise UserError(
                f"{self.path} lacks the column(s) {', '.join(missing)} (it has {', '.join(header)[:200]}): give IMDb's "
                "files as they are, with their first line, or use --table for a table of your own"
            )

    def _skip_row(self, row: "pyarrow.csv.InvalidRow") -> str:
        self.rows += 1
        self.reject("bad_row", None, f"{row.actual_columns} fields, not {row.expected_columns}: {row.text}")
        return "skip"


class _Source(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class WholeLines:
    """A binary file that ends at its last newline; what stands after it is kept in ``cut``.

    IMDb's files end with a newline, so a last line without one was cut off by a broken download, even where it has all
    its fields. A gzip stream that breaks off ends here too.

    Args:
        source: an open binary file.
    """

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._held = b""  # the end of what was read, up to a line not yet known to be whole
        self._ready = bytearray()
        self._ended = False
        self.cut: bytes | None = None
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes of whole lines; empty at the end."""
        while not self._ended and (size < 0 or len(self._ready) < size):
            self._fill()
        return self._take(len(self._ready) if size < 0 else size)

    def read_line(self) -> bytes:
        """Return the first line, with its newline; a file of one cut line gives that line."""
        while not self._ended and b"\n" not in self._ready:
            self._fill()
        if not self._ready and self.cut:
            line, self.cut = self.cut, None
            return line
        return self._take(self._ready.find(b"\n") + 1)

    def readable(self) -> bool:
        """Say that this file can be read."""
        return True

    def close(self) -> None:
        """Close the file."""
        self.closed = True

    def _take(self, size: int) -> bytes:
        piece = bytes(self._ready[:size])
        del self._ready[:size]
        return piece

    def _fill(self) -> None:
        try:
            block = self._source.read1(1 << 20)  # read() would lose what a broken gzip stream gave before it broke
            broken = False
        except (EOFError, zlib.error, gzip.BadGzipFile):
            block, broken = b"", True
        self._held += block
        newline = self._held.rfind(b"\n") + 1
        self._ready += self._held[:newline]
        self._held = self._held[newline:]
        if not block:
            self._ended = True
            self.cut = self._held if self._held or broken else None
