"""The words of the template teacher, written for this project: how people ask, and how it answers.

A wording belongs to a split, as a movie does: what the test asks was never asked in training, in these words. Some of
the subjects that the facts never cover are kept from training altogether.
"""

from dataclasses import dataclass

from moviebot.data.schemas import Split, Topic


@dataclass(frozen=True)
class Subject:
    """Something people ask that no catalogue row answers.

    Attributes:
        lacks: what the facts don't say, to follow "the facts don't say".
        train: wordings for movies of the train split; empty for a subject kept from training.
        val: wordings for movies of the val split.
        test: wordings for movies of the test split.
    """

    lacks: str
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


SUBJECTS = (
    Subject("what it cost to make",
            ("What was the budget of {title}?", "How much did it cost to make {title}?",
             "Tell me how expensive {title} was to produce.", "{title} budget"),
            ("Was {title} an expensive production, in dollars?",),
            ("How many millions went into making {title}?", "What did the studio spend on {title}?")),
    Subject("what it earned",
            ("How much money did {title} make at the box office?", "What did {title} gross worldwide?",
             "box office of {title}", "How well did {title} sell on its opening weekend?"),
            ("How much did {title} take in cinemas?",),
            ("What were the worldwide earnings of {title}?", "Did {title} turn a profit?")),
    Subject("where it was filmed",
            ("Where was {title} filmed?", "Which locations were used for {title}?", "filming locations {title}",
             "Do you know in which city {title} was shot?"),
            ("In what country did the crew shoot {title}?",),
            ("Where did they shoot {title}?", "On which sets was {title} made?")),
    Subject("who wrote it",
            ("Who wrote {title}?", "Who is the screenwriter of {title}?", "Give me the writers of {title}.",
             "Whose screenplay is {title}?", "{title} writer"),
            ("Who came up with the script of {title}?",),
            ("Who penned {title}?", "By whom was the script for {title} written?")),
    Subject("who composed its music",
            ("Who composed the music for {title}?", "Whose score do we hear in {title}?", "composer of {title}?",
             "Tell me who did the music of {title}."),
            ("Who is behind the score of {title}?",),
            ("Which composer worked on {title}?", "Who wrote the theme music of {title}?")),
    Subject("which awards it won",
            ("Which awards did {title} win?", "Did {title} get an Oscar?", "How many Academy Awards went to {title}?",
             "List the prizes of {title}."),
            ("Was {title} nominated for anything?",),
            ("Did {title} take home a Golden Globe?", "What did {title} win at festivals?")),
    Subject("who shot it",
            ("Who was the cinematographer of {title}?", "Who did the camera work on {title}?",
             "director of photography of {title}"),
            ("Who lit and photographed {title}?",),
            ("Who stood behind the camera as cinematographer on {title}?",)),
    Subject("who produced it",
            ("Who produced {title}?", "Name the producer of {title}.", "Which studio made {title}?",
             "{title} production company?"),
            ("Who put up the money as producer of {title}?",),
            ("Which company produced {title}?", "Who were the producers behind {title}?")),
    Subject("where it can be streamed",
            ("Where can I stream {title}?", "Is {title} on Netflix?", "Which service has {title} right now?",
             "can i watch {title} online somewhere"),
            ("Does any streaming service carry {title}?",),
            ("Is there a platform that streams {title}?", "Can I find {title} on Disney+?")),
    Subject("in what language it is",
            ("What language is spoken in {title}?", "Is {title} in English?", "original language of {title}?",
             "In which language did they make {title}?"),
            ("Do the characters of {title} speak French?",),
            ("Which language do they speak in {title}?", "Will I need subtitles for {title}?")),
    Subject("which songs are in it",
            ("Which songs are on the soundtrack of {title}?", "What song plays at the end of {title}?",
             "soundtrack list for {title}"),
            ("What tune opens {title}?",),
            ("Which track plays over the credits of {title}?",)),
    Subject("whether it has a sequel",
            ("Is there a sequel to {title}?", "Will there be a second part of {title}?",
             "How many sequels does {title} have?"),
            ("Was {title} ever continued in another film?",),
            ("Did they make a follow-up to {title}?",)),
    Subject("which age it is rated for",
            ("Is {title} suitable for a ten-year-old?", "What age certificate does {title} have?",
             "Is {title} PG-13 or R?"),
            ("From what age may one see {title}?",),
            ("Can my kids watch {title}, or is it for adults only?",)),
    Subject("who edited it",
            ("Who edited {title}?", "Who was the film editor of {title}?", "editor of {title}"),
            ("In whose cutting room was {title} put together?",),
            ("Whose editing do we see in {title}?",)),
    Subject("what its tagline is",
            ("What is the tagline of {title}?", "What does the poster of {title} say?", "slogan of {title}?"),
            ("With what slogan was {title} advertised?",),
            ("What line did they print on the poster for {title}?",)),
    Subject("which country it is from",
            ("Which country is {title} from?", "Where does {title} come from?", "country of origin, {title}"),
            ("Is {title} a British production?",),
            ("What nation produced {title}?",)),
    # Kept from training: declining must be learnt, not the list of subjects.
    Subject("who designed the costumes", val=("Who designed the costumes for {title}?",)),
    Subject("how long the shoot took", val=("How many weeks did the shoot of {title} take?",)),
    Subject("on which day it opened", val=("On what exact day did {title} open in cinemas?",)),
    Subject("who did the stunts", test=("Who did the stunts in {title}?", "Name the stunt coordinator of {title}.")),
    Subject("how many extras it used", test=("How many extras were hired for {title}?",)),
    Subject("who did the make-up", test=("Who was in charge of make-up on {title}?",)),
    Subject("what the critics wrote", test=("What did the New York Times write about {title}?",
                                            "Which critic loved {title} most?")),
    Subject("who made the special effects", test=("Who made the special effects for {title}?",)),
    Subject("whether there is a director's cut", test=("Is there an extended cut of {title}?",)),
    Subject("what cameras it was shot with", test=("What kind of lenses were used on {title}?",)),
    Subject("what the people in it were paid", test=("What salary did the lead of {title} get?",)),
)  # fmt: skip

