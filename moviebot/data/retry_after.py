"""How long a server asks to be left alone: its ``Retry-After``."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")  # more digits are a moment since 1970, not a wait


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, as a number or as a date; None where it asks for none.

    A date counts from the response's own ``Date``, so that a wrong clock here doesn't matter; without one, from now.

    Args:
        headers: the response's; names in lower case, or of any case in a mapping that doesn't mind (httpx's).

    Example:
        >>> read_retry_after({"retry-after": "1.5"}), read_retry_after({"retry-after": "soon"}), read_retry_after({})
        (1.5, None, None)
        >>> date, later = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 GMT"
        >>> read_retry_after({"date": date, "retry-after": later})
        30.0
    """
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    then = _parse_date(text)
    if then is None:
        return None
    now = _parse_date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (then - now).total_seconds())


def _parse_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: a time zone of many digits
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
