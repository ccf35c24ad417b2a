"""What a conversation remembers: the movie spoken of, the movies shown, what was wished for, liked and disliked.

Nothing that is remembered is changed in place, so that a snapshot may share it.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moviebot.rag.constraints import NO_CONSTRAINTS, Constraints
from moviebot.rag.wishes import Mood

if TYPE_CHECKING:
    from moviebot.rag.answer import Answer

MAX_CONVERSATIONS = 10_000
MAX_SPOKEN = 5
MAX_SHOWN = 3000  # a thousand lists: nothing is recommended twice
_REFERS_BACK = re.compile(
    r"\b(it|its|it's|that|this|those|these|them|one|ones|similar|another|more|else|others?|he|she|they|movie|film)\b",
    re.IGNORECASE,
)
_WANTS_MORE = re.compile(r"\b(similar|like (it|this)|that|more|another|others?|else)\b", re.IGNORECASE)
_SPEAKS_OF_SHOWN = re.compile(r"\b(?:that|this|that one|this one)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Wish:
    """What the recommendations shown last were to be.

    Attributes:
        text: the request, its titles masked.
        seeds: rows of the movies it named as liked.
        constraints: what every movie must be.
        moods: what it should rather be.
        excluded: rows that it does not want.
        vector: ``(D,)`` the request's embedding, if there is one.
    """

    text: str = ""
    seeds: tuple[int, ...] = ()
    constraints: Constraints = NO_CONSTRAINTS
    moods: frozenset[Mood] = frozenset()
    excluded: tuple[int, ...] = ()
    vector: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


@dataclass
class Conversation:
    """One person's thread.

    Attributes:
        row: the catalogue row of the movie last spoken of.
        shown: rows of the movies recommended so far, which are not recommended again.
        likes: rows of the movies the person likes: what to recommend for where a wish names none.
        dislikes: rows of the movies the person dislikes; neither they nor their series are recommended.
        seen: rows of the movies the person knows.
        listed: rows of the recommendations shown last, in their order.
        last: the answer that showed them.
        wish: what they were to be.
        offered: a wish with one condition less, which a "yes" takes.
        choices: rows of the movies that the bot asked about ("did you mean ...?").
        pending: the words that left that in doubt.
        question: the last question, its titles masked.
        lists_last: the last turn showed recommendations.
        spoken: rows of the movies spoken of one by one, the last at the end: "both of them".
    """

    row: int | None = None
    shown: list[int] = field(default_factory=list)
    likes: list[int] = field(default_factory=list)
    dislikes: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    listed: tuple[int, ...] = ()
    last: "Answer | None" = field(default=None, repr=False, compare=False)
    wish: Wish | None = None
    offered: Wish | None = None
    choices: tuple[int, ...] = ()
    pending: str = ""
    question: str = ""
    lists_last: bool = False
    spoken: tuple[int, ...] = ()

    def recall(self, query: str, is_recommend: bool) -> int | None:
        """Return the movie that a query without a title refers back to, or None.

        Args:
            query: the person's words.
            is_recommend: a new wish ("I'm looking for a drama") refers to nothing; a question without a title does.
        """
        if is_recommend:
            return self.row if _WANTS_MORE.search(query) else None
        about = self.row
        if self.lists_last and self.listed:
            # Of one movie told and three shown, "it" is the one told, "that one" the first shown.
            told = self.wish is not None and len(self.wish.seeds) == 1 and not _SPEAKS_OF_SHOWN.search(query)
            about = self.row if told and self.row is not None else self.listed[0]
        return about if _REFERS_BACK.search(query) or len(query.split()) <= 5 else None

    @staticmethod
    def refers_back(query: str) -> bool:
        """Say whether a query has a word that stands for what was said before."""
        return _REFERS_BACK.search(query) is not None

    def remember(self, row: int | None, shown: Sequence[int]) -> None:
        """Note what an answer was about, and what it recommended."""
        if row is not None:
            self.row = row
            self.lists_last = False
            self.spoken = (*(other for other in self.spoken if other != row), row)[-MAX_SPOKEN:]
        if shown:
            self.shown = [*self.shown, *shown][-MAX_SHOWN:]
            self.listed = tuple(shown)
            self.lists_last = True

    def like(self, row: int) -> None:
        """Note that the person likes a movie."""
        self.likes = [*(other for other in self.likes if other != row), row]
        self.dislikes = [other for other in self.dislikes if other != row]

    def dislike(self, row: int) -> None:
        """Note that the person dislikes a movie."""
        self.dislikes = [*(other for other in self.dislikes if other != row), row]
        self.likes = [other for other in self.likes if other != row]

    def mark_seen(self, row: int) -> None:
        """Note that the person knows a movie."""
        self.seen = [*(other for other in self.seen if other != row), row]

    def start_over(self) -> None:
        """Forget what was spoken of and wished for; tastes, and what was shown, stay for the session."""
        self.row, self.listed, self.last, self.wish, self.offered = None, (), None, None, None
        self.choices, self.pending, self.question, self.lists_last, self.spoken = (), "", "", False, ()


class Conversations:
    """The conversations of one run, the longest unused forgotten first."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Conversation] = OrderedDict()

    def get(self, conversation_id: str | None) -> Conversation:
        """Return a conversation by its id; without an id, one that is new and remembered by nobody."""
        if conversation_id is None:
            return Conversation()
        conversation = self._by_id.setdefault(conversation_id, Conversation())
        self._by_id.move_to_end(conversation_id)
        if len(self._by_id) > MAX_CONVERSATIONS:
            self._by_id.popitem(last=False)
        return conversation

    def snapshot(self) -> "OrderedDict[str, Conversation]":
        """Return a copy of what is remembered, for :meth:`restore`."""
        # `remember` puts a new list in the place of the old one, so that the copy may share it.
        return OrderedDict((name, replace(conversation)) for name, conversation in self._by_id.items())

    def restore(self, snapshot: "OrderedDict[str, Conversation]") -> None:
        """Go back to what was remembered at a snapshot."""
        self._by_id = snapshot
