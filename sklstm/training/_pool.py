"""The pool of compiled networks, which lets fits reuse graphs.

A fitted estimator owns its network. When the estimator is deleted, its network goes
back to the pool. The next fit whose specification has the same key takes it.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections import OrderedDict, deque
from numbers import Integral
from typing import TYPE_CHECKING

from sklstm.training._fork import check_not_forked, forked_late
from sklstm.training._unproven import unproven_part

if TYPE_CHECKING:
    from sklstm.training._compiled import CompiledNetwork
    from sklstm.training._spec import NetworkSpec

_DEFAULT_SIZE = 8
# TensorFlow keeps half a megabyte of kernels for each network that is released. To
# delete them takes half a second.
_FORGET_AFTER = 8


class Pool:
    """Compiled networks that no estimator uses. The longest unused is dropped first.

    Parameters
    ----------
    size : int
        Maximum number of networks.
    """

    def __init__(self, size: int = _DEFAULT_SIZE) -> None:
        self.size = size
        self._forget()

    def _forget(self) -> None:
        """Start with an empty pool.

        A forked process keeps the networks that it inherits, but does not use them. To
        delete them would call TensorFlow.
        """
        self._inherited = [vars(self).get(name) for name in ("_free", "_inherited")]
        self._lock = threading.Lock()
        # The garbage collector may call `give` at any moment, even inside `take` in the
        # same thread. Returned networks wait here, where appending needs no lock.
        self._returned: deque[CompiledNetwork] = deque()
        self._free: OrderedDict[int, CompiledNetwork] = OrderedDict()
        self._n_released = 0
        self._process = os.getpid()

    def take(self, spec: NetworkSpec) -> CompiledNetwork:
        """Return a network of this specification that nobody else holds.

        Raises
        ------
        RuntimeError
            If this process was forked after Keras had been used.
        """
        check_not_forked()
        self._be_of_this_process()
        key = spec.key()
        if unproven_part(key) is None:
            with self._lock:
                self._sort_in()
                for name in reversed(self._free):
                    free = self._free[name]
                    if free.key == key and not _is_held(free):
                        return self._free.pop(name)
        if self._n_released >= _FORGET_AFTER:
            self._n_released = 0
            _forget_kernels()
        # Here and not above: this loads Keras.
        from sklstm.training._compiled import CompiledNetwork

        return CompiledNetwork(spec)

    def give(self, compiled: CompiledNetwork) -> None:
        """Take a network back, unless a user holds its model.

        A network of another process cannot be used here. A network whose key cannot be
        proven equal to any other would never be taken.
        """
        if compiled.process != os.getpid():
            self._inherited.append(compiled)
            return
        if compiled.exposed or unproven_part(compiled.key) is not None:
            self._release(compiled)
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
            self._release(oldest)

    def _release(self, compiled: CompiledNetwork) -> None:
        compiled.release()
        self._n_released += 1

    def _be_of_this_process(self) -> None:
        if self._process != os.getpid():
            self._forget()

    def clear(self) -> None:
        """Drop all free networks."""
        self._be_of_this_process()
        with self._lock:
            self._sort_in()
            dropped = list(self._free.values())
            self._free.clear()
        for compiled in dropped:
            compiled.release()

    def resize(self, size: int) -> None:
        """Set the maximum number of free networks."""
        self._be_of_this_process()
        with self._lock:
            self.size = size
            self._sort_in()

    def __len__(self) -> int:
        return len(self._free)


def _is_held(compiled: CompiledNetwork) -> bool:
    if not compiled.is_held():
        return False
    gc.collect()  # the holder may be a reference cycle that nobody uses
    return compiled.is_held()


POOL = Pool()


def clear_pool() -> None:
    """Delete the compiled networks that wait for a next fit.

    Fitted estimators keep their networks. TensorFlow keeps some memory for each network
    that it has traced.

    Examples
    --------
    >>> from sklstm.estimators import clear_pool
    >>> clear_pool()
    """
    POOL.clear()
    _forget_kernels()


def _forget_kernels() -> None:
    engine = sys.modules.get("sklstm.training._tensorflow")
    if engine is not None and not forked_late():
        engine.forget_kernels()


def set_pool_size(size: int) -> None:
    """Set the maximum number of compiled networks that wait for a next fit.

    Parameters
    ----------
    size : int
        Maximum number in this process, 8 at the start. With 0, each fit builds and
        traces a new network.

    Raises
    ------
    ValueError
        If `size` is negative or not a whole number.

    Examples
    --------
    >>> from sklstm.estimators import set_pool_size
    >>> set_pool_size(8)
    """
    if not isinstance(size, Integral) or size < 0:
        raise ValueError(f"size={size!r} must be a whole number, 0 or more.")
    POOL.resize(int(size))
