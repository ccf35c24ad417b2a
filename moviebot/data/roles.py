"""Does an answer give each fact its role? Directors direct, the cast plays, a year is the year of release."""

import re
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Literal

from moviebot.data.prompts import clean_text
from moviebot.data.question_topic import cut_title
from moviebot.data.schemas import Movie, Topic
from moviebot.data.template_teacher import TAUGHT_CAST

NEARLY_MINUTES = 25  # "nearly two hours"
ABOUT_MINUTES = 15  # "about two hours"
HOURS_MINUTES = 5  # "two hours"
MIN_LAST_CHARS = 4
"""A last name alone names a person from this length: ``Lee`` and ``Ray`` are too often something else."""

_DIRECTS = re.compile(r"\b(direct\w*|helm|helmed|film(ed)? by|behind the camera|filmmaker)\b", re.I)
_ACTS = re.compile(
    r"\b(star\w*|cast|featur\w*|act(s|ed|ors?|ress\w*|ing)|play\w*|leads?|perform\w*|with|alongside)\b", re.I
)
_DIRECTS_CUE = re.compile(rf"{_DIRECTS.pattern}|\b(made|makes?|whose|movie by|behind)\b", re.I)
_ACTS_CUE = re.compile(rf"{_ACTS.pattern}|\b(act|seen?|appear\w*|in it|cameo)\b", re.I)
_MADE_BY = re.compile(r"\b(?:directed|helmed) by\b(?P<names>[^.;]*)", re.I)
_MAKES = re.compile(r"\b(directed|directs|helmed)\b(?! by)", re.I)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_NAME_WORD = re.compile(r"[^\W\d_][\w-]*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MINUTES = re.compile(
    r"(?:\b(?P<hours>\d+|an|one|two|three|four|five) ?h(?:ours?|rs?)?\b,?(?: and)? ?)?"
    r"\b(?P<minutes>\d{1,4}) ?-?m(?:in(?:ute)?s?)?\b",
    re.I,
)
_RELEASE = re.compile(
    r"\b(?:released|release|came out|comes out|premiered|opened)\b[^.;\d]*(?P<year>(?:18|19|20)\d\d)\b", re.I
)
_PLAYS = re.compile(r"\b(star|starring|act|cast)\b", re.I)
_YES = re.compile(r"\W*yes\b", re.I)
_YEAR = re.compile(r"(?<![\d$])(?:18|19|20)\d\d(?!\d)")
_YEAR_ASKED = re.compile(
    r"\b(?:released?|come out|from|made|open(?:ed)?|premiered?)\b[^?]*?\b(?P<than>before|after|since|in|from|during|) ?"
    r"(?P<year>(?:18|19|20)\d\d)(?!\d)",
    re.I,
)
_RATED = re.compile(
    r"\brat(?:ed|ing)\b[^?]*\b(?:(?P<over>above|over|(?:higher|more|better) than)|below|under|(?:lower|less) than)"
    r" (?P<score>\d+(?:\.\d+)?)\b",
    re.I,
)
_SCORE = re.compile(r"(?P<score>\d+(?:\.\d+)?) ?(?:/|out of) ?10\b", re.I)
_SUFFIXES = frozenset(("jr", "sr", "ii", "iii", "iv"))
_NAME = re.compile(r"(?<=\w )[^\W\d_a-z]\w")  # a capital that begins no sentence
_HOURS = {"an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_SPAN = re.compile(
    r"(?:\b(?P<over>longer than|more than|over|at least|past|exceeds?)|\b(?P<under>less than|shorter than|under|below)"
    r"|\b(?P<nearly>nearly|almost|just under|close to)|\b(?P<about>about|around|roughly|approximately|some))? ?"
    r"(?:\b(?P<hours>\d+(?:\.5)?|an|one|two|three|four|five)(?P<half> and a half)?[ -]hours?\b(?P<behind> and a half)?"
    r"(?! ?(?:and )?\d)|\b(?P<minutes>\d{2,3})[ -]?min(?:ute)?s?\b)",
    re.I,
)
_GENRES = {
    "action": "action", "adventure": "adventure", "animation": "animation", "animated": "animation",
    "biography": "biography", "biographical": "biography", "biopic": "biography", "comedy": "comedy",
    "comedies": "comedy", "crime": "crime", "documentary": "documentary", "drama": "drama", "family": "family",
    "fantasy": "fantasy", "noir": "film-noir", "history": "history", "historical": "history", "horror": "horror",
    "musical": "musical", "music": "music", "mystery": "mystery", "romance": "romance", "romantic": "romance",
    "sci-fi": "sci-fi", "science fiction": "sci-fi", "scifi": "sci-fi", "sport": "sport", "sports": "sport",
    "thriller": "thriller", "war": "war", "western": "western",
}  # fmt: skip
_GENRE = re.compile(r"(?<![\w-])(" + "|".join(sorted(_GENRES, key=len, reverse=True)) + r")s?(?![\w-])", re.I)


