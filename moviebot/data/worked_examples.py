"""Worked examples for a language model's prompt: invented movies, and what a good teacher would write about them.

No movie, person or place here exists, and no name is one that a real movie is likely to hold, so that what a model
copies from them is thrown out by the rules for all replies: a question does not name the movie asked about
(``title_absent``), an answer about a real movie names people or tells a story that its facts don't hold
(``unsupported_answer``), a list recommends movies that don't exist (``invented_title``). A year, a length, a genre or a
rating passes where it is true of that movie too, and so does a decline.
"""

from dataclasses import dataclass

from moviebot.data.prompts import DECLINE
from moviebot.data.schemas import Movie, Topic


@dataclass(frozen=True)
class WorkedExample:
    """An invented movie and the replies about it.

    Attributes:
        movie: the facts.
        pairs: question, answer and topic of each pair.
        offered: other invented movies.
        recommended: the best of them, best first.
    """

    movie: Movie
    pairs: tuple[tuple[str, str, Topic], ...]
    offered: tuple[str, ...]
    recommended: tuple[str, ...]


EXAMPLES = (
    WorkedExample(
        Movie(
            "example1", "The Lantern of Quillmoor", year=1974, runtime_minutes=91, genres=("Drama", "Fantasy"),
            rating=6.4, directors=("Odalys Brentwhistle",), cast=("Tamsin Orlebeck", "Percy Dunwold"),
            description="A lamplighter follows a glow that nobody else sees and finds a boy lost on the marsh.",
        ),
        (
            ("Who directed The Lantern of Quillmoor?", "Odalys Brentwhistle directed it.", "director"),
            ("What happens in The Lantern of Quillmoor from 1974?",
             "A lamplighter follows a glow that nobody else sees and finds a lost boy.", "plot"),
            ("How much did The Lantern of Quillmoor cost?", f"{DECLINE}: the facts hold no budget.", "unanswerable"),
        ),
        ("Owlglass Ferry (1969)", "Bremblewick Punchup (1981)", "The Reeds of Yarrowfen (1977)"),
        ("The Reeds of Yarrowfen (1977)", "Owlglass Ferry (1969)"),
    ),
    WorkedExample(
        Movie(
            "example2", "Kettledrum Heist at Varrowmede", year=1998, runtime_minutes=113, genres=("Comedy", "Crime"),
            rating=7.1, directors=("Ignatz Polwhistle",), cast=("Bettany Crumhorn", "Osric Vandelune"),
            description="Four bored musicians steal a banker's safe in the middle of their own concert.",
        ),
        (
            ("when did kettledrum heist at varrowmede come out?", "It came out in 1998.", "year"),
            ("How long is Kettledrum Heist at Varrowmede?", "It runs for 113 minutes.", "runtime"),
            ("Which actors are in Kettledrum Heist at Varrowmede (1998)?",
             "Bettany Crumhorn and Osric Vandelune star in it.", "cast"),
        ),
        ("Grimsnout Lullaby (1990)", "The Tubaswindlers (2001)", "Safecrackle Sonata (1995)"),
        ("Safecrackle Sonata (1995)", "The Tubaswindlers (2001)"),
    ),
    WorkedExample(
        Movie(
            "example3", "Snowblind in Orrowgate", year=2011, runtime_minutes=84, genres=("Horror", "Thriller"),
            rating=5.8, directors=("Marisole Tench-Aldous",), cast=("Corwin Haldabrand", "Ysolde Pemberlyn"),
            description="A night train stops in a blizzard, and one more passenger sits in the last coach each hour.",
        ),
        (
            ("What genre is Snowblind in Orrowgate?", "It is a horror film and a thriller.", "genre"),
            ("What do viewers rate Snowblind in Orrowgate?", "Its rating is 5.8.", "rating"),
            ("Where was Snowblind in Orrowgate filmed?", f"{DECLINE}: the facts name no places of filming.",
             "unanswerable"),
        ),
        ("Whistlebait Junction (2006)", "Picnic for Umberlings (2013)", "The Thirteenth Sleepercar (2009)"),
        ("The Thirteenth Sleepercar (2009)", "Whistlebait Junction (2006)"),
    ),
)  # fmt: skip

MAX_EXAMPLES = len(EXAMPLES)
