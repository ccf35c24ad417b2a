"""The web page in a process of its own: ``python -m tests.rag.web_server BUNDLE PORT LOG MARKUP``.

The model is scripted.
With MARKUP, the title of Winter Wheat, its description and every reply hold it.
"""

import sys
from dataclasses import replace
from pathlib import Path

import uvicorn

from moviebot.rag.bundle import load_bundle
from moviebot.rag.feedback import FeedbackLog
from moviebot.rag.pipeline import MovieBot
from moviebot.rag.rate_limit import RateLimit
from moviebot.rag.serve import build_app
from moviebot.rag.web_session import Answerer
from tests.rag.conftest import ScriptedGenerator


def main(folder: str, port: str, log: str, markup: str) -> None:
    """Serve until the process is ended."""
    reply = f"It {markup}" if markup else "It was Olga Sidorova."
    bundle = load_bundle(Path(folder))
    if markup:
        bundle.movies[:] = [
            replace(one, title=f"{one.title} {markup}", description=markup) if one.title == "Winter Wheat" else one
            for one in bundle.movies
        ]
    bot = MovieBot(bundle, ScriptedGenerator(lambda prompt: reply))
    app = build_app(Answerer(bot), FeedbackLog(Path(log)), RateLimit(0, 1))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
