#!/usr/bin/env python3
"""Answer a file of queries with a bundle: one JSON object a line in, one a line out, in the same order.

python tools/predict.py BUNDLE --input queries.jsonl --output answers.jsonl [--no_llm]
"""

import sys

from moviebot.cli import run

if __name__ == "__main__":
    sys.exit(run(["answer", *sys.argv[1:]]))
