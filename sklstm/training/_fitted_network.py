"""The trained network of one estimator, with or without its graph."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sklstm.training import _pool
from sklstm.training._fork import check_not_forked

if TYPE_CHECKING:
    from sklstm.training._compiled import CompiledNetwork
    from sklstm.training._shared_graph import SharedGraph


class FittedNetwork:
    """The trained network of one estimator. Pickles hold its numbers, not its graph.

    Parameters
    ----------
    compiled : CompiledNetwork
        A network from the pool. It goes back when this object is deleted.
    """

    def __init__(self, compiled: CompiledNetwork) -> None:
        self._hold(compiled)
        self.spec = compiled.spec
        self._state: dict | None = None
        self._shared: SharedGraph | None = None
        self._lock = threading.Lock()

    def _hold(self, compiled: CompiledNetwork) -> None:
        self._compiled: CompiledNetwork | None = compiled
        # The method __del__ would not do, because an estimator may be deleted as part
        # of a reference cycle. The garbage collector would then finalize the parts of
        # the network too, and TensorFlow would drop the traced functions. A finalizer
        # that holds the network keeps it out of the cycle.
        self._return = weakref.finalize(self, _pool.POOL.give, compiled)
        self._return.atexit = False

    def share(self, graph: SharedGraph) -> None:
        """Keep the numbers only, and compute with a graph that others use as well.

        The compiled network goes back to the pool. `compiled` takes one again, which
        then belongs to this object alone.
        """
        state = self.get_state()
        with self._lock:
            self._state, self._shared = state, graph
            if self._compiled is not None:
                self._compiled = None
                self._return()

    def has_no_graph(self) -> bool:
        """Return whether this object holds numbers and shares no graph."""
        return self._compiled is None and self._shared is None

    @contextmanager
    def in_use(self) -> Iterator[CompiledNetwork]:
        """Give the block a compiled network that holds the numbers of this object.

        Yields
        ------
        CompiledNetwork
            The block may compute with it, but neither change nor keep it.
        """
        # A lock that another thread held at the fork would never open in the child.
        check_not_forked()
        shared, state = self._shared, self._state
        if self._compiled is None and shared is not None and state is not None:
            with shared.holding(self, state) as compiled:
                yield compiled
        else:
            yield self.compiled

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the output of the network for each sample."""
        with self.in_use() as compiled:
            return compiled.predict(x)

    @property
    def compiled(self) -> CompiledNetwork:
        """The network. After unpickling, the first use builds it from its numbers."""
        check_not_forked()
        with self._lock:
            compiled = self._compiled
            if compiled is None:
                assert self._state is not None
                compiled = _pool.POOL.take(self.spec)
                compiled.set_state(self._state)
                self._hold(compiled)
                self._state = None
            return compiled

    def get_state(self) -> dict:
        """Return all numbers: weights, seeds and the state of the optimizer."""
        with self._lock:
            compiled, state = self._compiled, self._state
        if compiled is None:
            return state or {}
        check_not_forked()
        return compiled.get_state()

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "state": self.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._compiled = None
        self.spec = state["spec"]
        self._state = state["state"]
        self._shared = None
        self._lock = threading.Lock()
