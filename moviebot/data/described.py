"""Plots as people retell them, made of a movie's description: what a retriever learns "the one where ..." from.

A person tells a sentence or two, in another order of words than the catalogue has, forgets half, and seldom knows a
name. The pair is made so that neither side is a copy of the other: the telling keeps some words of the description, the
movie's text keeps others.
"""

import random
import re
from dataclasses import replace

from moviebot.data.documents import movie_text
from moviebot.data.prompts import clean_text
from moviebot.data.schemas import Movie

MIN_WORDS = 8
"""A description of fewer words tells too little to be recognised by."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'“(])")
_NAME = re.compile(r"(?<![.!?] )(?<!^)\b[A-Z][\w'’-]+(?:\s+(?:de |van |von |the |of )?[A-Z][\w'’-]+)*")
_OPENERS = (
    "What's that movie where {plot}",
    "what is the movie about {plot}",
    "What was that film in which {plot}",
    "I'm trying to remember a movie: {plot}",
    "I can't think of the title. {plot}",
    "Which film is it where {plot}",
    "a movie in which {plot}",
    "There's this one where {plot} What's it called?",
    "Do you know the film where {plot}",
    "looking for the name of a movie, {plot}",
    "movie where {plot}",
    "I saw it years ago: {plot}",
    "It's about {plot} Which movie do I mean?",
    "Name the film: {plot}",
)
_OPENED_SHARE = 0.4
_TITLED_SHARE = 0.3  # of the texts whose used sentence is kept whole; people do use the catalogue's own words at times


def can_be_told(movie: Movie) -> bool:
    """Say whether a movie has a description that it can be recognised by."""
    return movie.description is not None and len(movie.description.split()) >= MIN_WORDS


def tell_plot(movie: Movie, rng: random.Random, other: str | None = None) -> tuple[str, str]:
    """Make a person's telling of a movie's plot, and the movie's text to find by it.

    Args:
        movie: a movie with a description.
        rng: the source of randomness; the same gives the same.
        other: another source's text about the same movie: where given, it is what the person tells, and the movie's
            text stays whole.

    Returns:
        The telling and the text: :func:`~moviebot.data.documents.movie_text`, with some words of what is told left out.

    Example:
        >>> film = Movie("tt1", "Up", year=2009, description="An old man ties balloons to his house and flies away.")
        >>> told, text = tell_plot(film, random.Random(3))
        >>> text.startswith("Up (2009). "), "Up" in told
        (True, False)
    """
    if other is not None:
        sentences = _pick_sentences(_split(_hide_title(other, movie)), rng)
        return _open(_forget(" ".join(sentences), rng, 0.0, 0.1), rng), movie_text(movie)
    sentences = _split(movie.description or "")
    picked = _pick_sentences(sentences, rng)
    told = " ".join(picked)
    if rng.random() < _TITLED_SHARE:
        kept = list(sentences)
    else:
        kept = [_forget(sentence, rng, 0.3, 0.7) if sentence in picked else sentence for sentence in sentences]
    told = _hide_title(_leave_names_out(told, rng), movie)
    text = movie_text(replace(movie, description=" ".join(kept)))
    return _open(_forget(told, rng, 0.0, 0.4), rng), text


def _split(text: str) -> list[str]:
    return [sentence for sentence in _SENTENCE.split(clean_text(text)) if sentence]


def _pick_sentences(sentences: list[str], rng: random.Random) -> list[str]:
    """Pick one to three that follow each other."""
    if not sentences:
        return []
    start = rng.randrange(len(sentences))
    return sentences[start : start + rng.choice((1, 1, 2, 2, 3))]


def _forget(text: str, rng: random.Random, least: float, most: float) -> str:
    """Drop a share of the words, drawn between two bounds; sometimes the beginning or the end as a whole."""
    words = text.split()
    share = rng.uniform(least, most)
    if len(words) > 2 * MIN_WORDS and rng.random() < 0.3:
        cut = round(share * len(words))
        return " ".join(words[cut:] if rng.random() < 0.5 else words[: len(words) - cut])
    return " ".join(word for word in words if rng.random() >= share) or text


def _leave_names_out(text: str, rng: random.Random) -> str:
    """Put "someone" for each name in half of the tellings."""
    return _NAME.sub("someone", text) if rng.random() < 0.5 else text


def _hide_title(text: str, movie: Movie) -> str:
    """Put "it" for the title: who knows it does not describe the plot."""
    return re.sub(rf"(?<!\w){re.escape(movie.title)}(?!\w)", "it", text, flags=re.IGNORECASE)


def _open(text: str, rng: random.Random) -> str:
    return rng.choice(_OPENERS).format(plot=text) if rng.random() < _OPENED_SHARE else text