LACKS_TOPIC: dict[Topic, str] = {
    "director": "who directed it",
    "year": "when it was released",
    "runtime": "how long it runs",
    "genre": "what genre it is",
    "cast": "who is in it",
    "rating": "how it is rated",
    "plot": "what it is about",
}
"""What the facts don't say where a row lacks a fact."""

WORDINGS: dict[Topic, dict[Split, tuple[str, ...]]] = {
    "director": {
        "train": (
            "Who directed {title}?", "Who is the director of {title}?", "Do you know who directed {title}?",
            "Tell me who made {title}, I mean the director.", "{title}: who directed it?", "director of {title}",
            "Name the director of {title}.", "I'd like to know whose film {title} is. Who directed?",
            "Who was in the director's chair for {title}?", "Which director made {title}?",
            "I loved {title}! Who directed that one?", "Can you tell me the director of {title}?",
            "By whom was {title} directed?", "whose movie is {title}, director wise",
            "My friend asked who directed {title}, any idea?", "Was {title} directed by someone famous? Who?",
            "Give me the name of the person who directed {title}.", "Who called the shots on {title}?",
        ),
        "val": (
            "Who sat in the director's seat of {title}?", "{title} was directed by whom?",
            "Please name whoever directed {title}.", "Which filmmaker do we have to thank for {title}?",
        ),
        "test": (
            "Any idea who the director behind {title} is?", "Who helmed {title}?",
            "I forgot who directed {title}, remind me.", "Whose direction is {title}?",
            "who's {title} directed by", "Which filmmaker directed {title}?",
        ),
    },
    "year": {
        "train": (
            "When was {title} released?", "What year did {title} come out?", "In which year was {title} made?",
            "How old is {title}?", "release year of {title}", "{title}, what year?", "Tell me the year of {title}.",
            "When did {title} hit the cinemas?", "Do you know when {title} came out?",
            "What is the release year of {title}?", "I'm trying to remember when {title} came out.",
            "Give me the year {title} was released.", "{title} is from which year?", "When was {title} first shown?",
            "what year is the movie {title} from", "Could you tell me the year in which {title} appeared?",
        ),
        "val": (
            "From what year is {title}?", "When could people first see {title}?", "year {title} came out?",
            "In what year did {title} premiere?",
        ),
        "test": (
            "Which year saw the release of {title}?", "when did they release {title}",
            "Can you date {title} for me? Which year?", "What's the year of release for {title}?",
            "Since when has {title} been around?", "{title} came out when?",
        ),
    },
    "runtime": {
        "train": (
            "How long is {title}?", "What is the runtime of {title}?", "How many minutes does {title} last?",
            "running time of {title}", "{title} length?", "Tell me how long {title} runs.",
            "How much time do I need for {title}?", "Do you know the length of {title}?",
            "Is {title} a long film? How many minutes?", "Give me the duration of {title} in minutes.",
            "How long does {title} go on?", "If I start {title} now, how long will it take?",
            "What's the running time of {title}?", "How many minutes is {title}?", "duration {title}",
            "I have two hours. How long is {title}?",
        ),
        "val": (
            "For how long will {title} keep me in my seat?", "Length of {title} in minutes, please.",
            "What does {title} run to, in minutes?", "how long's {title}",
        ),
        "test": (
            "How lengthy is {title}?", "Over how many minutes does {title} stretch?",
            "Will {title} fit in my evening, how long does it run?", "minutes in {title}?",
            "State the running length of {title}.", "How long would I be sitting through {title}?",
        ),
    },
    "genre": {
        "train": (
            "What genre is {title}?", "What kind of film is {title}?", "Is {title} a comedy or something else?",
            "genre of {title}", "Which genres does {title} belong to?", "Tell me the genre of {title}.",
            "What type of movie is {title}?", "Do you know what genre {title} is?",
            "{title}: drama, comedy, what is it?",
            "How would you classify {title}?", "Under which genre do I find {title}?",
            "What sort of picture is {title}?", "Name the genres of {title}.",
            "Is {title} more of a drama or a thriller?",
            "what category does {title} fall into", "Before I watch {title}: what genre is that?",
        ),
        "val": (
            "Which shelf of the video store has {title}, by genre?", "{title} counts as what genre?",
            "What style of film is {title}?", "Genre for {title}, please.",
        ),
        "test": (
            "In what genre would you put {title}?", "what sort of movie is {title}",
            "How is {title} categorised?", "Would you call {title} a thriller, or what is it?",
            "Which genre labels does {title} carry?", "{title} is what kind of flick?",
        ),
    },
    "cast": {
        "train": (
            "Who stars in {title}?", "Who is in {title}?", "Who are the actors in {title}?", "cast of {title}",
            "Tell me who plays in {title}.", "Name the main actors of {title}.", "Which actors appear in {title}?",
            "Do you know who starred in {title}?", "{title}: who's in it?", "Who had the leading roles in {title}?",
            "I'd like to know the cast of {title}.", "Who acted in {title}?", "Give me the stars of {title}.",
            "Whose faces will I see in {title}?", "who played in the movie {title}",
            "Which famous people are in {title}?", "Who are the leads of {title}?",
        ),
        "val": (
            "Who performs in {title}?", "List the lead actors of {title}.", "With whom was {title} cast?",
            "actors {title}?",
        ),
        "test": (
            "Who can be seen in {title}?", "Which performers star in {title}?", "who's starring in {title}",
            "Who makes up the cast of {title}?", "Remind me which actors were in {title}.",
            "Who got top billing in {title}?",
        ),
    },
    "rating": {
        "train": (
            "What is the rating of {title}?", "How is {title} rated?", "How good is {title} according to viewers?",
            "rating of {title}", "What score does {title} have?", "Tell me the rating of {title}.",
            "Is {title} any good? What's its rating?", "How many points out of ten does {title} get?",
            "Do people like {title}? What do they rate it?", "{title} score?", "What do viewers give {title}?",
            "How highly is {title} rated?", "Give me the average rating of {title}.",
            "Should I bother with {title}, what's the rating?", "What's {title} rated out of 10?",
            "how well rated is {title}",
        ),
        "val": (
            "What mark do audiences give {title}?", "Average score for {title}, please.",
            "Which rating did {title} end up with?", "is {title} well rated",
        ),
        "test": (
            "What's the audience rating for {title}?", "How do people score {title}?",
            "Out of ten, what does {title} get?", "what rating does {title} hold",
            "Is {title} worth it, going by its rating?", "State the user score of {title}.",
        ),
    },
    "plot": {
        "train": (
            "What is {title} about?", "What happens in {title}?", "Tell me the plot of {title}.", "plot of {title}",
            "Can you describe {title} in a sentence?", "What's the story of {title}?", "Give me a summary of {title}.",
            "Do you know what {title} is about?", "I've never seen {title}. What's it about?",
            "{title}: what is the story?", "Summarise {title} for me.", "What is the premise of {title}?",
            "How would you outline {title}?", "In short, what goes on in {title}?", "what's the film {title} about",
            "Describe the storyline of {title}.",
        ),
        "val": (
            "Fill me in on the story of {title}.", "What's going on in {title}?", "Synopsis of {title}?",
            "What does {title} deal with?",
        ),
        "test": (
            "Could you sketch the plot of {title}?", "Sum up {title} for me, please.",
            "what does {title} tell us, story wise",
            "What's the gist of {title}?", "What story does {title} tell?", "Brief me on what {title} is about.",
        ),
    },
    "unanswerable": {
        "train": tuple(wording for subject in SUBJECTS for wording in subject.train),
        "val": tuple(wording for subject in SUBJECTS for wording in subject.val),
        "test": tuple(wording for subject in SUBJECTS for wording in subject.test),
    },
}  # fmt: skip
"""Question wordings by topic and split; ``{title}`` is where the movie is named."""

