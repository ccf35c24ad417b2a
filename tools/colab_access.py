"""Whether the hub gives a person the model they mean to train, asked before anything is installed or downloaded.

``python3 colab_access.py MODEL`` asks the hub; ``--token_only`` only looks for a token. Standard library
alone: a bare runtime runs it. Where something is missing, standard error says what to do, with exit code 2.
"""

import argparse
import os
import sys
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO

TIMEOUT_S = 20.0
REDIRECTS = {301, 302, 303, 307, 308}
# Only a notebook cell can read Colab's secrets; a process that the notebook starts inherits the environment.
SECRET_CELL = 'import os; from google.colab import userdata; os.environ["HF_TOKEN"] = userdata.get("HF_TOKEN")'


class AccessError(Exception):
    """The model can't be had. Each argument is one line: the first says what is wrong, the others what to do."""


def check_access(model: str) -> str:
    """Ask the hub for the model's ``config.json`` with the person's token.

    Args:
        model: a name on the hub, or a folder.

    Returns:
        One line: where the model comes from.

    Raises:
        AccessError: the model is gated, unknown or out of reach; its lines say what to do.
    """
    if Path(model).is_dir():
        return f"{model}: a local folder"
    endpoint, token = _hub(), find_token()
    request = urllib.request.Request(f"{endpoint}/{model}/resolve/main/config.json", method="HEAD")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        urllib.request.build_opener(_StayHere).open(request, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()  # it is a response too
        if error.code not in REDIRECTS:
            raise AccessError(*_explain_refusal(model, endpoint, error, token)) from error
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise AccessError(f"{endpoint} can't be reached ({reason}): check the connection and run again") from error
    return f"{model}: access granted"


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Don't follow a redirect: it already grants access, and the token must not travel to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def _explain_refusal(model: str, endpoint: str, error: urllib.error.HTTPError, token: str | None) -> list[str]:
    kind = error.headers.get("X-Error-Code", "")
    if kind == "RepoNotFound" or error.code == 404:
        private = "" if token else " (a private one needs HF_TOKEN)"
        return [f"{model} is neither a folder nor a model on {endpoint}{private}: check the config's `base`"]
    if error.code not in (401, 403):
        return [f"{endpoint} answered {error.code} for {model}: wait a little and run again"]
    if token and (error.code == 403 or kind == "GatedRepo"):
        return [
            f"{model} is gated and your token has no access yet: accept its licence at {endpoint}/{model}, wait for "
            "the approval and run again (a fine-grained token also needs the right to read public gated repositories)"
        ]
    what = "the Hugging Face token is not valid" if token else f"{model} is gated and no Hugging Face token is set"
    return [f"{what}: do these three things, then run again", *_list_token_steps(model, endpoint)]


def _list_token_steps(model: str, endpoint: str) -> list[str]:
    return [
        f"  1. accept the model's licence at {endpoint}/{model} (the approval can take an hour)",
        "  2. make a read token at https://huggingface.co/settings/tokens and save it as the Colab secret HF_TOKEN",
        f"  3. hand the secret to this script: run in a cell: {SECRET_CELL}",
    ]


def check_token(model: str) -> str:
    """Say, without asking the hub, whether there is a token to ask it with (for a dry run).

    Raises:
        AccessError: there is none; its lines say what to do should the model be gated.
    """
    if Path(model).is_dir() or find_token():
        return f"{model}: a token is set"
    steps = _list_token_steps(model, _hub())
    raise AccessError(f"no Hugging Face token is set, and {model} may be gated: do these three things", *steps)


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def find_token() -> str | None:
    """Return the person's Hugging Face token: ``$HF_TOKEN``, or what ``hf auth login`` stored."""
    if token := (os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or "").strip():
        return token
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser()
    path = Path(os.environ.get("HF_TOKEN_PATH") or home / "token")
    return path.read_text().strip() or None if path.is_file() else None


def main(arguments: list[str] | None = None) -> int:
    """Check one model; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a name on the hub, or a folder")
    parser.add_argument("--token_only", action="store_true", help="don't ask the hub, only look for a token")
    given = parser.parse_args(arguments)
    try:
        print(check_token(given.model) if given.token_only else check_access(given.model))
    except AccessError as error:
        print(f"colab: {error.args[0]}", *error.args[1:], sep="\n", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
