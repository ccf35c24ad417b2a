"""The one error that is the person's to mend."""


class UserError(Exception):
    """A mistake in what the person gave: a file, a value, a setting.

    The command line prints its text as one line on standard error, without a traceback, and exits with 2. The text
    says what was given, what is allowed and what to do next.

    Example:
        >>> raise UserError("--year_from 2020 is after --year_to 2017: swap them")
        Traceback (most recent call last):
        ...
        moviebot.errors.UserError: --year_from 2020 is after --year_to 2017: swap them
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
