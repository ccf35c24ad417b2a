import fcntl
import gzip
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from moviebot import __version__
from moviebot.data import download as download_module
from moviebot.data.catalogue import build_catalogue
from moviebot.data.download import IMDB_FILES, LICENCE, MAX_TRIES, download_imdb
from moviebot.errors import UserError
from tests.data.imdb_files import BASICS, BASICS_HEADER, write_imdb
from tests.data.mirror import Fault, Handler, Mirror, cut, ignore_range, run_mirror, send, status

ROOT = Path(__file__).resolve().parents[2]
NAME = "title.basics.tsv.gz"
QUICK_S = 0.01


def write_basics(seed: int, kib: int = 300) -> bytes:
    """Return a title.basics.tsv.gz of at least so many KiB."""
    noise = random.Random(seed).randbytes(kib << 10).hex()  # 8 bits a byte come out of gzip again
    rows = [BASICS_HEADER, *BASICS, ["tt7", "movie", "Noise", noise, "0", "1999", "\\N", "99", "Drama"]]
    return gzip.compress("".join("\t".join(row) + "\n" for row in rows).encode(), compresslevel=1, mtime=0)


@pytest.fixture(scope="module")
def basics() -> bytes:
    return write_basics(1)


@pytest.fixture
def mirror(tmp_path: Path, basics: bytes) -> Iterator[Mirror]:
    plain = write_imdb(tmp_path / "plain")
    files = {name: gzip.compress((plain / name.removesuffix(".gz")).read_bytes(), mtime=0) for name in IMDB_FILES}
    with run_mirror({**files, NAME: basics}) as mirror:
        yield mirror


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "imdb"


def fetch(folder: Path, mirror: Mirror) -> None:
    download_imdb(folder, mirror.url, first_wait_s=QUICK_S)


def assert_whole(folder: Path, mirror: Mirror) -> None:
    for name, data in mirror.files.items():
        assert (folder / name).read_bytes() == data, name
    assert not [path.name for path in folder.iterdir() if ".part" in path.name or path.suffix == ".tmp"]


