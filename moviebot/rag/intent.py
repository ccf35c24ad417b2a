"""What a person wants: an answer, recommendations, or neither.

A linear classifier over hashed n-grams of letters and words and over the question retriever's embedding, trained on the
project's own wordings (``intent_examples.jsonl``). Titles are masked first, so that *Dial M for Murder* asks for no
phone call. The weights are plain arrays; no pickle is read or written.

Shapes: N texts, H hash buckets, D embedding, K classes.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from moviebot.artefact import write_whole
from moviebot.errors import UserError
from moviebot.rag.titles import Mention

Intent = Literal["question", "recommend", "other"]
Encode = Callable[[Sequence[str]], NDArray[np.float32]]
INTENTS: tuple[Intent, ...] = get_args(Intent)
MASK = "thatmovie"
_BUCKETS = 2**14
_STRENGTH = 20.0  # inverse regularisation; chosen by 5-fold cross-validation on the examples
_EMBEDDING_WEIGHT = 2.0  # likewise
# "describe" is a plot told without its title: a question whose answer is the movie. It helps to find that movie.
_CLASSES = ("question", "recommend", "other", "describe")
# Stand-ins for titles that the dictionary does not know, so that the classifier also learns unmasked wordings.
_UNKNOWN_TITLES = (
    "The Brass Orchard", "nine doors down", "Vermilion", "the last ferryman", "Salt Winter", "echoes of the quarry",
    "Agnes and the Wolves", "midnight tram", "Borderless", "a house for sparrows",
)  # fmt: skip
# Titles that read like something a person says: they are no greeting, no request and no wish.
_MISLEADING_TITLES = (
    "Please Come Home, Mother", "How I Met the Mayor", "Hello, Stranger", "Show Me Tomorrow", "Number Nine",
    "What a Day!",
    "I Know Nothing", "Good Morning, Sailor", "Thanks for Everything", "Looking for Rosa", "Something Like Rain",
    "Really, Really Fine", "Kiss of Winter", "Two Hours in Lisbon", "The Color of Bread", "Find Me a Bride",
)  # fmt: skip
_HASHER_WORDS = HashingVectorizer(n_features=_BUCKETS, ngram_range=(1, 3), alternate_sign=False, norm="l2")
_HASHER_LETTERS = HashingVectorizer(
    n_features=_BUCKETS, analyzer="char_wb", ngram_range=(2, 5), alternate_sign=False, norm="l2"
)


class Guess(NamedTuple):
    """An intent, its probability, and whether the text reads like a plot told without its title."""

    intent: Intent
    score: float
    is_description: bool


class IntentClassifier:
    """Classifies masked queries.

    Args:
        weights: ``(K, 2 H + D)``.
        bias: ``(K,)``.
        encode: texts to embeddings ``(N, D)``, the same encoder it was trained with; None where it was trained
            without (D = 0).
    """

    def __init__(self, weights: NDArray[np.float32], bias: NDArray[np.float32], encode: Encode | None = None) -> None:
        self.weights = weights
        self.bias = bias
        self.encode = encode

    @classmethod
    def fit(cls, encode: Encode | None = None, examples: Sequence[tuple[str, str]] | None = None) -> "IntentClassifier":
        """Train on the project's own wordings, in about two seconds.

        Args:
            encode: adds the encoder's embeddings to the features.
            examples: (masked text, class) pairs; the packaged ones by default.
        """
        texts, labels = zip(*(examples or read_examples()), strict=True)
        known = [_CLASSES.index(label) for label in labels]
        model = LogisticRegression(C=_STRENGTH, max_iter=1000, class_weight="balanced")
        model.fit(_featurise(texts, encode), known)
        return cls(model.coef_.astype(np.float32), model.intercept_.astype(np.float32), encode)

    def classify(self, texts: Sequence[str]) -> list[Guess]:
        """Return the intent of each masked text (see :func:`mask_mentions`)."""
        if not texts:
            return []
        logits = np.asarray(_featurise(texts, self.encode) @ self.weights.T) + self.bias  # (N, K)
        likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = likelihood / likelihood.sum(axis=1, keepdims=True)
        question = shares[:, 0] + shares[:, 3]
        three = np.stack([question, shares[:, 1], shares[:, 2]], axis=1)  # (N, 3), the order of INTENTS
        return [
            Guess(INTENTS[best], float(line[best]), bool(all_four[3] > all_four[0]))
            for line, best, all_four in zip(three, three.argmax(axis=1), shares, strict=True)
        ]

    def save(self, path: Path) -> None:
        """Write the weights (numpy's ``.npz``, plain arrays), whole or not at all."""
        with write_whole(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, weights=self.weights, bias=self.bias)

    @classmethod
    def load(cls, path: Path, encode: Encode | None = None) -> "IntentClassifier":
        """Read weights that :meth:`save` wrote.

        Raises:
            UserError: the file is absent or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["weights"], arrays["bias"], encode)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} holds no intent classifier: build the bundle again with `moviebot bundle`"
            ) from error


def mask_mentions(query: str, mentions: Sequence[Mention], least: float = 0.5) -> str:
    """Put a mask in the place of each title that is likely meant.

    Example:
        >>> mask_mentions("who directed Up?", [Mention(13, 15, (0,), 0.9)])
        'who directed thatmovie?'
    """
    for mention in sorted(mentions, key=lambda mention: -mention.start):
        if mention.score >= least:
            query = query[: mention.start] + MASK + query[mention.end :]
    return query


def read_examples() -> list[tuple[str, str]]:
    """Return the packaged wordings, each with its titles masked, and twice more with titles that nobody knows."""
    examples = []
    for number, (query, intent) in enumerate(read_intent_rows()):
        examples.append((query.replace("<movie>", MASK), intent))
        if "<movie>" in query:
            for titles in (_UNKNOWN_TITLES, _MISLEADING_TITLES):
                named = query
                for offset in range(query.count("<movie>")):
                    named = named.replace("<movie>", titles[(number + offset) % len(titles)], 1)
                examples.append((named, intent))
    return examples


@cache
def read_intent_rows() -> tuple[tuple[str, str], ...]:
    """Return the packaged wordings with their class; ``<movie>`` stands where a movie is named."""
    text = resources.files("moviebot.rag").joinpath("intent_examples.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple((row["query"], row["intent"]) for row in rows)


def _featurise(texts: Sequence[str], encode: Encode | None) -> "_Features":
    from scipy.sparse import csr_matrix, hstack

    parts = [_HASHER_WORDS.transform(texts), _HASHER_LETTERS.transform(texts)]  # (N, H) each
    if encode is not None:
        parts.append(csr_matrix(encode(texts) * _EMBEDDING_WEIGHT))  # (N, D)
    features: _Features = hstack(parts, format="csr")  # (N, 2 H + D)
    return features


_Features = NDArray[np.float32]  # a scipy.sparse matrix, which has no types