@dataclass(frozen=True)
class Claim:
    """A question and its answer.

    Attributes:
        question: what was asked.
        answer: what was answered.
        asked: what the question asks for, where that is known.
        yes_no: the question is one of yes or no, and so is the answer.
    """

    question: str
    answer: str
    asked: Topic | None
    yes_no: bool = False


def check_roles(claim: Claim, movie: Movie) -> float | None:
    """Check each fact of an answer against the field of its role.

    Args:
        claim: the question and its answer.
        movie: the movie, whose fields are right.

    Returns:
        The share of the facts asked for that the answer holds (1 where none is asked for), or None where it holds none
        or gives one a wrong role: a cast name as the director, the year of the story as the year of release.

    Example:
        >>> jaws = Movie("tt1", "Jaws", directors=("Steven Spielberg",), cast=("Roy Scheider",))
        >>> check_roles(Claim("Who directed Jaws?", "Steven Spielberg did.", "director"), jaws)
        1.0
        >>> check_roles(Claim("Who directed Jaws?", "Roy Scheider directed it.", "director"), jaws) is None
        True
    """
    if (_NUMBER.search(claim.answer) or claim.asked == "runtime") and not (
        _years_stand(claim, movie) and _minutes_stand(claim, movie) and _score_stands(claim.answer, movie)
    ):
        return None
    if claim.asked != "plot" and not _people_stand(claim, movie):  # a plot has people who direct and play
        return None
    if claim.yes_no:
        return 1.0 if _is_so(claim, movie) in (None, bool(_YES.match(claim.answer))) else None
    return _share_held(claim, movie)


def _share_held(claim: Claim, movie: Movie) -> float | None:
    answer, numbers = claim.answer, _find_numbers(claim.answer)
    match claim.asked:
        case None | "plot" | "unanswerable":
            return 1.0
        case "director" | "cast":
            role = "directs" if claim.asked == "director" else "acts"
            held = sum(getattr(person, role) for person in _find_people(answer, movie))
        case "genre":
            found, right = find_genres(answer), _right_genres(movie)
            if not found <= right | find_genres(movie.description or ""):
                return None
            held = sum(genre in found or genre in answer.casefold() for genre in right)
        case "runtime":
            held = movie.runtime_minutes in _find_minutes(answer) or str(movie.runtime_minutes) in numbers
            held = held or bool(find_spans(answer))  # those that are wrong are out already
        case "rating":
            held = movie.rating in [float(number) for number in numbers if number.count(".") < 2]
        case "year":
            held = str(movie.year) in numbers
    return min(1.0, held / count_facts(movie, claim.asked)) or None


