"""What is checked before a person sees an answer: is it grounded, are the recommendations ones that were offered?"""

import re
import unicodedata
from collections.abc import Sequence

from moviebot.data.prompts import is_decline, parse_recommend_response, render_facts
from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title

MAX_RECOMMENDATIONS = 3
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SPEAKER = frozenset(("i", "im", "id", "ive", "ill"))  # who answers, in normalise_title's spelling, is no name
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w'’.-]*")


def is_grounded(answer: str, movie: Movie, question: str = "") -> bool:
    """Say whether every number and every name of an answer stands in the facts about the movie.

    A decline asserts nothing, so it is grounded; an empty answer is not.

    Args:
        answer: the model's text.
        movie: the movie whose facts the prompt held.
        question: the person's words, which an answer may repeat.

    Example:
        >>> up = Movie("tt1", "Up", year=2009, directors=("Pete Docter",))
        >>> is_grounded("Up was directed by Pete Docter.", up), is_grounded("It was directed by Brad Bird.", up)
        (True, False)
    """
    if not answer.strip():
        return False
    return is_decline(answer) or names_stand(answer, movie, question)


def names_stand(answer: str, movie: Movie, question: str = "") -> bool:
    """Say whether every number and every name of a text, be it a decline, stands in the facts or the question.

    Example:
        >>> up = Movie("tt1", "Up", year=2009)
        >>> names_stand("I don't know.", up), names_stand("I don't know, but Brad Bird does.", up)
        (True, False)
    """
    known = f"{render_facts(movie)}\n{movie.label}\n{movie.original_title or ''}\n{question}"
    numbers = {_plain_number(number) for number in _NUMBER.findall(known)}
    if any(_plain_number(number) not in numbers for number in _NUMBER.findall(answer)):
        return False
    words = {*normalise_title(known).split(), *_SPEAKER}
    return all(word in words for name in _NAME.findall(answer.strip()) for word in normalise_title(name).split())


def choose_recommendations(
    response: str, candidates: Sequence[Movie], n: int = MAX_RECOMMENDATIONS
) -> tuple[list[Movie], int]:
    """Read the model's list, and fill it from the candidates, best first, where it names fewer than ``n``.

    Args:
        response: the model's text, untrusted.
        candidates: the movies the prompt offered, the person's own movie not among them.
        n: how many to show at the most.

    Returns:
        At most ``n`` distinct candidates, and how many lines of the response named something else, or one twice.
    """
    chosen, faults = parse_recommend_response(response, candidates, n)
    for candidate in candidates:
        if len(chosen) >= n:
            break
        if candidate not in chosen:
            chosen.append(candidate)
    return chosen, faults


def strip_controls(text: str) -> str:
    r"""Take out what a terminal could read as a command: control and format characters, but for newlines.

    Example:
        >>> strip_controls("Up\x1b[2J\tand\u202e away\n")
        'Up[2J and away\n'
    """
    text = text.replace("\t", " ")
    return "".join(char for char in text if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


def _plain_number(number: str) -> str:
    return number.replace(",", "")