def test_files_are_fetched_once_and_kept_while_unchanged(
    folder: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert caplog.text.count(LICENCE) == 1
    assert [name for name, _, _ in mirror.seen] == list(IMDB_FILES)
    assert all(headers["User-Agent"] == f"moviebot/{__version__}" for _, headers, _ in mirror.seen)
    before = {name: (folder / name).stat().st_mtime_ns for name in IMDB_FILES}
    mirror.body_bytes = 0
    fetch(folder, mirror)
    assert mirror.body_bytes == 0
    assert {name: (folder / name).stat().st_mtime_ns for name in IMDB_FILES} == before
    assert all("If-None-Match" in headers and "If-Modified-Since" in headers for _, headers, _ in mirror.seen[6:])


def test_a_file_that_changed_on_the_server_is_fetched_anew(folder: Path, mirror: Mirror) -> None:
    fetch(folder, mirror)
    mirror.files[NAME] = write_basics(2)
    fetch(folder, mirror)
    assert_whole(folder, mirror)


@pytest.mark.parametrize("keep", [0, 1000])
def test_a_file_damaged_or_replaced_here_is_fetched_anew(folder: Path, mirror: Mirror, keep: int) -> None:
    fetch(folder, mirror)
    path = folder / NAME
    path.write_bytes(path.read_bytes()[:keep] + b"\0" * (path.stat().st_size - keep))  # as long as before
    fetch(folder, mirror)
    assert_whole(folder, mirror)


def test_a_cut_connection_is_gone_on_with(folder: Path, mirror: Mirror, basics: bytes) -> None:
    mirror.faults[NAME] = [cut(100_000), cut(50_000)]
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert [headers.get("Range") for headers in mirror.asked(NAME)] == [None, "bytes=100000-", "bytes=150000-"]
    assert mirror.asked(NAME)[1]["If-Range"] == mirror.validators(NAME)["ETag"]
    assert mirror.body_bytes == sum(map(len, mirror.files.values()))  # no byte twice


def test_more_cuts_than_tries_end_well_as_long_as_the_file_grows(folder: Path, mirror: Mirror) -> None:
    mirror.files[NAME] = write_basics(3, kib=9 << 10)
    mirror.faults[NAME] = [cut((1 << 20) + 1) for _ in range(MAX_TRIES + 2)]
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert len(mirror.asked(NAME)) == MAX_TRIES + 3


def test_cuts_without_progress_come_to_an_end(folder: Path, mirror: Mirror) -> None:
    mirror.files[NAME] = write_basics(3, kib=3 << 10)

    def cut_whole(handler: Handler, name: str) -> None:  # 2 MiB come each time, and each time from the start
        handler.serve(name, cut=2 << 20, ranges=False)

    mirror.faults[NAME] = [cut_whole] * 100
    with pytest.raises(UserError, match=r"title\.basics\.tsv\.gz: .* \(6 tries\): run the same command again later"):
        fetch(folder, mirror)
    assert len(mirror.asked(NAME)) == 2 * MAX_TRIES
    assert not (folder / NAME).exists()


def test_a_server_without_ranges_sends_the_whole_again(folder: Path, mirror: Mirror) -> None:
    mirror.faults[NAME] = [cut(100_000), ignore_range]
    fetch(folder, mirror)
    assert_whole(folder, mirror)


def test_a_file_that_changes_between_tries_is_not_mixed(folder: Path, mirror: Mirror) -> None:
    def change(handler: Handler, name: str) -> None:
        handler.serve(name, cut=100_000)
        mirror.files[NAME] = write_basics(2)

    mirror.faults[NAME] = [change]
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert len(mirror.asked(NAME)) == 2


@pytest.mark.parametrize("told", ["ETag", "Last-Modified", "Content-Range", "start"])
def test_the_rest_of_another_file_is_not_taken(folder: Path, mirror: Mirror, basics: bytes, told: str) -> None:
    """A server that does not heed If-Range: each of its headers alone gives it away, whatever the bytes."""
    headers = {**mirror.validators(NAME), "Content-Range": f"bytes 100000-{len(basics) - 1}/{len(basics)}"}
    headers[{"start": "Content-Range"}.get(told, told)] = {
        "ETag": '"other"',
        "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT",
        "Content-Range": f"bytes 100000-{len(basics)}/{len(basics) + 1}",
        "start": f"bytes 99999-{len(basics) - 1}/{len(basics)}",
    }[told]
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    mirror.faults[NAME] = [cut(100_000), send(basics[100_000:], 206, **named)]
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert [headers.get("Range") for headers in mirror.asked(NAME)] == [None, "bytes=100000-", None]


def test_a_part_without_a_strong_validator(folder: Path, mirror: Mirror) -> None:
    """A weak ETag may not stand in If-Range: the date does; without a date there is no going on."""
    weak = {"ETag": 'W/"1"', "Last-Modified": mirror.validators(NAME)["Last-Modified"]}

    def cut_weakly(handler: Handler, name: str) -> None:
        handler.answer(200, mirror.files[name], weak, cut=100_000)

    mirror.faults[NAME] = [cut_weakly]
    fetch(folder, mirror)
    assert mirror.asked(NAME)[1]["If-Range"] == weak.pop("Last-Modified")
    (folder / NAME).unlink()
    mirror.faults[NAME] = [cut_weakly]
    fetch(folder, mirror)
    assert "Range" not in mirror.asked(NAME)[3]
    assert_whole(folder, mirror)


def leave_part(folder: Path, mirror: Mirror, data: bytes, size: int | None, url: str | None = None) -> None:
    """Leave what a kill would."""
    validators = mirror.validators(NAME)
    folder.mkdir()
    (folder / f"{NAME}.part").write_bytes(data)
    origin = {"url": (url or mirror.url) + NAME, "etag": validators["ETag"], "size": size}
    (folder / f"{NAME}.part.json").write_text(json.dumps(origin))


def test_a_kill_between_the_last_byte_and_the_rename_costs_no_byte(folder: Path, mirror: Mirror) -> None:
    leave_part(folder, mirror, mirror.files[NAME], len(mirror.files[NAME]))
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert mirror.body_bytes == sum(len(data) for name, data in mirror.files.items() if name != NAME)


def test_a_whole_part_that_is_broken_is_fetched_anew(folder: Path, mirror: Mirror) -> None:
    leave_part(folder, mirror, bytes(len(mirror.files[NAME])), len(mirror.files[NAME]))
    fetch(folder, mirror)
    assert_whole(folder, mirror)


@pytest.mark.parametrize(("more", "requests"), [(b"", 1), (b"too much", 2)])
def test_416_is_a_whole_part_or_a_wrong_one(folder: Path, mirror: Mirror, more: bytes, requests: int) -> None:
    leave_part(folder, mirror, mirror.files[NAME] + more, None)
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert len(mirror.asked(NAME)) == requests
    assert mirror.asked(NAME)[0]["Range"] == f"bytes={len(mirror.files[NAME] + more)}-"


def test_a_part_that_is_too_long_takes_no_try_from_the_files_that_come(folder: Path, mirror: Mirror) -> None:
    leave_part(folder, mirror, mirror.files[NAME] + b"too much", None)
    mirror.faults[NAME] = [Handler.serve, send(mirror.files[NAME][:-1])]
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert len(mirror.asked(NAME)) == 3


def test_a_part_from_another_mirror_or_with_broken_words_is_not_gone_on_with(folder: Path, mirror: Mirror) -> None:
    leave_part(folder, mirror, b"x" * 1000, len(mirror.files[NAME]), url="http://other.example/")
    (folder / "title.akas.tsv.gz.part").write_bytes(b"x")
    (folder / "title.akas.tsv.gz.part.json").write_text("{")
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert not any("Range" in headers for _, headers, _ in mirror.seen)


@pytest.mark.parametrize("answer", [status(500), status(429), status(503, Retry_After="0"), status(408)])
def test_a_busy_server_is_asked_again(folder: Path, mirror: Mirror, answer: Fault) -> None:
    mirror.faults[NAME] = [answer, answer]
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert len(mirror.asked(NAME)) == 3


def test_retry_after_in_seconds_is_waited_for(folder: Path, mirror: Mirror) -> None:
    mirror.faults[NAME] = [status(429, Retry_After="1")]
    fetch(folder, mirror)
    first, second = (moment for name, _, moment in mirror.seen if name == NAME)
    assert second - first >= 1


def test_retry_after_as_a_date_is_waited_for(folder: Path, mirror: Mirror) -> None:
    def answer(handler: Handler, name: str) -> None:
        soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        status(503, Retry_After=format_datetime(soon, usegmt=True))(handler, name)

    mirror.faults[NAME] = [answer]
    fetch(folder, mirror)
    first, second = (moment for name, _, moment in mirror.seen if name == NAME)
    assert second - first >= 1


def test_a_server_that_wants_a_day_gets_it(folder: Path, mirror: Mirror) -> None:
    mirror.faults[NAME] = [status(429, Retry_After="86400")]
    with pytest.raises(UserError, match=r"429 Too Many Requests \(1 try\): run the same command again in 86,400 s"):
        fetch(folder, mirror)
    assert len(mirror.seen) == 1


def test_a_server_that_stays_broken_is_given_up(folder: Path, mirror: Mirror) -> None:
    fetch(folder, mirror)
    before = (folder / NAME).read_bytes()
    mirror.seen.clear()
    mirror.faults[NAME] = [status(500)] * 100
    with pytest.raises(UserError, match=r"title\.basics\.tsv\.gz: the server answered 500 .*\(6 tries\)") as caught:
        fetch(folder, mirror)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"({folder / NAME} of an earlier run is kept)")
    assert len(mirror.seen) == MAX_TRIES  # and the other files are not asked for
    assert (folder / NAME).read_bytes() == before


