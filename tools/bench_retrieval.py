"""Encoding, search and the whole way from a question to its movie, at the size of all of IMDb, beside their peers.

    python tools/bench_retrieval.py --data DATA [--encoder FOLDER] [--rows 700000]

The table is made: vectors of labels and of descriptions are drawn along the lines between pairs of the catalogue's, and
titles, people and descriptions are put together from the catalogue's words, so that their statistics are a real
table's. What is compared takes turns, and the median of the repetitions' ratios is told. Prints Markdown.
"""

import argparse
import dataclasses
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import psutil  # type: ignore[import-untyped]
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from moviebot.data.documents import story_text
from moviebot.data.schemas import Movie, read_catalogue
from moviebot.modules.encoder import encode_texts, load_encoder
from moviebot.modules.index import VECTORS_NAME, MovieIndex
from moviebot.modules.int8_codes import Int8Codes
from moviebot.pretrained import MINILM, resolve_model
from moviebot.rag.choice_examples import make_queries
from moviebot.rag.evidence import EvidenceReader
from moviebot.rag.resolver import MovieResolver

K, MANY = 20, 64
TEXTS = 512
BASE = 4000  # movies of the catalogue that the large table is made from
_CHUNK = 50_000
_DIRECTION = (0.2, 0.9)  # how far from one label towards another a made one lies
_NOISE = 0.01
_PAUSE = 0.1  # seconds: threads of a library's matrix product spin on for a while, and would take the next one's core
Floats = NDArray[np.float32]


def main() -> None:
    """Measure and print."""
    given = _parse()
    if given.touch:
        _print_growth(given.touch, given.plain)
        return
    if not given.data:
        sys.exit(
            "--data is missing: give a folder with catalogue.parquet (moviebot catalogue --sample true --out DATA)"
        )
    movies = read_catalogue(given.data / "catalogue.parquet")
    movies = random.Random(0).sample(movies, min(BASE, len(movies)))
    encoder = load_encoder(given.encoder or Path(resolve_model(MINILM)))
    print(f"{psutil.cpu_count()} cores, {given.rows:,} rows made of {len(movies):,} movies, k = {K}")
    print("\n| what | peer | ratio of times | here, ms | peer, ms |\n| --- | --- | --- | --- | --- |")
    labels, stories = _measure_encoding(encoder, movies, given.repeat)
    queries = encode_texts(encoder, [one.query for one in make_queries(movies, range(len(movies)), 2 * MANY)])
    vectors = _make_vectors(labels, given.rows)
    with tempfile.TemporaryDirectory() as folder:
        index = _measure_build(vectors, Path(folder) / "index")
        _measure_search(index, vectors, queries, given.repeat)
        _measure_memory(Path(folder) / "index", vectors.nbytes)
        if not given.search_only:
            descriptions = _build(_make_vectors(stories, given.rows), Path(folder) / "descriptions")
            _measure_whole(encoder, movies, (labels, stories), (index, descriptions))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, help="the question retriever; the packaged MiniLM where none is given")
    parser.add_argument(
        "--data", type=Path, help="folder with catalogue.parquet; the embedded sample where none is given"
    )
    parser.add_argument("--rows", type=int, default=700_000, help="movies of the table that is made")
    parser.add_argument("--repeat", type=int, default=15, help="repetitions")
    parser.add_argument("--search_only", action="store_true", help="leave out the way from question to movie")
    parser.add_argument("--touch", type=Path, help=argparse.SUPPRESS)  # the child that tells what a search maps
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _take_turns(ours: Callable[[], object], peer: Callable[[], object], repeat: int) -> tuple[float, float, float]:
    """Return the median ratio, and the median milliseconds of both, after one call of each."""
    ours(), peer()
    times: list[tuple[float, float]] = []
    for _ in range(repeat):
        pair = []
        for call in (ours, peer):
            time.sleep(_PAUSE)
            start = time.perf_counter()
            call()
            pair.append(1000 * (time.perf_counter() - start))
        times.append((pair[0], pair[1]))
    ratio = statistics.median(mine / other for mine, other in times)
    return ratio, statistics.median(mine for mine, _ in times), statistics.median(other for _, other in times)


