"""Reading ahead while the model computes."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_AHEAD = 4  # items
_POLL = 0.1  # seconds, after which a thread sees that nobody waits for it
_END = object()


@contextmanager
def prefetch(items: Iterable, ahead: int = _AHEAD) -> Iterator[Iterator]:
    """Iterate in a thread of its own, a few items ahead.

    Args:
        items: Iterated over in the thread, from which no other may take.
        ahead: How many items may wait.

    Yields:
        The items, in their order. An exception of theirs is raised where
        the item would have come. Behind the block, the thread has ended.
    """
    ready: queue.Queue = queue.Queue(ahead)
    stop = threading.Event()

    def put(entry: tuple) -> bool:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=_POLL)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:  # raised by who takes the items
            put((_END, error))
        finally:
            close = getattr(iterator, 'close', None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name='prefetch', daemon=True)
    thread.start()
    try:
        yield _take(ready)
    finally:
        stop.set()
        thread.join()


def _take(ready: queue.Queue) -> Iterator:
    while True:
        item, error = ready.get()
        if error is not None:
            raise error
        if item is _END:
            return
        yield item
