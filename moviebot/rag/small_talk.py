"""The friendly lines for what is neither a question about a movie nor a wish for one."""

import re

from moviebot.rag.answer import HELP

_LINES: tuple[tuple[str, str], ...] = (
    (
        r"(?:(?:ok|okay|great|cool|perfect|nice|good|wonderful|awesome)[ ,!]*)?(?:many |so |ok )?"
        r"(?:thanks?|thank you|thx|ty|cheers|much appreciated|i appreciate)\b.*",
        "You're welcome! Ask me about a movie, or for another recommendation, whenever you like.",
    ),
    (
        r"(?:ok |okay |well |alright )?(?:good ?bye|bye|see (?:you|ya)|good night|farewell|later|take "
        r"care|that's all|i'm done|"
        r"have a (?:nice|good|great|lovely) \w+)\b.*",
        "Goodbye, and enjoy your movie!",
    ),
    (
        r"(?:hi|hello|hey|howdy|greetings|good (?:morning|afternoon|evening|day)|yo)\b.*",
        f"Hello! {HELP}",
    ),
    (
        r".*\b(?:how are you|how's it going|how is it going|how do you do|how are things|what's up|you ok)\b.*",
        f"I'm well, thank you. {HELP}",
    ),
    (
        r".*\b(?:who are you|what are you|your name|are you (?:a |an )?(?:human|robot|bot|real|ai)|"
        r"who made you|what can (?:you|i)|"
        r"how do you work|help)\b.*",
        f"I'm moviebot, a program that knows a catalogue of movies. {HELP}",
    ),
    (
        r"(?:ok,? |okay,? |great,? |then |cool,? )*(?:i'll|i will|let's|we'll|i think i'll) "
        r"(?:take|watch|go with|go for|try|have) "
        r"(?:it|that|this|the|number|both)\b.*",
        "Enjoy the movie!",
    ),
    (
        r"(?:ok|okay|cool|nice|great|awesome|perfect|sounds good|that sounds (?:good|great)|good|i "
        r"see|sure|fine|alright|wow|haha|lol|"
        r"yes|yeah|no|nope|interesting|got it|i agree|maybe)[ .!]*",
        "Good! Ask me about a movie, or tell me what you are in the mood for.",
    ),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), line) for pattern, line in _LINES)


def reply(text: str) -> str:
    """Return a friendly line that says what the bot can do.

    Example:
        >>> reply("thanks a lot!")
        "You're welcome! Ask me about a movie, or for another recommendation, whenever you like."
        >>> reply("what's the capital of France?").startswith("That is outside what I know, sorry")
        True
    """
    plain = text.strip().replace("’", "'")
    for pattern, line in _PATTERNS:
        if pattern.fullmatch(plain):
            return line
    return f"That is outside what I know, sorry. {HELP}"
