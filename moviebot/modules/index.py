"""Exact nearest-neighbour search over the catalogue's vectors.

No approximate index: below about a million rows an exact search is fast enough (FACTS 19). Up to 50,000 movies a plain
matrix product does it (13,000 movies: 1 ms a query). Above, :class:`~moviebot.modules.int8_codes.Int8Codes` finds the
few rows that can be among the nearest, and only those are read of the float32 vectors, which stay on disk. All arrays
are memory-mapped, so several processes share them.

Shapes: N documents, Q queries, D embedding.
"""

import json
import logging
import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moviebot.artefact import hash_path, write_whole
from moviebot.errors import UserError
from moviebot.modules.encoder import encode_texts, load_encoder
from moviebot.modules.int8_codes import HEAD, Int8Codes

logger = logging.getLogger(__name__)
VECTORS_NAME = "embeddings.npy"
TEXTS_NAME = "texts.npy"
META_NAME = "index.json"
PLAIN_ROWS = 50_000
"""Up to so many documents the search is a plain matrix product, without codes."""
_BLOCK = 256  # queries searched at once: as a plain product 256 x 50,000 x 4 bytes is 50 MB
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class MovieIndex:
    """The vectors of a catalogue's documents, and what they were made from.

    Attributes:
        ids: the N documents' tconsts, in the order of the rows.
        vectors: ``(N, D)`` float32, each row of length 1.
        catalogue_hash: :func:`~moviebot.artefact.hash_path` of the ``catalogue.parquet`` the documents are of.
        encoder_hash: the same of the encoder's folder.
        texts: ``(N, 16)`` uint8, :func:`hash_texts` of the documents; None where the texts are unknown, and then no
            later index can keep these vectors.
        codes: what a search of more than :data:`PLAIN_ROWS` documents chooses from; :meth:`save` makes them.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    catalogue_hash: str
    encoder_hash: str
    texts: NDArray[np.uint8] | None = None
    codes: Int8Codes | None = None

    @classmethod
    def build(
        cls,
        encoder_dir: Path,
        documents: Mapping[str, str],
        catalogue: Path,
        previous: "MovieIndex | None" = None,
    ) -> "MovieIndex":
        """Encode the documents, each text once.

        Args:
            encoder_dir: a sentence-transformers folder.
            documents: the text of each movie by its tconst: its label for the question retriever, its
                ``movie_text`` for the recommend retriever.
            catalogue: the ``catalogue.parquet`` the documents are of, for its hash.
            previous: an index whose vectors are kept for the texts it has, if they are of the same encoder; only the
                other texts are encoded.

        Raises:
            UserError: there is no document, or the encoder's folder holds none.
        """
        if not documents:
            raise UserError(f"{catalogue} has no movies to index: build it again with `moviebot catalogue`")
        encoder = load_encoder(encoder_dir, None)
        encoder_hash = hash_path(encoder_dir)
        hashes = hash_texts(documents.values())
        keys = [line.tobytes() for line in hashes]
        known: dict[bytes, int] = {}
        if previous is not None and previous.texts is not None and previous.encoder_hash == encoder_hash:
            known = {line.tobytes(): row for row, line in enumerate(previous.texts)}
        new = {key: text for key, text in zip(keys, documents.values(), strict=True) if key not in known}
        encoded = encode_texts(encoder, list(new.values()))  # (new, D)
        place = {key: row for row, key in enumerate(new)}
        vectors = np.empty((len(keys), encoded.shape[1]), np.float32)
        rows = np.array([place.get(key, -1) for key in keys])
        vectors[rows >= 0] = encoded[rows[rows >= 0]]
        if previous is not None and known:
            vectors[rows < 0] = previous.vectors[[known[key] for key in keys if key not in place]]
            logger.info("%s texts encoded; %s vectors kept", f"{len(new):,}", f"{int((rows < 0).sum()):,}")
        return cls(tuple(documents), vectors, hash_path(catalogue), encoder_hash, hashes)

    def save(self, folder: Path) -> None:
        """Write the index's folder, whole or not at all."""
        meta = {"ids": self.ids, "catalogue_hash": self.catalogue_hash, "encoder_hash": self.encoder_hash}
        with write_whole(folder) as temporary:
            temporary.mkdir()
            np.save(temporary / VECTORS_NAME, np.ascontiguousarray(self.vectors, dtype=np.float32))
            if self.texts is not None:
                np.save(temporary / TEXTS_NAME, self.texts)
            if _wants_codes(self.vectors):
                (self.codes or Int8Codes.quantise(self.vectors)).save(temporary)
            (temporary / META_NAME).write_text(json.dumps(meta), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, catalogue: Path | None = None, encoder_dir: Path | None = None) -> "MovieIndex":
        """Open an index's folder; the arrays stay on disk until they are read.

        Args:
            folder: a folder that :meth:`save` wrote.
            catalogue: the catalogue the index must be of; not checked where None.
            encoder_dir: the encoder the queries will come from, which must be the index's; not checked where None.

        Raises:
            UserError: the folder holds no whole index, or one of another catalogue or encoder.
        """
        again = "build it again with `moviebot bundle`"
        try:
            meta = json.loads((folder / META_NAME).read_text(encoding="utf-8"))
            vectors = np.load(folder / VECTORS_NAME, mmap_mode="r")
            texts = np.load(folder / TEXTS_NAME, mmap_mode="r") if (folder / TEXTS_NAME).exists() else None
            codes = Int8Codes.load(folder) if _wants_codes(vectors) else None
            index = cls(tuple(meta["ids"]), vectors, meta["catalogue_hash"], meta["encoder_hash"], texts, codes)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            why = str(error).splitlines()[0]
            raise UserError(f"{folder} holds no whole index ({why}): {again}") from error
        if vectors.ndim != 2 or len(index.ids) != len(vectors):
            raise UserError(f"{folder} has {len(index.ids)} ids for vectors of shape {vectors.shape}: {again}")
        if vectors.dtype != np.float32 or not len(vectors):
            raise UserError(f"{folder} has {len(vectors)} vectors of {vectors.dtype}, not some of float32: {again}")
        if texts is not None and (texts.shape != (len(vectors), _DIGEST_BYTES) or texts.dtype != np.uint8):
            raise UserError(f"{folder / TEXTS_NAME} is not of the {len(vectors)} vectors beside it: {again}")
        if codes is not None and codes.shape != vectors.shape:
            raise UserError(f"{folder} has codes of shape {codes.shape} for vectors of {vectors.shape}: {again}")
        for name, path, recorded in (
            ("catalogue", catalogue, index.catalogue_hash),
            ("encoder", encoder_dir, index.encoder_hash),
        ):
            if path is not None and hash_path(path) != recorded:
                raise UserError(f"{path} is not the {name} that {folder} was built from: {again}")
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
        barred = exclude if exclude is not None else [None] * len(queries)
        rows, cosines = self.search_rows(queries, k if exclude is None else k + 1)
        found: list[list[str]] = []
        scores: list[list[float]] = []
        for tconst, line, values in zip(barred, rows.tolist(), cosines.tolist(), strict=True):
            kept = [(self.ids[row], value) for row, value in zip(line, values, strict=True)]
            kept = [pair for pair in kept if pair[0] != tconst][:k]
            found.append([name for name, _ in kept])
            scores.append([value for _, value in kept])
        return found, scores

    def search_rows(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return each query's k nearest rows by cosine, best first; equal cosines in the order of the rows.

        Args:
            queries: ``(Q, D)``, each row of length 1.
            k: how many, at least 1; all N where the index holds fewer.

        Returns:
            The rows and the cosines, ``(Q, min(k, N))`` each.

        Raises:
            UserError: the queries come from an encoder of another width.
        """
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise UserError(
                f"queries of shape {queries.shape} for an index of width {self.vectors.shape[1]}: encode them with the "
                "encoder that the index was built with"
            )
        k = min(k, len(self.vectors))
        rows, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries), _BLOCK):
            block = slice(start, start + _BLOCK)
            if self.codes is None:
                similarity = queries[block] @ self.vectors.T  # (Q', N)
                best = [_find_largest(line, k) for line in similarity]
                rows[block] = best
                cosines[block] = np.take_along_axis(similarity, rows[block], axis=1)
            else:
                for line, found in enumerate(self.codes.find_candidates(queries[block], k), start=start):
                    similarity = np.asarray(self.vectors[found]) @ queries[line]  # (candidates,)
                    best_of_found = _find_largest(similarity, k)
                    rows[line], cosines[line] = found[best_of_found], similarity[best_of_found]
                _release(self.vectors)
        return rows, cosines


def hash_texts(texts: Iterable[str]) -> NDArray[np.uint8]:
    """Return ``(N, 16)``, the BLAKE2b of each text, by which an index knows its documents again.

    >>> hash_texts(["Up (2009)", "Her (2013)"]).shape
    (2, 16)
    """
    digests = b"".join(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest() for text in texts
    )
    return np.frombuffer(digests, np.uint8).reshape(-1, _DIGEST_BYTES)


def _wants_codes(vectors: NDArray[np.float32]) -> bool:
    return vectors.ndim == 2 and len(vectors) > PLAIN_ROWS and vectors.shape[1] > HEAD


def _release(vectors: NDArray[np.float32]) -> None:
    """Take a memory-mapped array's pages out of this process's memory; the system's cache keeps them while it can.

    Linux maps 64 KiB around each row that is read, so that a few hundred searches would map the whole file.
    """
    mapping = getattr(vectors, "_mmap", None)
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _find_largest(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the positions of the k largest scores, largest first, ties by position."""
    if k < len(scores):
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        positions = np.flatnonzero(scores >= kth)  # all that tie with the k-th, so that the order of rows decides
    else:
        positions = np.arange(len(scores))
    return positions[np.argsort(-scores[positions], kind="stable")][:k]
