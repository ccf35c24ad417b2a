"""Nothing ungrounded is told: each answer is checked against the movie's facts, and gives way to the fact itself.

The check is the one that the training data went through (:func:`moviebot.data.support.rate_support`): each fact in its
role, every number and name, most other words. What fails it is replaced, not marked: by the fact asked for where it is
known what was asked, else by "I don't know". So a check that is too strict costs wording, seldom an answer.
"""

import re
from dataclasses import dataclass

from moviebot.data.prompts import is_decline
from moviebot.data.question_topic import asks_for_absent, cut_title, guess_topic
from moviebot.data.schemas import Movie, Topic
from moviebot.data.support import rate_support
from moviebot.data.template_teacher import answer_from_facts, facts_of
from moviebot.data.wordings import ANSWERS, DECLINE_ANSWER
from moviebot.rag.checks import names_stand

MAX_CHARS = 400
"""A sentence or two: the longest outline that is taught has half as many; what is longer has run away."""

# Asked in as many ways as people have, so told only where nothing else is asked.
_HINTS: dict[Topic, str] = {
    "director": r"\bdirect(ed|ors?|s|ing|orial)?\b|\bfilm ?makers?\b|\bbehind the camera\b|\bhelm|\bcalled the shots\b",
    "cast": r"\bstar(s|red|ring)?\b|\bact(s|ed|ors?|ress|resses|ing)?\b|\bcast\b|\bperform\w*|\bleads?\b"
    r"|\bwho\W+(is|was|are|were|s|appears?|plays) in\b",
    "year": r"\bwhen\b|\byear\b|\brelease[ds]?\b|\b(come|came) out\b|\bpremiere",
    "genre": r"\bgenres?\b|\b(kind|sort|type|style) of (a )?(movie|film|picture)\b",
    "runtime": r"\bhow long\b|\blength\b|\bduration\b|\bmin(ute)?s?\b|\bhours?\b|\brun(ning|s)? ?(time)?\b",
    "rating": r"\brat(e|ed|ings?)\b|\bscored?\b",
    "plot": r"\babout\b|\bplot\b|\bstory\b|\bdescrib|\bsummar|\bhappens\b|\bsynopsis\b",
}
_LOOSE = {topic: re.compile(pattern, re.IGNORECASE) for topic, pattern in _HINTS.items()}
# Beside what `asks_for_absent` knows, which is said of training data and may leave a doubt to the teacher.
_ABSENT = re.compile(
    r"\b(wrote|written|penned)\b|\b(writers?|authors?|screenplay)\b"
    r"|\b(which|what|primary|spoken) languages?\b|\blanguages? (is|was|does|do|spoken)\b"
    r"|\b(topics|tags|keywords)\b|\b(what|which) words\b"
    r"|\b(assistant|casting|art|music|musical) directors?\b|\bdirectors? of photography\b|\bcinematograph"
    r"|\brotten tomatoes\b|\bmetacritic\b|\b(professional )?critics?['’]? (score|rating)\b"
    r"|\bpg\b|\bage (rating|certificate|limit)\b|\bsuitable for\b|\bhow old (was|were|is|are) the\b"
    r"|\bhow many days\b|\b(take|took) to (shoot|film|make)\b|\b(which|what) studio\b|\bdistributor\b"
    r"|\b(near me|netflix|in imax|golden globes?|film festival|soundtrack|theme song|subtitles)\b",
    re.IGNORECASE,
)
# What has a word that hints at a fact, and is another thing: the star's age, the day of release, the director's cut.
_ELSEWHERE = re.compile(
    r"\b(paid|pay|salary|paycheck|money|cost|audition\w*|stunts?|doubled|age|aged|old|married|trivia|make-?up"
    r"|considered|filming|shoot\w*|shot|reshoots?|development|month|day|exact|date in|uncut|extended|cut|premiere|where"
    r"|distribut\w*|pg|suitable|true story|won|awards?|behind the scenes|who cast|casting|score (do|of|for)"
    r"|behind the score|voices?|cinemas in|open in|names|turned down|first choice|get along|critics?|times|festival"
    r"|studio|uk|budget)\b",
    re.IGNORECASE,
)
_OTHER_FILM = re.compile(r"\b(sequel|prequel|remake|spin-?off|soundtrack)s? (to|of|for)\b", re.IGNORECASE)
_BEGINNINGS: dict[str, Topic] = {
    words.split("{facts}")[0].strip().casefold(): topic for topic, words in ANSWERS.items()
}


