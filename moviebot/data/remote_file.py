"""A gzip file on the web and its copy here: one request of it, and what is kept between requests.

What has come stands in ``NAME.part``; ``NAME.part.json`` beside it holds what the server said of the file (ETag,
Last-Modified, length), so that the next request asks only for the rest. Once whole and checked, the part takes its
name, and ``NAME.json`` holds the same words for the next run, which asks only whether the file has changed.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from gzip import BadGzipFile
from pathlib import Path

import httpx
from isal import igzip, igzip_lib

from moviebot.artefact import hash_path, remove, write_whole
from moviebot.data.retry_after import read_retry_after


class TryAgain(Exception):
    """A request has failed; the next may not.

    Args:
        why: what happened.
        retry_after_s: seconds that the server asks to wait, where it does.
    """

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class DownloadError(Exception):
    """A file can't be had: one line of what happened and what to do.

    Args:
        message: the line.
        ends_all: the server doesn't answer at all, so that asking for other files would be in vain.
    """

    def __init__(self, message: str, *, ends_all: bool) -> None:
        super().__init__(message)
        self.ends_all = ends_all


@dataclass(frozen=True)
class Origin:
    """What a server said of a file.

    Attributes:
        url: where the file is from, without a password.
        etag: its ETag.
        last_modified: its Last-Modified, as the server wrote it.
        size: its length in bytes, where the server said so.
        sha256: of the whole file, once it is here.
    """

    url: str
    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None
    sha256: str | None = None

    @property
    def range_validator(self) -> str | None:
        """What If-Range may hold: a strong ETag, else the date; None means that a part can't be gone on with."""
        return self.etag if self.etag is not None and not self.etag.startswith("W/") else self.last_modified


