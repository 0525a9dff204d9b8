"""The pool of compiled networks: the next fit takes one over from the last.

A fitted estimator owns its network. When the estimator is gone, its network goes back
here and waits, by key, for the next fit that wants one of the same graph.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections import OrderedDict, deque
from numbers import Integral
from typing import TYPE_CHECKING, Any

from sklstm.estimators._fork import check_not_forked, forked_late

if TYPE_CHECKING:
    from sklstm.estimators._compiled import CompiledNetwork, Recipe

_DEFAULT_SIZE = 8


class Pool:
    """Free compiled networks, the longest unused dropped first.

    Parameters
    ----------
    size : int
        How many are kept; 0 keeps none.
    """

    def __init__(self, size: int = _DEFAULT_SIZE) -> None:
        self.size = size
        self._forget()

    def _forget(self) -> None:
        """Start with nothing. What a forked child inherits is kept out of use.

        To delete the parent's networks would call TensorFlow.
        """
        self._inherited = [vars(self).get(name) for name in ("_free", "_inherited")]
        self._lock = threading.Lock()
        # The garbage collector may call `give` at any moment, also within `take` of
        # the same thread: what it brings waits here, where appending needs no lock.
        self._returned: deque[CompiledNetwork] = deque()
        self._free: OrderedDict[int, CompiledNetwork] = OrderedDict()
        self._process = os.getpid()

    def take(self, recipe: Recipe) -> CompiledNetwork:
        """Return a network of that recipe that nobody else holds.

        Raises
        ------
        RuntimeError
            If this process was forked after Keras had been used.
        """
        check_not_forked()
        self._be_of_this_process()
        from sklstm.estimators._graph_key import unproven_part

        key = recipe.key()
        if unproven_part(key) is None:
            with self._lock:
                self._sort_in()
                for name in reversed(self._free):
                    free = self._free[name]
                    if free.key == key and not _is_held(free):
                        return self._free.pop(name)
        from sklstm.estimators._compiled import CompiledNetwork

        return CompiledNetwork(recipe)

    def give(self, compiled: CompiledNetwork) -> None:
        """Take a network back, unless its model was given away.

        Of another process, or of a key that no other can be proven to equal, it is of
        no use.
        """
        if compiled.process != os.getpid():
            self._inherited.append(compiled)
            return
        from sklstm.estimators._graph_key import unproven_part

        if compiled.exposed or unproven_part(compiled.key) is not None:
            compiled.release()
            return
        self._be_of_this_process()
        self._returned.append(compiled)
        if self._lock.acquire(blocking=False):
            try:
                self._sort_in()
            finally:
                self._lock.release()

    def _sort_in(self) -> None:
        while self._returned:
            compiled = self._returned.popleft()
            self._free[id(compiled)] = compiled
        while len(self._free) > self.size:
            _, oldest = self._free.popitem(last=False)
            oldest.release()

    def _be_of_this_process(self) -> None:
        if self._process != os.getpid():
            self._forget()

    def clear(self) -> None:
        """Drop all that are free."""
        self._be_of_this_process()
        with self._lock:
            self._sort_in()
            dropped = list(self._free.values())
            self._free.clear()
        for compiled in dropped:
            compiled.release()

    def resize(self, size: int) -> None:
        """Keep at most so many from now on."""
        self._be_of_this_process()
        with self._lock:
            self.size = size
            self._sort_in()

    def __len__(self) -> int:
        return len(self._free)


def _is_held(compiled: CompiledNetwork) -> bool:
    if not compiled.is_held():
        return False
    gc.collect()  # it may only be part of a reference cycle that nobody uses
    return compiled.is_held()


POOL = Pool()


def clear_pool() -> None:
    """Drop the compiled networks that wait for a next fit, and their memory.

    Fitted estimators keep theirs. TensorFlow itself keeps some memory for every
    network that it has ever traced.

    Examples
    --------
    >>> from sklstm.estimators import clear_pool
    >>> clear_pool()
    """
    POOL.clear()
    engine = sys.modules.get("sklstm.estimators._tensorflow")
    if engine is not None and not forked_late():
        engine.forget_kernels()


def set_pool_size(size: int) -> None:
    """Set how many compiled networks wait for a next fit in this process.

    Parameters
    ----------
    size : int
        8 to begin with; 0 keeps none, and every fit builds and traces anew.

    Raises
    ------
    ValueError
        If it is negative or not a whole number.

    Examples
    --------
    >>> from sklstm.estimators import set_pool_size
    >>> set_pool_size(8)
    """
    if not isinstance(size, Integral) or size < 0:
        raise ValueError(f"size={size!r} must be a whole number, 0 or more.")
    POOL.resize(int(size))


class Lease:
    """A fitted network, held by one estimator: pickled as numbers, not as a graph.

    Parameters
    ----------
    compiled : CompiledNetwork
        Taken from the pool; goes back when this object is gone.
    """

    def __init__(self, compiled: CompiledNetwork) -> None:
        self._hold(compiled)
        self.recipe = compiled.recipe
        self._state: dict | None = None
        self._lock = threading.Lock()

    def _hold(self, compiled: CompiledNetwork) -> None:
        self._compiled: CompiledNetwork | None = compiled
        # Not __del__: an estimator may end as part of a reference cycle. The garbage
        # collector would then call the finalizers of the network's own parts as well,
        # and TensorFlow's drop the traced functions. This keeps the network out of it.
        weakref.finalize(self, POOL.give, compiled).atexit = False

    @property
    def compiled(self) -> CompiledNetwork:
        """The network, rebuilt at first use where only its numbers have travelled."""
        check_not_forked()
        with self._lock:
            compiled = self._compiled
            if compiled is None:
                assert self._state is not None
                compiled = POOL.take(self.recipe)
                compiled.set_state(self._state)
                self._hold(compiled)
                self._state = None
            return compiled

    def get_state(self) -> dict:
        """Return the numbers: weights, seeds and the optimizer's."""
        with self._lock:
            compiled, state = self._compiled, self._state
        if compiled is None:
            return state or {}
        check_not_forked()
        return compiled.get_state()

    def __getstate__(self) -> dict[str, Any]:
        return {"recipe": self.recipe, "state": self.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._compiled = None
        self.recipe = state["recipe"]
        self._state = state["state"]
        self._lock = threading.Lock()
