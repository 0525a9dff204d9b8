"""One compiled network in which the networks of an ensemble take turns."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sklstm.training import _pool
from sklstm.training._fitted_network import FittedNetwork
from sklstm.training._unproven import unproven_part

if TYPE_CHECKING:
    from sklstm.training._compiled import CompiledNetwork


class SharedGraph:
    """A compiled network that holds the numbers of one fitted network at a time.

    To exchange the numbers takes less than a millisecond for a small network. A graph
    for each network would take seconds to trace, and its memory.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._compiled: CompiledNetwork | None = None
        # The network whose numbers are in the graph. A weak reference lets it go.
        self._inside: Any = None
        # Keys take longer to compare than numbers to exchange, so this is done once.
        self._suits: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    @contextmanager
    def holding(self, network: FittedNetwork, state: dict) -> Iterator[CompiledNetwork]:
        """Put numbers into the graph, and keep other threads out during the block.

        Parameters
        ----------
        network : FittedNetwork
            The network that the numbers belong to.
        state : dict
            Its numbers, as `CompiledNetwork.get_state` returns them.

        Yields
        ------
        CompiledNetwork
            The network with these numbers. If the specification cannot be proven to
            give the graph of the others, this is the network's own.
        """
        with self._lock:
            if network not in self._suits:
                self._suits[network] = self._is_of_this_graph(network)
            if self._compiled is None or not self._suits[network]:
                yield network.compiled
                return
            if self._inside is None or self._inside() is not network:
                # If the next line is interrupted, the numbers belong to no network.
                self._inside = None
                self._compiled.set_weights(state)
                self._inside = weakref.ref(network)
            yield self._compiled

    def _is_of_this_graph(self, network: FittedNetwork) -> bool:
        key = network.spec.key()
        if unproven_part(key) is not None:
            return False
        if self._compiled is None:
            self._compiled = _pool.POOL.take(network.spec)
            give = weakref.finalize(self, _pool.POOL.give, self._compiled)
            give.atexit = False
        return self._compiled.key == key


def share_graph(networks: Iterable[FittedNetwork]) -> None:
    """Let networks of one specification compute in one graph, in turn."""
    graph = SharedGraph()
    for network in networks:
        network.share(graph)
