"""Whole messages over a one-way pipe: an 8 byte length, then the bytes.

On POSIX the two ends work on the file descriptor itself: a small message is one system call on each side, where
multiprocessing's Connection takes three and 8 us of Python. Elsewhere they are the Connection's own methods.
"""

from __future__ import annotations

import os
import select
import struct
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "linux":
    import fcntl
else:
    fcntl = None

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

_LENGTH = struct.Struct("<Q")
_HEAD = _LENGTH.size
_READ_BYTES = 65536
PIPE_BYTES = 1 << 19
_F_SETPIPE_SZ = 1031  # Linux; in the fcntl module from Python 3.10 on some builds only
_JOINED_BYTES = 16384  # up to this, copying the message behind its length is cheaper than a system call for two pieces

_WHOLE_BYTES = getattr(select, "PIPE_BUF", 0) - _HEAD  # up to this, a message is not split: it fits into the pipe, or does not

Data = bytes | bytearray | memoryview


class End:
    """An end of a pipe that somebody else closes, by its descriptor: what Sender and Receiver need of a Connection."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._number

    def close(self) -> None:
        """Leave it open."""


class OwnEnd(End):
    """An end of a pipe, closed with this object at the latest."""

    def close(self) -> None:
        """Close it, if it is open."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    __del__ = close

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it travel while a process is started through a context of multiprocessing's, and then only."""
        from multiprocessing.reduction import DupFd

        return _arrived, (DupFd(self._number),)


def _arrived(sent: Any) -> OwnEnd:
    return OwnEnd(sent.detach())


def pipe() -> tuple[Any, Any]:
    """Return the reading and the writing end of a new pipe. A process that is started can be given one."""
    if os.name == "posix":
        reader, writer = os.pipe()
        return OwnEnd(reader), OwnEnd(writer)
    from multiprocessing.connection import Pipe

    return Pipe(duplex=False)


def opened(number: int, *, reading: bool) -> Any:
    """Return an end of a pipe that another interpreter of this process has opened, and closes."""
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection
        from multiprocessing.reduction import duplicate

        return PipeConnection(duplicate(number), readable=reading, writable=not reading)
    return End(number)


class Sender:
    """The writing end. One thread at a time. Raises OSError (BrokenPipeError) when the other side is gone.

    Attributes:
        patience: seconds to wait for a reader that takes nothing; None: for ever.
        on_stuck: called after so long, to do something about that reader.
    """

    def __init__(self, pipe: Connection[Any, Any] | End) -> None:
        self._pipe = pipe
        self._fd = pipe.fileno()
        self.patience: float | None = None
        self.on_stuck: Callable[[], None] = _do_nothing
        self._unsent: tuple[list[bytes], list[int]] | None = None  # a message, and how much of it was written each time
        os.set_blocking(self._fd, False)

    def send(self, data: bytes) -> None:
        """Write a message; wait while the pipe is full.

        A signal handler may raise in the middle, in a worker's main thread: then the message is written first, or, if that is
        not possible, before the next one.
        """
        head = _LENGTH.pack(len(data))
        if self._unsent is not None:
            self._finish()
        elif len(data) <= _WHOLE_BYTES:
            try:
                os.write(self._fd, head + data)  # POSIX writes it whole, or not at all
            except BlockingIOError:
                pass
            else:
                return
        self._unsent = ([head + data] if len(data) <= _JOINED_BYTES else [head, data]), []
        self._finish()

    def send_if_there_is_room(self, data: bytes) -> bool:
        """Write a short message, all of it, or nothing where the pipe is full. Tells which."""
        if self._unsent is not None or len(data) > _WHOLE_BYTES:
            return False
        try:
            os.write(self._fd, _LENGTH.pack(len(data)) + data)
        except BlockingIOError:
            return False
        return True

    def _finish(self) -> None:
        interruption: BaseException | None = None
        while self._unsent is not None:
            try:
                self._write_rest(*self._unsent)
            except OSError as error:
                if error.errno is not None:
                    raise
                interruption = error  # a TimeoutError of the user's, perhaps
            except BaseException as error:
                interruption = error
        if interruption is not None:
            raise interruption

    def _write_rest(self, parts: list[bytes], written: list[int]) -> None:
        size = sum(map(len, parts))
        while (done := sum(written)) < size:
            try:
                # One step for a signal handler that raises: what was written is noted.
                written.extend(map(os.writev, (self._fd,), (_behind(parts, done) if done else parts,)))
            except BlockingIOError:
                self._wait()
        self._unsent = None

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(None if self.patience is None else 1000 * self.patience):
            self.on_stuck()

    def close(self) -> None:
        """Close the pipe; the other side reads its end."""
        self._fd = -1  # a write from now on is an OSError, not one into a file that got the same number
        self._pipe.close()


