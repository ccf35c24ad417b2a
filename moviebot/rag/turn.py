"""A turn of a conversation, read without regard to what was said before."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moviebot.rag.intent import Guess
from moviebot.rag.resolver import Resolution
from moviebot.rag.titles import Mention
from moviebot.rag.wishes import SEED_SCORE


@dataclass(frozen=True)
class Turn:
    """What a person said, read without regard to what was said before.

    Attributes:
        text: their words.
        masked: the same, its titles masked.
        mentions: the titles.
        guess: the intent.
        found: the movies it may mean.
        vector: ``(D,)`` its embedding; only of wishes.
        clauses: its parts, where it has several, each with its intent.
    """

    text: str
    masked: str
    mentions: Sequence[Mention]
    guess: Guess
    found: Resolution
    vector: NDArray[np.float32] | None = None
    clauses: Sequence[tuple[str, Guess]] = field(default=())

    @property
    def named(self) -> bool:
        """Whether a title of the catalogue stands in it."""
        return any(mention.score >= SEED_SCORE for mention in self.mentions)
