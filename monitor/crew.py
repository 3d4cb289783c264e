"""Worker processes: calls side by side whose answers come in the order of their list."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from typing import TypeVar

import SimpleITK as sitk

from monitor import grid

T = TypeVar("T")

Progress = Callable[[int, int, str], None]
"""Told of parts done, parts in all, and what was done."""


class Teller:
    """Counts finished parts for the progress display."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def of(self, word: str, names: Sequence[str]) -> Callable[[int], None]:
        """Return what to call when part number n, of what is named so, is done."""

        def tell(number: int) -> None:
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.total, f"{names[number]} {word}")

        return tell


class Crew:
    """Runs calls in order of their list, here or in worker processes; the answers come in that order."""

    def __init__(self, pool: Executor | None) -> None:
        self.pool = pool

    def map(
        self, call: Callable[..., T], arguments: Sequence[tuple[object, ...]], tell: Callable[[int], None] | None = None
    ) -> list[T]:
        """Call with each tuple of arguments; ``tell`` hears the number of each that is done."""
        if self.pool is None:
            answers = []
            for number, one in enumerate(arguments):
                answers.append(call(*one))
                if tell:
                    tell(number)
            return answers
        futures = [self.pool.submit(call, *one) for one in arguments]
        if tell:
            for number, future in enumerate(futures):
                future.add_done_callback(partial(lambda n, _: tell(n), number))
        return [future.result() for future in futures]


@contextlib.contextmanager
def crew(workers: int) -> Iterator[Crew]:
    """Open a crew; image filters run on one thread each, so that bits do not depend on the number of workers."""
    if workers <= 1:
        with grid.one_thread():
            yield Crew(None)
        return
    # Fresh interpreters: a fork after ITK has started its threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_join) as pool:
        yield Crew(pool)


def _join() -> None:
    """Begin as a worker: one thread for filters, and an end as soon as the run that it works for is gone."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    # A run that was killed cannot tell its workers; left alone they would wait for it for ever.
    multiprocessing.connection.wait([sentinel])
    signal.raise_signal(signal.SIGTERM)
