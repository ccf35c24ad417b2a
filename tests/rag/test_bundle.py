import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from moviebot.data.schemas import Movie, read_catalogue, write_catalogue
from moviebot.errors import UserError
from moviebot.modules.index import MovieIndex
from moviebot.rag.bundle import PAIR_SCORER, TEXT_INDEX, _fit_pairs, build_bundle, load_bundle
from moviebot.rag.pair_scorer import PairScorer


def test_loads_whole(bundle_folder: Path, movies: list[Movie]) -> None:
    bundle = load_bundle(bundle_folder)
    assert bundle.movies == movies
    assert bundle.adapter is None
    assert bundle.title_index.ids == tuple(movie.tconst for movie in movies)
    assert bundle.encode_questions(["Up"]).shape == (1, bundle.title_index.vectors.shape[1])
    manifest = yaml.safe_load((bundle_folder / "bundle.yaml").read_text())
    assert {"catalogue.parquet", "question_retriever", "recommend_retriever", "intent.npz"} <= manifest["parts"].keys()


@pytest.fixture
def copied(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy"))


def test_a_changed_catalogue_is_one_clear_line(copied: Path) -> None:
    write_catalogue(copied / "catalogue.parquet", read_catalogue(copied / "catalogue.parquet")[:-1])
    with pytest.raises(UserError, match="has changed since the bundle was built: build it again"):
        load_bundle(copied)


@pytest.mark.parametrize("part", ["catalogue.parquet", "title_index", "question_retriever", "intent.npz"])
def test_a_missing_part_is_named(copied: Path, part: str) -> None:
    path = copied / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=f"lacks its {part}"):
        load_bundle(copied)


def test_what_is_no_bundle_is_named(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(UserError, match="is no bundle"):
        load_bundle(tmp_path / "nowhere")
    (copied / "bundle.yaml").write_text("format: [")
    with pytest.raises(UserError, match="is damaged"):
        load_bundle(copied)
    (copied / "bundle.yaml").write_text("format: 99")
    with pytest.raises(UserError, match="another format"):
        load_bundle(copied)
    (copied / "bundle.yaml").write_text("format: 2")
    with pytest.raises(UserError, match="lacks an entry"):
        load_bundle(copied)


def test_building_complains_before_it_works(
    bundle_folder: Path, tiny_encoder: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    base = str(tiny_llama)
    with pytest.raises(UserError, match=r"--recommend_retriever .* is no sentence-transformers folder"):
        build_bundle(bundle_folder, tiny_encoder, tmp_path, base, tmp_path / "out")
    with pytest.raises(UserError, match="moviebot catalogue"):
        build_bundle(tmp_path, tiny_encoder, tiny_encoder, base, tmp_path / "out")
    with pytest.raises(UserError, match="adapter"):
        build_bundle(bundle_folder, tiny_encoder, tiny_encoder, base, tmp_path / "out", adapter=tmp_path)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep")
    with pytest.raises(UserError, match="holds no bundle"):
        build_bundle(bundle_folder, tiny_encoder, tiny_encoder, base, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep"


def test_stands_for_the_same_inputs(bundle_folder: Path, tiny_encoder: Path, tiny_llama: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "bundle"
    data.mkdir()
    shutil.copy(bundle_folder / "catalogue.parquet", data)
    (data / "qa.jsonl").write_text("{}")

    def build() -> int:
        build_bundle(data, tiny_encoder, tiny_encoder, str(tiny_llama), out)
        return (out / "bundle.yaml").stat().st_mtime_ns

    first = build()
    assert load_bundle(out).data.keys() == {"qa.jsonl"}
    assert build() == first
    (data / "qa.jsonl").write_text("{ }")  # other data than the models are said to be of
    second = build()
    assert second != first
    (out / "intent.npz").unlink()
    assert build() != second
    load_bundle(out)


def test_people_lists_fit_the_ranking_and_a_templates_do_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    movies = [Movie(f"tt{n:03}", f"Word{n} Film{n}", year=1950 + n % 70, votes=100) for n in range(400)]
    vectors = rng.normal(size=(400, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = tuple(movie.tconst for movie in movies)
    MovieIndex(ids, vectors, "", "").save(tmp_path / TEXT_INDEX)
    weights = {}
    for source in ("movielens", "template"):
        rows = [
            {"tconst": ids[n], "recommended": [ids[(n + step) % 400] for step in range(1, 9)]}
            | {"source": source, "split": "train" if n < 300 else "test"}
            for n in range(400)
        ]
        path = tmp_path / "recommendations.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        _fit_pairs(tmp_path, movies, path)
        weights[source] = PairScorer.load(tmp_path / PAIR_SCORER)
    assert weights["movielens"].taste is not None
    assert weights["template"].taste is None
    np.testing.assert_array_equal(weights["template"].weights, PairScorer.default().weights)
