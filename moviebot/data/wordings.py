"""The words of the template teacher, written for this project: how people ask, and how it answers.

A wording belongs to a split, as a movie does: what the test asks was never asked in training, in these words. The test
wordings were written without sight of the others, and whichever of those said the same was taken out. Some of the
subjects that the facts never cover are kept from training altogether.
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
    Subject(
        "what it cost to make",
        train=(
            "What was the budget of {title}?", "How much did it cost to make {title}?",
            "Tell me how expensive {title} was to produce.", "{title} budget",
        ),
        val=(
            "Was {title} an expensive production, in dollars?", "How many millions went into making {title}?",
            "What did the studio spend on {title}?",
        ),
    ),
    Subject(
        "what it earned",
        train=(
            "What did {title} gross worldwide?", "box office of {title}",
            "How well did {title} sell on its opening weekend?",
        ),
        val=(
            "How much did {title} take in cinemas?", "What were the worldwide earnings of {title}?",
            "Did {title} turn a profit?",
        ),
        test=(
            "How much money did {title} make at the box office?", "did {title} earn a lot in theaters? how much",
        ),
    ),
    Subject(
        "where it was filmed",
        train=(
            "Which locations were used for {title}?", "filming locations {title}",
            "Do you know in which city {title} was shot?",
        ),
        val=(
            "In what country did the crew shoot {title}?", "Where did they shoot {title}?",
            "On which sets was {title} made?",
        ),
        test=(
            "Where was {title} filmed?", "Tell me the shooting locations for {title}.",
        ),
    ),
    Subject(
        "who wrote it",
        train=(
            "Who wrote {title}?", "Who is the screenwriter of {title}?", "Give me the writers of {title}.",
            "Whose screenplay is {title}?", "{title} writer",
        ),
        val=(
            "Who came up with the script of {title}?", "Who penned {title}?",
            "By whom was the script for {title} written?",
        ),
        test=(
            "Who wrote the screenplay for {title}?", "whos the writer of {title}",
        ),
    ),
    Subject(
        "who composed its music",
        train=(
            "Whose score do we hear in {title}?", "composer of {title}?", "Tell me who did the music of {title}.",
        ),
        val=(
            "Who is behind the score of {title}?", "Which composer worked on {title}?",
            "Who wrote the theme music of {title}?",
        ),
        test=(
            "Who composed the music for {title}?", "Please tell me who did the score for {title}.",
        ),
    ),
    Subject(
        "which awards it won",
        train=(
            "Which awards did {title} win?", "Did {title} get an Oscar?", "How many Academy Awards went to {title}?",
            "List the prizes of {title}.",
        ),
        val=(
            "Was {title} nominated for anything?", "Did {title} take home a Golden Globe?",
            "What did {title} win at festivals?",
        ),
        test=(
            "Did {title} win any Oscars?", "List the awards {title} has won.",
        ),
    ),
    Subject(
        "who shot it",
        train=(
            "Who was the cinematographer of {title}?", "Who did the camera work on {title}?",
            "director of photography of {title}",
        ),
        val=(
            "Who lit and photographed {title}?", "Who stood behind the camera as cinematographer on {title}?",
        ),
    ),
    Subject(
        "who produced it",
        train=(
            "Who produced {title}?", "Name the producer of {title}.", "Which studio made {title}?",
            "{title} production company?",
        ),
        val=(
            "Who put up the money as producer of {title}?", "Which company produced {title}?",
            "Who were the producers behind {title}?",
        ),
    ),
    Subject(
        "where it can be streamed",
        train=(
            "Is {title} on Netflix?", "Which service has {title} right now?", "can i watch {title} online somewhere",
        ),
        val=(
            "Does any streaming service carry {title}?", "Is there a platform that streams {title}?",
            "Can I find {title} on Disney+?",
        ),
        test=(
            "Where can I stream {title}?", "is {title} on netflix or anything",
        ),
    ),
    Subject(
        "in what language it is",
        train=(
            "What language is spoken in {title}?", "Is {title} in English?", "original language of {title}?",
            "In which language did they make {title}?",
        ),
        val=(
            "Do the characters of {title} speak French?", "Which language do they speak in {title}?",
            "Will I need subtitles for {title}?",
        ),
    ),
    Subject(
        "which songs are in it",
        train=(
            "Which songs are on the soundtrack of {title}?", "What song plays at the end of {title}?",
            "soundtrack list for {title}",
        ),
        val=(
            "What tune opens {title}?", "Which track plays over the credits of {title}?",
        ),
    ),
    Subject(
        "whether it has a sequel",
        train=(
            "Will there be a second part of {title}?", "How many sequels does {title} have?",
        ),
        val=(
            "Was {title} ever continued in another film?", "Did they make a follow-up to {title}?",
        ),
        test=(
            "Is there a sequel to {title}?", "did they ever make a part two of {title}",
        ),
    ),
    Subject(
        "which age it is rated for",
        train=(
            "Is {title} suitable for a ten-year-old?", "What age certificate does {title} have?",
            "Is {title} PG-13 or R?",
        ),
        val=(
            "From what age may one see {title}?", "Can my kids watch {title}, or is it for adults only?",
        ),
        test=(
            "What is the age limit for {title}?", "Is {title} rated PG-13 or R?",
        ),
    ),
    Subject(
        "who edited it",
        train=(
            "Who was the film editor of {title}?", "editor of {title}",
        ),
        val=(
            "In whose cutting room was {title} put together?", "Whose editing do we see in {title}?",
        ),
        test=(
            "Who edited {title}?", "Name the film editor who worked on {title}.",
        ),
    ),
    Subject(
        "what its tagline is",
        train=(
            "What is the tagline of {title}?", "What does the poster of {title} say?", "slogan of {title}?",
        ),
        val=(
            "With what slogan was {title} advertised?", "What line did they print on the poster for {title}?",
        ),
    ),
    Subject(
        "which country it is from",
        train=(
            "Which country is {title} from?", "Where does {title} come from?", "country of origin, {title}",
        ),
        val=(
            "Is {title} a British production?", "What nation produced {title}?",
        ),
    ),
    Subject(
        "what its plot twist means",
        train=(
            "What does the ending of {title} mean?", "Can you explain the final scene of {title}?",
        ),
    ),
    Subject(
        "how much its tickets cost",
        train=(
            "How much was a ticket for {title}?",
        ),
    ),
    Subject(
        "which book it is based on",
        train=(
            "Which book is {title} based on?", "Is {title} adapted from a novel?",
            "What is the source material of {title}?",
        ),
    ),
    Subject(
        "whether it is a true story",
        train=(
            "Is {title} a true story?", "Did the events of {title} really happen?",
        ),
    ),
    Subject(
        "who distributed it",
        train=(
            "Who distributed {title}?", "Which distributor released {title}?",
        ),
    ),
    Subject(
        "which film format it has",
        train=(
            "Was {title} shot on film or digitally?", "What aspect ratio does {title} have?",
            "Is {title} in black and white?",
        ),
    ),
    Subject(
        "who voiced the dubbed version",
        train=(
            "Who dubbed {title} into German?", "Who is the narrator of {title}?",
        ),
    ),
    Subject(
        "where its premiere was",
        train=(
            "Where did {title} premiere?", "At which festival was {title} shown?",
        ),
    ),
    Subject(
        "what trivia there is about it",
        train=(
            "Tell me some trivia about {title}.", "Any fun facts on {title}?", "What mistakes are there in {title}?",
        ),
    ),
    Subject(
        "which scenes were cut",
        train=(
            "Which scenes were deleted from {title}?", "How many takes did {title} need?",
        ),
    ),
    Subject(
        "who the casting director was",
        train=(
            "Who did the casting of {title}?", "Who cast {title}?",
        ),
    ),
    Subject(
        "who designed its sets",
        train=(
            "Who was the production designer of {title}?", "Who designed the sets of {title}?",
        ),
    ),
    Subject(
        "who mixed its sound",
        train=(
            "Who did the sound of {title}?", "Who was the sound mixer on {title}?",
        ),
    ),
    Subject(
        "where one can buy it",
        train=(
            "Where can I buy {title} on Blu-ray?", "How much is the DVD of {title}?",
        ),
    ),
    Subject(
        "how many people saw it in the cinema",
        train=(
            "How many tickets did {title} sell?", "How many people went to see {title}?",
        ),
    ),
    Subject(
        "whether it was banned",
        train=(
            "Was {title} ever banned?", "Was {title} censored anywhere?",
        ),
    ),
    Subject(
        "who choreographed it",
        train=(
            "Who choreographed {title}?", "Who trained the animals in {title}?",
        ),
    ),
    Subject(
        "whether there will be a remake",
        train=(
            "Will {title} be remade?", "Is a reboot of {title} planned?",
        ),
    ),
    Subject(
        "what quotes it is known for",
        train=(
            "What is the most famous quote of {title}?", "Give me a line of dialogue from {title}.",
        ),
    ),
    Subject(
        "which video game goes with it",
        train=(
            "Is there a video game of {title}?", "Is there a theme park ride for {title}?",
        ),
    ),
    Subject(
        "how old its lead was",
        train=(
            "How old was the lead actor of {title} at the time?", "Was the star of {title} married?",
        ),
    ),
    Subject(
        "who designed the costumes",
        test=(
            "Who designed the costumes for {title}?", "do you know who was the costume designer on {title}",
        ),
    ),
    Subject(
        "how long the shoot took",
        val=(
            "How many weeks did the shoot of {title} take?",
        ),
        test=(
            "How many days did it take to shoot {title}?", "Tell me how long the filming of {title} went on for.",
        ),
    ),
    Subject(
        "on which day it opened",
        val=(
            "On what exact day did {title} open in cinemas?",
        ),
    ),
    Subject(
        "who did the stunts",
        test=(
            "Who did the stunts in {title}?", "Name the stunt coordinator of {title}.",
        ),
    ),
    Subject(
        "how many extras it used",
        test=(
            "How many extras were hired for {title}?",
        ),
    ),
    Subject(
        "who did the make-up",
        test=(
            "Who was in charge of make-up on {title}?",
        ),
    ),
    Subject(
        "what the critics wrote",
        test=(
            "What did the New York Times write about {title}?", "Which critic loved {title} most?",
        ),
    ),
    Subject(
        "who made the special effects",
        test=(
            "Who made the special effects for {title}?",
        ),
    ),
    Subject(
        "whether there is a director's cut",
        test=(
            "Is there an extended cut of {title}?",
        ),
    ),
    Subject(
        "what cameras it was shot with",
        test=(
            "What kind of lenses were used on {title}?", "What camera was used to shoot {title}?",
            "was {title} shot on film or digital, and with which camera",
        ),
    ),
    Subject(
        "what the people in it were paid",
        test=(
            "What salary did the lead of {title} get?",
        ),
    ),
    Subject(
        "which languages it has been dubbed into",
        test=(
            "Which languages has {title} been dubbed into?", "can i get {title} dubbed in italian",
        ),
    ),
    Subject(
        "what its working title was",
        test=(
            "What was the working title of {title} during production?",
            "Did {title} go by another name while it was being made?",
        ),
    ),
    Subject(
        "who designed the poster",
        test=(
            "Who designed the poster for {title}?", "i love the poster of {title}, which artist made it",
        ),
    ),
    Subject(
        "whether there are any scenes after the credits",
        test=(
            "Is there a scene after the credits of {title}?",
            "should i stay through the credits of {title} for an extra scene",
        ),
    ),
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
            "Who is the director of {title}?", "Do you know who directed {title}?",
            "Tell me who made {title}, I mean the director.", "{title}: who directed it?", "director of {title}",
            "Name the director of {title}.", "I'd like to know whose film {title} is. Who directed?",
            "Who was in the director's chair for {title}?", "Which director made {title}?",
            "I loved {title}! Who directed that one?", "Can you tell me the director of {title}?",
            "By whom was {title} directed?", "whose movie is {title}, director wise",
            "My friend asked who directed {title}, any idea?", "Was {title} directed by someone famous? Who?",
            "Give me the name of the person who directed {title}.", "Who called the shots on {title}?",
            "Who made {title}?", "I need the director of {title}, please.", "The director of {title} is who?",
            "Who was directing {title}?", "Quick one: {title}, director?",
            "Which director is responsible for {title}?", "Can you name {title}'s director?",
            "who did {title}, director please", "Who is credited as director on {title}?",
            "{title} is a film by which director?", "Could you look up the director of {title}?",
            "What is the name of the director of {title}?",
        ),
        "val": (
            "Who sat in the director's seat of {title}?", "{title} was directed by whom?",
            "Please name whoever directed {title}.", "Which filmmaker do we have to thank for {title}?",
            "Any idea who the director behind {title} is?", "Who helmed {title}?",
            "I forgot who directed {title}, remind me.", "Whose direction is {title}?", "who's {title} directed by",
            "Which filmmaker directed {title}?",
        ),
        "test": (
            "Who directed {title}?", "who was the director on {title}", "Name the person who directed {title}.",
            "I'm trying to remember who directed {title}, can you help?", "{title} director?",
            "Whose film is {title}? I mean, who was in the director's chair?",
            "Could you please tell me which director made {title}?",
            "hey so who was behind the camera directing {title}",
        ),
    },
    "year": {
        "train": (
            "In which year was {title} made?", "How old is {title}?", "release year of {title}",
            "Tell me the year of {title}.", "When did {title} hit the cinemas?", "Do you know when {title} came out?",
            "What is the release year of {title}?", "I'm trying to remember when {title} came out.",
            "Give me the year {title} was released.", "{title} is from which year?", "When was {title} first shown?",
            "what year is the movie {title} from", "Could you tell me the year in which {title} appeared?",
            "{title} release date?", "The year {title} was released, please.",
            "How many years ago was {title} released?", "what year was {title} made", "Which year is {title} from?",
            "Is {title} an old film? When was it made?", "Look up when {title} was released.",
            "In what year did {title} open?", "What was the year of {title}?",
            "When did {title} first come to theatres?", "year of {title}", "Was {title} made before 1990? When?",
        ),
        "val": (
            "From what year is {title}?", "When could people first see {title}?", "year {title} came out?",
            "In what year did {title} premiere?", "Which year saw the release of {title}?",
            "when did they release {title}", "Can you date {title} for me? Which year?",
            "What's the year of release for {title}?", "Since when has {title} been around?",
            "{title} came out when?",
        ),
        "test": (
            "What year did {title} come out?", "when was {title} released", "Tell me the release year of {title}.",
            "{title} - what year?", "How far back does {title} go? I'd like the year it was released.",
            "Would you mind telling me which year {title} first hit cinemas?", "do u know what year {title} is from",
            "In which year was {title} released, please?",
        ),
    },
    "runtime": {
        "train": (
            "What is the runtime of {title}?", "running time of {title}", "{title} length?",
            "Tell me how long {title} runs.", "How much time do I need for {title}?",
            "Do you know the length of {title}?", "Is {title} a long film? How many minutes?",
            "Give me the duration of {title} in minutes.", "How long does {title} go on?",
            "If I start {title} now, how long will it take?", "What's the running time of {title}?",
            "How many minutes is {title}?", "duration {title}", "I have two hours. How long is {title}?",
            "How long of a movie is {title}?", "{title} runtime", "What length is {title}?",
            "Please tell me the duration of {title}.", "How many minutes long is {title}?",
            "Is {title} under two hours? How long is it?", "How much of my time will {title} take?",
            "time {title} takes to watch", "What is the length of the film {title}?",
            "Can I finish {title} in ninety minutes? How long is it?", "Total minutes of {title}?",
            "how long does the movie {title} last",
        ),
        "val": (
            "For how long will {title} keep me in my seat?", "Length of {title} in minutes, please.",
            "What does {title} run to, in minutes?", "how long's {title}", "How lengthy is {title}?",
            "Over how many minutes does {title} stretch?", "Will {title} fit in my evening, how long does it run?",
            "minutes in {title}?", "State the running length of {title}.",
            "How long would I be sitting through {title}?",
        ),
        "test": (
            "How long is {title}?", "runtime of {title}", "How many minutes does {title} last?",
            "Give me the running time for {title}.", "if i start {title} now how long will it take to get to the end",
            "Could you tell me the length of {title} in minutes, please?",
            "Is {title} a long movie? How many minutes is it?", "what's the run time on {title}",
        ),
    },
    "genre": {
        "train": (
            "What kind of film is {title}?", "Is {title} a comedy or something else?", "genre of {title}",
            "Which genres does {title} belong to?", "Tell me the genre of {title}.", "What type of movie is {title}?",
            "Do you know what genre {title} is?", "{title}: drama, comedy, what is it?",
            "How would you classify {title}?", "Under which genre do I find {title}?",
            "What sort of picture is {title}?", "Name the genres of {title}.",
            "Is {title} more of a drama or a thriller?", "what category does {title} fall into",
            "Before I watch {title}: what genre is that?", "Tell me what kind of movie {title} is.",
            "Is {title} horror?", "What are the genres of {title}?",
            "Would {title} count as action, romance, or what?", "kind of movie: {title}",
            "Can you give me {title}'s genre?", "To which genre does {title} belong?",
            "What sort of film am I getting with {title}?", "Which genre would you file {title} under?",
            "Is {title} science fiction or fantasy or neither?", "The genre of {title}, please.",
        ),
        "val": (
            "Which shelf of the video store has {title}, by genre?", "{title} counts as what genre?",
            "What style of film is {title}?", "Genre for {title}, please.", "In what genre would you put {title}?",
            "what sort of movie is {title}", "How is {title} categorised?",
            "Would you call {title} a thriller, or what is it?", "Which genre labels does {title} carry?",
            "{title} is what kind of flick?",
        ),
        "test": (
            "What genre is {title}?", "what kind of movie is {title}, like comedy or horror or what",
            "{title} genre?", "Tell me which genres {title} falls under.",
            "Is {title} a drama, a thriller, or some other genre?", "How would {title} be classified by genre?",
            "Please could you say what type of film {title} is, genre-wise?",
            "which genre would i find {title} under",
        ),
    },
    "cast": {
        "train": (
            "Who is in {title}?", "Who are the actors in {title}?", "cast of {title}",
            "Tell me who plays in {title}.", "Name the main actors of {title}.", "Which actors appear in {title}?",
            "Do you know who starred in {title}?", "{title}: who's in it?", "Who had the leading roles in {title}?",
            "I'd like to know the cast of {title}.", "Who acted in {title}?", "Give me the stars of {title}.",
            "Whose faces will I see in {title}?", "who played in the movie {title}",
            "Which famous people are in {title}?", "Who are the leads of {title}?", "Which actors play in {title}?",
            "Tell me the cast of {title}.", "Who are the stars of {title}?", "Who played the leads in {title}?",
            "Is there anyone famous in {title}? Who?", "the actors of {title} please",
            "Name three actors of {title}.", "Who do we watch in {title}, which actors?", "Who's acting in {title}?",
            "Look up who starred in {title}.",
        ),
        "val": (
            "Who performs in {title}?", "List the lead actors of {title}.", "With whom was {title} cast?",
            "actors {title}?", "Who can be seen in {title}?", "Which performers star in {title}?",
            "who's starring in {title}", "Who makes up the cast of {title}?",
            "Remind me which actors were in {title}.", "Who got top billing in {title}?",
        ),
        "test": (
            "Who stars in {title}?", "who's in {title}", "List the actors in {title}.", "{title} cast?",
            "Which actors and actresses appear in {title}?", "Can you tell me who acted in {title}, please?",
            "i wanna know which actors are in {title}", "Give me the main cast of {title}.",
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
            "how well rated is {title}", "{title} rating?", "What did people rate {title}?",
            "How do viewers rate {title}?", "What's the score of {title}?",
            "Is {title} rated well? Give me the number.", "How many stars does {title} get out of ten?",
            "The average rating for {title}, please.", "Look up the rating of {title}.", "how good is {title}",
            "Does {title} have a good rating? What is it?", "On a scale from 1 to 10, where is {title}?",
            "What do users think of {title}, as a score?",
        ),
        "val": (
            "What mark do audiences give {title}?", "Average score for {title}, please.",
            "Which rating did {title} end up with?", "is {title} well rated",
            "What's the audience rating for {title}?", "How do people score {title}?",
            "Out of ten, what does {title} get?", "what rating does {title} hold",
            "Is {title} worth it, going by its rating?", "State the user score of {title}.",
        ),
        "test": (
            "What rating did viewers give {title}?", "how do people score {title} on average",
            "{title} average user rating?", "Tell me the audience score for {title}.",
            "Out of ten, what do viewers rate {title}?",
            "Could you let me know how highly viewers have rated {title} on average?",
            "is {title} rated well by the people who watched it? what score did it get",
            "Give me the average viewer rating of {title}, please.",
        ),
    },
    "plot": {
        "train": (
            "Tell me the plot of {title}.", "plot of {title}", "Can you describe {title} in a sentence?",
            "What's the story of {title}?", "Give me a summary of {title}.", "Do you know what {title} is about?",
            "I've never seen {title}. What's it about?", "{title}: what is the story?", "Summarise {title} for me.",
            "What is the premise of {title}?", "How would you outline {title}?", "In short, what goes on in {title}?",
            "what's the film {title} about", "Describe the storyline of {title}.",
            "Tell me about the story of {title}.", "What's {title} about?", "Explain the story of {title}.",
            "Give me the outline of {title}.", "Could you tell me what {title} is about?",
            "What kind of story is told in {title}?", "Please describe {title}.",
            "I want to know the plot of {title}.", "story of {title}", "In a few words, what is {title} about?",
            "What is the film {title} all about?",
        ),
        "val": (
            "Fill me in on the story of {title}.", "What's going on in {title}?", "Synopsis of {title}?",
            "What does {title} deal with?", "Could you sketch the plot of {title}?", "Sum up {title} for me, please.",
            "what does {title} tell us, story wise", "What's the gist of {title}?", "What story does {title} tell?",
            "Brief me on what {title} is about.",
        ),
        "test": (
            "What is {title} about?", "what happens in {title}", "Give me a quick summary of {title}.",
            "{title} plot?", "Can you describe the story of {title} for me?", "never seen {title}, whats it about",
            "I'd love a short synopsis of {title}, please.", "Fill me in on the storyline of {title}.",
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
ANSWERS: dict[Topic, str] = {
    "director": "It was directed by {facts}.",
    "year": "It came out in {facts}.",
    "runtime": "It runs for {facts} minutes.",
    "genre": "Its genre is {facts}.",
    "cast": "The cast includes {facts}.",
    "rating": "It is rated {facts} out of 10.",
    "plot": "The story: {facts}",
}
"""One wording a topic: a second one is a coin toss that a small model spends its few steps on."""

DECLINE_ANSWER = "{decline}: the facts I have don't say {lacks}."
