"""Where language models are served: the addresses of well-known endpoints, and what their keys are called."""

import os
from dataclasses import dataclass
from typing import Literal

from moviebot.errors import UserError

Preset = Literal["openai", "gemini", "cohere", "ollama", "vllm", "transformers"]


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint.

    Attributes:
        base_url: its address, up to and including the version.
        key_env: the environment variable that holds the key; None where none is asked for.
    """

    base_url: str
    key_env: str | None = None


# As each service's own pages on OpenAI compatibility give them (November 2026).
PRESETS: dict[Preset, Endpoint] = {
    "openai": Endpoint("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "gemini": Endpoint("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "cohere": Endpoint("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "ollama": Endpoint("http://localhost:11434/v1"),
    "vllm": Endpoint("http://localhost:8000/v1"),
    "transformers": Endpoint("http://localhost:8000/v1"),
}


def find_endpoint(endpoint: Preset | None, base_url: str | None, api_key_env: str | None) -> Endpoint:
    """Return the endpoint meant: the preset, with what was given in its place.

    Args:
        endpoint: the preset; None is ``openai`` where no address is given, else a server that needs no key.
        base_url: wins over the preset's address.
        api_key_env: wins over the preset's variable.

    Raises:
        UserError: the address is no web address.

    Example:
        >>> find_endpoint("ollama", None, None).base_url
        'http://localhost:11434/v1'
        >>> find_endpoint(None, "http://localhost:1234/v1/", None).key_env  # OpenAI's key goes to OpenAI alone
    """
    if base_url is not None and not base_url.startswith(("http://", "https://")):
        raise UserError(f"--base_url {base_url}: give an address such as http://localhost:8000/v1")
    if endpoint is None and base_url is not None:
        return Endpoint(base_url.rstrip("/"), api_key_env)
    preset = PRESETS[endpoint or "openai"]
    return Endpoint((base_url or preset.base_url).rstrip("/"), api_key_env or preset.key_env)


def read_key(endpoint: Endpoint) -> str | None:
    """Read the endpoint's key from the environment.

    Raises:
        UserError: there is none, and the endpoint is a public one, which answers nobody without; or it is no key.
    """
    if endpoint.key_env is None:
        return None
    key = (os.environ.get(endpoint.key_env) or "").strip()
    if not key and endpoint.base_url in {preset.base_url for preset in PRESETS.values() if preset.key_env}:
        raise UserError(
            f"--teacher openai at {endpoint.base_url} needs a key in the environment variable {endpoint.key_env}: set "
            "it, name another with --api_key_env, ask a server that needs none (--endpoint ollama, vllm or "
            "transformers, or --base_url), or use --teacher template"
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the environment variable {endpoint.key_env} holds letters that no key has: set it again")
    return key or None
