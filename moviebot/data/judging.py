"""Is a pair any good? The question must say which movie, and the answer must stand in the facts."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import json_repair

from moviebot.data.prompts import clean_text, is_decline, render_facts
from moviebot.data.schemas import Movie, Topic
from moviebot.data.splits import normalise_title
from moviebot.data.template_teacher import facts_of

SUPPORTED_SHARE = 0.6
"""Of an answer's content words, at least this share must stand in the facts or the question: paraphrase is welcome."""

# What is asked for, where the wording leaves no doubt; used where the teacher doesn't say, or says "unanswerable".
# Art, musical, music, casting and assistant directors are not the director.
_ASKS: dict[Topic, re.Pattern[str]] = {
    "director": re.compile(
        r"(?<!\bguy )(?<!\bperson )(?<!\bman )(?<!\bwoman )\bwho (directed|helmed)\b|\bdirected by\b"
        r"|(\bwho('s|s| is| was| were) the|\bname the|\btell me the|^) *directors? of (?!photography|.*\bmarried\b)",
        re.I,
    ),
    "year": re.compile(
        r"\b(what|which) year\b|\bwhen (was|did)\b(?!.*\bdvd\b).*\b(released?|come out|came out)\b", re.I
    ),
    "runtime": re.compile(r"\bhow long (is|does|will)\b|\brun(ning )?time\b|\bhow many minutes\b", re.I),
    "genre": re.compile(r"\bgenres?\b", re.I),
    "cast": re.compile(
        r"\bwho (stars?|starred|is starring|acted)\b|\bcast of\b"
        r"|\bwho (are|were) the (main |lead )?actors\b|\b(which|what) actors (are|were|appear|play|star)\b",
        re.I,
    ),
    "rating": re.compile(r"\b(average|imdb|user|viewer) (rating|score)\b", re.I),
    "plot": re.compile(r"\bplot\b|\bsynopsis\b|\bwhat('s| is) .*\babout\b", re.I),
}
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# Words an answer is framed in; they say nothing about the movie.
_FRAME = frozenset(
    """
    about according also although among answer appear appears average based been before between called came
    cast character characters classified come comes considered could country described description direct
    directed director directors does during each facts falls feature featured features featuring film films
    follows from genre genres given goes hour hours include included includes including into known last lasts
    lead leading length list listed long made main make makes minute minutes more most movie movies name named
    only other play played plays plot point points premiere premiered produced rated rating release released
    rates role roles runs runtime runtimes running score scored scores short show some star starred starring
    stars starts story such tells than that their them then there these they this time title titled together
    total under user users very viewer viewers vote voted voters votes watch were what when where which while
    whose with would year years approximately around roughly
    """.split()  # noqa: SIM905 - 150 quoted words are hard to read
)


def parse_reply(text: str) -> tuple[Any, bool]:
    """Read a teacher's JSON, mending what can be mended.

    Args:
        text: the reply, verbatim, perhaps inside a Markdown fence or cut off.

    Returns:
        The object (None where nothing could be read), and whether it had to be mended.
    """
    try:
        return json.loads(text), False
    except json.JSONDecodeError:
        pass
    except (ValueError, RecursionError):  # a number of thousands of digits, or brackets a thousand deep
        return None, True
    try:
        mended = json_repair.loads(text)
    except (ValueError, RecursionError):
        return None, True
    return (mended, True) if isinstance(mended, dict) else (None, True)


def names_movie(question: str, movie: Movie) -> bool:
    """Say whether a question names the movie: its title, its original title or another title; articles may lack.

    Example:
        >>> names_movie("who directed the godfather", Movie("tt1", "The Godfather"))
        True
        >>> names_movie("Who directed it?", Movie("tt1", "The Godfather"))
        False
    """
    asked = f" {normalise_title(question)} "
    asked_raw = question.casefold()
    return any(f" {normal} " in asked or raw in asked_raw for normal, raw in _fold_titles(movie))


def guess_topic(question: str, movie: Movie) -> Topic | None:
    """Return what a question asks for, where its wording leaves no doubt.

    Example:
        >>> guess_topic("Who directed Up?", Movie("tt1", "Up")), guess_topic("Who wrote Up?", Movie("tt1", "Up"))
        ('director', None)
    """
    without_title = re.sub(re.escape(movie.title), " ", question, flags=re.IGNORECASE)
    found: list[Topic] = [topic for topic, pattern in _ASKS.items() if pattern.search(without_title)]
    return found[0] if len(found) == 1 else None


