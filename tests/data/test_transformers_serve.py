"""A real server and a real model: ``transformers serve`` with the packaged SmolLM2 teaches two movies."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from moviebot.artefact import read_report
from moviebot.data.replies import RAW_NAME, read_replies
from moviebot.data.schemas import Movie, write_catalogue
from moviebot.errors import UserError
from moviebot.pretrained import SMOLLM2, resolve_model

START_S, TEACH_S = 300, 900  # a loaded machine of two cores writes a few tokens a second
NEEDED = ("fastapi", "openai", "uvicorn")
COMMAND = Path(sys.executable).with_name("transformers")
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Start the server; yield its address and the model's name there."""
    if not COMMAND.is_file() or any(importlib.util.find_spec(name) is None for name in NEEDED):
        pytest.skip("transformers serve is not installed")
    try:
        model = str(resolve_model(SMOLLM2))
    except UserError as error:
        pytest.skip(str(error))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "serve.log"
    with log.open("wb") as handle:
        process = subprocess.Popen(
            [COMMAND, "serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            env=ENVIRONMENT, stdout=handle, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_S
        while not _is_up(port):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", model
    finally:
        process.kill()
        process.wait()


def _is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.slow
def test_smollm2_teaches_two_movies(server: tuple[str, str], tmp_path: Path, movies: list[Movie]) -> None:
    url, model = server
    out = tmp_path / "data"
    out.mkdir()
    write_catalogue(out / "catalogue.parquet", movies)
    command = [
        sys.executable, "-m", "moviebot", "teach", "--out", str(out), "--teacher", "openai", "--endpoint",
        "transformers", "--base_url", url, "--model", model, "--limit", "2", "--questions_per_movie", "1",
        "--examples", "1", "--offered", "4", "--max_tokens", "24", "--concurrency", "2", "--timeout_s", str(TEACH_S),
    ]  # fmt: skip
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=TEACH_S)
    assert done.returncode == 0, done.stderr
    replies = read_replies(out / RAW_NAME)
    assert sorted(reply.task for reply in replies) == ["qa", "qa", "recommend", "recommend"]
    assert all(reply.reply and reply.finish_reason in ("stop", "length") for reply in replies)
    assert all(reply.prompt_tokens and 0 < (reply.completion_tokens or 0) <= 24 for reply in replies)
    assert read_report(out)["teach"]["in"] == 4
    before = (out / RAW_NAME).read_bytes()
    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=TEACH_S)
    assert again.returncode == 0, again.stderr
    assert (out / RAW_NAME).read_bytes() == before