class RemoteFile:
    """One gzip file on the web that is to be a file here.

    Args:
        client: makes the requests; it must ask for no compression on top (``Accept-Encoding: identity``).
        url: the file's address.
        path: its place here.
        show: called with the bytes here and the bytes in all, where known.
    """

    def __init__(
        self, client: httpx.Client, url: httpx.URL, path: Path, show: Callable[[int, int | None], None]
    ) -> None:
        self.client = client
        self.url = url
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.show = show
        self.shown_url = str(url.copy_with(username=None, password=None))

    def request(self) -> bool:
        """Ask for the rest of the part, else for the whole file if it is not the one here, and take what comes.

        Returns:
            False where the file here is the server's; True where the part is as long as the server's file.

        Raises:
            TryAgain: the connection was cut, or the server is busy; what came is kept where it can be gone on with.
            DownloadError: the server refuses the file.
        """
        headers = self._ask_for_rest() or self._ask_for_change()
        ranged = "Range" in headers
        with self.client.stream("GET", self.url, headers=headers) as response:
            if response.status_code == 304 and headers and not ranged:
                return False
            if response.status_code == 416 and ranged:
                self._settle_unsatisfied_range(response)
            elif response.status_code == 206 and ranged:
                self._check_rest(response)
                self._write_body(response)
            elif response.status_code == 200:
                self._start_part(response)
                self._write_body(response)
            else:
                self._refuse(response)
        return True

    def place(self) -> None:
        """Give the part its name; a kill between the two steps is mended by the next run, the part being whole."""
        origin = self._read_origin(self.part) or Origin(self.shown_url)
        whole = replace(origin, size=self.part.stat().st_size, sha256=hash_path(self.part))
        _write_origin(self.path, whole)  # of no effect as long as the file here has another hash
        self.part.replace(self.path)
        _sync_folder(self.path.parent)
        self.drop_part()

    def drop_part(self) -> None:
        """Remove the part and the words on it."""
        remove(self.part)
        remove(_get_origin_path(self.part))

    def _ask_for_rest(self) -> dict[str, str]:
        """Return the headers that go on with the part; where that can't be, remove it and return none."""
        origin = self._read_origin(self.part)
        here = self.part.stat().st_size if self.part.is_file() else 0
        if origin is None or not origin.range_validator or not here:
            self.drop_part()
            return {}
        self.show(here, origin.size)
        return {"Range": f"bytes={here}-", "If-Range": origin.range_validator}

    def _ask_for_change(self) -> dict[str, str]:
        """Return the headers that ask for the file only if it is not the one here."""
        origin = self._read_origin(self.path)
        if origin is None or not self.path.is_file() or self.path.stat().st_size != origin.size:
            return {}
        if hash_path(self.path) != origin.sha256:  # cut short, or replaced by hand
            return {}
        headers = {"If-None-Match": origin.etag, "If-Modified-Since": origin.last_modified}
        return {name: value for name, value in headers.items() if value is not None}

    def _settle_unsatisfied_range(self, response: httpx.Response) -> None:
        """Take the part as whole where the server's file is just as long (a kill came before the rename)."""
        match = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != self.part.stat().st_size:
            self.drop_part()
            raise TryAgain("what is here is not the start of the server's file")

    def _check_rest(self, response: httpx.Response) -> None:
        """Make sure that what comes goes on where the part ends, and is of the same file."""
        ours = self._read_origin(self.part)
        theirs = self._get_origin(response)
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        total = int(match[2]) if match and match[2] != "*" else None
        fits = (
            ours is not None
            and match is not None
            and int(match[1]) == self.part.stat().st_size
            and theirs.etag in (None, ours.etag)
            and theirs.last_modified in (None, ours.last_modified)
            and (total is None or ours.size in (None, total))
        )
        if not fits:
            self.drop_part()
            raise TryAgain("the rest that the server sent is of another file")

    def _start_part(self, response: httpx.Response) -> None:
        self.drop_part()  # first, so that a kill never leaves old bytes under new words
        length = response.headers.get("Content-Length", "")
        _write_origin(self.part, replace(self._get_origin(response), size=int(length) if length.isdecimal() else None))

    def _write_body(self, response: httpx.Response) -> None:
        origin = self._read_origin(self.part)
        total = origin.size if origin else None
        with self.part.open("ab") as handle:
            here = handle.tell()
            for block in response.iter_raw():  # as they come, so that what came before a cut is kept
                here += handle.write(block)
                self.show(here, total)
            handle.flush()
            os.fsync(handle.fileno())
        if total is not None and here != total:
            raise TryAgain(f"{here:,} bytes came of {total:,}")

    def _refuse(self, response: httpx.Response) -> None:
        status = f"the server answered {response.status_code} {response.reason_phrase}".strip()
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            raise TryAgain(status, read_retry_after(response.headers))
        raise DownloadError(f"{self.shown_url}: {status}: check --download_url", ends_all=False)

    def _get_origin(self, response: httpx.Response) -> Origin:
        return Origin(self.shown_url, response.headers.get("ETag"), response.headers.get("Last-Modified"))

    def _read_origin(self, path: Path) -> Origin | None:
        try:
            origin = Origin(**json.loads(_get_origin_path(path).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):  # none, or damaged: the file is fetched anew
            return None
        return origin if origin.url == self.shown_url else None


def find_gzip_fault(path: Path) -> str | None:
    """Read a gzip file to its end, checksum included.

    Returns:
        What is wrong with it, or None.
    """
    size = 0
    fault: type[Exception] = igzip_lib.error  # type: ignore[assignment]  # the stub takes the class for an instance
    try:
        with igzip.open(path) as handle:  # type: ignore[no-untyped-call]
            while block := handle.read(1 << 20):
                size += len(block)
    except (BadGzipFile, EOFError, fault) as error:
        return str(error)
    return None if size else "nothing in it"


def _get_origin_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write_origin(path: Path, origin: Origin) -> None:
    with write_whole(_get_origin_path(path)) as temporary, temporary.open("w", encoding="utf-8") as handle:
        json.dump(asdict(origin), handle)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Write a rename through to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
