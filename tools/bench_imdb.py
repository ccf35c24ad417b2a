r"""Measure `moviebot catalogue` on files of IMDb's shape and size, beside gunzip and beside pandas.

    python tools/bench_imdb.py --dir /tmp/imdb_bench --scale 1.0

writes 12M basics, 1.6M ratings, 12M crew, 14M names, 40M principals and 10M akas (times ``--scale``) as .tsv.gz where
they are not there yet: made-up titles and people, but IMDb's mix of title types, its shares of ``\N``, its unbalanced
quotes, and a few rows that are cut short, doubled or not UTF-8. Each run is a process of its own. Seconds are
wall-clock; CPU seconds, of all its threads, say how much of that was other people's load on the machine.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

STEMS = ("title.basics", "title.ratings", "title.crew", "title.principals", "name.basics", "title.akas")
PANDAS = {"pandas": "pandas as published", "pandas_unquoted": "pandas, quoting off, bad rows skipped"}


def run_pandas(folder: Path, *, quoting: bool) -> None:
    """The published way, on basics and ratings alone."""
    import pandas as pd

    options = {} if quoting else {"quoting": 3, "on_bad_lines": "skip", "encoding_errors": "replace"}
    basics, ratings = (
        pd.read_csv(folder / f"title.{stem}.tsv.gz", sep="\t", low_memory=False, **options)  # type: ignore[call-overload]
        for stem in ("basics", "ratings")
    )
    movies = basics.merge(ratings, on="tconst", how="left")
    movies = movies[(movies["titleType"] == "movie") & (movies["isAdult"].astype(str) != "1")]
    print(f"{len(movies)} movies")


def run_ours(folder: Path, out: Path) -> None:
    """`moviebot catalogue`."""
    from moviebot.data.catalogue import build_catalogue

    build_catalogue(out, imdb_dir=folder)


def measure(name: str, command: list[str], peak: Path) -> "Figures":
    """Run a process of its own.

    Args:
        name: of the run, for the person who waits.
        command: the command line.
        peak: where the process writes its peak, if it does. What the kernel tells its parent (``ru_maxrss``) would
            begin with the parent's own size.

    Returns:
        Wall-clock seconds, CPU seconds, peak RSS in GiB (NaN where not told), and whether it went well.
    """
    print(f"{name} ...", file=sys.stderr, flush=True)
    peak.unlink(missing_ok=True)
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # it is waited for
    seconds = time.monotonic() - started
    gib = int(peak.read_text()) / 2**20 if peak.is_file() else float("nan")
    return seconds, usage.ru_utime + usage.ru_stime, gib, process.returncode == 0


def run_child(what: str, directory: Path, scale: float) -> None:
    """Do one run in this process and write its peak RSS."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    full = directory / f"scale_{scale:g}"
    if what == "write":
        from tools.imdb_files import Writer

        return Writer(full, scale).write()
    try:
        if what in PANDAS:
            run_pandas(full, quoting=what == "pandas")
        else:
            run_ours(full if what == "all" else directory / f"scale_{scale:g}_small", directory / f"out_{what}")
    finally:
        status = Path("/proc/self/status").read_text()
        (directory / "peak").write_text(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    """Write the files where absent, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="where the files are, or go")
    parser.add_argument("--scale", type=float, default=1.0, help="1.0 is full size")
    parser.add_argument("--only", nargs="*", default=["gunzip", *PANDAS, "small", "all"], help="which runs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_child(args.child, args.dir, args.scale)
        return
    again = [sys.executable, str(Path(__file__).resolve()), "--dir", str(args.dir), "--scale", str(args.scale)]
    full = prepare(args.dir, args.scale, [*again, "--child"])
    print(format_table(run_all(args.only, args.dir, full, [*again, "--child"]), full))


def prepare(directory: Path, scale: float, again: list[str]) -> Path:
    """Write the files where absent, and a folder that links to basics and ratings alone; return the full folder."""
    full, small = directory / f"scale_{scale:g}", directory / f"scale_{scale:g}_small"
    full.mkdir(parents=True, exist_ok=True)
    small.mkdir(exist_ok=True)
    if not all((full / f"{stem}.tsv.gz").is_file() for stem in STEMS):
        started = time.monotonic()
        subprocess.run([*again, "write"], check=True)
        print(f"written in {time.monotonic() - started:.0f} s", file=sys.stderr)
    for stem in STEMS[:2]:
        link = small / f"{stem}.tsv.gz"
        if not link.exists():
            link.hardlink_to(full / link.name)
    return full


def run_all(only: list[str], directory: Path, full: Path, again: list[str]) -> "dict[str, Figures]":
    """Run what was asked for, each in a process of its own."""
    gunzip = ["sh", "-c", 'gunzip -c "$@" >/dev/null', "gunzip"]
    paths = [str(full / f"{stem}.tsv.gz") for stem in STEMS]
    runs = [
        ("gunzip", "gunzip, basics + ratings", [*gunzip, *paths[:2]]),
        ("gunzip", "gunzip, all six", [*gunzip, *paths]),
    ]
    runs += [(what, f"{label}, basics + ratings", [*again, what]) for what, label in PANDAS.items()]
    runs += [("small", "moviebot, basics + ratings", [*again, "small"]), ("all", "moviebot, all six", [*again, "all"])]
    found: dict[str, Figures] = {}
    for what, label, command in runs:
        if what in only:
            shutil.rmtree(directory / f"out_{what}", ignore_errors=True)
            found[label] = measure(label, command, directory / "peak")
    return found


def format_table(rows: "dict[str, Figures]", full: Path) -> str:
    """Return the figures as Markdown, each beside the pandas run that went well."""
    size = sum(path.stat().st_size for path in full.glob("*.tsv.gz")) / 2**30
    base = next((row for name, row in rows.items() if name.startswith("pandas") and row[3]), None)
    lines = [
        f"Files: {size:.2f} GiB of .tsv.gz",
        "",
        "| run | seconds | CPU seconds | peak RSS, GiB | of pandas' seconds | of its CPU | of its memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (seconds, cpu, gib, good) in rows.items():
        ratios = "- | - | -"
        if base:
            ratios = f"{seconds / base[0]:.2f} | {cpu / base[1]:.2f} | {gib / base[2]:.2f}"
        lines.append(f"| {name}{'' if good else ' (failed)'} | {seconds:.1f} | {cpu:.1f} | {gib:.2f} | {ratios} |")
    return "\n".join(lines).replace("nan", "-")


Figures = tuple[float, float, float, bool]

if __name__ == "__main__":
    main()
