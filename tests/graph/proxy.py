"""A TCP proxy on loopback before a server, that breaks at chosen moments: for tests of what a lost connection does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

# Bolt: a chunk of two bytes, the message COMMIT without fields, and the end of the message.
COMMIT = b"\x00\x02\xb0\x12\x00\x00"


class Proxy:
    """Forwards bytes between clients and a server. A context manager.

    Args:
        uri: The server's Bolt address.
        at: Bytes from clients, counted over all connections, at which ``then`` is called, once each; the bytes that reach the number are
            not forwarded before it has returned.
        then: Called there, in the proxy's thread.
        lose: Of which commits (1, 2, 3 … over all connections) the answer is dropped and the connection cut.
    """

    def __init__(
        self,
        uri: str,
        at: tuple[int, ...] = (),
        then: Callable[[Proxy], None] | None = None,
        lose: Callable[[int], bool] = lambda _: False,
    ) -> None:
        parts = urlsplit(uri)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 7687)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock, self._down_until = Lock(), 0.0
        self._at, self._then, self._lose = list(at), then, lose
        self.sent = self.commits = self.cuts = 0

    @property
    def uri(self) -> str:
        """Address for clients."""
        return f"bolt://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()
        self.cut()

    def cut(self, seconds: float = 0.0) -> None:
        """Close every connection at once, and every new one for so long."""
        with self._lock:
            self._down_until = time.monotonic() + seconds
            pairs, self._pairs = self._pairs, []
            self.cuts += bool(pairs)
        for pair in pairs:
            _close(pair)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if time.monotonic() < self._down_until:
                client.close()
                continue
            try:
                pair = (client, socket.create_connection(self._target, 10))
            except OSError:
                client.close()
                continue
            pair[1].settimeout(None)
            with self._lock:
                self._pairs.append(pair)
            answers = _Answers()
            Thread(target=self._up, args=(pair, answers), daemon=True).start()
            Thread(target=self._down, args=(pair, answers), daemon=True).start()

    def _up(self, pair: tuple[socket.socket, socket.socket], answers: _Answers) -> None:
        with suppress(OSError):
            while data := pair[0].recv(65_536):
                self._count(len(data))
                if data.endswith(COMMIT):
                    with self._lock:
                        self.commits += 1
                        answers.lost = self._lose(self.commits)
                pair[1].sendall(data)
        _close(pair)

    def _down(self, pair: tuple[socket.socket, socket.socket], answers: _Answers) -> None:
        with suppress(OSError):
            while data := pair[1].recv(65_536):
                if answers.lost:
                    break
                pair[0].sendall(data)
        _close(pair)

    def _count(self, size: int) -> None:
        with self._lock:
            self.sent += size
            due = [mark for mark in self._at if mark <= self.sent]
            self._at = [mark for mark in self._at if mark > self.sent]
        if due and self._then is not None:
            self._then(self)


class _Answers:
    """Whether the next answer of one connection is to be lost."""

    lost = False


def _close(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
