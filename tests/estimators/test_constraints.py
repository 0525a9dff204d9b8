"""Constraints of parameters: they follow from the table, in subclasses too."""

import pytest
from sklearn.utils._param_validation import InvalidParameterError

from sklstm import LSTMDefectDetector, LSTMImageClassifier


def test_estimators_may_differ_in_what_they_allow():
    assert LSTMImageClassifier(attention="additive").attention == "additive"
    with pytest.raises(InvalidParameterError, match="'attention' parameter"):
        LSTMDefectDetector(attention="additive")._validate_params()
    LSTMImageClassifier(attention="additive")._validate_params()


def test_a_subclass_keeps_the_constraints_it_inherits():
    class Narrow(LSTMDefectDetector):
        def __init__(self, units=8, attention=None):
            super().__init__(units=units, attention=attention)

    for wrong in ({"units": 0}, {"attention": "additive"}):
        (name,) = wrong
        with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of Narr"):
            Narrow(**wrong)._validate_params()
    assert set(Narrow._parameter_constraints) == set(
        LSTMDefectDetector._parameter_constraints
    )
