"""The trained network of one estimator, with or without its graph."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from sklstm.training import _pool
from sklstm.training._fork import check_not_forked

if TYPE_CHECKING:
    from sklstm.training._compiled import CompiledNetwork


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
        self._lock = threading.Lock()

    def _hold(self, compiled: CompiledNetwork) -> None:
        self._compiled: CompiledNetwork | None = compiled
        # The method __del__ would not do, because an estimator may be deleted as part
        # of a reference cycle. The garbage collector would then finalize the parts of
        # the network too, and TensorFlow would drop the traced functions. A finalizer
        # that holds the network keeps it out of the cycle.
        weakref.finalize(self, _pool.POOL.give, compiled).atexit = False

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
        self._lock = threading.Lock()
