"""Lets runs use workers from their first file, for tests with few files."""

from __future__ import annotations

from typing import Any

SLICE_FILES = 6


def workers_from_the_first_file() -> None:
    """Change this process so that a run waits for its workers, and cuts small slices. For a process of its own."""
    from metalake_sync.apply.upload_executors import choosing, slices, worker_scheduling

    choosing.FEWEST_FILES = 1
    worker_scheduling.WARM_UP_FILES = 0
    worker_scheduling.FEWEST_SLICE_FILES = 1
    worker_scheduling.SLICE_FILES = SLICE_FILES
    executor: Any = slices.WorkerExecutor
    upload = executor.upload

    async def when_open(self: slices.WorkerExecutor, *args: Any) -> Any:
        await self.open()
        async for outcome in upload(self, *args):
            yield outcome

    executor.upload = when_open


def main() -> None:
    """The command line, with workers from the first file."""
    from metalake_sync.cli.main import main

    workers_from_the_first_file()
    main()


if __name__ == "__main__":
    main()