@dataclass(frozen=True)
class Grounded:
    """An answer that the facts bear out.

    Attributes:
        text: what is told.
        abstained: it says that it does not know.
        fallback: it is not what the model wrote.
    """

    text: str
    abstained: bool
    fallback: bool


def ground_answer(question: str, response: str, movie: Movie) -> Grounded:
    """Return the model's answer where the facts bear it out, else the fact asked for, else a decline.

    Args:
        question: the person's words.
        response: the model's text, untrusted; empty where it could not be asked.
        movie: the movie whose facts the prompt held.

    Example:
        >>> up = Movie("tt1", "Up", year=2009, directors=("Pete Docter",), cast=("Ed Asner",))
        >>> ground_answer("Who directed Up?", "It was directed by Ed Asner.", up)
        Grounded(text='It was directed by Pete Docter.', abstained=False, fallback=True)
        >>> ground_answer("Who wrote Up?", "It was written by Pete Docter.", up).text
        "I don't know: the facts I have don't say."
    """
    sure = guess_topic(question, movie)
    if is_beyond_facts(question, movie):
        kept = is_decline(response) and names_stand(response, movie, question)
        return Grounded(response if kept else DECLINE_ANSWER, abstained=True, fallback=not kept)
    if is_decline(response):
        if sure is not None and facts_of(movie, sure):
            return _tell_fact(movie, sure)  # the model has overlooked it
        kept = names_stand(response, movie, question)  # "I don't know, but ..."
        return Grounded(response if kept else DECLINE_ANSWER, abstained=True, fallback=not kept)
    told = _read_topic(response)
    topic = sure or told
    if (
        response
        and told in (None, topic)
        and len(response) <= MAX_CHARS
        and (rate_support(question, response, topic, movie).fault is None)
    ):
        return Grounded(response, abstained=False, fallback=False)
    return _tell_fact(movie, topic or guess_loosely(question, movie) or "unanswerable")


def is_beyond_facts(question: str, movie: Movie) -> bool:
    """Say whether a question is declined whatever the model writes: it need not be asked.

    Example:
        >>> is_beyond_facts("who directed the sequel to Up?", Movie("tt1", "Up"))
        True
    """
    if _OTHER_FILM.search(cut_title(question, movie)) is not None:
        return True
    return guess_topic(question, movie) is None and is_uncovered(question, movie)


def is_uncovered(question: str, movie: Movie) -> bool:
    """Say whether a question plainly asks for what no fact covers: the writer, the language, a list of keywords.

    Example:
        >>> is_uncovered("what language is Up in?", Movie("tt1", "Up"))
        True
        >>> is_uncovered("what is The Ghost Writer about?", Movie("tt2", "The Ghost Writer"))
        False
    """
    return asks_for_absent(question, movie) or _ABSENT.search(cut_title(question, movie)) is not None


def guess_loosely(question: str, movie: Movie) -> Topic | None:
    """Return the one topic that the words of a question hint at, or None; for when nothing better can be told.

    Example:
        >>> up = Movie("tt1", "Up")
        >>> guess_loosely("the director of Up was?", up), guess_loosely("how old was the director of Up?", up)
        ('director', None)
    """
    if (sure := guess_topic(question, movie)) is not None:
        return sure
    bare = cut_title(question, movie)
    found = [topic for topic, pattern in _LOOSE.items() if pattern.search(bare)]
    doubtful = len(found) != 1 or _ELSEWHERE.search(bare) or is_uncovered(question, movie)
    return None if doubtful else found[0]


def _read_topic(response: str) -> Topic | None:
    """Return what an answer in the taught words tells: "It was directed by ..." tells the director."""
    folded = response.casefold()
    found = [(len(beginning), topic) for beginning, topic in _BEGINNINGS.items() if folded.startswith(beginning)]
    return max(found)[1] if found else None


def _tell_fact(movie: Movie, topic: Topic) -> Grounded:
    text, told = answer_from_facts(movie, topic)
    return Grounded(text, abstained=told == "unanswerable", fallback=True)
