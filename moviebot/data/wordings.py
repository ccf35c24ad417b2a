"""The words of the template teacher, written for this project: how people ask, and how it answers.

A wording belongs to a split, as a movie does: what the test asks was never asked in training, in these words. The test
wordings were written without sight of the others, and whichever of those said nearly the same was taken out. The
wordings are in ``wordings.json``.
"""

import json
from dataclasses import dataclass
from importlib import resources

from moviebot.data.prompts import DECLINE
from moviebot.data.schemas import Split, Topic


@dataclass(frozen=True)
class Subject:
    """Something people ask that no catalogue row answers.

    Attributes:
        lacks: what it is, for the reader.
        near: a fact nearly answers it: the director is told where the writer was asked for.
        train: wordings for movies of the train split.
        val: wordings for movies of the val split.
        test: wordings for movies of the test split.
    """

    lacks: str
    near: bool = False
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


def _load() -> tuple[tuple[Subject, ...], dict[Topic, dict[Split, tuple[str, ...]]]]:
    text = resources.files("moviebot.data").joinpath("wordings.json").read_text(encoding="utf-8")
    data = json.loads(text)
    subjects = tuple(
        Subject(row["lacks"], bool(row.get("near")), *(tuple(row.get(split, ())) for split in ("train", "val", "test")))
        for row in data["subjects"]
    )
    wordings: dict[Topic, dict[Split, tuple[str, ...]]] = {
        topic: {split: tuple(found) for split, found in by_split.items()}
        for topic, by_split in data["questions"].items()
    }
    wordings["unanswerable"] = {
        "train": tuple(wording for subject in subjects for wording in subject.train),
        "val": tuple(wording for subject in subjects for wording in subject.val),
        "test": tuple(wording for subject in subjects for wording in subject.test),
    }
    return subjects, wordings


def near_wordings(split: Split) -> tuple[str, ...]:
    """Return the wordings that ask what a fact nearly answers; the splits for measuring set none apart."""
    return tuple(wording for subject in SUBJECTS if subject.near for wording in getattr(subject, split))


SUBJECTS, WORDINGS = _load()
"""What the facts never cover; and question wordings by topic and split. ``{title}`` is where the movie is named."""

OPENERS: dict[Split, tuple[str, ...]] = {
    "train": ("Hey, ", "Hi! ", "Quick question: ", "So, ", "Just wondering, ", "Hello there. "),
    "val": ("Ok, ", "Hi bot, "),
    "test": ("Hey there! ", "One more thing: ", "Um, "),
}
"""What chatty people say first."""

MENTIONS: dict[Split, tuple[str, ...]] = {
    "train": ("{title} ({year})", "the {year} film {title}", "{title} ({year})", "the {year} version of {title}"),
    "val": ("{title} ({year})", "{title} of {year}"),
    "test": ("{title} ({year})", "{title} from {year}", "the {year} movie {title}"),
}
"""How a movie is named with its year."""

# No answer names the movie: the prompt's input does not, and a question may misspell it.
ANSWERS: dict[Topic, str] = {
    "director": "It was directed by {facts}.",
    "year": "It came out in {facts}.",
    "runtime": "It runs for {facts} minutes.",
    "genre": "Its genre is {facts}.",
    "cast": "The cast includes {facts}.",
    "rating": "It is rated {facts} out of 10.",
    "plot": "The story: {facts}",
}
"""One wording a topic: a second one is a coin toss that a small model spends its few steps on."""

DECLINE_ANSWER = f"{DECLINE}: the facts I have don't say."
"""Always the same: what exactly is lacking is the person's own question, and would be most of what is learnt."""