LACKS = {
    wording: subject.lacks
    for subject in SUBJECTS
    for wording in (*subject.train, *subject.val, *subject.test)
}  # fmt: skip
"""What the facts don't say, by the wording that asks for it."""

OPENERS: dict[Split, tuple[str, ...]] = {
    "train": ("Hey, ", "Hi! ", "Quick question: ", "So, ", "Just wondering, ", "Hello there. "),
    "val": ("Ok, ", "Hi bot, "),
    "test": ("Hey there! ", "One more thing: ", "Um, "),
}
"""What chatty people say first."""

MENTIONS: dict[Split, tuple[str, ...]] = {
    "train": ("{title} ({year})", "the {year} film {title}", "{title} ({year})", "the {year} version of {title}"),
    "val": ("{title} ({year})", "{title} of {year}"),
    "test": ("{title} ({year})", "{title} from {year}", "the {year} movie {title}"),
}
"""How a movie is named with its year."""

# No answer names the movie: the prompt's input does not, and a question may misspell it.
ANSWERS: dict[Topic, tuple[str, ...]] = {
    "director": ("It was directed by {facts}.", "The director is {facts}."),
    "year": ("It was released in {facts}.", "It came out in {facts}."),
    "runtime": ("It runs for {facts} minutes.", "It is {facts} minutes long."),
    "genre": ("Its genre is {facts}.",),
    "cast": ("It stars {facts}.", "The cast includes {facts}."),
    "rating": ("It is rated {facts} out of 10.", "Its rating is {facts} out of 10."),
    "plot": ("{facts}",),
}
SEVERAL_DIRECTORS = ("It was directed by {facts}.", "The directors are {facts}.")
DECLINES = ("{decline}: the facts I have don't say {lacks}.", "{decline}. What I have on it doesn't say {lacks}.")
