"""The offline teacher: question wordings and answer wordings, filled from the catalogue's own facts.

It replies in the words a language model would be asked for, JSON text, so that cleaning treats both alike.
"""

import json
import random
import re
from collections.abc import Sequence

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import TOPICS, Movie, Split, Topic
from moviebot.data.wordings import (
    ANSWERS,
    DECLINE_ANSWER,
    MENTIONS,
    OPENERS,
    WORDINGS,
    near_wordings,
)

# Unanswerable questions twice: to decline is harder to learn than to copy a fact.
TOPIC_CYCLE: tuple[Topic, ...] = (*TOPICS, "unanswerable")
TEMPLATE_VERSION = 8  # count up when the code below writes other words: replies are then written anew
OUTLINE_WORDS = 25
NEAR_SHARE = 0.4  # of the unanswerable questions, those that a fact nearly answers: the ones a model gets wrong
TAUGHT_CAST = 3

# A sentence ends at . ! ? before a space and a capital, a digit or a quote; not after an initial or a title ("J. Mr.").
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bLt)(?<!\bJr)(?<!\bvs)(?<!\bCapt)(?<!\bCol)"
    r"(?<!\bGen)(?<!\bSgt)(?<!\bProf)(?<!\bRev)[.!?][\"'”’)]*\s+(?=[\"'“‘(]?[A-Z0-9])"
)


def facts_of(movie: Movie, topic: Topic) -> tuple[str, ...]:
    """Return the strings that a right answer about ``topic`` must contain, as the prompt's input writes them.

    Args:
        movie: the movie asked about.
        topic: what is asked for.

    Returns:
        The facts; empty where the catalogue does not hold them, and for ``unanswerable``: the right answer is then a
        decline.

    Example:
        >>> facts_of(Movie("tt1", "Up", runtime_minutes=96, cast=("A", "B", "C", "D")), "cast")
        ('A', 'B', 'C')
        >>> facts_of(Movie("tt1", "Up"), "runtime")
        ()
    """
    facts: tuple[object, ...]
    match topic:
        case "director":
            facts = movie.directors
        case "cast":
            facts = movie.cast[:TAUGHT_CAST]
        case "genre":
            facts = movie.genres
        case "year":
            facts = (movie.year,)
        case "runtime":
            facts = (movie.runtime_minutes,)
        case "rating":
            facts = (movie.rating,)
        case "plot":
            facts = (outline(movie.description) if movie.description else None,)
        case "unanswerable":
            facts = ()
    return tuple(clean_text(str(fact)) for fact in facts if fact not in (None, ""))


def outline(description: str, max_words: int = OUTLINE_WORDS) -> str:
    """Return the first sentence or sentences of a description, at most ``max_words`` words.

    A first sentence that is longer is cut, at a comma or semicolon of its second half where there is one.

    Args:
        description: a plot outline, untrusted.
        max_words: the most words to return.

    Returns:
        A piece of :func:`moviebot.data.prompts.clean_text` of the description, verbatim.

    Example:
        >>> outline("Dr. No flees. He hides in a cave. " + "Then much more happens. " * 9, max_words=8)
        'Dr. No flees. He hides in a cave.'
    """
    text = clean_text(description)
    ends = [match.start() + len(match[0].rstrip()) for match in _SENTENCE_END.finditer(text)]
    fitting = [end for end in [*ends, len(text)] if len(text[:end].split()) <= max_words]
    if fitting:
        return text[: fitting[-1]]
    words = text.split(" ")[:max_words]
    clause_ends = [n for n, word in enumerate(words, start=1) if word[-1:] in ",;:" and n * 2 > max_words]
    return " ".join(words[: clause_ends[-1]] if clause_ends else words).rstrip(" ,;:-")


def answer_from_facts(movie: Movie, topic: Topic) -> tuple[str, Topic]:
    """Answer from a movie's facts, in the one wording that each topic is taught in.

    Returns:
        The answer and its topic; a decline and ``unanswerable`` where the catalogue does not hold the facts.

    Example:
        >>> answer_from_facts(Movie("tt1", "Up", year=2009), "year")
        ('It came out in 2009.', 'year')
    """
    facts = facts_of(movie, topic)
    if not facts:
        return DECLINE_ANSWER, "unanswerable"
    answer = ANSWERS[topic].replace("{facts}", join_names(facts))
    if topic == "plot" and not answer.endswith((".", "!", "?", '"', "”", "…")):
        answer += " ..."
    return answer, topic


def write_questions(movie: Movie, split: Split, n: int, rng: random.Random, *, ambiguous: bool) -> str:
    """Write ``n`` question/answer pairs about a movie.

    Args:
        movie: any movie.
        split: the movie's split, which decides the wordings.
        n: how many pairs; every topic comes once (unanswerable twice) before one comes again.
        rng: the source of randomness.
        ambiguous: other movies share the title, so that questions must say the year.

    Returns:
        JSON text, ``{"pairs": [{"question", "answer", "topic"}, ...]}``; without pairs where the movie can't be named.
    """
    if ambiguous and movie.year is None:
        return json.dumps({"pairs": []})
    # "When did Solaris (1972) come out?" asks nothing.
    cycle = [topic for topic in TOPIC_CYCLE if not (ambiguous and topic == "year")]
    topics: list[Topic] = []
    while len(topics) < n:
        topics.extend(rng.sample(cycle, len(cycle)))
    pairs = []
    used: set[str] = set()
    for topic in topics[:n]:
        wordings = WORDINGS[topic][split]
        if topic == "unanswerable" and rng.random() < NEAR_SHARE:
            wordings = near_wordings(split) or wordings
        free = [wording for wording in wordings if wording not in used] or wordings
        wording = rng.choice(free)
        used.add(wording)
        question = _ask(wording, movie, split, rng, with_year=ambiguous, without_year=topic == "year")
        answer, answered = answer_from_facts(movie, topic)
        pairs.append({"question": question, "answer": answer, "topic": answered})
    return json.dumps({"pairs": pairs}, ensure_ascii=False)


def write_recommendations(recommended: Sequence[Movie]) -> str:
    """Write a list of similar movies as JSON text, ``{"recommended": ["Title (year)", ...]}``, best first."""
    return json.dumps({"recommended": [movie.label for movie in recommended]}, ensure_ascii=False)


def _ask(wording: str, movie: Movie, split: Split, rng: random.Random, *, with_year: bool, without_year: bool) -> str:
    title = clean_text(movie.title)
    mention = title
    if with_year or (movie.year is not None and not without_year and rng.random() < 0.25):
        mention = rng.choice(MENTIONS[split]).format(title=title, year=movie.year)
    elif rng.random() < 0.06 and '"' not in title:
        mention = f'"{title}"'
    question = wording.replace("{title}", mention)  # not format(): a title may hold braces
    question = question[0].upper() + question[1:] if mention != title and wording.startswith("{") else question
    if rng.random() < 0.12:
        opener = rng.choice(OPENERS[split])
        if not opener.endswith((". ", "! ")) and not wording.startswith(("{", "I ", "I'")):
            question = question[0].lower() + question[1:]
        question = opener + question
    if rng.random() < 0.2:
        question = question.lower()
    if rng.random() < 0.15:
        question = question.rstrip("?.")
    return question


def join_names(names: Sequence[str]) -> str:
    """Join names as a sentence does.

    Example:
        >>> join_names(["A", "B", "C"])
        'A, B and C'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
