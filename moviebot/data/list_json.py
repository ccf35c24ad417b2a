"""Where in a JSON reply the recommended movies stand: models are asked for one key, and choose others."""

import json
import re
from collections.abc import Iterator

from moviebot.data.list_name import BRACKETED_YEAR, MAX_NAME_CHARS, MAX_NAMES, NUMBERED, YEAR, Name, read_name

MAX_NODES = 10_000  # of JSON looked at for the list

_LIST_KEYS = (
    "recommended",
    "recommendations",
    "recommend",
    "movies",
    "films",
    "titles",
    "suggestions",
    "list",
    "results",
)
_TITLE_KEYS = ("title", "name", "movie", "film", "movie_title", "label")
_YEAR_KEYS = ("year", "release_year", "released", "date")
_ABOUT_KEYS = ("seed", "about", "for", "input", "query", "liked", "movie", "film", "title", "based_on", "similar_to")


def search_json(found: object) -> tuple[list[object], str | None]:
    """Return the likeliest list of names in JSON, and the movie it is said to be for."""
    level: list[tuple[object, str | None, bool]] = [(found, None, False)]
    seen = 0
    while level and seen < MAX_NODES:
        following: list[tuple[object, str | None, bool]] = []
        for node, about, is_list in level:
            seen += 1
            if isinstance(node, list):
                if any(_is_name(item) for item in node[:MAX_NODES]):
                    return node, about
                following += [(item, about, False) for item in node[:MAX_NODES]]
            elif isinstance(node, dict):
                numbered = [value for key, value in node.items() if str(key).strip(" .").isdigit()]
                if numbered and any(_is_name(value) for value in numbered):
                    return numbered, about
                if is_list and node and all(isinstance(value, str) for value in node.values()):
                    return _pick_side(node), about
                following += _list_members(node, about)
        level = following
    return [], None


def search_text(found: dict[str, object] | list[object]) -> str | None:
    """Return the list that stands as one text in a JSON object."""
    values = [found[key] for key in _LIST_KEYS if key in found] if isinstance(found, dict) else []
    return next((value for value in values if isinstance(value, str) and value.strip()), None)


def holds_empty_list(found: object) -> bool:
    """Say whether a JSON object holds a list, by a name that lists go by, with nothing in it."""
    return isinstance(found, dict) and any(found.get(key) == [] for key in _LIST_KEYS)


def read_item(item: object) -> Name:
    """Return a member of a list as a name: an object with a title and a year, ``["Heat", 1995]``, or a text."""
    if isinstance(item, dict):
        title = next((str(item[key]) for key in _TITLE_KEYS if isinstance(item.get(key), str | int)), "")
        told = next((str(item[key]) for key in _YEAR_KEYS if key in item), "")
        year = re.search(YEAR, told[:MAX_NAME_CHARS])
        raw = json.dumps(item, ensure_ascii=False)[:MAX_NAME_CHARS]
        readings = read_name(title)
        return Name(
            raw, tuple((name, int(year[0])) if year and not dated else (name, dated) for name, dated in readings)
        )
    if isinstance(item, list):
        return read_item(f"{item[0]} ({item[1]})") if _is_name(item) else Name(str(item[:2])[:MAX_NAME_CHARS], ())
    text = "" if item is None else str(item)[:MAX_NAME_CHARS]
    marker = NUMBERED.match(text)
    numbered = read_name(text[marker.end() :]) if marker else ()  # "2. Heat"; but "9. April" is a film
    return Name(text, (*read_name(text), *numbered))


def _list_members(node: dict[str, object], about: str | None) -> Iterator[tuple[object, str | None, bool]]:
    """Yield an object's members, the likeliest first, each with the movie it is for and whether it is called a list."""
    told = next((value for key in _ABOUT_KEYS if isinstance(value := node.get(key), str)), about)
    first = [key for key in _LIST_KEYS if key in node]
    for key in [*first, *(key for key in node if key not in _LIST_KEYS)]:
        named = key if key.casefold() not in (*_LIST_KEYS, *_ABOUT_KEYS, "data", "response", "output") else None
        yield node[key], told or (named if isinstance(node[key], list) else None), key in first


def _pick_side(node: dict[str, object]) -> list[object]:
    """Return the names of ``{"first": "Heat (1995)"}``, or of ``{"Heat (1995)": "why"}``."""
    values: list[object] = list(node.values())
    keys: list[object] = list(node)
    dated = [
        sum(bool(BRACKETED_YEAR.search(str(text)[:MAX_NAME_CHARS])) for text in side[:MAX_NAMES])
        for side in (values, keys)
    ]
    return keys if dated[1] > dated[0] else values


def _is_name(item: object) -> bool:
    if isinstance(item, dict):
        return any(isinstance(item.get(key), str | int) for key in _TITLE_KEYS)
    if isinstance(item, list):  # ["Heat", 1995]
        return len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], int)
    return isinstance(item, str)
