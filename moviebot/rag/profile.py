"""A person's likes and dislikes as a file, which they keep and give to the next chat."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moviebot.artefact import write_whole
from moviebot.errors import UserError

_FORMAT = 1
_MAX_BYTES = 1_000_000  # 50,000 movies; anything larger is no profile
_MAX_ID_CHARS = 100


@dataclass(frozen=True)
class Profile:
    """What a person likes and does not.

    Attributes:
        likes: tconsts.
        dislikes: tconsts.
    """

    likes: Sequence[str] = ()
    dislikes: Sequence[str] = ()


def write_profile(path: Path, profile: Profile) -> None:
    """Write a profile, whole or not at all; another profile is replaced, and no other file.

    Raises:
        UserError: the path is taken by something else, or can't be written.
    """
    if path.exists():
        try:
            read_profile(path)
        except UserError as error:
            raise UserError(f"{path} is there and is no profile: give another name, nothing was written") from error
    value = {"format": _FORMAT, "likes": list(profile.likes), "dislikes": list(profile.dislikes)}
    try:
        with write_whole(path) as temporary:
            temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror}): give a path that you may write") from error


def read_profile(path: Path) -> Profile:
    """Read and validate a profile.

    Raises:
        UserError: the file is absent, too large, or not of a profile's shape.
    """
    wanted = "give a file that /save wrote in the chat"
    try:
        if not path.is_file():
            raise UserError(f"the profile {path} is not there: {wanted}")
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"the profile {path} is larger than {_MAX_BYTES:,} bytes: {wanted}")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"the profile {path} can't be read ({error.strerror}): {wanted}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        raise UserError(f"the profile {path} is not JSON: {wanted}") from error
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise UserError(f"the profile {path} is no object with format {_FORMAT}: {wanted}")
    return Profile(*(_check_ids(path, name, value.get(name)) for name in ("likes", "dislikes")))


def _check_ids(path: Path, name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(
        isinstance(one, str) and 0 < len(one) <= _MAX_ID_CHARS and one.isprintable() for one in value
    ):
        raise UserError(f'the profile {path} has no list of movie ids (such as "tt0113277") in "{name}": mend it')
    return list(dict.fromkeys(value))
