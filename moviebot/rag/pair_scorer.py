"""How much people who like one movie may like each other movie, for movies that nobody has listed as well.

Legend: F features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moviebot.artefact import write_whole
from moviebot.errors import UserError
from moviebot.rag.pair_features import FEATURES
from moviebot.rag.taste import Taste

DEFAULT_WEIGHTS = {
    "text": -0.61, "text squared": 0.0611, "text times fame": 0.98, "text times years": 0.788, "genres": 3.76,
    "genres squared": 0.375, "directors": 4.55, "cast": 6.63, "title": -1.79, "words": 24.9, "words times text": -5.77,
    "series": 0.45, "years 3": -0.222, "years 10": 5.48, "later": -0.306, "genres times years": 1.08, "fame": 8.62,
    "fame squared": 0.854, "well known": -8.69, "fame gap": -10.1, "rating": 4.67, "unrated": -1.27,
    "rating gap": -38.3,
}  # fmt: skip
"""Fitted to 1,194 lists of what MovieLens users liked together, training movies alone; to fit them again:
`python tools/bench_recommend.py --fit`."""


@dataclass(frozen=True)
class PairScorer:
    """A scorer, free of any catalogue: log odds that are linear in :data:`~moviebot.rag.pair_features.FEATURES`.

    Attributes:
        taste: the projection that places a movie among people's tastes; None where no people's lists were at hand.
        weights: ``(F,)`` one a feature.
    """

    taste: Taste | None
    weights: NDArray[np.float32]

    @classmethod
    def default(cls) -> "PairScorer":
        """Return the scorer for data without people's lists: :data:`DEFAULT_WEIGHTS`, no taste."""
        return cls(None, np.array([DEFAULT_WEIGHTS.get(name, 0.0) for name in FEATURES], dtype=np.float32))

    def save(self, path: Path) -> None:
        """Write an ``.npz``, whole or not at all."""
        arrays = {"weights": self.weights, "features": np.array(FEATURES)}
        if self.taste is not None:
            genres = np.array(self.taste.genres, dtype=np.str_)
            arrays |= {"genres": genres, "centre": self.taste.centre, "projection": self.taste.projection}
        with write_whole(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "PairScorer":
        """Read what :meth:`save` wrote.

        Raises:
            UserError: the file is absent, is none of ours, or is of a version with other features.
        """
        again = "write it again with `moviebot bundle`"
        try:
            with np.load(path, allow_pickle=False) as stored:
                if tuple(stored["features"].tolist()) != FEATURES:
                    raise UserError(f"{path} was fitted with other features: {again}")
                weights, taste = stored["weights"], None
                if "projection" in stored:
                    taste = Taste(tuple(stored["genres"].tolist()), stored["centre"], stored["projection"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UserError(f"{path} is no fitted pair scorer ({error}): {again}") from error
        return cls(taste, weights)
