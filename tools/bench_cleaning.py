"""How well, and how fast, `moviebot clean` tells good question/answer pairs from bad ones.

    python tools/bench_cleaning.py                                           # the embedded sample, corrupted
    python tools/bench_cleaning.py --table ../shared/data/catalogue/movies.tsv
    python tools/bench_cleaning.py --judged                                  # pairs that others wrote and judged
    python tools/bench_cleaning.py --sweep                                   # the same with other thresholds
    python tools/bench_cleaning.py --replies 100000                          # seconds

Good pairs (the template teacher's, free wordings, and for the sample `tests/data/good_pairs.jsonl`, written by hand)
are corrupted in twenty-one ways. Movies fall in two halves: thresholds are tried on one, figures are of the other.
Corruptions and rules have one author; the pairs of `tests/data/judged_pairs.jsonl` were written and judged, from the
facts alone, by writers who had not seen the rules. The rules were mended on the set "seen", not on the set "unseen".
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from moviebot.artefact import read_jsonl
from moviebot.data import judging, similarity, support, title_naming
from moviebot.data.catalogue import build_catalogue
from moviebot.data.cleaning import Judge, clean
from moviebot.data.replies import RAW_NAME, ReplyLog, Request
from moviebot.data.schemas import Movie, read_catalogue
from moviebot.data.similarity import measure_similarity
from moviebot.data.splits import split_movies

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.corrupt_pairs import Case, corrupt_movies

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
SHARES = (0.4, 0.5, 0.6, 0.7, 0.8)  # of words, tried by --judged --sweep
GOOD_PAIRS, JUDGED_PAIRS = DATA / "good_pairs.jsonl", DATA / "judged_pairs.jsonl"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="a table of movies; the embedded sample by default")
    parser.add_argument("--movies", type=int, default=2000, help="corrupt the pairs of at most so many movies")
    parser.add_argument("--seed", type=int, default=0, help="other movies, wordings and corruptions")
    parser.add_argument("--judged", action="store_true", help="the pairs that others wrote and judged, of the sample")
    parser.add_argument("--sweep", action="store_true", help="try other thresholds, on the other half of the movies")
    parser.add_argument("--replies", type=int, help="time the cleaning of so many replies instead")
    parser.add_argument("--show", type=int, default=0, help="print so many wrong verdicts of each kind")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        build_catalogue(out, table=args.table, sample=args.table is None)
        movies = read_catalogue(out / "catalogue.parquet")
        if args.replies:
            time_cleaning(out, movies, args.replies)
            return
        if args.judged:
            report_judged(movies, args.sweep, args.show)
            return
        chosen = random.Random(args.seed).sample(movies, min(len(movies), args.movies))
        cases = corrupt_movies(chosen, movies, GOOD_PAIRS if args.table is None else None, args.seed)
        chosen_on, reported = [[case for case in cases if case.half == half] for half in (0, 1)]
        if args.sweep:
            sweep(movies, chosen_on)
        else:
            report(reported, judge_cases(movies, reported), args.show)


def judge_cases(movies: Sequence[Movie], cases: Sequence[Case]) -> list[str]:
    """Return the verdict on each case: ``good``, ``fixed``, ``fixed wrongly``, or a reason."""
    judge = judging.ReplyJudge(movies)
    verdicts, borderline = [], []
    for number, case in enumerate(cases):
        judged = judge.judge(case.movie, Request("qa", case.movie.tconst, "m", "p").answer(case.reply))
        if judged.pairs is None or not judged.pairs:
            verdicts.append("malformed_json")
            continue
        pair = judged.pairs[-1]
        if pair.borderline:
            borderline.append((number, pair.answer, case.movie.description or ""))
        if len(judged.pairs) > 1 and case.expected == "duplicate_question":
            verdicts.append(_judge_duplicate(movies, case))
        elif pair.fixed and pair.question != case.fixed:
            verdicts.append("fixed wrongly")
        else:
            verdicts.append(pair.reason or pair.fault or ("fixed" if pair.fixed else "good"))
    cosines = measure_similarity([(answer, text) for _, answer, text in borderline])
    for (number, _, _), cosine in zip(borderline, cosines, strict=True):
        if cosine >= similarity.SIMILAR_COSINE:
            verdicts[number] = "good"
    return verdicts


def _judge_duplicate(movies: Sequence[Movie], case: Case) -> str:
    judge = Judge([case.movie], split_movies([case.movie]), similarity=False)
    kept, _ = judge.judge([Request("qa", case.movie.tconst, "m", "p").answer(case.reply)])
    reasons = [reason for reason, number in judge.rejects.count().items() if number]
    return reasons[0] if [pair.answer for pair in kept] == [case.fixed] and len(reasons) == 1 else "wrong one kept"


def report(cases: Sequence[Case], verdicts: Sequence[str], show: int) -> None:
    """Print precision and recall by reason, recall by kind of corruption, and the good pairs rejected."""
    print(f"{len(cases)} cases of {len({case.movie.tconst for case in cases})} movies")
    print("| reason | cases | precision | recall |\n|---|---|---|---|")
    for reason in sorted({case.expected for case in cases}):
        right = sum(case.expected == verdict == reason for case, verdict in zip(cases, verdicts, strict=True))
        expected, found = sum(case.expected == reason for case in cases), verdicts.count(reason)
        print(f"| {reason} | {expected} | {right / max(found, 1):.3f} | {right / expected:.3f} |")
    print("\n| kind | cases | right | else |\n|---|---|---|---|")
    kinds: dict[str, list[tuple[Case, str]]] = defaultdict(list)
    for case, verdict in zip(cases, verdicts, strict=True):
        kinds[case.kind].append((case, verdict))
    for kind, judged in sorted(kinds.items()):
        wrong = [(case, verdict) for case, verdict in judged if case.expected != verdict]
        others = dict(Counter(verdict for _, verdict in wrong).most_common(4))
        print(f"| {kind} | {len(judged)} | {1 - len(wrong) / len(judged):.3f} | {others or ''} |")
        for case, verdict in wrong[:show]:
            print(f"    {verdict} | {case.movie.label} | {case.reply[-400:]}")


def report_judged(movies: Sequence[Movie], sweep: bool, show: int) -> None:
    """Print how much of what its writers judged good is kept, of what they judged bad thrown out, by set of pairs."""
    by_id = {movie.tconst: movie for movie in movies}
    rows = list(read_jsonl(JUDGED_PAIRS))
    cases = [
        Case(
            row["why"], by_id[row["tconst"]], expected=row["verdict"],
            reply=json.dumps({"pairs": [{"question": row["question"], "answer": row["answer"]}]}, ensure_ascii=False),
        )
        for row in rows
    ]  # fmt: skip
    print(
        "| pairs | least share of words | good, kept | bad, thrown out | precision of keeping |\n|---|---|---|---|---|"
    )
    kept_share = support.SUPPORTED_SHARE
    for share in SHARES if sweep else (kept_share,):
        support.SUPPORTED_SHARE = share
        verdicts = judge_cases(movies, cases)
        for name in sorted({row["set"] for row in rows}):
            judged = [(case, verdict) for row, case, verdict in zip(rows, cases, verdicts, strict=True)
                      if row["set"] == name]  # fmt: skip
            good = [verdict == "good" for case, verdict in judged if case.expected == "good"]
            bad = [verdict != "good" for case, verdict in judged if case.expected == "bad"]
            precision = sum(good) / (sum(good) + len(bad) - sum(bad))
            print(f"| {name} | {share} | {sum(good)} of {len(good)} ({sum(good) / len(good):.3f}) | "
                  f"{sum(bad)} of {len(bad)} ({sum(bad) / len(bad):.3f}) | {precision:.3f} |", flush=True)  # fmt: skip
            wrong = [pair for pair in judged if (pair[1] == "good") != (pair[0].expected == "good")]
            for case, verdict in wrong[:show]:
                print(f"    {verdict} | {case.kind} | {case.movie.label} | {case.reply}")
    support.SUPPORTED_SHARE = kept_share


def sweep(movies: Sequence[Movie], cases: Sequence[Case]) -> None:
    """Print, for other thresholds, the share of good pairs kept and of bad ones found."""
    tried: list[tuple[object, str, Sequence[object]]] = [
        (title_naming, "MIN_FIXABLE_CHARS", (4, 5, 6, 8)),
        (title_naming, "ANCHOR_CHARS", (3, 5, 8, 100)),
        (support, "SUPPORTED_SHARE", (0.5, 0.6, 0.7, 0.8)),
        (support, "FACT_SHARE", (0.0, 0.34, 0.5, 0.67)),
        (support, "BORDERLINE_SHARE", (0.2, 0.35, 0.5, 0.6)),
        (support, "REPEATED_WORDS", (8, 12, 16, 20)),
        (similarity, "SIMILAR_COSINE", (0.4, 0.5, 0.55, 0.6, 0.65, 0.7)),
    ]
    for module, name, values in tried:
        kept = getattr(module, name)
        for value in values:
            setattr(module, name, value)
            verdicts = judge_cases(movies, cases)
            pairs = list(zip(cases, verdicts, strict=True))
            good = [verdict == "good" for case, verdict in pairs if case.expected == "good"]
            bad = [verdict == case.expected for case, verdict in pairs if case.expected not in ("good", "fixed")]
            fixed = [verdict == "fixed" for case, verdict in pairs if case.expected == "fixed"]
            wrongly = sum(
                verdict == "fixed wrongly" or (verdict == "fixed" != case.expected) for case, verdict in pairs
            )
            shares = [f"{what} {sum(found) / max(len(found), 1):.4f}"
                      for what, found in (("good kept", good), ("bad found", bad), ("fixed", fixed))]  # fmt: skip
            print(f"{name} {value}{' (chosen)' * (value == kept)}: {', '.join(shares)}, wrongly {wrongly}", flush=True)
        setattr(module, name, kept)


def time_cleaning(out: Path, movies: Sequence[Movie], number: int) -> None:
    """Write so many replies of three pairs, one pair in three corrupted, and time `moviebot clean` on them."""
    rng = random.Random(0)
    cases = corrupt_movies(movies, movies, None)
    good = [case for case in cases if case.expected == "good"]
    by_movie: dict[str, list[Case]] = defaultdict(list)
    for case in [*rng.sample(good, len(good)), *rng.sample(cases, len(cases) // 2)]:
        by_movie[case.movie.tconst].append(case)
    with ReplyLog(out / RAW_NAME, sync_every=10_000) as log:
        for n in range(number):
            movie = movies[n % len(movies)]
            texts = [case.reply for case in rng.sample(by_movie[movie.tconst], min(3, len(by_movie[movie.tconst])))]
            reply = ", ".join(text.removeprefix('{"pairs": [').removesuffix("]}") for text in texts)
            log.append(Request("qa", movie.tconst, f"m{n // len(movies)}", "p").answer(f'{{"pairs": [{reply}]}}'))
    started = time.perf_counter()
    sum(len(json.dumps(json.loads(line))) for line in (out / RAW_NAME).open(encoding="utf-8"))
    base = time.perf_counter() - started
    started, spent = time.perf_counter(), measure_cpu()
    clean(out)
    seconds, spent = time.perf_counter() - started, measure_cpu() - spent
    entry = json.loads((out / "report.json").read_text(encoding="utf-8"))["clean"]
    print(f"{number} replies, {entry['pairs_in']} pairs, {entry['qa']['kept']} kept")
    print(f"{seconds:.1f} s, {spent:.1f} s of CPU")
    print(f"reading and writing the file's JSON alone: {base:.2f} s; ratio {seconds / base:.1f}")
    print({key: entry[key] for key in ("rejected", "fixed_title", "borderline", "saved_by_similarity", "mended_json")})


def measure_cpu() -> float:
    """Return the CPU seconds of this process and of its children that ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
