"""How often is the movie that a query means found, by kind of query, beside other ways of finding it?

    PYTHONPATH=. python tools/bench_lookup.py --data DATA --sets SETS --encoder FOLDER --work DIR

Fits the resolver on the catalogue as `moviebot bundle` does and asks it questions that nothing was fitted on. The other
systems: the longest title in the query, BM25 over labels and over descriptions, letters' n-grams, and encoders' cosines
with labels and with descriptions (MiniLM as it comes, and the published recipe's where given). Embeddings are kept in
--work. Prints Markdown: hit@1 with 95 % bootstrap intervals, hit@10 and MRR, and what is abstained from.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moviebot.data.documents import story_text
from moviebot.data.schemas import Movie, read_catalogue, write_catalogue
from moviebot.data.splits import split_movies
from moviebot.evaluation.bootstrap import measure_mean
from moviebot.modules.encoder import encode_texts, load_encoder
from moviebot.modules.index import MovieIndex
from moviebot.pretrained import MINILM, resolve_model
from moviebot.rag.evidence import EvidenceReader
from moviebot.rag.resolver import MovieResolver, Resolution
from tools.kept_index import keep_index
from tools.lookup_rivals import (
    DEPTH,
    Rank,
    rank_by_bm25,
    rank_by_index,
    rank_by_longest_title,
    rank_by_ngrams,
)
from tools.lookup_sets import (
    Case,
    make_aliases,
    make_originals,
    make_remakes,
    make_typos,
    read_absent,
    read_chat,
    read_inspired,
    read_metaqa,
    read_plots,
    widen_table,
)

WRONG_ABSTENTIONS = 0.01
Hits = dict[tuple[str, str], list[int]]  # by slice and system, the place of the movie from 0; DEPTH where it is absent


def main() -> None:
    """Measure and print."""
    given = _parse()
    movies = read_catalogue(given.data / "catalogue.parquet")
    slices = _read_slices(given.sets, movies, given.cases)
    if aliases := make_aliases(movies, given.seed)[: given.cases]:
        slices["other titles"] = aliases
    print(f"{len(movies):,} movies; " + ", ".join(f"{name} {len(cases)}" for name, cases in slices.items()))
    places: Hits = {}
    for system, rank in _list_rivals(given, movies):
        for name, cases in slices.items():
            places[name, system] = _place(rank([case.query for case in cases]), cases, movies)
    resolver = _fit(given.encoder, movies, given.data / "catalogue.parquet", given.work / "ours")
    scores: dict[str, list[tuple[float, bool]]] = {}
    for name, cases in slices.items():
        found = _resolve(resolver, cases, name)
        places[name, "moviebot"] = _place([list(one.rows) for one in found], cases, movies)
        hits = [place == 0 for place in places[name, "moviebot"]]
        scores[name] = [(one.score, hit) for one, hit in zip(found, hits, strict=True)]
    _print_slices(places)
    _print_slices(_keep_unseen(places, slices, movies))
    _print_abstentions(resolver, scores, given.sets, movies, given.cases)
    if given.wide:
        _measure_wide(given, movies)
    if given.plot:
        _draw(places, given.plot)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with catalogue.parquet")
    parser.add_argument("--sets", type=Path, required=True, help="folder of real questions, laid out as shared/data")
    parser.add_argument("--encoder", type=Path, required=True, help="the question retriever")
    parser.add_argument("--published", type=Path, help="the retriever that the published recipe trains")
    parser.add_argument("--work", type=Path, required=True, help="folder where embeddings are kept for the next run")
    parser.add_argument("--cases", type=int, default=1000, help="at most so many queries a slice")
    parser.add_argument("--wide", type=int, default=0, help="misspelt titles among so many movies, too (36000)")
    parser.add_argument("--plot", type=Path, help="write the bars here (.png)")
    parser.add_argument("--seed", type=int, default=1, help="of the queries that are made")
    return parser.parse_args()


def _read_slices(sets: Path, movies: Sequence[Movie], count: int) -> dict[str, list[Case]]:
    slices = {
        "MetaQA's questions": read_metaqa(sets, movies),
        "plots": read_plots(sets, movies),
        "INSPIRED, dev": read_inspired(sets, movies, "dev"),
        "INSPIRED, test": read_inspired(sets, movies, "test"),
        "misspelt titles": make_typos(movies, movies, count, 1),
        "remakes by year": make_remakes(movies, count, 1),
    }
    return {name: cases[:count] for name, cases in slices.items()}


def _list_rivals(given: argparse.Namespace, movies: Sequence[Movie]) -> list[tuple[str, Rank]]:
    labels, stories = [movie.label for movie in movies], [story_text(movie) for movie in movies]
    rivals = [
        ("longest title", rank_by_longest_title(movies)),
        ("BM25, labels", rank_by_bm25(labels)),
        ("BM25, descriptions", rank_by_bm25(stories)),
        ("n-grams of letters", rank_by_ngrams(movies)),
    ]
    folders = [("MiniLM as it comes", Path(resolve_model(MINILM)), "untuned")]
    folders += [("published recipe", given.published, "published")] if given.published else []
    catalogue = given.data / "catalogue.parquet"
    for name, folder, work in folders:
        encoder = load_encoder(folder)
        for what, texts in (("labels", labels), ("descriptions", stories)):
            index = _index(folder, movies, texts, catalogue, given.work / work / what)
            rivals.append((f"{name}, {what}", rank_by_index(encoder, index)))
    return rivals


def _index(encoder: Path, movies: Sequence[Movie], texts: Sequence[str], catalogue: Path, work: Path) -> MovieIndex:
    documents = {movie.tconst: text for movie, text in zip(movies, texts, strict=True)}
    return keep_index(encoder, documents, catalogue, work)


def _fit(folder: Path, movies: Sequence[Movie], catalogue: Path, work: Path) -> MovieResolver:
    labels = _index(folder, movies, [movie.label for movie in movies], catalogue, work / "labels")
    stories = _index(folder, movies, [story_text(movie) for movie in movies], catalogue, work / "descriptions")
    encoder = load_encoder(folder)
    return MovieResolver.fit(EvidenceReader(movies, labels, stories), lambda texts: encode_texts(encoder, texts))


def _resolve(resolver: MovieResolver, cases: Sequence[Case], name: str) -> list[Resolution]:
    found, times = [], []
    for case in cases:
        start = time.perf_counter()
        found += resolver.resolve([case.query])
        times.append(1000 * (time.perf_counter() - start))
    print(
        f"{name}: median {statistics.median(times):.1f} ms, p99 {np.quantile(times, 0.99):.1f} ms a query", flush=True
    )
    return found


def _place(ranked: Sequence[Sequence[int]], cases: Sequence[Case], movies: Sequence[Movie]) -> list[int]:
    found = []
    for rows, case in zip(ranked, cases, strict=True):
        ids = [movies[row].tconst for row in rows[:DEPTH]]
        found.append(ids.index(case.tconst) if case.tconst in ids else DEPTH)
    return found


def _print_slices(places: Hits) -> None:
    print("\n| slice | system | hit@1 | hit@10 | MRR |\n| --- | --- | --- | --- | --- |")
    for (name, system), found in places.items():
        first, ten = ([float(place < depth) for place in found] for depth in (1, DEPTH))
        ranks = [1 / (1 + place) if place < DEPTH else 0.0 for place in found]
        print(
            f"| {name} ({len(found)}) | {system} | {measure_mean(first)} | {np.mean(ten):.3f} | {np.mean(ranks):.3f} |"
        )


def _keep_unseen(places: Hits, slices: dict[str, list[Case]], movies: Sequence[Movie]) -> Hits:
    """Keep the queries about movies of the split "test": no retriever was trained on them, no weight fitted to them."""
    side = split_movies(movies)
    kept = {name: [side.get(case.tconst or "") == "test" for case in cases] for name, cases in slices.items()}
    return {
        (f"{name}, unseen movies", system): [place for place, keep in zip(found, kept[name], strict=True) if keep]
        for (name, system), found in places.items()
        if any(kept[name])
    }


def _print_abstentions(
    resolver: MovieResolver,
    scores: dict[str, list[tuple[float, bool]]],
    sets: Path,
    movies: Sequence[Movie],
    count: int,
) -> None:
    """Print what is abstained from where 1 % of the right answers are, and where the bundle's own threshold is."""
    nothing = {
        "movies not in the table": read_absent(sets, movies, count, 1),
        "chat that names none": read_chat(sets, "dev")[:count],
    }
    unknown = {name: [one.score for one in _resolve(resolver, cases, name)] for name, cases in nothing.items()}
    asked = ("MetaQA's questions", "misspelt titles", "remakes by year", "INSPIRED, dev", "plots")
    thresholds = [("the resolver's own", float(resolver.meanings.threshold))]
    for what, names in (("MetaQA's", asked[:1]), ("all named ones", asked[:4])):
        right = [score for name in names for score, hit in scores[name] if hit]
        thresholds.append((f"{WRONG_ABSTENTIONS:.0%} of right answers lost, {what}", np.quantile(right, 0.01)))
    columns = [*unknown, *asked]
    print(f"\n| threshold | {' | '.join(columns)} |\n| --- |{' --- |' * len(columns)}")
    for what, threshold in thresholds:
        kept = [np.mean([score < threshold for score in values]) for values in unknown.values()]
        kept += [np.mean([score < threshold for score, hit in scores[name] if hit]) for name in asked]
        print(f"| {what} ({threshold:.2f}) | {' | '.join(f'{share:.3f}' for share in kept)} |")
    print("(shares abstained from; of the questions that a movie answers, the share of right answers that is lost)")


