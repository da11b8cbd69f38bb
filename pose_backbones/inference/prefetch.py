"""Reading in a thread: ahead while the model computes, or on demand."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: how many items may wait
AHEAD = 4
_POLL = 0.1  # seconds, after which a thread sees that nobody waits for it
_PATIENCE = 2.0  # seconds for the thread to end
_END = object()


@contextmanager
def prefetch(items: Iterable, ahead: int = AHEAD) -> Iterator[Iterator]:
    """Iterate in a thread of its own, a few items ahead.

    A signal reaches the main thread while the other one waits for a slow
    disk, a camera or a network.

    Args:
        items: Iterated over in the thread, from which no other may take.
        ahead: How many items may wait; 0: each is read when it is asked for.

    Yields:
        The items, in their order. An exception of theirs is raised where
        the item would have come. Behind the block, the thread has ended, or
        is given up if it still waits for an item after two seconds.
    """
    ready: queue.Queue = queue.Queue(max(ahead, 1))
    asked = threading.Semaphore(0)
    stop = threading.Event()

    def put(entry: tuple) -> bool:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=_POLL)
                return True
            except queue.Full:
                continue
        return False

    def may_read() -> bool:
        while ahead == 0 and not asked.acquire(timeout=_POLL):
            if stop.is_set():
                return False
        return not stop.is_set()

    def work() -> None:
        iterator = iter(items)
        try:
            while may_read():
                item = next(iterator, _END)
                if not put((item, None)) or item is _END:
                    return
        except BaseException as error:  # raised by who takes the items
            put((_END, error))
        finally:
            close = getattr(iterator, 'close', None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name='prefetch', daemon=True)
    thread.start()
    try:
        yield _take(ready, asked)
    finally:
        stop.set()
        thread.join(_PATIENCE)


def _take(ready: queue.Queue, asked: threading.Semaphore) -> Iterator:
    while True:
        asked.release()
        item, error = ready.get()
        if error is not None:
            raise error
        if item is _END:
            return
        yield item
