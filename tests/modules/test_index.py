"""The index searches exactly, is whole or absent, and refuses a catalogue or an encoder it was not built from."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from moviebot.data.schemas import Movie, write_catalogue
from moviebot.errors import UserError
from moviebot.modules.index import MovieIndex


def draw(rows: int, seed: int) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def index_of(vectors: NDArray[np.float32]) -> MovieIndex:
    return MovieIndex(tuple(f"tt{row}" for row in range(len(vectors))), vectors, "catalogue", "encoder")


@pytest.mark.parametrize("k", [1, 5, 50, 80])
def test_search_is_exact(k: int) -> None:
    documents, queries = draw(50, 0), draw(300, 1)  # more queries than one block
    found, scores = index_of(documents).search(queries, k)
    assert len(found) == len(scores) == 300
    for query, names, values in zip(queries, found, scores, strict=True):
        order = np.argsort(-(documents @ query), kind="stable")[:k]
        assert names == [f"tt{row}" for row in order]
        np.testing.assert_allclose(values, (documents @ query)[order], atol=1e-6)


def test_ties_keep_the_catalogues_order() -> None:
    # Eight, the width of a vector register: BLAS sums the columns behind the last whole one in another order.
    documents = np.tile(draw(1, 0), (8, 1))
    assert index_of(documents).search(documents[:1], 3)[0] == [["tt0", "tt1", "tt2"]]


def test_excluded_movie_is_not_returned() -> None:
    documents = draw(5, 0)
    found, _ = index_of(documents).search(documents[:2], 5, exclude=["tt0", None])
    assert "tt0" not in found[0]
    assert len(found[0]) == 4
    assert found[1][0] == "tt1"
    assert index_of(documents).search(documents[:1], 1, exclude=["tt99"])[0] == [["tt0"]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, movies: list[Movie]) -> tuple[Path, Path, Path]:
    """An index's folder, its catalogue and its encoder."""
    folder = tmp_path_factory.mktemp("index")
    catalogue, encoder = folder / "catalogue.parquet", folder / "encoder"
    write_catalogue(catalogue, movies)
    shutil.copytree(tiny_encoder, encoder)
    MovieIndex.build(encoder, {movie.tconst: movie.label for movie in movies}, catalogue).save(folder / "index")
    return folder / "index", catalogue, encoder


def test_saved_index_finds_each_document_by_its_own_vector(built: tuple[Path, Path, Path], movies: list[Movie]) -> None:
    index = MovieIndex.load(*built)
    assert isinstance(index.vectors, np.memmap)
    found, scores = index.search(np.asarray(index.vectors), 1)
    assert [names[0] for names in found] == [movie.tconst for movie in movies]
    assert [values[0] for values in scores] == pytest.approx([1.0] * len(movies), abs=1e-5)
    assert not list(built[0].parent.glob(".*.tmp"))


def test_changed_catalogue_and_other_encoder_are_refused(
    tmp_path: Path, built: tuple[Path, Path, Path], movies: list[Movie]
) -> None:
    folder, _, encoder = built
    write_catalogue(tmp_path / "catalogue.parquet", movies[1:])
    with pytest.raises(UserError, match=r"catalogue\.parquet is not the catalogue that .* was built from: build it"):
        MovieIndex.load(folder, tmp_path / "catalogue.parquet")
    shutil.copytree(encoder, tmp_path / "encoder")
    (tmp_path / "encoder" / "modules.json").write_text("[]")
    with pytest.raises(UserError, match="is not the encoder that"):
        MovieIndex.load(folder, encoder_dir=tmp_path / "encoder")


def test_damaged_index_is_refused(tmp_path: Path, built: tuple[Path, Path, Path]) -> None:
    with pytest.raises(UserError, match="no whole index"):
        MovieIndex.load(tmp_path / "nowhere")
    broken = tmp_path / "broken"
    shutil.copytree(built[0], broken)
    vectors = broken / "embeddings.npy"
    vectors.write_bytes(vectors.read_bytes()[:200])
    with pytest.raises(UserError, match="no whole index"):
        MovieIndex.load(broken)
    np.save(vectors, draw(3, 0))
    with pytest.raises(UserError, match=r"12 ids for vectors of shape \(3, 8\)"):
        MovieIndex.load(broken)


def test_a_folder_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no sentence-transformers folder .* `moviebot fit --config"):
        MovieIndex.build(tmp_path, {"tt1": "Up (2009)"}, tmp_path)
