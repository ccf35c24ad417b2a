"""What a conversation remembers: the movie spoken of, and the movies shown."""

import re
from collections import OrderedDict
from dataclasses import dataclass, field, replace

MAX_CONVERSATIONS = 10_000
MAX_SHOWN = 60
_REFERS_BACK = re.compile(
    r"\b(it|its|it's|that|this|those|these|them|one|ones|similar|another|more|else|others?|he|she|they|movie|film)\b",
    re.IGNORECASE,
)
_WANTS_MORE = re.compile(r"\b(similar|like (it|this)|that|more|another|others?|else)\b", re.IGNORECASE)


@dataclass
class Conversation:
    """One person's thread.

    Attributes:
        row: the catalogue row of the movie last spoken of.
        shown: rows of the movies recommended so far, which are not recommended again.
        likes: rows of the movies the person said they like.
        dislikes: rows of the movies they said they do not.
    """

    row: int | None = None
    shown: list[int] = field(default_factory=list)
    likes: list[int] = field(default_factory=list)
    dislikes: list[int] = field(default_factory=list)

    def like(self, row: int) -> None:
        """Note a movie that the person likes."""
        self.likes = [*(other for other in self.likes if other != row), row]
        self.dislikes = [other for other in self.dislikes if other != row]

    def dislike(self, row: int) -> None:
        """Note a movie that the person does not like; it is not recommended."""
        self.dislikes = [*(other for other in self.dislikes if other != row), row]
        self.likes = [other for other in self.likes if other != row]
        self.mark_seen(row)

    def mark_seen(self, row: int) -> None:
        """Note a movie that the person knows; it is not recommended again."""
        self.shown = [*(other for other in self.shown if other != row), row][-MAX_SHOWN:]

    def recall(self, query: str, is_recommend: bool) -> int | None:
        """Return the movie that a query without a title refers back to, or None.

        Args:
            query: the person's words.
            is_recommend: a new wish ("I'm looking for a drama") refers to nothing; a question without a title does.
        """
        if self.row is None:
            return None
        words = len(query.split())
        refers = bool(_REFERS_BACK.search(query))
        if is_recommend:
            return self.row if _WANTS_MORE.search(query) else None
        return self.row if refers or words <= 5 else None

    def remember(self, row: int | None, shown: list[int]) -> None:
        """Note what an answer was about."""
        if row is not None:
            self.row = row
        self.shown = [*self.shown, *shown][-MAX_SHOWN:]


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