def _do_nothing() -> None:
    """Wait on."""


def _behind(parts: list[bytes], done: int) -> list[bytes | memoryview]:
    """Return what of these follows after so many bytes."""
    rest: list[bytes | memoryview] = []
    for part in parts:
        if done < len(part):
            rest.append(memoryview(part)[done:])
        done = max(0, done - len(part))
    return rest


class Receiver:
    """The reading end. One thread at a time. Raises EOFError when the other side is gone."""

    def __init__(self, pipe: Connection[Any, Any] | End) -> None:
        self._pipe = pipe
        self._fd = pipe.fileno()
        self._rest: bytes = b""  # read already, of the messages that follow

    def receive(self) -> Data:
        """Read a message; wait for it."""
        data = self._rest or self._read()
        while len(data) < _HEAD:
            data += self._read()
        (length,) = _LENGTH.unpack_from(data)
        end = _HEAD + length
        if len(data) >= end:
            self._rest = data[end:]
            return memoryview(data)[_HEAD:end]
        self._rest = b""
        message = bytearray(length)
        view = memoryview(message)
        have = len(data) - _HEAD
        view[:have] = data[_HEAD:]
        while have < length:
            count = os.readv(self._fd, [view[have:]])
            if not count:
                raise EOFError
            have += count
        return message

    def _read(self) -> bytes:
        data = os.read(self._fd, _READ_BYTES)
        if not data:
            raise EOFError
        return data

    def is_readable(self, seconds: float) -> bool:
        """Tell whether a message, or the end, has come or comes within some seconds."""
        if self._rest:
            return True
        poll = select.poll()  # a tenth of the time of Connection.poll
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Close the pipe; a write on the other side fails."""
        self._fd = -1
        self._pipe.close()


class ConnectionSender:
    """The writing end where pipes are no file descriptors: Windows."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self.send = pipe.send_bytes
        self.close = pipe.close
        self.patience: float | None = None  # not kept to here
        self.on_stuck: Callable[[], None] = _do_nothing

    def send_if_there_is_room(self, data: bytes) -> bool:
        """Write a message, and wait while the pipe is full: there is no other way."""
        self.send(data)
        return True


class ConnectionReceiver:
    """The reading end where pipes are no file descriptors: Windows."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self.receive = pipe.recv_bytes
        self.is_readable = pipe.poll
        self.close = pipe.close


def widen(pipe: Connection[Any, Any] | End) -> None:
    """Let a pipe hold more, where the system can: a batch's message is then written without waiting for its reader."""
    if fcntl is not None:
        try:
            fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # the user's share of pipe memory is used up: it works as it is


def sender(pipe: Any) -> Sender | ConnectionSender:
    """Return the writing end of a pipe, a Connection or an End."""
    return Sender(pipe) if os.name == "posix" else ConnectionSender(pipe)


def receiver(pipe: Any) -> Receiver | ConnectionReceiver:
    """Return the reading end of a pipe, a Connection or an End."""
    return Receiver(pipe) if os.name == "posix" else ConnectionReceiver(pipe)
