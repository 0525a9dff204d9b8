"""What is private in scikit-learn, or differs between the versions that we support.

All other modules import such names from here. A new version of scikit-learn that moves
or changes one of them then breaks this module alone. tests/test_compat.py checks it.
"""

from collections.abc import Callable
from typing import Any

# `OptunaSearchCV` inherits the results, the routing and the delegation of `predict`
# from the class that GridSearchCV and RandomizedSearchCV inherit from. Persistence asks
# for that class because a file holds no search. scikit-learn has no public base class.
from sklearn.model_selection._search import BaseSearchCV

# scikit-learn's estimators declare their parameter constraints with these two classes,
# and `_validate_params` gives the user the same messages for ours.
from sklearn.utils._param_validation import Interval, StrOptions

# `OptunaSearchCV` cuts X and y to a fold as GridSearchCV does, precomputed kernels
# included. scikit-learn has no public function that does so.
from sklearn.utils.metaestimators import _safe_split as safe_split

# `OptunaSearchCV` cuts metadata to a fold as GridSearchCV does: only arrays that are as
# long as X.
from sklearn.utils.validation import _check_method_params as check_method_params

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    FRAMES_OF_FIT = 2  # one frame of `fit` and one of its decorator
except ImportError:  # scikit-learn has no callbacks before version 1.9

    class _NoContext:
        def call_on_fit_task_begin(self, **kwargs: Any) -> None:
            pass

        def call_on_fit_task_end(self, **kwargs: Any) -> bool:
            return False

        def subcontext(self, **kwargs: Any) -> "_NoContext":
            return self

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand in for scikit-learn's mixin, without `set_callbacks`."""

        def _init_callback_context(self, **kwargs: Any) -> _NoContext:
            return _NoContext()

    def with_callbacks(method: Callable) -> Callable:
        """Return the method as it is."""
        return method

    FRAMES_OF_FIT = 1


__all__ = [
    "FRAMES_OF_FIT",
    "BaseSearchCV",
    "CallbackSupportMixin",
    "Interval",
    "StrOptions",
    "check_method_params",
    "safe_split",
    "with_callbacks",
]
