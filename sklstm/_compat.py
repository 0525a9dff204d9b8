"""All that differs between the versions of scikit-learn this package supports."""

from collections.abc import Callable
from typing import Any

# Private in scikit-learn, and what its own estimators check parameters with.
from sklearn.utils._param_validation import Interval, StrOptions

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    FRAMES_OF_FIT = 2  # its own, and that of the decorator
except ImportError:  # scikit-learn < 1.9 has no callbacks

    class _NoContext:
        def call_on_fit_task_begin(self, **kwargs: Any) -> None:
            pass

        def call_on_fit_task_end(self, **kwargs: Any) -> bool:
            return False

        def subcontext(self, **kwargs: Any) -> "_NoContext":
            return self

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's mixin; offers no `set_callbacks`."""

        def _init_callback_context(self, **kwargs: Any) -> _NoContext:
            return _NoContext()

    def with_callbacks(method: Callable) -> Callable:
        """Return the method as it is."""
        return method

    FRAMES_OF_FIT = 1


__all__ = [
    "FRAMES_OF_FIT",
    "CallbackSupportMixin",
    "Interval",
    "StrOptions",
    "with_callbacks",
]
