"""What does a question ask for? Decided only where its wording leaves no doubt."""

import re

from moviebot.data.schemas import Movie, Topic

# Art, musical, music, casting and assistant directors are not the director.
_ASKS: dict[Topic, re.Pattern[str]] = {
    "director": re.compile(
        r"(?<!\bguy )(?<!\bperson )(?<!\bman )(?<!\bwoman )\bwho (directed|helmed)\b|\bdirected by\b"
        r"|(\bwho('s|s| is| was| were) the|\bname the|\btell me the|^) *directors? of (?!photography|.*\bmarried\b)"
        r"|^the directors? of\W+((is|was|are|were)\W*)?(who\W*)?$",
        re.I,
    ),
    "year": re.compile(
        r"\b(what|which) year\b(?=.*\b(released?|come out|came out|out|premiered?|made|opened|open|debut\w*|hit|from"
        r"|appear(ed)?|produced|filmed)\b|( is| was)?\W*$)|\bfrom (what|which) year\b|\brelease year of\b"
        r"|\bwhen (was|did)\b(?!.*\bdvd\b).*\b(released?|come out|came out)\b"
        # The year is what is known of it, unless the very day is asked for.
        r"|(?<!exact )(?<!precise )(?<!dvd )\brelease date (of|for)\b(?!.*\b(day|month|dvd|blu-?ray|home)\b)",
        re.I,
    ),
    "runtime": re.compile(
        r"\bhow long (is|does|will)\b|\brun(ning )?time\b|\bhow many minutes\b"
        r"|\b(longer|shorter) than [^?]*\b(hours?|minutes)\b",
        re.I,
    ),
    "genre": re.compile(r"\bgenres?\b", re.I),
    "cast": re.compile(
        r"\bwho (stars?|starred|is starring|acted)\b|\bcast of\b"
        r"|\bwho('s|’s| is| are| was| were)( all)? in\W*$"
        r"|\b(name|list|tell me)\b.*\b(actors|actresses|stars|who (act|star|appear|play) in)\b"
        r"|\bstarr(ed|ing) (who|whom|(which|what) actors)\b"
        r"|\bwho (are|were) the (main |lead )?actors\b|\b(which|what) actors (are|were|appear|play|star)\b",
        re.I,
    ),
    "rating": re.compile(
        r"\b(average|imdb|user|viewer) (rating|score)\b|\bwhat('s|’s| is) the (rating|score) of\b", re.I
    ),
    "plot": re.compile(r"\bplot\b|\bsynopsis\b|\bwhat('s| is) .*\babout\b", re.I),
}
# A pattern is only tried where one of its words is there: seven patterns a question are a tenth of all the judging.
_HINTS: dict[Topic, tuple[str, ...]] = {
    "director": ("direct", "helmed"),
    "year": ("year", "when", "release date"),
    "runtime": ("how long", "time", "minutes", "longer", "shorter"),
    "genre": ("genre",),
    "cast": ("star", "act", "cast", "who"),
    "rating": ("rating", "score"),
    "plot": ("plot", "synopsis", "about"),
}
_HINTED = [(hint, topic) for topic, hints in _HINTS.items() for hint in hints]
# What no field of the catalogue holds: a name or a number of another field is then no answer. The superlatives are
# what a small teacher model asks most.
_ABSENT = re.compile(
    r"\bwho (wrote|penned|composed|scored|produced|edited)\b"
    r"|\bwho (plays|played|voices|voiced) (?!in\b|the (lead|main|star)|leads?\b|roles?\b)\w"
    r"|\b(who|whom) .*\b(written|produced|composed|played|voiced) by\b"
    r"|\bmost (famous|popular|expensive|memorable|controversial|shocking|recent|important)\b"
    r"|\bbudget\b|\bbox office\b|\boscars?\b|\bawards?\b|\bhow much (money|did)\b|\b(screen)?writers?\b|\bproducers?\b",
    re.I,
)
_YES_NO = re.compile(
    r"^(?:\w+, )?(is|are|was|were|did|does|do|has|have|had|can|will)\b(?! (you|i|we|any\w+|some\w+)\b)", re.I
)


def guess_topic(question: str, movie: Movie) -> Topic | None:
    """Return what a question asks for, where its wording leaves no doubt.

    Example:
        >>> guess_topic("Who directed Up?", Movie("tt1", "Up")), guess_topic("Who wrote Up?", Movie("tt1", "Up"))
        ('director', None)
    """
    bare = cut_title(question, movie)
    small = bare.lower()
    hinted = {topic for hint, topic in _HINTED if hint in small}
    found = [topic for topic in hinted if _ASKS[topic].search(bare)]
    return found[0] if len(found) == 1 else None


def asks_for_absent(question: str, movie: Movie) -> bool:
    """Say whether a question plainly asks for what no field of the catalogue holds: who wrote it, what it cost.

    Example:
        >>> asks_for_absent("Who wrote Up?", Movie("tt1", "Up"))
        True
    """
    return bool(_ABSENT.search(cut_title(question, movie)))


def is_yes_no(question: str) -> bool:
    """Say whether a question is to be answered by yes or no.

    Example:
        >>> is_yes_no("Is Up a comedy?"), is_yes_no("Do you know who made Up?")
        (True, False)
    """
    return bool(_YES_NO.match(question.strip()))


def cut_title(question: str, movie: Movie) -> str:
    """Return a question without the movie's title: ``Who Directed Me?`` asks nothing.

    Example:
        >>> cut_title("How long is What Year?", Movie("tt1", "What Year?"))
        'How long is  '
    """
    folded, title = question.casefold(), movie.title.casefold()
    if len(folded) != len(question):  # a letter that folds to two: positions would not agree
        return question
    at = folded.find(title)
    while at >= 0:
        end = at + len(title)
        if not folded[at - 1 : at].isalnum() and not folded[end : end + 1].isalnum():
            return f"{question[:at]} {question[end:]}"
        at = folded.find(title, at + 1)
    return question
