"""A turn that asks and wishes at once, cut into its clauses: "Who directed Heat, and what else is like it?"."""

import re

_CUT = re.compile(
    r"(?<=[?.!;])\s+|\s*,?\s+(?:and|also|then|but)\s+(?:also\s+|then\s+|please\s+)?(?=(?:what|who|can|"
    r"could|would|recommend|suggest|which|how|when|"
    r"tell|give|show|is there|are there|do you|any|find|i want|i'd like|something)\b)|"
    r"\s*,\s+(?=(?:what else|can you|could you|recommend|suggest|any)\b)",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    r"\b(?:like (?:it|that|this)|similar|else|recommend\w*|suggest\w*|watch|more|something|anything|"
    r"any|find|show|give|another)\b",
    re.IGNORECASE,
)
_ASKING = re.compile(
    r"^\W*(?:and |so |please |can you |could you )*(?:who|what|when|where|which|how|is|was|are|were|"
    r"did|does|tell|name|do you know)\b|"
    r"\b(?:tell me|do you know|wonder|know) (?:who|what|when|how|which)\b|"
    r"\bone\W+(?:who|what|when|where|how)\b",  # "and the second one, what is it about?"
    re.IGNORECASE,
)
_MOST_WORDS = 40


def split_turn(masked: str) -> list[str]:
    """Return the clauses of a turn that may want different things; a turn of one clause gives none.

    Example:
        >>> split_turn("who directed thatmovie, and what else is like it?")
        ['who directed thatmovie', 'what else is like it?']
        >>> split_turn("who directed thatmovie?")
        []
    """
    if len(masked.split()) > _MOST_WORDS:
        return []
    clauses = [clause.strip() for clause in _CUT.split(masked) if clause.strip()]
    return clauses if len(clauses) > 1 else []


def is_request(clause: str) -> bool:
    """Say whether a clause has a word that asks for movies, not only one that praises some."""
    return _REQUEST.search(clause) is not None


def is_asking(clause: str) -> bool:
    """Say whether a clause begins as a question of fact does."""
    return _ASKING.search(clause) is not None
