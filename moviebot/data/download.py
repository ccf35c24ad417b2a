"""Fetches IMDb's non-commercial files, so that a folder holds each of them whole, or as it was before."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential, wait_random

from moviebot import USER_AGENT
from moviebot.data.imdb_files import IMDB_STEMS, IMDB_URL
from moviebot.data.remote_file import DownloadError, RemoteFile, TryAgain, find_gzip_fault
from moviebot.errors import UserError

IMDB_FILES = tuple(f"{stem}.tsv.gz" for stem in IMDB_STEMS)
LICENCE = (
    "IMDb's files are for personal and non-commercial use only; "
    "https://developer.imdb.com/non-commercial-datasets/ has the terms"
)
MAX_TRIES = 6  # in a row; a part that has grown by PROGRESS_BYTES gets as many again
PROGRESS_BYTES = 1 << 20
FIRST_WAIT_S = 1.0  # doubling, with jitter
MAX_WAIT_S = 60.0
MAX_RETRY_AFTER_S = 300.0  # a server that wants more time gets it: the run ends and says when to come again
TIMEOUT = httpx.Timeout(60.0, connect=20.0)
log = logging.getLogger(__name__)


def download_imdb(folder: Path, url: str = IMDB_URL, *, first_wait_s: float = FIRST_WAIT_S) -> None:
    """Fetch IMDb's six files into a folder; those that are there and have not changed are kept.

    Args:
        folder: where the files go; made where absent.
        url: the address of the folder on the web, IMDb's own or a mirror's.
        first_wait_s: seconds before a request's second try; each further wait is twice as long, up to a minute.

    Raises:
        UserError: a file can't be had. One line names each such file, what the server answered and what to do; what
            was there before is still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log.info(LICENCE)
    problems: list[str] = []
    with _lock(folder), _open_progress() as progress, open_client() as client:
        for name in IMDB_FILES:
            path = folder / name
            try:
                changed = _fetch(client, httpx.URL(url.rstrip("/") + "/" + name), path, progress, first_wait_s)
            except DownloadError as error:
                kept = f" ({path} of an earlier run is kept)" if path.is_file() else ""
                problems.append(f"{error}{kept}")
                if error.ends_all:
                    break
            else:
                log.info("%s: %s", path, f"{path.stat().st_size:,} bytes, fetched" if changed else "has not changed")
            if path.with_suffix("").is_file():
                log.warning("%s is read in the place of %s: remove it", path.with_suffix(""), name)
    if problems:
        raise UserError("; ".join(problems))


def open_client() -> httpx.Client:
    """Return an HTTP client that says who it is and takes files as they are, with no compression on top."""
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    return httpx.Client(headers=headers, timeout=TIMEOUT, follow_redirects=True)


def _fetch(client: httpx.Client, url: httpx.URL, path: Path, progress: Progress, first_wait_s: float) -> bool:
    """Bring one file up to date; return False where the one here is the server's."""
    task = progress.add_task(path.name, total=None)
    file = RemoteFile(client, url, path, lambda done, total: progress.update(task, completed=done, total=total))
    fault: str | None = None
    for _ in range(2):
        if not _request_until_whole(file, first_wait_s):
            return False
        progress.update(task, description=f"{path.name} (checking)")
        fault = find_gzip_fault(file.part)
        if fault is None:
            file.place()
            return True
        file.drop_part()
        log.warning("%s: what came is not a whole gzip file (%s)", path.name, fault)
    raise DownloadError(
        f"{file.shown_url} was fetched twice and is not a whole gzip file ({fault}): try again later, or give another "
        "--download_url",
        ends_all=False,
    )


def _request_until_whole(file: RemoteFile, first_wait_s: float) -> bool:
    """Request a file again and again as long as that helps; return False where the one here is the server's."""
    furthest = 0
    while True:
        retrying = _build_retrying(file, first_wait_s)
        try:
            return retrying(file.request)
        except (TryAgain, httpx.TransportError) as error:
            here = file.part.stat().st_size if file.part.is_file() else 0
            told = _get_told_wait(error)
            if told <= MAX_RETRY_AFTER_S and here >= furthest + PROGRESS_BYTES:
                furthest = here
                continue
            later = f"in {told:,.0f} s, as the server asks" if told > MAX_RETRY_AFTER_S else "later"
            tries = retrying.statistics["attempt_number"]
            raise DownloadError(
                f"{file.shown_url}: {_describe(error)} ({tries} {'try' if tries == 1 else 'tries'}): run the same "
                f"command again {later} (it goes on where it stopped), or give another --download_url",
                ends_all=True,
            ) from error
        except httpx.HTTPError as error:  # for example a redirect in a circle
            raise DownloadError(
                f"{file.shown_url}: {_describe(error)}: check --download_url", ends_all=False
            ) from error


def _build_retrying(file: RemoteFile, first_wait_s: float) -> Retrying:
    backoff = wait_exponential(multiplier=first_wait_s, max=MAX_WAIT_S) + wait_random(0, first_wait_s)

    def say_wait(state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        log.warning("%s: %s; trying again in %.0f s", file.path.name, _describe(_get_error(state)), seconds)

    return Retrying(
        retry=retry_if_exception_type((TryAgain, httpx.TransportError)),
        stop=lambda state: state.attempt_number >= MAX_TRIES or _get_told_wait(_get_error(state)) > MAX_RETRY_AFTER_S,
        wait=lambda state: max(backoff(state), _get_told_wait(_get_error(state))),
        before_sleep=say_wait,
        reraise=True,
    )


def _get_error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _get_told_wait(error: BaseException | None) -> float:
    """Return the seconds that the server asked to wait; 0 where it did not ask."""
    return (error.retry_after_s or 0.0) if isinstance(error, TryAgain) else 0.0


def _describe(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder: two writers would mix one part's bytes. The system frees it after a kill."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another `moviebot catalogue --download` works there: let it end") from error
        yield
    finally:
        os.close(handle)


def _open_progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), transient=True)
