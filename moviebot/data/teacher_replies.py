"""The shape of a language model's reply, for servers that keep a model to a JSON schema."""

from pydantic import BaseModel, ConfigDict

from moviebot.data.schemas import Task, Topic


class Pair(BaseModel):
    """A question and its answer."""

    model_config = ConfigDict(extra="forbid")
    question: str
    answer: str
    topic: Topic


class PairsReply(BaseModel):
    """The reply to a ``qa`` request."""

    model_config = ConfigDict(extra="forbid")
    pairs: list[Pair]


class ListReply(BaseModel):
    """The reply to a ``recommend`` request."""

    model_config = ConfigDict(extra="forbid")
    recommended: list[str]


REPLY_MODELS: dict[Task, type[BaseModel]] = {"qa": PairsReply, "recommend": ListReply}
