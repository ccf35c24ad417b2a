"""How much people who like one movie may like each other movie, for movies that nobody has listed as well.

Conditional logit over features of pairs; see :class:`PairScorer`. Legend: N movies, F features, S seeds, L lists.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moviebot.artefact import write_whole
from moviebot.data.schemas import Movie
from moviebot.data.splits import group_movies
from moviebot.errors import UserError
from moviebot.rag.taste import Taste, fit_taste, measure_fame, measure_rating

if TYPE_CHECKING:
    from scipy import sparse

FEATURES = (
    "text", "genres", "people", "years near", "years far", "taste",
    "fame", "fame squared", "rating", "fame gap", "year",
)  # fmt: skip
MIN_LISTS = 200  # below, a fit follows the few lists; the caller ranks by shared facts instead
_NEGATIVES = 500  # movies a list is told from, drawn evenly
_INNER_SHARE = 3  # one group in three is kept from the taste that the weights are fitted with
_PENALTY = 0.01
_SHARPENING = 2.0
"""What the taste's weight is multiplied by, since the taste fitted on all lists foretells better than the one the
weights are fitted with. Chosen of 1, 1.5, 2 and 3 on a fifth of the movies' MovieLens lists, kept from the fit."""


@dataclass(frozen=True)
class PairScorer:
    """A fitted scorer, free of any catalogue.

    Attributes:
        taste: the projection that places a movie among people's tastes.
        weights: ``(F,)`` one a feature, in the order of ``FEATURES``.
    """

    taste: Taste
    weights: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write an ``.npz``, whole or not at all."""
        with write_whole(path) as temporary, temporary.open("wb") as handle:
            np.savez(
                handle, genres=np.array(self.taste.genres, dtype=np.str_), centre=self.taste.centre,
                projection=self.taste.projection, weights=self.weights, features=np.array(FEATURES),
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> "PairScorer":
        """Read what :meth:`save` wrote.

        Raises:
            UserError: the file is absent, is none of ours, or is of a version with other features.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                if tuple(stored["features"].tolist()) != FEATURES:
                    raise UserError(f"{path} was fitted with other features: fit it again with `moviebot bundle`")
                taste = Taste(tuple(stored["genres"].tolist()), stored["centre"], stored["projection"])
                return cls(taste, stored["weights"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UserError(f"{path} is no fitted pair scorer ({error}): write it with `moviebot bundle`") from error


class PairFeatures:
    """What is known of every pair of a catalogue.

    Args:
        movies: the catalogue.
        vectors: ``(N, D)`` unit embeddings of the movies' texts.
        taste: the projection.
    """

    def __init__(self, movies: Sequence[Movie], vectors: NDArray[np.float32], taste: Taste) -> None:
        self.vectors = vectors
        self.taste = taste.place(movies, vectors)
        self.fame, self.rating = measure_fame(movies), measure_rating(movies)
        self._genres = np.asarray(_weigh([movie.genres for movie in movies]).todense(), dtype=np.float32)
        self._people = _weigh([(*movie.directors, *movie.cast) for movie in movies])
        self._people_by_person = self._people.T.tocsr()
        self._years = np.array([1990 if movie.year is None else movie.year for movie in movies], dtype=np.float32)

    def compare(self, seed: int) -> NDArray[np.float32]:
        """Return ``(N, F)`` features of a seed with every movie."""
        gap = np.abs(self._years - self._years[seed])
        people = (self._people[[seed]] @ self._people_by_person).toarray().ravel()
        columns = (
            self.vectors @ self.vectors[seed], self._genres @ self._genres[seed], people, np.exp(-gap / 4),
            np.exp(-gap / 20), self.taste @ self.taste[seed], self.fame, self.fame**2, self.rating,
            np.abs(self.fame - self.fame[seed]), (self._years - 1990) / 30,
        )  # fmt: skip
        return np.stack(columns, axis=1).astype(np.float32)

    def score(self, seeds: Sequence[int], weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return ``(N,)`` log odds, the mean over the seeds."""
        scores = np.array([self.compare(seed) @ weights for seed in seeds], dtype=np.float64)  # (S, N)
        return np.asarray(scores.mean(axis=0))


def fit_pair_scorer(
    movies: Sequence[Movie], vectors: NDArray[np.float32], lists: Mapping[int, Sequence[int]], seed: int = 0
) -> PairScorer | None:
    """Fit a scorer on lists of what people liked together.

    The weights are fitted on lists whose movies the taste has not seen, as a new movie's are not: otherwise the taste
    would seem surer than it is. The taste is then fitted again on everything.

    Args:
        movies: the catalogue.
        vectors: ``(N, D)`` unit embeddings of the movies' texts.
        lists: a movie's row to the rows of its list, best first; only training movies, as seed and in the lists.
        seed: of the draw of negatives.

    Returns:
        None where the lists are fewer than ``MIN_LISTS``.
    """
    lists = {row: found for row, found in lists.items() if found}
    if len(lists) < MIN_LISTS:
        return None
    groups = group_movies(movies)
    inner = np.array([_hash(groups[movie.tconst]) % _INNER_SHARE == 0 for movie in movies])
    outer = {row: [other for other in found if not inner[other]] for row, found in lists.items() if not inner[row]}
    features = PairFeatures(movies, vectors, fit_taste(movies, vectors, outer))
    held = {row: found for row, found in lists.items() if inner[row]}
    weights = _fit_weights(features, held, seed)
    weights[FEATURES.index("taste")] *= _SHARPENING
    return PairScorer(fit_taste(movies, vectors, lists), weights)


def _fit_weights(features: PairFeatures, lists: Mapping[int, Sequence[int]], seed: int) -> NDArray[np.float32]:
    """Maximise the likelihood of each list's movies among themselves and a draw of others."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(seed)
    n = len(features.vectors)
    drawn = min(_NEGATIVES, n)
    blocks, goals, offsets = [], [], []
    for row, found in lists.items():
        chosen = np.union1d(rng.choice(n, drawn, replace=False), found)
        chosen = chosen[chosen != row]
        listed = np.isin(chosen, found)
        blocks.append(features.compare(row)[chosen])
        goals.append(listed / listed.sum())
        offsets.append(np.where(listed, 0.0, np.log(n / drawn)))  # a drawn movie stands for those not drawn
    x, y, offset = np.vstack(blocks).astype(np.float64), np.concatenate(goals), np.concatenate(offsets)
    sizes = [len(block) for block in blocks]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    spread = x.std(axis=0) + 1e-9
    x = (x - x.mean(axis=0)) / spread

    def measure_loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = x @ weights + offset
        odds = np.exp(logits - np.repeat(np.maximum.reduceat(logits, starts), sizes))
        chance = odds / np.repeat(np.add.reduceat(odds, starts), sizes)
        loss = -(y * np.log(chance + 1e-30)).sum() / len(sizes) + _PENALTY * weights @ weights
        return float(loss), x.T @ (chance - y) / len(sizes) + 2 * _PENALTY * weights

    fitted = minimize(measure_loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    return np.asarray(fitted.x / spread, dtype=np.float32)


def _weigh(tokens: Sequence[Sequence[str]]) -> "sparse.csr_matrix":
    """Return ``(N, tokens)`` unit rows, rare tokens weighing more."""
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(tokens):
        return sparse.csr_matrix((len(tokens), 1), dtype=np.float32)
    return TfidfVectorizer(analyzer=lambda row: row, dtype=np.float32).fit_transform(tokens).tocsr()


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
