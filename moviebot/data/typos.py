"""Spelling mistakes as fingers make them, for training the question retriever."""

import random

_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
SHORT_TITLE = 8


def add_typo(text: str, rng: random.Random, within: str | None = None) -> str:
    """Make one or two spelling mistakes: swap two letters, drop one, double one, or hit the key beside it.

    Args:
        text: what is typed.
        rng: the source of randomness.
        within: the part of ``text`` to misspell, for example the title (case does not matter); all of it where it is
            None or not found. A part shorter than 8 characters gets one mistake, a longer one or two.

    Returns:
        The text, different from ``text`` wherever the part has a letter.

    Example:
        >>> add_typo("Who directed Jaws?", random.Random(4), within="Jaws")
        'Who directed Jwas?'
    """
    start = text.lower().find(within.lower()) if within else 0
    end = start + len(within) if within and start >= 0 else len(text)
    start = max(start, 0)
    if end > len(text):  # lower() lengthened a letter: the part can't be found by position
        start, end = 0, len(text)
    part = text[start:end]
    for _ in range(1 if len(part) < SHORT_TITLE else rng.randint(1, 2)):
        part = _edit(part, rng)
    if part == text[start:end]:  # the second mistake undid the first
        part = _edit(part, rng)
    return text[:start] + part + text[end:]


def _edit(text: str, rng: random.Random) -> str:
    letters = [n for n, char in enumerate(text) if char.isalnum()]
    if not letters:
        return text
    position = rng.choice(letters)
    char = text[position]
    kinds = ["double"]
    if len(letters) > 1:
        kinds.append("drop")
    if position + 1 < len(text) and text[position + 1].isalnum() and text[position + 1] != char:
        kinds.append("swap")
    neighbours = _neighbours(char)
    if neighbours:
        kinds.append("neighbour")
    match rng.choice(kinds):
        case "drop":
            return text[:position] + text[position + 1 :]
        case "swap":
            return text[:position] + text[position + 1] + char + text[position + 2 :]
        case "neighbour":
            return text[:position] + rng.choice(neighbours) + text[position + 1 :]
        case _:
            return text[:position] + char + text[position:]


def _neighbours(char: str) -> str:
    for row in _ROWS:
        column = row.find(char.lower())
        if column >= 0:
            found = row[max(column - 1, 0) : column] + row[column + 1 : column + 2]
            return found.upper() if char.isupper() else found
    return ""
