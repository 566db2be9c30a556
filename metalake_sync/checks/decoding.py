"""Worker processes that decode images.

Owns: the processes, how many images are under way, and what happens if an image ends its process. Must not: decode an
image in this process.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator

from metalake_sync.checks.decode_worker import CHANGED, Answer
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.sources.hash_worker import receive, send

IMAGES_PER_WORKER = 4
"""How many images wait in the pipe of each process."""

PROGRAM = ("-m", "metalake_sync.checks.decode_worker")
"""The arguments for Python."""

CRASHED: Answer = ("undecodable", "ends the process that decodes it")


class _Job:
    def __init__(self, place: str, fingerprint: Fingerprint) -> None:
        self.request = (os.fsencode(place), tuple(fingerprint.version()))
        self.answer: Answer | None = None


class _Worker:
    """One process. It is started with its first job."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.waiting: deque[_Job] = deque()

    def begin(self, job: _Job) -> None:
        self.waiting.append(job)
        try:
            self._send(job)
        except BrokenPipeError:
            self._replace()

    def finish(self, job: _Job) -> Answer:
        """Wait for the answer to a job. Answers come in the order of the jobs."""
        while job.answer is None:
            assert self.process is not None
            assert self.process.stdout is not None
            try:
                answer = receive(self.process.stdout)
            except EOFError:
                self._replace()
                continue
            check, message = answer
            self.waiting.popleft().answer = (check, message)
        return job.answer

    def _send(self, job: _Job) -> None:
        if self.process is None:
            program = (sys.executable, "-I", *PROGRAM)
            self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        send(self.process.stdin, job.request)

    def _replace(self) -> None:
        """Start another process. The image that the last one was decoding has ended it."""
        self.end()
        self.waiting.popleft().answer = CRASHED
        for job in self.waiting:
            self._send(job)

    def end(self) -> None:
        """Kill the process. It only reads, so this is safe."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        # Requests that were not written yet are lost.
        with contextlib.suppress(BrokenPipeError), process:
            pass


class Decoder:
    """Decodes images in `processes` processes. Use it as a context manager, from one thread."""

    def __init__(self, processes: int) -> None:
        self.workers = [_Worker() for _ in range(processes)]

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.end()

    def decode(self, images: Iterable[tuple[str, Fingerprint]]) -> Iterator[Answer | None]:
        """Decode images, given as path and fingerprint, and yield an answer for each, in order. Read all of them.

        None: the image changed.
        """
        under_way: deque[tuple[_Worker, _Job]] = deque()
        remaining = iter(images)
        while True:
            while len(under_way) < len(self.workers) * IMAGES_PER_WORKER:
                image = next(remaining, None)
                if image is None:
                    break
                worker = min(self.workers, key=lambda one: len(one.waiting))
                job = _Job(*image)
                worker.begin(job)
                under_way.append((worker, job))
            if not under_way:
                return
            worker, job = under_way.popleft()
            answer = worker.finish(job)
            yield None if answer == CHANGED else answer
