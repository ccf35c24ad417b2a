import gzip
import io
import random
import zlib
from pathlib import Path

import pytest

from moviebot.data.rejects import Rejects
from moviebot.data.tsv import ImdbFile, WholeLines

HEADER = "tconst\ttitle\n"


def read_titles(path: Path) -> tuple[list[str], ImdbFile]:
    file = ImdbFile(path, Rejects("catalogue"))
    return [title for batch in file.stream(["tconst", "title"]) for title in batch["title"].to_pylist()], file


def write_rows(count: int) -> str:
    dice = random.Random(1)
    return "".join(f"tt{number}\tFilm {dice.random()}\n" for number in range(count))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_all_whole_lines_before_a_cut_are_read(tmp_path: Path, share: float) -> None:
    """FACTS 23: every line that the bytes before the cut hold is read, none is lost in a buffer."""
    packed = gzip.compress((HEADER + write_rows(50_000)).encode())
    part = packed[: int(len(packed) * share)]
    (tmp_path / "a.tsv.gz").write_bytes(part)
    titles, file = read_titles(tmp_path / "a.tsv.gz")
    unpacked = zlib.decompressobj(31).decompress(part)
    assert len(titles) == unpacked.count(b"\n") - 1 > 1000
    assert file.rejected == {"cut_line": 1}
    assert file.rows == len(titles) + 1


def test_gzip_members_and_padding(tmp_path: Path) -> None:
    rows = write_rows(3000)
    packed = gzip.compress(HEADER.encode()) + gzip.compress(rows[:7777].encode()) + gzip.compress(rows[7777:].encode())
    (tmp_path / "a.tsv.gz").write_bytes(packed + b"\0" * 500)
    titles, file = read_titles(tmp_path / "a.tsv.gz")
    assert titles == [line.split("\t")[1] for line in rows.splitlines()]
    assert not file.rejected


def test_rubbish_after_gzip_loses_no_row(tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress((HEADER + write_rows(100_000)).encode()) + b"rubbish")
    titles, _ = read_titles(tmp_path / "a.tsv.gz")
    assert len(titles) == 100_000


def test_carriage_return_ends_no_row(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"tconst\ttitle\r\ntt1\tUp\r\ntt2\tNight\rTrain\r\n")
    titles, file = read_titles(tmp_path / "a.tsv")
    assert titles == ["Up", "Night Train"]
    assert (file.rows, dict(file.rejected)) == (2, {})


def test_zero_bytes_and_quotes_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b'tconst\ttitle\ntt1\t"Up\0\ntt2\t""Down"\n')
    assert read_titles(tmp_path / "a.tsv")[0] == ['"Up\0', '""Down"']


@pytest.mark.parametrize("size", [10, 13, 1000])
def test_whole_lines_are_given_in_any_size(size: int) -> None:
    lines = WholeLines(io.BufferedReader(io.BytesIO(b"head\none\ntwo, long\nthree\ncut")))
    assert lines.read_line() == b"head\n"
    got = b""
    while block := lines.read(size):
        got += block
    assert (got, lines.cut) == (b"one\ntwo, long\nthree\n", b"cut")


def test_damaged_gzip_is_told_as_cut(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress((HEADER + write_rows(50_000)).encode()))
    packed[len(packed) // 2 : len(packed) // 2 + 2000] = b"\xff" * 2000
    (tmp_path / "a.tsv.gz").write_bytes(packed)
    titles, file = read_titles(tmp_path / "a.tsv.gz")
    assert 1000 < len(titles) < 50_000
    assert file.rejected["cut_line"] == 1
