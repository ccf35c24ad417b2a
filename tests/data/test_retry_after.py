import time
from email.utils import formatdate

import httpx
import pytest

from moviebot.data.retry_after import read_retry_after

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(("text", "seconds"), [("3", 3), ("0", 0), ("1.5", 1.5), (" 7 ", 7), ("86400", 86400)])
def test_seconds(text: str, seconds: float) -> None:
    assert read_retry_after({"retry-after": text}) == seconds


def test_a_date_counts_from_the_servers_clock() -> None:
    assert read_retry_after({"date": DATE, "retry-after": "Wed, 21 Oct 2015 07:29:40 GMT"}) == 100
    assert read_retry_after({"date": DATE, "retry-after": "Wed, 21 Oct 2015 07:29:40 -0000"}) == 100  # -0000 is UTC too
    assert read_retry_after({"date": DATE, "retry-after": "Wed, 21 Oct 2015 07:20:00 GMT"}) == 0


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_a_date_counts_from_now_where_the_server_tells_no_time(headers: dict[str, str]) -> None:
    ahead = read_retry_after({**headers, "retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert ahead is not None
    assert 90 < ahead <= 100
    assert read_retry_after({**headers, "retry-after": formatdate(time.time() - 100, usegmt=True)}) == 0


NO_DATES = ("Wed, 99 Oct 2015 07:28:00 GMT", f"Wed, 21 Oct 2015 07:28:00 +{'9' * 30}")


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-3", "1e3", "1767225600", "١", *NO_DATES])
def test_what_says_nothing(text: str) -> None:
    assert read_retry_after({"retry-after": text}) is None
    assert read_retry_after(httpx.Headers({b"Retry-After": text.encode()})) is None


def test_httpx_headers_are_of_any_case() -> None:
    assert read_retry_after(httpx.Headers({"Retry-After": "7"})) == 7
    assert read_retry_after(httpx.Headers({"Date": DATE, "RETRY-AFTER": DATE})) == 0
    assert read_retry_after(httpx.Headers({})) is None