def is_supported(question: str, answer: str, topic: Topic | None, movie: Movie) -> bool:
    """Say whether an answer follows from the movie's facts.

    A decline is right just where the fact is absent. Any other answer must hold a fact asked for; all its numbers and
    names must stand in the facts, and most of its other words in the facts or the question.

    Args:
        question: what was asked.
        answer: what the teacher answered.
        topic: what the teacher says was asked for.
        movie: the movie, whose facts are what the model will see.

    Example:
        >>> up = Movie("tt1", "Up", year=2009)
        >>> is_supported("When is Up from?", "It is from 2009.", "year", up)
        True
        >>> is_supported("When is Up from?", "It is from 2010.", "year", up)
        False
    """
    asked = topic if topic not in (None, "unanswerable") else guess_topic(question, movie)
    facts = facts_of(movie, asked) if asked else ()
    if is_decline(answer):
        return not facts
    if topic == "unanswerable" or (asked and not facts):
        return False
    if asked != "plot" and facts and not any(_fold(fact) in _fold(answer) for fact in facts):
        return False
    context = _read_context(movie)
    return (
        _numbers(answer) <= context.numbers
        and _names_stand(answer, context.words)
        and _words_stand(answer, context.stems | _stems(question))
    )


def find_text(pair: Mapping[str, Any], name: str) -> str | None:
    """Return a text field of a teacher's pair on one line, or None where it is no text that UTF-8 can hold."""
    value = pair.get(name)
    return clean_text(value) if isinstance(value, str) and is_encodable(value) else None


def is_encodable(text: str) -> bool:
    r"""Say whether UTF-8 can hold a text; JSON's escapes can write half a surrogate pair, which it can't.

    Example:
        >>> is_encodable("é"), is_encodable("\ud800")
        (True, False)
    """
    return not any("\ud800" <= char <= "\udfff" for char in text)


@dataclass(frozen=True)
class _Context:
    """What stands in a movie's facts.

    Attributes:
        numbers: the numbers an answer may hold.
        words: all words.
        stems: the first letters of all words.
    """

    numbers: frozenset[str]
    words: frozenset[str]
    stems: frozenset[str]


@lru_cache(maxsize=16)  # a movie's pairs come one after the other
def _read_context(movie: Movie) -> _Context:
    facts = f"{movie.label}\n{movie.original_title or ''}\n{' '.join(movie.akas)}\n{render_facts(movie)}"
    numbers = _numbers(facts)
    if movie.rating is not None:
        numbers |= {"10", f"{movie.rating:g}"}
    if movie.runtime_minutes:
        numbers |= {str(movie.runtime_minutes // 60), str(movie.runtime_minutes % 60)}
    return _Context(frozenset(numbers), frozenset(_WORD.findall(_fold(facts))), frozenset(_stems(facts)))


@lru_cache(maxsize=16)
def _fold_titles(movie: Movie) -> tuple[tuple[str, str], ...]:
    """Return the movie's titles, normalised and raw, and normalised without their article."""
    folded = []
    for title in (movie.title, movie.original_title, *movie.akas):
        if title:
            normal, raw = normalise_title(clean_text(title)), clean_text(title).casefold()
            folded += [(normal, raw), (re.sub(r"^(the|a|an) (?=\w{4})", "", normal), raw)]
    return tuple(folded)


def _numbers(text: str) -> set[str]:
    return {re.sub(r",(?=\d{3}\b)", "", number) for number in _NUMBER.findall(text)}


def _names_stand(answer: str, known: frozenset[str]) -> bool:
    for sentence in re.split(r"(?<=[.!?:])\s+", answer):
        for word in _WORD.findall(sentence)[1:]:  # the first word of a sentence is capital anyway
            plain = _fold(word).removesuffix("'s")
            if word[0].isupper() and plain not in known and f"{plain}'s" not in known and plain not in ("i", "imdb"):
                return False
    return True


def _words_stand(answer: str, stems: frozenset[str]) -> bool:
    words = [word for word in _WORD.findall(_fold(answer)) if len(word) > 3 and word not in _FRAME]
    return sum(word[:5] in stems for word in words) >= SUPPORTED_SHARE * len(words)


def _stems(text: str) -> set[str]:
    return {word[:5] for word in _WORD.findall(_fold(text))}


def _fold(text: str) -> str:
    return text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