def _print_row(what: str, peer: str, figures: tuple[float, float, float]) -> None:
    ratio, mine, other = figures
    print(f"| {what} | {peer} | {ratio:.3f} | {mine:.1f} | {other:.1f} |", flush=True)


def _measure_encoding(encoder: SentenceTransformer, movies: Sequence[Movie], repeat: int) -> tuple[Floats, Floats]:
    """Time labels, then descriptions; return the vectors of all of them, each ``(N, D)``."""
    rng = random.Random(0)
    labels, stories = [movie.label for movie in movies], [story_text(movie) for movie in movies]
    for what, texts in (("labels", labels), ("descriptions", stories)):
        some = rng.choices(texts, k=TEXTS if what == "labels" else TEXTS // 4)
        figures = _take_turns(
            partial(encode_texts, encoder, some),
            partial(encoder.encode, some, batch_size=64, normalize_embeddings=True, show_progress_bar=False),
            max(3, repeat // 3),
        )
        _print_row(f"encoding {len(some):,} {what}, fp32", "sentence-transformers' encode", figures)
    return encode_texts(encoder, labels), encode_texts(encoder, stories)


def _make_vectors(given: Floats, count: int) -> Floats:
    rng = np.random.default_rng(0)
    mean, width = given.mean(axis=0), given.shape[1]
    vectors = np.empty((count, width), np.float32)
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        first, second = rng.integers(len(given), size=(2, size))
        share = rng.uniform(*_DIRECTION, size=(size, 1)).astype(np.float32)
        drawn = given[first] + share * (given[second] - mean)
        drawn += rng.normal(0, _NOISE, size=drawn.shape).astype(np.float32)
        vectors[start : start + size] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return vectors


def _measure_build(vectors: Floats, folder: Path) -> MovieIndex:
    seconds = {}
    for part in (len(vectors) // 4, len(vectors) // 2, len(vectors)):
        start = time.perf_counter()
        Int8Codes.quantise(vectors[:part])
        seconds[part] = time.perf_counter() - start
    told = ", ".join(f"{part:,} rows {value:.1f} s" for part, value in seconds.items())
    print(f"| int8 codes: {told} | | | | |", flush=True)
    return _build(vectors, folder)


def _build(vectors: Floats, folder: Path) -> MovieIndex:
    ids = tuple(f"tt{row:08d}" for row in range(len(vectors)))
    MovieIndex(ids, vectors, "", "", codes=Int8Codes.quantise(vectors)).save(folder)
    return MovieIndex.load(folder)


def _measure_search(index: MovieIndex, vectors: Floats, queries: Floats, repeat: int) -> None:
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    truth = flat.search(queries[:MANY], K)[1]
    turns = {"ours": 0, "peer": 0}

    def draw(who: str) -> Floats:
        turns[who] += 1
        row = turns[who] % MANY
        return queries[row : row + 1]

    def multiply() -> NDArray[np.int64]:
        scores = vectors @ draw("peer")[0]
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])]

    one = _take_turns(lambda: index.search_rows(draw("ours"), K), multiply, 3 * repeat)
    _print_row(f"one query's {K} nearest of {len(vectors):,}", "numpy, fp32", one)
    many = _take_turns(
        lambda: index.search_rows(queries[:MANY], K), lambda: flat.search(queries[:MANY], K), max(3, repeat // 3)
    )
    _print_row(f"{MANY} queries' {K} nearest of {len(vectors):,}", "faiss-cpu, IndexFlatIP", many)
    found, _ = index.search_rows(queries[:MANY], K)
    single = np.concatenate([index.search_rows(queries[row : row + 1], K)[0] for row in range(MANY)])
    for what, rows in ((f"{MANY} at once", found), ("one by one", single)):
        recall = np.mean([len(set(mine) & set(all_)) / K for mine, all_ in zip(rows, truth, strict=True)])
        print(f"| recall@{K} against faiss, {what}: {recall:.4f} | | | | |", flush=True)


def _measure_memory(folder: Path, plain: int) -> None:
    """Let two processes search from disk, one with the codes, and tell what each has mapped."""
    grown = {}
    for name in ("ours", "plain"):
        command = [sys.executable, __file__, "--touch", str(folder), *(["--plain"] if name == "plain" else [])]
        grown[name] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    ratio = grown["ours"] / grown["plain"]
    print(
        f"| memory a process maps in {MANY} searches (resident set size) | numpy, fp32 | {ratio:.3f} "
        f"| {grown['ours'] / 2**20:.0f} MiB | {grown['plain'] / 2**20:.0f} MiB |",
        flush=True,
    )


def _print_growth(folder: Path, plain: bool) -> None:
    index = MovieIndex.load(folder)
    rng = np.random.default_rng(1)
    queries = np.asarray(index.vectors[np.sort(rng.choice(len(index.vectors), MANY, replace=False))])
    index.search_rows(queries[:1], K)  # compiles, and reads libraries
    process = psutil.Process()
    if plain:
        before = process.memory_info().rss
        vectors = np.load(folder / VECTORS_NAME)
        for query in queries:
            np.argpartition(vectors @ query, -K)
    else:
        del index
        index = MovieIndex.load(folder)
        before = process.memory_info().rss
        for query in queries:
            index.search_rows(query[None], K)
    print(process.memory_info().rss - before)


def _make_movies(movies: Sequence[Movie], count: int) -> list[Movie]:
    """Put titles, people and descriptions together from the catalogue's words."""
    rng = random.Random(0)
    words = sorted({word for movie in movies for word in movie.title.split()})
    told = [word for movie in movies for word in (movie.description or "").split()]
    people = sorted({name for movie in movies for name in (*movie.directors, *movie.cast)}) or ["Nobody"]
    made = list(movies)
    while len(made) < count:
        like = rng.choice(movies)
        title = " ".join(rng.choice(words) for _ in like.title.split())
        place = rng.randrange(max(1, len(told) - 60))
        made.append(
            dataclasses.replace(
                like, tconst=f"tx{len(made):08d}", title=title, original_title=title, akas=(),
                year=rng.randint(1920, 2020), votes=rng.randint(0, 5000), directors=(rng.choice(people),),
                cast=tuple(rng.sample(people, min(3, len(people)))),
                description=" ".join(told[place : place + rng.randint(20, 60)]),
            )
        )  # fmt: skip
    return made


def _measure_whole(
    encoder: SentenceTransformer,
    movies: Sequence[Movie],
    vectors: tuple[Floats, Floats],
    indices: tuple[MovieIndex, MovieIndex],
) -> None:
    """Time questions about the catalogue's movies among as many as the indices hold, each alone."""

    def encode(texts: Sequence[str]) -> Floats:
        return encode_texts(encoder, texts)

    ids, rows = tuple(movie.tconst for movie in movies), len(indices[0].vectors)
    labels, stories = (MovieIndex(ids, part, "", "") for part in vectors)
    fitted = MovieResolver.fit(EvidenceReader(movies, labels, stories), encode)
    start = time.perf_counter()
    made = _make_movies(movies, rows)
    reader = EvidenceReader(made, *indices)
    resolver = MovieResolver(reader, fitted.letters, fitted.meanings, encode)
    asked = make_queries(movies, range(len(movies)), 150, seed=9)
    resolver.resolve(["who directed nothing at all"])
    print(
        f"| the resolver's lists of {rows:,} movies made in {time.perf_counter() - start:.0f} s | | | | |", flush=True
    )
    times, named = [], []
    for one in asked:
        start = time.perf_counter()
        resolver.resolve([one.query])
        times.append(1000 * (time.perf_counter() - start))
        named.append(one.row is not None)
    for what, kept in (("all", [True] * len(times)), ("that mean a movie", named)):
        chosen = [value for value, keep in zip(times, kept, strict=True) if keep]
        p50, p99 = np.quantile(chosen, [0.5, 0.99])
        print(
            f"| question to movie, {len(chosen)} questions {what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms | | | | |",
            flush=True,
        )


if __name__ == "__main__":
    main()
