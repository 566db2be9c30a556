"""libcurl's transfers in the event loop, and its errors as Python's own.

libcurl says which sockets it waits for; they are watched together, in one epoll that the loop watches: asyncio alone
would pay for each request as much as libcurl does. Must not: know what is transferred.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import select
import socket
import ssl
from typing import Any

import pycurl

_WAITS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_UNKNOWN_HOST = (pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY)
_UNREADABLE = (pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_FTP_WEIRD_SERVER_REPLY, pycurl.E_BAD_CONTENT_ENCODING)
_OPENSSL_REASON = re.compile(r"routines::([a-z0-9 ]+)")
_VERIFY_WORDS = re.compile(r"^SSL(?: certificate (?:problem|OpenSSL verify result))?: (.*?)(?: \(\d+\))?$")


class HttpBroken(Exception):
    """There was no whole answer. The cause is one of Python's own errors and says why; no address stands in it."""


class AddressUnusable(HttpBroken, ValueError):
    """An address is none."""


class CurlLoop:
    """libcurl's transfers in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: int) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._watched: set[int] = set()
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._running: dict[Any, asyncio.Future[None]] = {}
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        loop.add_reader(self._epoll.fileno(), self._ready)

    def perform(self, curl: Any) -> asyncio.Future[None]:
        """Begin a transfer. The future ends with it, or with HttpBroken; then the handle is free. Whoever cancels the
        future has to drop the handle."""
        done = self._running[curl] = self._loop.create_future()
        self._multi.add_handle(curl)
        return done

    def drop(self, curl: Any) -> None:
        """Be done with a handle, whether its transfer is over or not."""
        self._release(curl)
        curl.close()

    def close(self) -> None:
        for curl, done in list(self._running.items()):
            self._release(curl)
            done.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._multi.close()
        self._epoll.close()

    def _release(self, curl: Any) -> asyncio.Future[None] | None:
        """Take a handle out, and return its future; None where it was out already."""
        done = self._running.pop(curl, None)
        if done is not None:
            self._multi.remove_handle(curl)
        return done

    def _watch(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            if descriptor in self._watched:
                self._watched.discard(descriptor)
                self._epoll.unregister(descriptor)
        elif descriptor in self._watched:
            self._epoll.modify(descriptor, _WAITS[what])
        else:
            self._watched.add(descriptor)
            self._epoll.register(descriptor, _WAITS[what])

    def _set_timer(self, in_ms: int) -> None:
        """libcurl wants to be called by then; earlier does no harm, it asks again. Each request moves its time on, and
        most of them are over before: a timer that is set stays as long as it comes early enough."""
        if in_ms < 0:
            return
        at = 0.0 if in_ms == 0 else self._loop.time() + in_ms / 1000
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._time_over) if at else self._loop.call_soon(self._time_over)

    def _time_over(self) -> None:
        self._timer = None
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()

    def _ready(self) -> None:
        for descriptor, events in self._epoll.poll(0):
            # An error or a hang-up is found by reading.
            readable = pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0
            writable = pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
            self._multi.socket_action(descriptor, readable | writable)
        self._collect()

    def _collect(self) -> None:
        left = 1
        while left:
            left, whole, broken = self._multi.info_read()
            for curl in whole:
                done = self._release(curl)
                if done is not None and not done.done():
                    done.set_result(None)
            for curl, code, words in broken:
                error = _broken(code, words, curl.getinfo(pycurl.OS_ERRNO))
                done = self._release(curl)
                if done is not None and not done.done():
                    done.set_exception(error)
                    # Whoever left before the end does not ask how it ended.
                    done.exception()


def _broken(code: int, words: str, number: int) -> HttpBroken:
    if code == pycurl.E_URL_MALFORMAT:
        return AddressUnusable()
    error = HttpBroken()
    error.__cause__ = _cause(code, words, number)
    return error


def _cause(code: int, words: str, number: int) -> Exception:
    """libcurl's error as Python would tell it, without an address. `number`: the system's, or 0."""
    if code in (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE):
        refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
        told = _VERIFY_WORDS.match(words)
        refused.verify_message = told[1] if told else "it is not valid"
        if code == pycurl.E_SSL_CACERT_BADFILE:
            refused.verify_message = "there is no CA to trust"
        return refused
    reason = _OPENSSL_REASON.search(words)
    if code == pycurl.E_SSL_CONNECT_ERROR and reason is not None:
        no_tls = ssl.SSLError(1, reason[1])
        no_tls.reason = reason[1].strip().replace(" ", "_").upper()
        return no_tls
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TimeoutError()
    if code in _UNKNOWN_HOST:
        return socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if code in _UNREADABLE:
        return OSError(errno.EPROTO, "its answer is no HTTP")
    return OSError(number, os.strerror(number)) if number else OSError(errno.ECONNRESET, "it hung up")