def test_every_file_that_is_refused_is_named_in_one_line(folder: Path, mirror: Mirror) -> None:
    del mirror.files["title.akas.tsv.gz"]
    mirror.faults["title.crew.tsv.gz"] = [status(403)]
    crew = mirror.files.pop("title.crew.tsv.gz")
    with pytest.raises(UserError) as caught:
        fetch(folder, mirror)
    line = str(caught.value)
    assert f"{mirror.url}title.crew.tsv.gz: the server answered 403 Forbidden: check --download_url; " in line
    assert f"{mirror.url}title.akas.tsv.gz: the server answered 404 Not Found: check --download_url" in line
    assert "\n" not in line
    assert len(mirror.seen) == len(IMDB_FILES)  # no second try
    assert_whole(folder, mirror)  # the others are there
    mirror.files["title.crew.tsv.gz"] = crew


def break_byte(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place:][1:]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "short": lambda data: data[:-1000],
    "short by its last byte": lambda data: data[:-1],
    "wrong checksum": lambda data: break_byte(data, -7),
    "wrong in the middle": lambda data: break_byte(data, len(data) // 2),
    "a page": lambda data: b"<html>Log in to the network</html>",
    "nothing": lambda data: b"",
    "gzip of nothing": lambda data: gzip.compress(b""),
    "more behind it": lambda data: data + b"<!-- cached -->",
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_not_whole_is_fetched_afresh_once(folder: Path, mirror: Mirror, how: str) -> None:
    mirror.faults[NAME] = [send(BROKEN[how](mirror.files[NAME]), ETag='"x"')]
    fetch(folder, mirror)
    assert_whole(folder, mirror)
    assert [headers.get("Range") for headers in mirror.asked(NAME)] == [None, None]


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_never_whole_is_never_put_in_place(folder: Path, mirror: Mirror, basics: bytes, how: str) -> None:
    fetch(folder, mirror)
    mirror.seen.clear()
    mirror.faults[NAME] = [send(BROKEN[how](write_basics(2)), ETag='"x"')] * 100
    with pytest.raises(UserError, match=r"was fetched twice and is not a whole gzip file .* is kept\)$") as caught:
        fetch(folder, mirror)
    assert "\n" not in str(caught.value)
    assert len(mirror.asked(NAME)) == 2
    assert_whole(folder, mirror)
    mirror.faults.clear()
    fetch(folder, mirror)
    assert mirror.asked(NAME)[2]["If-None-Match"] == mirror.validators(NAME)["ETag"]


def test_a_server_that_hangs_is_left(folder: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "TIMEOUT", httpx.Timeout(0.3))
    done = threading.Event()

    def hang(handler: Handler, name: str) -> None:
        done.wait(60)

    mirror.faults[NAME] = [hang]
    fetch(folder, mirror)
    done.set()
    assert_whole(folder, mirror)


def test_no_server(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        with pytest.raises(UserError, match=r"title\.basics\.tsv\.gz: .*refused \(6 tries\)") as caught:
            download_imdb(folder, f"http://me:secret@127.0.0.1:{taken.getsockname()[1]}", first_wait_s=QUICK_S)
    assert "secret" not in str(caught.value)


def test_a_redirect_in_a_circle(folder: Path, mirror: Mirror) -> None:
    mirror.faults[NAME] = [status(302, Location=f"/{NAME}")] * 100
    with pytest.raises(UserError, match=r"Exceeded maximum allowed redirects.*: check --download_url"):
        fetch(folder, mirror)


def test_no_length_and_content_encoding(folder: Path, mirror: Mirror) -> None:
    """Some servers call a .gz file an encoding of the file inside, and some don't say how long it is."""

    def serve(handler: Handler, name: str) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(mirror.files[name])

    mirror.faults[NAME] = [serve]
    fetch(folder, mirror)
    assert_whole(folder, mirror)


def test_two_runs_do_not_mix(folder: Path, mirror: Mirror) -> None:
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another `moviebot catalogue --download` works there"):
        fetch(folder, mirror)
    os.close(handle)
    fetch(folder, mirror)


def test_a_plain_file_that_hides_the_fetched_one_is_named(
    folder: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    write_imdb(folder)
    fetch(folder, mirror)
    assert f"{folder / 'title.basics.tsv'} is read in the place of title.basics.tsv.gz: remove it" in caplog.text


def start_command(folder: Path, mirror: Mirror) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "moviebot", "catalogue", "--imdb_dir", str(folder), "--download"]
    command += ["--download_url", mirror.url, "--out", str(folder.parent / "out")]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_kill_9_and_go_on(folder: Path, mirror: Mirror, basics: bytes) -> None:
    """A real process, killed while the server holds back the rest; the next run fetches just that."""
    hold = threading.Event()
    mirror.faults[NAME] = [cut(200_000, before_rest=hold)]
    with start_command(folder, mirror) as first:
        part = folder / f"{NAME}.part"
        while first.poll() is None and (not part.is_file() or part.stat().st_size < 190_000):
            time.sleep(0.02)
        assert first.poll() is None
        os.kill(first.pid, signal.SIGKILL)
    hold.set()
    here = part.stat().st_size
    assert not (folder / NAME).exists()
    mirror.body_bytes = 0
    with start_command(folder, mirror) as second:
        assert second.stderr is not None
        shown = second.stderr.read()
    assert second.returncode == 0, shown
    assert_whole(folder, mirror)
    assert mirror.asked(NAME)[1]["Range"] == f"bytes={here}-"
    assert mirror.body_bytes == sum(map(len, mirror.files.values())) - here
    assert LICENCE in shown
    assert (folder.parent / "out" / "catalogue.parquet").is_file()


@pytest.mark.parametrize("url", ["datasets.imdbws.com", "ftp://host/", "file:///etc/", "http://", "https://[::1"])
def test_flags_are_checked_all_at_once(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError) as caught:
        build_catalogue(tmp_path, sample=True, download=True, download_url=url, columns={"title": "x"}, limit=0)
    assert "say where to with --imdb_dir DIR" in str(caught.value)
    assert f"--download_url {url}: give an address that begins with https://" in str(caught.value)
    assert "--columns is for --table" in str(caught.value)
    assert "--limit 0" in str(caught.value)
    with pytest.raises(UserError, match=r"--download_url http://x/ has no effect without --download true"):
        build_catalogue(tmp_path, sample=True, download_url="http://x/")
