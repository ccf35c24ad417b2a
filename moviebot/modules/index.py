"""Exact nearest-neighbour search over the catalogue's vectors.

No approximate index: 13,000 movies take 2 ms a query on one core, and below about a million rows an exact scan is fast
enough (FACTS 19). The vectors are memory-mapped, so several processes share them.

Shapes: N documents, Q queries, D embedding.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moviebot.artefact import hash_path, write_whole
from moviebot.errors import UserError
from moviebot.modules.encoder import encode_texts, load_encoder

VECTORS_NAME = "embeddings.npy"
META_NAME = "index.json"
_BLOCK = 256  # queries scored at once: 256 x 700,000 x 4 bytes is 0.7 GB, the most a scan holds


@dataclass(frozen=True)
class MovieIndex:
    """The vectors of a catalogue's documents, and what they were made from.

    Attributes:
        ids: the N documents' tconsts, in the order of the rows.
        vectors: ``(N, D)`` float32, each row of length 1.
        catalogue_hash: :func:`~moviebot.artefact.hash_path` of the ``catalogue.parquet`` the documents are of.
        encoder_hash: the same of the encoder's folder.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    catalogue_hash: str
    encoder_hash: str

    @classmethod
    def build(
        cls, encoder_dir: Path, documents: Mapping[str, str], catalogue: Path, batch_size: int = 64
    ) -> "MovieIndex":
        """Encode the documents.

        Args:
            encoder_dir: a sentence-transformers folder.
            documents: the text of each movie by its tconst: its label for the question retriever, its
                ``movie_text`` for the recommend retriever.
            catalogue: the ``catalogue.parquet`` the documents are of, for its hash.
            batch_size: texts encoded at once.
        """
        vectors = encode_texts(load_encoder(encoder_dir), list(documents.values()), batch_size)
        return cls(tuple(documents), vectors, hash_path(catalogue), hash_path(encoder_dir))

    def save(self, folder: Path) -> None:
        """Write the index's folder, whole or not at all."""
        meta = {"ids": self.ids, "catalogue_hash": self.catalogue_hash, "encoder_hash": self.encoder_hash}
        with write_whole(folder) as temporary:
            temporary.mkdir()
            np.save(temporary / VECTORS_NAME, np.ascontiguousarray(self.vectors, dtype=np.float32))
            (temporary / META_NAME).write_text(json.dumps(meta), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, catalogue: Path | None = None, encoder_dir: Path | None = None) -> "MovieIndex":
        """Open an index's folder; the vectors stay on disk until they are read.

        Args:
            folder: a folder that :meth:`save` wrote.
            catalogue: the catalogue the index must be of; not checked where None.
            encoder_dir: the encoder the queries will come from, which must be the index's; not checked where None.

        Raises:
            UserError: the folder holds no whole index, or one of another catalogue or encoder.
        """
        try:
            meta = json.loads((folder / META_NAME).read_text(encoding="utf-8"))
            vectors = np.load(folder / VECTORS_NAME, mmap_mode="r")
            index = cls(tuple(meta["ids"]), vectors, meta["catalogue_hash"], meta["encoder_hash"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{folder} holds no whole index ({error}): build it again with `moviebot bundle`"
            ) from error
        if vectors.ndim != 2 or len(index.ids) != len(vectors):
            raise UserError(
                f"{folder} has {len(index.ids)} ids for vectors of shape {vectors.shape}: "
                "build it again with `moviebot bundle`"
            )
        for name, path, recorded in (
            ("catalogue", catalogue, index.catalogue_hash),
            ("encoder", encoder_dir, index.encoder_hash),
        ):
            if path is not None and hash_path(path) != recorded:
                raise UserError(
                    f"{path} is not the {name} that {folder} was built from: build it again with `moviebot bundle`"
                )
        return index

    def search(
        self, queries: NDArray[np.float32], k: int, exclude: Sequence[str | None] | None = None
    ) -> tuple[list[list[str]], list[list[float]]]:
        """Return each query's k nearest documents by cosine, best first; equal scores in the order of the rows.

        Args:
            queries: ``(Q, D)``, each row of length 1.
            k: how many; fewer are returned where the index holds fewer.
            exclude: for each query a tconst that must not be returned (a movie is not recommended for itself).

        Returns:
            The tconsts and the cosines, Q lists of k each.
        """
        rows = {tconst: row for row, tconst in enumerate(self.ids)} if exclude is not None else {}
        found: list[list[str]] = []
        scores: list[list[float]] = []
        for start in range(0, len(queries), _BLOCK):
            similarity = queries[start : start + _BLOCK] @ self.vectors.T  # (Q', N)
            if exclude is not None:
                for line, tconst in enumerate(exclude[start : start + _BLOCK]):
                    if tconst is not None and tconst in rows:
                        similarity[line, rows[tconst]] = -np.inf
            for line in similarity:
                best = _find_largest(line, k)
                found.append([self.ids[row] for row in best])
                scores.append([float(line[row]) for row in best])
        return found, scores


def _find_largest(scores: NDArray[np.float32], k: int) -> list[int]:
    """Return the positions of the k largest finite scores, largest first, ties by position."""
    if k < len(scores):
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        positions = np.flatnonzero(scores >= kth)  # all that tie with the k-th, so that the order of rows decides
    else:
        positions = np.arange(len(scores))
    ordered = positions[np.argsort(-scores[positions], kind="stable")]
    return [int(row) for row in ordered[:k] if np.isfinite(scores[row])]