def _measure_wide(given: argparse.Namespace, movies: Sequence[Movie]) -> None:
    """Measure misspelt titles of the same movies among more, and these by their titles in their own language."""
    wide = widen_table(given.sets, movies, given.wide)
    catalogue = given.work / "wide.parquet"
    write_catalogue(catalogue, wide)
    resolver = _fit(given.encoder, wide, catalogue, given.work / "wide")
    places: Hits = {}
    for what, cases in (
        ("misspelt titles", make_typos(movies, wide, given.cases, 1)),
        ("original titles, translated in the table,", make_originals(wide, given.cases, 1)),
    ):
        name, queries = f"{what} among {len(wide):,}", [case.query for case in cases]
        for system, rank in (
            ("longest title", rank_by_longest_title(wide)),
            ("BM25, labels", rank_by_bm25([movie.label for movie in wide])),
            ("n-grams of letters", rank_by_ngrams(wide)),
        ):
            places[name, system] = _place(rank(queries), cases, wide)
        places[name, "moviebot"] = _place([list(one.rows) for one in _resolve(resolver, cases, name)], cases, wide)
    _print_slices(places)


def _draw(places: Hits, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names, systems = (list(dict.fromkeys(key[part] for key in places)) for part in (0, 1))
    figure, axes = plt.subplots(1, len(names), figsize=(3 * len(names), 4), sharey=True, layout="constrained")
    for place, (name, axis) in enumerate(zip(names, np.atleast_1d(axes), strict=True)):
        for row, system in enumerate(systems):
            share = measure_mean([float(found < 1) for found in places[name, system]])
            error = [[share.mean - share.low], [share.high - share.mean]]
            colour = "tab:blue" if system == "moviebot" else "lightgray"
            axis.barh(row, share.mean, xerr=error, color=colour, label=system)
        axis.set_title(f"{name} ({len(places[name, systems[0]])})", fontsize=9)
        axis.set_xlim(0, 1)
        axis.set_xlabel("hit@1, 95 % interval")
        if place == 0:
            axis.set_yticks(range(len(systems)), systems)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
