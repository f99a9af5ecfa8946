"""The records that cross the pipe between a lane and its worker process, both ways.

On the wire each is a plain tuple whose first field says what it is; the NamedTuples below give the fields names.
Nothing but builtin types is in a record itself: what came from the user is either plain data or already pickled bytes,
so a record always unpickles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# parent -> worker; an empty message means: end
RUN = 0
RESET = 1

# worker -> parent
READY = 10
INITIALIZER_FAILED = 11
VALUES = 12
PICKLED = 13
FAILED = 14
GIVEN_BACK = 15
EVENTS = 16
STORED = 17

# what an event is: the first field of each
TEXT = 20
RECORD = 21
WARNED = 22
BAR = 23

# how the arguments of a batch are written
SINGLE = 0  # items are the one argument of each call, plain data
STARRED = 1  # items are tuples of positional arguments, plain data
SEALED = 2  # items are pickles of (args, kwargs), one for each task; where these are large, what ``inside.memory.opened`` takes
PAIRED = 3  # items are (args, kwargs) themselves: for workers in this process, never written

# where in a task's life an error came up
RAISED = 0  # the function raised
LOADING_FUNCTION = 1  # the function did not unpickle in the worker
LOADING_ARGUMENTS = 2  # the arguments did not unpickle in the worker
DUMPING_RESULT = 3  # the value did not pickle in the worker


class Run(NamedTuple):
    """A batch: call one function for each of some arguments."""

    kind: int
    number: int  # of the batch, ascending for each worker
    function: int
    stored_function: Any  # see ``inside.memory.opened``; None: this worker has it already
    fresh: bool  # each task gets a copy of its own
    form: int
    items: list[Any]
    forget: tuple[int, ...]  # functions that will not be asked for again


class Cost(NamedTuple):
    """What the tasks of a batch cost where they ran, together, in seconds."""

    tasks: int
    wall: float  # from start to end, without what is counted in ``moving``
    cpu: float  # that the thread which ran them computed, without the same
    elsewhere: float  # CPU time of threads and processes that they started
    queued: float  # of ``wall``, waiting for a CPU
    moving: float  # spent on unpickling large arguments, and on pickling and writing large values


class Ready(NamedTuple):
    """The worker has started and its initializer has run."""

    kind: int
    pid: int


class InitializerFailed(NamedTuple):
    """The initializer raised: the worker ends."""

    kind: int
    text: str
    traceback: str


class Values(NamedTuple):
    """The values of the next tasks of a batch, in order.

    A list of plain data; or (PICKLED) of pickles; or (STORED) of what ``inside.memory.opened`` takes.
    """

    kind: int
    number: int
    values: list[Any]
    seconds: float  # spent in the worker on these tasks
    last: bool  # nothing more comes of this batch
    cost: tuple[Any, ...] | None = None  # of the whole batch, with its last message, where it was measured


class Failed(NamedTuple):
    """The next task of a batch ended with an error."""

    kind: int
    number: int
    stage: int
    error: bytes | None  # the pickled exception; None where it does not pickle
    type_name: str
    text: str
    traceback: str
    seconds: float
    last: bool
    cost: tuple[Any, ...] | None = None  # as above


class GivenBack(NamedTuple):
    """The last tasks of a batch will not be started here."""

    kind: int
    number: int
    tasks: int


class Events(NamedTuple):
    """What happened in the worker beside outcomes, in order; it comes before the outcome of the task in which it happened."""

    kind: int
    events: list[tuple[Any, ...]]  # the records below, as plain tuples


class Text(NamedTuple):
    """Something was printed: whole lines."""

    kind: int
    is_error: bool  # on stderr
    text: str


class Record(NamedTuple):
    """Something was logged."""

    kind: int
    fields: dict[str, Any]  # of the record, plain data
    extra: bytes | None  # pickled: what else the user has attached


class Warned(NamedTuple):
    """A warning was shown."""

    kind: int
    text: str
    category: bytes  # pickled
    filename: str
    line: int
    module: str | None


class Bar(NamedTuple):
    """A bar inside a task was drawn."""

    kind: int
    number: int  # in this worker
    desc: str
    done: float
    total: float | None
    unit: str
    seconds: float
    is_over: bool
    details: dict[str, Any]  # plain data
