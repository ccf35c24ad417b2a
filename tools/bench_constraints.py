"""Measure whether conditions told in words hold on every movie shown.

    python tools/bench_constraints.py BUNDLE [--queries 300] [--seed 0] [--worst 20]

Draws queries with one to three conditions from a catalogue, each condition in one of several wordings, and answers them
without a language model. Prints how many movies shown break a condition, and how many queries got fewer than three
although three exist.
"""

import argparse
import json
from pathlib import Path

from moviebot.evaluation.constraint_queries import measure_constraints
from moviebot.rag.bundle import load_bundle
from moviebot.rag.pipeline import MovieBot


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worst", type=int, default=20, help="how many faulty queries to print")
    args = parser.parse_args()
    figures, faults = measure_constraints(MovieBot(load_bundle(args.bundle)), args.queries, args.seed)
    for name, value in figures.items():
        print(f"{name} {value:g}")
    for fault in faults[: args.worst]:
        print(json.dumps(fault, ensure_ascii=False))


if __name__ == "__main__":
    main()
