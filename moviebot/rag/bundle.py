"""The bundle: one folder that holds everything needed to answer.

``bundle.yaml`` is written last and names each part with its hash, so that a bundle is whole or absent, and a part that
was changed afterwards is noticed when the bundle is loaded.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from moviebot import __version__
from moviebot.artefact import hash_path, write_whole
from moviebot.data.documents import movie_text, story_text
from moviebot.data.schemas import Movie, read_catalogue, read_recommendations
from moviebot.errors import UserError
from moviebot.modules.encoder import encode_texts, load_encoder
from moviebot.modules.index import MovieIndex
from moviebot.rag.bundle_safety import check_files, check_parts
from moviebot.rag.evidence import EvidenceReader
from moviebot.rag.intent import IntentClassifier
from moviebot.rag.pair_fit import fit_pair_scorer
from moviebot.rag.pair_scorer import PairScorer
from moviebot.rag.resolver import MovieResolver

logger = logging.getLogger(__name__)
MANIFEST_NAME = "bundle.yaml"
_FORMAT = 2
CATALOGUE, INTENT, ADAPTER = "catalogue.parquet", "intent.npz", "adapter"
QUESTION_RETRIEVER, RECOMMEND_RETRIEVER = "question_retriever", "recommend_retriever"
TITLE_INDEX, STORY_INDEX, TEXT_INDEX = "title_index", "story_index", "text_index"
RESOLVER, PAIR_SCORER = "resolver", "pair_scorer.npz"
# What the models were trained on. Only its hashes are in the bundle, so that `evaluate` knows whether it is the same.
RECOMMENDATIONS = "recommendations.jsonl"
DATA_FILES = ("qa.jsonl", RECOMMENDATIONS, "question_pairs.parquet", "recommend_pairs.parquet")
_PARTS = (
    CATALOGUE, QUESTION_RETRIEVER, RECOMMEND_RETRIEVER, TITLE_INDEX, STORY_INDEX, TEXT_INDEX, INTENT, RESOLVER,
    PAIR_SCORER,
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and verified.

    Attributes:
        folder: where it is.
        movies: the catalogue, in the order of the indices' rows.
        base: the base language model, a folder or a hub name.
        adapter: the PEFT folder, or None.
        title_index: the movies' labels, by the question retriever.
        story_index: the movies' descriptions, by the question retriever.
        text_index: the movies' texts, by the recommend retriever.
        data: hashes of the :data:`DATA_FILES` that were there when the bundle was built, by name.
    """

    folder: Path
    movies: list[Movie]
    base: str
    adapter: Path | None
    title_index: MovieIndex
    story_index: MovieIndex
    text_index: MovieIndex
    data: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def question_encoder(self) -> SentenceTransformer:
        """The question retriever, loaded at first use."""
        return load_encoder(self.folder / QUESTION_RETRIEVER)

    @cached_property
    def recommend_encoder(self) -> SentenceTransformer:
        """The recommend retriever, loaded at first use."""
        return load_encoder(self.folder / RECOMMEND_RETRIEVER)

    @cached_property
    def intent(self) -> IntentClassifier:
        """The intent classifier, loaded at first use."""
        return IntentClassifier.load(self.folder / INTENT, self.encode_questions)

    @cached_property
    def resolver(self) -> MovieResolver:
        """What finds the movie a query means, loaded at first use."""
        reader = EvidenceReader(self.movies, self.title_index, self.story_index)
        return MovieResolver.load(self.folder / RESOLVER, reader, self.encode_questions)

    @cached_property
    def pair_scorer(self) -> PairScorer:
        """What tells how likely who likes one movie likes another, loaded at first use."""
        return PairScorer.load(self.folder / PAIR_SCORER)

    def encode_questions(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts, ``(N, D)``, for a search among the movies' labels and descriptions."""
        return encode_texts(self.question_encoder, texts)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts, ``(N, D)``, for a search among the movies' texts."""
        return encode_texts(self.recommend_encoder, texts)


def build_bundle(
    data: Path,
    question_retriever: Path,
    recommend_retriever: Path,
    base: str,
    out: Path,
    adapter: Path | None = None,
) -> None:
    """Put all that answering needs into one folder.

    Args:
        data: the data folder; its catalogue.parquet is what the bot knows.
        question_retriever: the encoder that finds the movie a question is about (a sentence-transformers folder).
        recommend_retriever: the encoder that finds movies to recommend (a sentence-transformers folder).
        base: the base language model, a folder or a name on the hub; it is named, not copied.
        out: the bundle's folder; one that is there is replaced when the new one is whole, or left where it stands
            for the same inputs. Movies whose text and retriever are as in that one keep their vectors: new movies
            cost their own encoding only.
        adapter: the trained LoRA adapter (a PEFT folder); without one the base model answers as it is.

    Raises:
        UserError: a part is absent or of the wrong kind.
    """
    movies = read_catalogue(data / CATALOGUE)
    if not movies:
        raise UserError(f"{data / CATALOGUE} has no movies: build it again with `moviebot catalogue`")
    for flag, folder in (("question_retriever", question_retriever), ("recommend_retriever", recommend_retriever)):
        if not (folder / "modules.json").is_file():
            raise UserError(
                f"--{flag} {folder} is no sentence-transformers folder (it has no modules.json): give the folder that "
                "`moviebot fit --config configs/retriever/...yaml` wrote"
            )
    if adapter is not None:
        from moviebot.modules.dense import check_adapter  # imports torch and peft

        check_adapter(adapter, base)
    if out.exists() and not (out / MANIFEST_NAME).is_file() and any(out.iterdir()):
        raise UserError(f"--out {out} is not empty and holds no bundle: give a new folder, or empty that one")
    sources = {CATALOGUE: data / CATALOGUE, QUESTION_RETRIEVER: question_retriever}
    sources |= {RECOMMEND_RETRIEVER: recommend_retriever} | ({ADAPTER: adapter} if adapter is not None else {})
    made_from = _describe_inputs(data, base, sources)
    if _stands(out, made_from):
        logger.info("%s is up to date", out)
        return
    with write_whole(out) as folder:
        folder.mkdir()
        shutil.copy2(data / CATALOGUE, folder / CATALOGUE)
        shutil.copytree(question_retriever, folder / QUESTION_RETRIEVER)
        shutil.copytree(recommend_retriever, folder / RECOMMEND_RETRIEVER)
        if adapter is not None:
            shutil.copytree(adapter, folder / ADAPTER)
        for retriever, name, documents in (
            (QUESTION_RETRIEVER, TITLE_INDEX, {movie.tconst: movie.label for movie in movies}),
            (QUESTION_RETRIEVER, STORY_INDEX, {movie.tconst: story_text(movie) for movie in movies}),
            (RECOMMEND_RETRIEVER, TEXT_INDEX, {movie.tconst: movie_text(movie) for movie in movies}),
        ):
            previous = _open_index(out, name)
            MovieIndex.build(folder / retriever, documents, folder / CATALOGUE, previous=previous).save(folder / name)
        _fit_models(folder, movies)
        _fit_pairs(folder, movies, data / RECOMMENDATIONS)
        parts = [*_PARTS, ADAPTER] if adapter is not None else _PARTS
        manifest = {
            "format": _FORMAT,
            "moviebot": __version__,
            "base": base,
            "adapter": ADAPTER if adapter is not None else None,
            "movies": len(movies),
            "made_from": made_from,
            "parts": {part: hash_path(folder / part) for part in parts},
        }
        (folder / MANIFEST_NAME).write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle's folder and verify each part against ``bundle.yaml``.

    Raises:
        UserError: the folder holds no bundle, a part is absent or was changed, leads out of the folder, or could run
            code when it is read.
    """
    manifest = _read_manifest(folder)
    check_parts(folder, manifest, _PARTS, ADAPTER)
    check_files(folder)
    again = "build it again with `moviebot bundle`"
    for part, recorded in manifest["parts"].items():
        if not (folder / part).exists():
            raise UserError(f"the bundle {folder} lacks its {part}: {again}")
        if hash_path(folder / part) != recorded:
            raise UserError(f"{folder / part} has changed since the bundle was built: {again}")
    movies = read_catalogue(folder / CATALOGUE)
    indices = [MovieIndex.load(folder / name) for name in (TITLE_INDEX, STORY_INDEX, TEXT_INDEX)]
    if any(index.ids != tuple(movie.tconst for movie in movies) for index in indices):
        raise UserError(f"the indices of {folder} are of another catalogue: {again}")
    adapter = folder / manifest["adapter"] if manifest["adapter"] else None
    made_from = manifest.get("made_from") or {}
    titles, stories, texts = indices
    return Bundle(folder, movies, manifest["base"], adapter, titles, stories, texts, made_from.get("data") or {})


def hash_data(data: Path) -> dict[str, str]:
    """Return the hashes of those :data:`DATA_FILES` that a data folder has, by name."""
    return {name: hash_path(data / name) for name in DATA_FILES if (data / name).is_file()}


def _describe_inputs(data: Path, base: str, sources: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "moviebot": __version__,
        "base": base,
        "parts": {name: hash_path(path) for name, path in sources.items()},
        "data": hash_data(data),
    }


def _stands(out: Path, made_from: Mapping[str, Any]) -> bool:
    """Say whether a bundle is whole and was built from just these inputs."""
    try:
        manifest = _read_manifest(out)
        parts: Mapping[str, str] = manifest["parts"]
        return manifest.get("made_from") == made_from and all(
            (out / part).exists() and hash_path(out / part) == recorded for part, recorded in parts.items()
        )
    except (UserError, AttributeError):
        return False


def _open_index(bundle: Path, name: str) -> MovieIndex | None:
    """Open an index of the bundle that is to be replaced, so that vectors of unchanged texts are kept; None without."""
    try:
        recorded = _read_manifest(bundle)["parts"][name]
        index = MovieIndex.load(bundle / name)
    except UserError:
        return None
    return index if hash_path(bundle / name) == recorded else None


def _fit_models(folder: Path, movies: Sequence[Movie]) -> None:
    """Fit what reads a query: the classifier of intents, and the weights of the evidence for each movie."""
    encoder = load_encoder(folder / QUESTION_RETRIEVER)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        return encode_texts(encoder, texts)

    IntentClassifier.fit(encode).save(folder / INTENT)
    labels, stories = (MovieIndex.load(folder / name) for name in (TITLE_INDEX, STORY_INDEX))
    (folder / RESOLVER).mkdir()
    MovieResolver.fit(EvidenceReader(movies, labels, stories), encode).save(folder / RESOLVER)


def _fit_pairs(folder: Path, movies: Sequence[Movie], path: Path) -> None:
    """Fit what ranks recommendations to the training lists of people and language models, where there are enough."""
    row = {movie.tconst: number for number, movie in enumerate(movies)}
    # The template teacher computes its lists from the movies' facts: they tell nothing of what people like.
    taught = [one for one in read_recommendations(path) if one.source != "template"] if path.is_file() else []
    lists = {
        row[one.tconst]: [row[other] for other in one.recommended if other in row]
        for one in taught
        if one.split == "train" and one.tconst in row
    }
    scorer = fit_pair_scorer(movies, MovieIndex.load(folder / TEXT_INDEX).vectors, lists)
    (scorer or PairScorer.default()).save(folder / PAIR_SCORER)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise UserError(f"{folder} is no bundle (it has no {MANIFEST_NAME}): build one with `moviebot bundle`")
    try:
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:  # ValueError: an impossible date
        raise UserError(f"{path} is damaged: build the bundle again with `moviebot bundle`") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise UserError(f"{path} is of another format than this version reads: build it again with `moviebot bundle`")
    if not {"parts", "base", "adapter"} <= manifest.keys() or not isinstance(manifest["parts"], dict):
        raise UserError(f"{path} lacks an entry: build the bundle again with `moviebot bundle`")
    if not {*_PARTS} <= {*manifest["parts"]}:
        raise UserError(f"{path} lacks an entry: build the bundle again with `moviebot bundle`")
    return manifest