def count_facts(movie: Movie, topic: Topic) -> int:
    """Return how many facts a full answer holds; 0 where the catalogue has none, and for ``unanswerable``.

    Example:
        >>> count_facts(Movie("tt1", "Up", cast=("A", "B", "C", "D")), "cast"), count_facts(Movie("tt1", "Up"), "year")
        (3, 0)
    """
    match topic:
        case "director":
            return len(movie.directors)
        case "cast":
            return len(movie.cast[:TAUGHT_CAST])
        case "genre":
            return len(movie.genres)
        case "plot":
            return int(bool(movie.description))
        case "unanswerable":
            return 0
        case _:
            return int(
                {"year": movie.year, "runtime": movie.runtime_minutes, "rating": movie.rating}[topic] is not None
            )


def find_genres(text: str) -> set[str]:
    """Return the genres a text names, as IMDb calls them, in small letters.

    Example:
        >>> sorted(find_genres("A romantic comedy"))
        ['comedy', 'romance']
    """
    return {_GENRES[found.casefold()] for found in _GENRE.findall(text)}


def _years_stand(claim: Claim, movie: Movie) -> bool:
    years = (_YEAR if claim.asked == "year" else _RELEASE).findall(claim.answer)
    named = _YEAR.findall(movie.title)
    return all(year == str(movie.year) or year in named for year in years)


def _minutes_stand(claim: Claim, movie: Movie) -> bool:
    answer, runtime = claim.answer, movie.runtime_minutes
    if claim.asked == "runtime" and runtime and not all(low <= runtime <= high for low, high in find_spans(answer)):
        return False
    wrong = {str(minutes) for minutes in _find_minutes(answer) if minutes != movie.runtime_minutes}
    return not wrong or wrong <= _find_numbers(movie.description or "")


def _find_minutes(answer: str) -> list[int]:
    """Return the lengths an answer states, in minutes: ``1 hour 36 minutes``, ``96-minute``."""
    found = []
    for match in _MINUTES.finditer(answer):
        hours = (match["hours"] or "0").casefold()
        found.append(60 * (int(hours) if hours.isdigit() else _HOURS[hours]) + int(match["minutes"]))
    return found


def find_spans(text: str) -> list[tuple[float, float]]:
    """Return what a text says of a length in round hours, or beside a number of minutes: least and most minutes.

    Example:
        >>> find_spans("longer than two and a half hours"), find_spans("about 2 hours"), find_spans("100 minutes")
        ([(151, inf)], [(105.0, 135.0)], [])
    """
    found: list[tuple[float, float]] = []
    for match in _SPAN.finditer(text):
        if match["hours"]:
            hours = match["hours"].casefold()
            minutes = 60 * (_HOURS.get(hours) or float(hours)) + 30 * bool(match["half"] or match["behind"])
        else:
            minutes = float(match["minutes"])
        if match["over"]:
            found.append((int(minutes) + ("least" not in match["over"].casefold()), inf))
        elif match["under"]:
            found.append((0, minutes))
        elif match["nearly"]:
            found.append((minutes - NEARLY_MINUTES, minutes))
        elif match["about"]:
            found.append((minutes - ABOUT_MINUTES, minutes + ABOUT_MINUTES))
        elif match["hours"]:  # an exact number of minutes has a rule of its own
            found.append((minutes - HOURS_MINUTES, minutes + HOURS_MINUTES))
    return found


def _score_stands(answer: str, movie: Movie) -> bool:
    return all(float(score) == movie.rating for score in _SCORE.findall(answer))


def _people_stand(claim: Claim, movie: Movie) -> bool:
    """Say whether nobody of the cast is said to direct, and no director to play."""
    for made_by in _MADE_BY.finditer(claim.answer):
        if not _have_role(_ACTS.split(made_by["names"])[0], movie, "directs"):
            return False
    if claim.asked is None and not _names_by_role(claim, movie):
        return False
    for sentence in _SENTENCE_END.split(claim.answer):
        if claim.asked == "director" and not _ACTS.search(sentence) and not _have_role(sentence, movie, "directs"):
            return False
        if claim.asked == "cast" and not _DIRECTS.search(sentence) and not _have_role(sentence, movie, "acts"):
            return False
        made = _MAKES.search(sentence)
        if made and not _have_role(sentence[: made.start()], movie, "directs"):
            return False
    return True


