"""The JSON of a model's reply, with prose around it or nearly right: read, else repaired by a library within bounds."""

import json
import re

import json_repair

MAX_REPAIRED_CHARS = 20_000
MAX_REPAIRED_BRACKETS = 500  # json_repair's time grows with their square: 20,000 of them take half a minute
_START = re.compile(r"""[\[{]\s*["'\[{]""")  # "[1995]" begins no JSON that is asked for


def load_json(reply: str) -> tuple[object, bool]:
    """Return the JSON value of a reply (None where nothing can be read), and whether it had to be looked for or mended.

    Args:
        reply: untrusted, verbatim, perhaps inside a Markdown fence, between prose, or cut off. What has to be repaired
            is read up to :data:`MAX_REPAIRED_CHARS` only.

    Example:
        >>> load_json('Sure! {"pairs": [{"question": "Who?"')
        ({'pairs': [{'question': 'Who?'}]}, True)
        >>> load_json("I can't do that.")
        (None, True)
    """
    try:
        return json.loads(reply), False
    except (ValueError, RecursionError):  # ValueError: not JSON, or a number of thousands of digits
        pass
    start = _START.search(reply)
    if start is None:
        return None, True
    text = reply[start.start() :]
    try:
        return json.JSONDecoder().raw_decode(text)[0], True
    except (ValueError, RecursionError):
        pass
    text = text[:MAX_REPAIRED_CHARS]
    if text.count("[") + text.count("{") > MAX_REPAIRED_BRACKETS:
        return None, True
    try:
        found: object = json_repair.loads(text)
    except (ValueError, RecursionError):
        return None, True
    return found, True
