"""The embeddings that a benchmark needs, encoded once and kept for its next run."""

from collections.abc import Mapping
from pathlib import Path

from moviebot.errors import UserError
from moviebot.modules.index import MovieIndex


def keep_index(encoder: Path, documents: Mapping[str, str], catalogue: Path, kept: Path) -> MovieIndex:
    """Encode texts, or read what an earlier run encoded.

    Args:
        encoder: a sentence-transformers folder.
        documents: each movie's text, by its tconst.
        catalogue: the file that the movies are of.
        kept: the index's folder; what it holds of the same texts and encoder is not encoded again.
    """
    try:
        previous = MovieIndex.load(kept)
    except UserError:
        previous = None
    kept.parent.mkdir(parents=True, exist_ok=True)
    MovieIndex.build(encoder, documents, catalogue, previous=previous).save(kept)
    return MovieIndex.load(kept)