def _names_by_role(claim: Claim, movie: Movie) -> bool:
    """Say whether people of the credits are named for what they do: nobody of the cast is "the main character"."""
    described = (movie.description or "").casefold()
    words = f"{claim.question} {claim.answer}"
    for person in _find_people(claim.answer, movie):
        directs, acts = person.directs and _DIRECTS_CUE.search(words), person.acts and _ACTS_CUE.search(words)
        if not directs and not acts and person.last not in described:
            return False
    return True


@dataclass(frozen=True)
class _Person:
    full: str
    last: str
    directs: bool
    acts: bool


@lru_cache(maxsize=64)  # a movie's pairs come one after the other
def _list_people(movie: Movie) -> tuple[_Person, ...]:
    people = []
    for name in dict.fromkeys((*movie.directors, *movie.cast)):
        full = clean_text(name).casefold()
        words = [word for word in full.split() if word.rstrip(".") not in _SUFFIXES]
        people.append(_Person(full, words[-1] if words else "", name in movie.directors, name in movie.cast))
    return tuple(person for person in people if person.last)  # "A B, Jr." cut at its comma leaves a Jr.


@lru_cache(maxsize=64)  # an answer is looked through once for each role
def _find_people(text: str, movie: Movie) -> tuple[_Person, ...]:
    """Return whom a text names: by the full name, or by its last word where that stands alone."""
    rest = text.casefold()
    found = []
    for person in _list_people(movie):
        if person.full in rest:
            found.append(person)
            rest = rest.replace(person.full, " ")
    words = set(_NAME_WORD.findall(rest))
    words |= {word.removesuffix("s") for word in words}  # the Coens
    found += [
        person
        for person in _list_people(movie)
        if person not in found and len(person.last) >= MIN_LAST_CHARS and person.last in words
    ]
    return tuple(found)


def _have_role(text: str, movie: Movie, role: Literal["directs", "acts"]) -> bool:
    """Say whether all people named in a text have a role; of two of one last name, one must."""
    found = _find_people(text, movie)
    right = {person.last for person in found if getattr(person, role)}
    return all(getattr(person, role) or person.last in right for person in found)


def _find_numbers(text: str) -> set[str]:
    return set(_NUMBER.findall(text))


def _is_so(claim: Claim, movie: Movie) -> bool | None:
    """Say whether what a yes/no question asks is so; None where no year, length, genre or name of it tells."""
    question = cut_title(claim.question, movie)
    genres, people = find_genres(question), _find_people(question, movie)
    told = [_fits_year(match, movie.year) for match in _YEAR_ASKED.finditer(question)] if movie.year else []
    if movie.rating is not None:
        told += [(movie.rating > float(match["score"])) is bool(match["over"]) for match in _RATED.finditer(question)]
    told += [low <= movie.runtime_minutes <= high for low, high in find_spans(question) if movie.runtime_minutes]
    if genres:
        told.append(genres <= _right_genres(movie))
    role = "directs" if _DIRECTS.search(question) else "acts" if _PLAYS.search(question) else None
    if role and (people or _NAME.search(question)):  # a name that is not of the credits: no
        told.append(any(getattr(person, role) for person in people))
    return all(told) if told else None


def _fits_year(match: re.Match[str], year: int) -> bool:
    """Say whether a year fits what a question asks of it; one in brackets, or without a verb, only says which movie."""
    than, asked = match["than"].casefold(), int(match["year"])
    if than == "before":
        return year < asked
    return year > asked if than in ("after", "since") else year == asked


def _right_genres(movie: Movie) -> set[str]:
    return {_GENRES.get(genre.casefold(), genre.casefold()) for genre in movie.genres}
