"""Runs libcurl's transfers in the event loop, and translates its errors into Python's.

libcurl reports the sockets that it waits for. They are watched with one epoll, which the event loop watches: with
asyncio's own watching, each request would take twice the processor time. Must not: know what is transferred.
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
_VERIFY_TEXT = re.compile(r"^SSL(?: certificate (?:problem|OpenSSL verify result))?: (.*?)(?: \(\d+\))?$")


class HttpBroken(Exception):
    """There was no complete response. `__cause__` is a Python error that says why, without an address."""


class AddressUnusable(HttpBroken, ValueError):
    """An address is malformed."""


class CurlLoop:
    """Runs transfers of libcurl in the event loop."""

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
        """Start a transfer. When the future ends, with a result or HttpBroken, the handle can be used again.

        A caller that cancels the future has to drop the handle.
        """
        done = self._running[curl] = self._loop.create_future()
        self._multi.add_handle(curl)
        return done

    def drop(self, curl: Any) -> None:
        """Close a handle, whether its transfer has ended or not."""
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
        """Remove a handle and return its future, or None if it was removed already."""
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
        """libcurl's timer callback: call libcurl in `in_ms` milliseconds.

        An earlier call does no harm, because libcurl then sets the timer again. Each request postpones the timer and
        most requests end before it, so a timer that is early enough is left as it is.
        """
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
            # Reading reports errors and closed connections.
            readable = pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0
            writable = pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
            self._multi.socket_action(descriptor, readable | writable)
        self._collect()

    def _collect(self) -> None:
        left = 1
        while left:
            left, finished, broken = self._multi.info_read()
            for curl in finished:
                done = self._release(curl)
                if done is not None and not done.done():
                    done.set_result(None)
            for curl, code, text in broken:
                error = _broken(code, text, curl.getinfo(pycurl.OS_ERRNO))
                done = self._release(curl)
                if done is not None and not done.done():
                    done.set_exception(error)
                    # Mark the exception as seen: the caller may have been cancelled.
                    done.exception()


def _broken(code: int, text: str, number: int) -> HttpBroken:
    if code == pycurl.E_URL_MALFORMAT:
        return AddressUnusable()
    error = HttpBroken()
    error.__cause__ = _cause(code, text, number)
    return error


def _cause(code: int, text: str, number: int) -> Exception:
    """Return the Python error for an error of libcurl, without an address. `number`: the system's errno, or 0."""
    if code in (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE):
        refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
        reported = _VERIFY_TEXT.match(text)
        refused.verify_message = reported[1] if reported else "it is not valid"
        if code == pycurl.E_SSL_CACERT_BADFILE:
            refused.verify_message = "there is no CA to trust"
        return refused
    reason = _OPENSSL_REASON.search(text)
    if code == pycurl.E_SSL_CONNECT_ERROR and reason is not None:
        no_tls = ssl.SSLError(1, reason[1])
        no_tls.reason = reason[1].strip().replace(" ", "_").upper()
        return no_tls
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TimeoutError()
    if code in _UNKNOWN_HOST:
        return socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if code in _UNREADABLE:
        return OSError(errno.EPROTO, "its answer is not HTTP")
    return OSError(number, os.strerror(number)) if number else OSError(errno.ECONNRESET, "it closed the connection")
