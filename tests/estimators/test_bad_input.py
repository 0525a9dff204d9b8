"""Bad input to all methods: a clear sentence, and the estimator does not change."""

import functools
import re

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array, csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklstm import LSTMImageClassifier
from sklstm.estimators import clear_pool


def make(**params):
    settings = {"units": 8, "epochs": 2, "learning_rate": 0.02, "random_state": 0}
    return LSTMImageClassifier(**{**settings, **params})


@pytest.fixture(scope="module")
def three(digits):
    """Sixty images of the digits 0, 1 and 2."""
    images, y = digits
    return images[y < 3][:60], y[y < 3][:60]


@pytest.fixture(scope="module")
def fitted(three):
    """A fitted classifier and its predictions, which no test may change."""
    X, y = three
    model = make().fit(X, y)
    return model, model.predict_proba(X)


def same(before, after):
    """The same names, and the very same objects under them."""
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name] is value, name


def history_of(model):
    return {name: list(values) for name, values in model.history_.items()}


def refuse(three, fitted, message, params, *args, error=ValueError, **kwargs):
    """Fit with bad input, unfitted and fitted: the message, and nothing changed.

    `params` are set on both; `args` and `kwargs` are those of fit. Returns the message.
    """
    model = make(**params)
    before = dict(vars(model))
    with pytest.raises(error, match=message) as info:
        model.fit(*args, **kwargs)
    same(before, vars(model))
    with pytest.raises(NotFittedError):
        model.predict(three[0])

    model, expected = fitted
    plain = model.get_params()
    try:
        model.set_params(**params)
        before, history = dict(vars(model)), history_of(model)
        with pytest.raises(error, match=message):
            model.fit(*args, **kwargs)
        same(before, vars(model))
        assert history_of(model) == history
    finally:
        for name in params:
            if "__" in name:
                delattr(model, name)
        model.__dict__.pop("_routed", None)
        model.set_params(**{k: v for k, v in plain.items() if "__" not in k})
    np.testing.assert_array_equal(model.predict_proba(three[0]), expected)
    return str(info.value)


# Said by scikit-learn itself, for every estimator: what it adds in a second sentence.
SKLEARN_ADDS = r"\. (Got .* instead|Maybe you are trying to fit a classifier, .*)\.$"


def one_sentence(message):
    """One sentence that ends: no line breaks, no dump of an array or a traceback."""
    message = re.sub(SKLEARN_ADDS, ".", message)
    return (
        "\n" not in message
        and not re.search(r"[.!?]\s+[A-Z]", message)
        and len(message) < 300
        and not re.search(r"\bnp\.(int|float|str_|array)|<class|object at 0x", message)
    )


def with_pixel(X, value):
    X = X.copy()
    X[3, 2, 1] = value
    return X


BAD_X = {
    "NaN pixel": (
        lambda X: with_pixel(X, np.nan),
        r"^Input X contains NaN or infinity: 1 values in 1 of 60 .* first in X\[3\]",
    ),
    "infinite pixel": (
        lambda X: with_pixel(X, -np.inf),
        r"^Input X contains NaN or infinity: 1 values in 1 of 60 .* first in X\[3\]",
    ),
    "five axes": (
        lambda X: X[:, None, None],
        r"^X must be images of \(n, height, width\) or .* array of shape \(60, 1, 1,",
    ),
    "no image": (lambda X: X[:0], r"^Found array with 0 sample\(s\)"),
    "no pixel": (lambda X: X[:, :0], r"^X has images of \(0, 8\), which hold no pixel"),
    "objects": (
        lambda X: X.astype(object),
        r"^X has dtype object, but pixels must be numbers or bool",
    ),
    "mixed sizes": (
        lambda X: [X[0], X[1][:5], *X[2:]],
        r"its images differ in size \(X\[0\] is \(8, 8\), X\[1\] is \(5, 8\)\); resize",
    ),
    "strings": (
        lambda X: np.full(60, "digit.png"),
        r"^X holds strings, not pixels; .* ImageReader",
    ),
    "complex": (lambda X: X + 1j, r"^Complex data not supported: X is complex128"),
    "beyond float32": (
        lambda X: X * 1e300,
        r"^X has values beyond what float32 can hold \(3.4e38\): scale it first",
    ),
}


@pytest.mark.parametrize("case", BAD_X)
def test_bad_images(case, three, fitted):
    X, y = three
    change, message = BAD_X[case]
    assert one_sentence(refuse(three, fitted, message, {}, change(X), y))


def test_mixed_sizes_in_an_object_array(three, fitted):
    X, y = three
    mixed = np.empty(60, object)
    for i in range(60):
        mixed[i] = X[i][: 8 - i % 2]
    refuse(three, fitted, "its images differ in size", {}, mixed, y)


@pytest.mark.parametrize("kind", [csr_matrix, csr_array])
def test_sparse(kind, three, fitted):
    X, y = three
    flat = kind(X.reshape(60, -1))
    message = "^X is sparse, but images must be dense"
    assert one_sentence(refuse(three, fitted, message, {}, flat, y, error=TypeError))


def pieces(X, y):
    """The samples as other libraries load them."""
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    return data, torch.utils.data.DataLoader(data)


UNREADABLE = {
    "sparse": (lambda X, y: csr_matrix(X.reshape(60, -1)), "^X is sparse, but images"),
    "a number": (lambda X, y: np.array(5), "^X must be images .* of type int64"),
    "None": (lambda X, y: None, "^X must be images .* one value of type NoneType"),
    "a generator": (lambda X, y: iter(X), "^X must be images .* one value of type"),
    "a set": (lambda X, y: {1, 2}, "^X must be images .* one value of type set"),
    "a string": (lambda X, y: "digits", "^X holds strings, not pixels"),
    "masked": (
        lambda X, y: np.ma.array(X, mask=X > 15),
        r"^X is masked in \d+ values, which would be read .* X\.filled\(0\)\.$",
    ),
    "a table of strings": (
        lambda X, y: pd.DataFrame({"file": ["a.png"] * 60}),
        "^X holds strings, not pixels; .* ImageReader",
    ),
    "torch dataset": (
        lambda X, y: pieces(X, y)[0],
        "^X is a TensorDataset, which gives samples piece by piece: pass one array",
    ),
    "torch loader": (
        lambda X, y: pieces(X, y)[1],
        "^X is a DataLoader, which gives samples piece by piece: pass one array",
    ),
    "a tensor in training": (
        lambda X, y: pytest.importorskip("torch").tensor(X, requires_grad=True),
        r"^X is a Tensor that NumPy cannot read: pass X\.detach\(\)\.cpu\(\)\.numpy",
    ),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_samples_are_checked_before_epochs_are_planned(kind, three):
    change, message = UNREADABLE[kind]
    model = LSTMImageClassifier()
    assert model.epochs == "auto"
    with pytest.raises((TypeError, ValueError), match=message) as info:
        model.fit(change(*three), three[1])
    assert one_sentence(str(info.value))


def test_a_tensorflow_dataset_is_refused(three):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(three)
    with pytest.raises(TypeError, match="Dataset, which gives samples piece by piece"):
        LSTMImageClassifier().fit(data, three[1])


def test_tensors_are_read(three, fitted):
    torch = pytest.importorskip("torch")
    X, y = map(torch.tensor, three)
    model = make().fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), fitted[1])


NO_IMAGES = r"X must be images of \(n, height, width\) or .* got "


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones(60), rf"^Reshape your data: {NO_IMAGES}an array of shape \(60,\)"),
        (
            np.full((60, 64), np.nan),
            r"^Input X contains NaN or infinity: 3840 values in 60 of 60 images",
        ),
        (np.ones((0, 64)), r"^Found array with 0 sample\(s\)"),
        (np.ones((60, 0)), r"^Found array with 0 feature\(s\)"),
        (np.ones((60, 64), complex), "^Complex data not supported: X is complex128"),
        ([], r"^Found array with 0 sample\(s\)"),
        (None, f"^{NO_IMAGES}one value of type NoneType"),
    ],
    ids=["one axis", "NaN", "empty", "no feature", "complex", "[]", "None"],
)
def test_bad_flat_images(X, message, three, fitted):
    y = three[1][: 60 if X is None else len(X)]
    assert one_sentence(refuse(three, fitted, message, {}, X, y))


BAD_Y = {
    "too few": (
        lambda y: y[:-1],
        r"inconsistent numbers of samples: X has 60, y has 59; every sample needs one",
    ),
    "one class": (
        lambda y: y * 0 + 1,
        r"^y has one class, 1: a classifier needs at least two\.$",
    ),
    "one class of strings": (
        lambda y: np.full(60, "cat"),
        r"^y has one class, 'cat': a classifier needs at least two\.$",
    ),
    "none": (lambda y: None, r"requires y to be passed, but the target y is None"),
    "NaN": (
        lambda y: np.where(y == 1, np.nan, y),
        r"^Input y contains NaN, None or infinity: \d+ of 60 entries, the first is y\[",
    ),
    "continuous": (lambda y: y + 0.25, r"^Unknown label type: continuous"),
    "one-hot": (
        lambda y: np.eye(3)[y],
        r"^y should be a 1d array, .* one-hot rows that is np\.argmax\(y, axis=1\)\.$",
    ),
    "None": (
        lambda y: [None if label == 2 else str(label) for label in y],
        r"^Input y contains NaN, None or infinity: \d+ of 60 entries, the first is y\[",
    ),
    "numbers and strings": (
        lambda y: [int(label) if label else "none" for label in y],
        r"^y mixes numbers and strings, which have no order: give all as strings or",
    ),
}


@pytest.mark.parametrize("case", BAD_Y)
def test_bad_labels(case, three, fitted):
    X, y = three
    change, message = BAD_Y[case]
    assert one_sentence(refuse(three, fitted, message, {}, X, change(y)))


BAD_WEIGHTS = {
    "negative": (
        lambda y: np.where(y == 1, -2.0, 1.0),
        r"^sample_weight has negative values, down to -2: use 0 to leave a sample out",
    ),
    "all zero": (
        lambda y: np.zeros(60),
        r"^Every sample has weight zero, by sample_weight or class_weight: nothing",
    ),
    "too few": (
        lambda y: np.ones(59),
        r"^sample_weight has the shape \(59,\), but X has 60 samples: .*\(60,\)",
    ),
    "NaN": (lambda y: np.full(60, np.nan), r"^Input sample_weight contains NaN"),
    "balanced": (
        lambda y: "balanced",
        r"^sample_weight='balanced' is a string, .*: set class_weight='balanced' to",
    ),
    "one class left": (
        lambda y: (y == 2) * 1.0,
        r"^y has one class, 2, among samples of weight above zero",
    ),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_sample_weight(case, three, fitted):
    X, y = three
    change, message = BAD_WEIGHTS[case]
    refuse(three, fitted, message, {}, X, y, sample_weight=change(y))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: -1.0}, r"^class_weight has negative values, down to -1: use 0 to leave"),
        ({0: 0, 1: 0, 2: 0}, r"^Every sample has weight zero"),
        (
            {1: 1, 2: 2, 3: 3},
            r"^class_weight has the keys \[3\], which are not among the classes "
            r"\[0, 1, 2\], and none for \[0\]: use the labels of y",
        ),
        ({0: "much"}, r"^class_weight has the weights \['much', 1.0, 1.0\]: each must"),
        (
            "balance",
            r"'class_weight' parameter .* {'balanced'} or None\. Got 'balance'",
        ),
    ],
)
def test_bad_class_weight(weights, message, three, fitted):
    refuse(three, fitted, message, {"class_weight": weights}, *three)


BAD_VALIDATION = {
    "no y_val": (
        lambda X, y: (X, None),
        r"^X_val is given without y_val: give both, or neither",
    ),
    "no X_val": (
        lambda X, y: (None, y),
        r"^y_val is given without X_val: give both, or neither",
    ),
    "unknown label": (
        lambda X, y: (X, y + 1),
        r"^y_val has the classes \[3\], which are not among \[0, 1, 2\]",
    ),
    "other kind of label": (
        lambda X, y: (X, y.astype(str)),
        r"^y_val has the classes \['0', '1', '2'\], which are not among \[0, 1, 2\]",
    ),
    "too few labels": (lambda X, y: (X, y[:-1]), r"X_val has 60, y_val has 59"),
    "NaN": (
        lambda X, y: (with_pixel(X, np.nan), y),
        r"^X_val cannot be used: Input X contains NaN",
    ),
    "other size": (
        lambda X, y: (X[:, :5], y),
        r"^X_val cannot be used: it holds images of \(5, 8\), .* of \(8, 8\); bring X_"
        r"val to the form of X \(in a Pipeline, transform_input=\['X_val'\] leads it",
    ),
}


@pytest.mark.parametrize("case", BAD_VALIDATION)
def test_bad_validation_set(case, three, fitted):
    X, y = three
    change, message = BAD_VALIDATION[case]
    X_val, y_val = change(X, y)
    refuse(three, fitted, message, {}, X, y, X_val=X_val, y_val=y_val)


def test_validation_fraction_that_leaves_a_class_out(three, fitted):
    X, y = three
    early = {"early_stopping": True, "validation_fraction": 0.02}
    remedy = "raise validation_fraction, give X_val and y_val .*early_stopping=False"
    message = r"^validation_fraction=0.02 of 60 samples leaves a class out .*" + remedy
    assert one_sentence(refuse(three, fitted, message, early, X, y))
    # One sample of a class cannot be on both sides.
    lonely = np.r_[0:40][np.isin(y[:40], [0, 1])]
    rows = np.r_[lonely, np.flatnonzero(y == 2)[0]]
    early["validation_fraction"] = 0.2
    message = rf"^validation_fraction=0.2 of {len(rows)} samples leaves a class out"
    refuse(three, fitted, message, early, X[rows], y[rows])


BAD_PARAMS = {
    "network": ("lstmm", r"^network='lstmm' is not known: use .*'lstm'.* function"),
    "units": (0, r"'units' .* must be an int in the range \[1, inf\). Got 0 instead"),
    "n_layers": (1.5, r"'n_layers' .* must be an int .* Got 1.5 instead"),
    "dropout": (
        1.5,
        r"'dropout' .* must be a float in the range \[0.0, 1.0\). Got 1.5",
    ),
    "pooling": ("avg", r"'pooling' .* must be a str among .* Got 'avg' instead"),
    "learning_rate": (-1.0, r"'learning_rate' .* range \(0.0, inf\). Got -1.0 instead"),
    "lr_schedule": (
        "cosin",
        r"^lr_schedule='cosin' is not known: use 'cosine', 'constant' or",
    ),
    "optimizer": ("adm", r"^optimizer='adm' is not known to Keras: use 'adam'"),
    "loss": (
        "crossentropi",
        r"^loss='crossentropi' cannot be used: Could not interpret",
    ),
    "metrics": (["acuracy"], r"^metrics=\['acuracy'\] cannot be used: Could not"),
    "validation_fraction": (1.0, r"'validation_fraction' .* range \(0.0, 1.0\)"),
    "batch_size": (0, r"'batch_size' .* range \[1, inf\) or a str .* Got 0 instead"),
    "epochs": (0, r"'epochs' .* range \[1, inf\) or .*'auto'.*\. Got 0 instead"),
    "random_state": ("a", r"'random_state' parameter .* Got 'a' instead"),
}


@pytest.mark.parametrize("name", BAD_PARAMS)
def test_bad_parameter(name, three, fitted):
    value, message = BAD_PARAMS[name]
    assert one_sentence(refuse(three, fitted, message, {name: value}, *three))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"optimizer__clipnorm": 1.0},
            r"^clipvalue=1.0 and optimizer__clipnorm exclude each other: set "
            r"clipvalue=None to clip by norm\.$",
        ),
        (
            {"optimizer__clipnorm": None, "optimizer__global_clipnorm": 1.0},
            r"^clipvalue=1.0 and optimizer__global_clipnorm exclude each other",
        ),
        (
            {"optimizer__learning_rate": 0.1},
            r"^optimizer__learning_rate is given: set learning_rate instead\.$",
        ),
        (
            {"optimizer__clipvalue": 0.1},
            r"^optimizer__clipvalue is given: set clipvalue instead\.$",
        ),
        (
            {"optimizer__beta_3": 0.1},
            r"optimizer__beta_3=0.1.* cannot be used: Argument\(s\) not recognized",
        ),
    ],
)
def test_bad_routed_optimizer_parameter(params, message, three, fitted):
    assert one_sentence(refuse(three, fitted, message, params, *three))


def test_routed_parameter_to_an_instance(three, fitted):
    keras = pytest.importorskip("keras")
    params = {"optimizer": keras.optimizers.Adam(), "optimizer__beta_1": 0.5}
    message = r"^optimizer__beta_1 is given, but optimizer is an instance"
    refuse(three, fitted, message, params, *three)


@pytest.mark.parametrize(
    ("routed", "message"),
    [
        (
            {"network__unit": 3},
            r"^network__unit is not a parameter of the network function 'lstm': it "
            r"takes .*; units, n_layers, .* are set without network__",
        ),
        (
            {"loss__label_smoothing": 0.1},
            r"loss__label_smoothing=0.1 cannot be used: only a class takes parameters",
        ),
        (
            {"callbacks__patience": 3},
            r"^callbacks=None with callbacks__patience=3 cannot be used: give "
            r"callbacks the class that takes them",
        ),
    ],
)
def test_routed_parameter_that_arrives_nowhere(routed, message, three, fitted):
    refuse(three, fitted, message, routed, *three, error=TypeError)


def test_typo_in_a_parameter_of_a_callback(three, fitted):
    keras = pytest.importorskip("keras")
    params = {"callbacks": keras.callbacks.EarlyStopping, "callbacks__patienc": 3}
    message = (
        r"^callbacks=EarlyStopping with callbacks__patienc=3 cannot be used: .*"
        "unexpected keyword argument 'patienc'"
    )
    refuse(three, fitted, message, params, *three, error=TypeError)


@pytest.mark.parametrize("callbacks", [3, "EarlyStopping", [object]])
def test_callbacks_that_are_none(callbacks, three, fitted):
    message = "cannot be used: give classes or instances of keras.callbacks.Callback"
    params = {"callbacks": callbacks}
    refuse(three, fitted, message, params, *three, error=TypeError)


def no_model(input_shape, n_classes):
    return "a model"


def compiled_model(input_shape, n_classes):
    model = dense_model(input_shape, n_classes)
    model.compile(loss="sparse_categorical_crossentropy")
    return model


def one_output_too_many(input_shape, n_classes):
    return dense_model(input_shape, n_classes + 1)


def dense_model(input_shape, n_classes):
    import keras

    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling1D()(inputs)
    outputs = keras.layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        (no_model, TypeError, r"returned a str: it must return a keras.Model"),
        (
            compiled_model,
            ValueError,
            r"a compiled model: return it without compile\(\)",
        ),
        (
            one_output_too_many,
            ValueError,
            r"outputs of shape \[\(None, 4\)\]: it must give one of shape \(None, 3\)",
        ),
    ],
    ids=["no model", "compiled", "outputs"],
)
def test_bad_network_function(network, error, message, three, fitted):
    params = {"network": network}
    text = refuse(three, fitted, message, params, *three, error=error)
    assert one_sentence(text)
    # The control: a good one is taken.
    assert make(network=dense_model).fit(*three).n_iter_ == 2


def test_routed_parameter_that_a_network_function_does_not_take(three, fitted):
    params = {"network": dense_model, "network__units": 3}
    message = "network__units is not a parameter of the network function 'dense_model'"
    refuse(three, fitted, message, params, *three, error=TypeError)


@pytest.mark.parametrize("name", ["optimiser__beta_1", "unit", "optimizer__", "__x"])
def test_unknown_name(name):
    # When it is set, and not in fit: a misspelled name is nobody's parameter.
    known = "network__, optimizer__, loss__, metrics__, callbacks__"
    message = f"unexpected keyword argument '{name}': routed parameters begin with"
    with pytest.raises(TypeError, match=f"{message} {known}"):
        make(**{name: 3})
    model = make()
    before = dict(vars(model))
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(**{name: 3})
    same(before, vars(model))


DIVERGES = {
    "optimizer": "sgd",
    "clipvalue": None,
    "learning_rate": 1e38,
    "lr_schedule": "constant",
}


def test_learning_rate_too_high(three, fitted):
    message = (
        r"^The training loss became (nan|inf) in epoch \d: lower learning_rate "
        r"\(now 1e\+38\).*clipvalue.*, or look for extreme values in X and"
    )
    text = refuse(three, fitted, message, DIVERGES, *three, error=FloatingPointError)
    assert one_sentence(text)
    # The wrecked network went back to the pool: who takes it next notices nothing.
    rate = {**DIVERGES, "learning_rate": 0.02}
    after = make(**rate).fit(*three).predict_proba(three[0])
    assert np.isfinite(after).all()
    clear_pool()
    new = make(**rate).fit(*three).predict_proba(three[0])
    np.testing.assert_allclose(after, new, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-46, 3e38, 1e300])
def test_equal_weights_of_any_size_are_none(size, three, fitted):
    model = make().fit(*three, sample_weight=np.full(60, size))
    np.testing.assert_array_equal(model.predict_proba(three[0]), fitted[1])


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda X: X[:, :5],
            r"^X holds images of \(5, 8\), but LSTMImageClassifier was fitted on "
            r"images of \(8, 8\); resize them to that shape\.$",
        ),
        (
            lambda X: X[:, :5].reshape(60, -1),
            "X has 40 features, but LSTMImageClassifier is expecting 64 features",
        ),
        (
            lambda X: with_pixel(X, np.nan),
            r"contains NaN or infinity.* first in X\[3\]",
        ),
        (lambda X: X * 1e300, "values beyond what float32 can hold"),
        (lambda X: X[:0], r"Found array with 0 sample\(s\)"),
        (
            lambda X: X[0],
            r"^X is one image of \(8, 8\): put it into a batch, X\[None\]\.$",
        ),
    ],
    ids=["size", "flat size", "NaN", "beyond float32", "empty", "one image"],
)
def test_bad_images_to_a_fitted_one(change, message, method, three, fitted):
    X, y = three
    model, expected = fitted
    before = dict(vars(model))
    args = (y,) if method == "score" else ()
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(change(X), *args)
    same(before, vars(model))
    np.testing.assert_array_equal(model.predict_proba(X), expected)


@pytest.fixture(scope="module")
def fitted_on(three):
    """Classifiers fitted on the same images in several types, by one graph."""
    X, y = three

    @functools.cache
    def fit(dtype, factor):
        return make().fit((X * factor).astype(dtype), y)

    return fit


DEPTHS = [
    # Fitted on, times; given, times.
    ("uint8", 15, "uint16", 3855),  # the same pictures in 16 bit
    ("uint8", 15, "int32", 3855),
    ("uint8", 15, "int16", -1),
    ("uint16", 3855, "uint8", 15),
    ("uint16", 255, "uint8", 15),  # 12 bit
    ("bool", 1, "uint8", 15),
    ("uint8", 15, "bool", 1),
]


@pytest.mark.parametrize(("fitted_dtype", "a", "dtype", "b"), DEPTHS)
def test_integers_of_another_depth_are_refused(
    fitted_dtype, a, dtype, b, three, fitted_on
):
    X, y = three
    model = fitted_on(fitted_dtype, a)
    other = (X * b).astype(dtype)
    message = (
        rf"^X is {dtype} with values from -?\d+ to \d+, but LSTMImageClassifier was "
        rf"fitted on {fitted_dtype} with values from 0 to \d+; scale X to .*\.$"
    )
    with pytest.raises(ValueError, match=message) as info:
        model.predict(other)
    assert one_sentence(str(info.value))
    if a == 15 and dtype == "uint16":
        message = rf"^X_val cannot be used: it is {dtype} .* bring X_val to the form"
        with pytest.raises(ValueError, match=message):
            clone(model).fit((X * a).astype(fitted_dtype), y, X_val=other, y_val=y)
        with pytest.raises(ValueError, match=r"^X is uint16 with"):
            model.partial_fit(other, y)


@pytest.mark.parametrize(
    ("fitted_dtype", "factor", "dtypes"),
    [
        ("uint8", 15, ["uint16", ">u2", "int64", "float32", "float64"]),
        ("uint16", 15, ["uint8", "int64", "float32"]),
        ("bool", 1, ["uint8", "int64", "float32"]),
        ("float64", 3855, ["uint8", "uint16", "int64"]),
    ],
)
def test_the_same_values_in_another_type_are_the_same(
    fitted_dtype, factor, dtypes, three, fitted_on
):
    X = (three[0] * (factor > 1) * min(factor, 15) + (factor == 1)).astype("uint8")
    X = X.astype(fitted_dtype)
    model = fitted_on(fitted_dtype, factor)
    expected = model.predict_proba(X)
    for dtype in dtypes:
        np.testing.assert_array_equal(model.predict_proba(X.astype(dtype)), expected)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_not_fitted(method, three):
    model = make()
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        getattr(model, method)(three[0])
    assert not hasattr(model, "model_")


def stopped_half_way(monkeypatch):
    """Let the second epoch of a fit fail, weights already changed."""
    from sklstm.training._callbacks import EpochRecorder

    whole = EpochRecorder.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        whole(self, epoch, logs)
        if epoch == self.params["epochs"] - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(EpochRecorder, "on_epoch_end", on_epoch_end)


@pytest.mark.parametrize("how", ["fit", "warm start", "partial_fit"])
def test_training_that_stops_half_way(how, three, fitted, monkeypatch):
    X, y = three
    model, expected = fitted
    before, history = dict(vars(model)), history_of(model)
    optimizer = model._fitted_network.get_state()["optimizer"]
    model.warm_start = before["warm_start"] = how == "warm start"
    with monkeypatch.context() as patch:
        stopped_half_way(patch)
        with pytest.raises(KeyboardInterrupt):
            (model.partial_fit if how == "partial_fit" else model.fit)(X, y)
    same(before, vars(model))
    assert history_of(model) == history
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    for own, old in zip(
        model._fitted_network.get_state()["optimizer"], optimizer, strict=True
    ):
        np.testing.assert_array_equal(own, old)
    model.warm_start = False


@pytest.mark.parametrize("how", ["warm start", "partial_fit"])
def test_going_on_with_bad_input(how, three, fitted):
    X, y = three
    model, expected = fitted
    model.warm_start = how == "warm start"
    before, history = dict(vars(model)), history_of(model)
    go_on = model.fit if how == "warm start" else model.partial_fit
    for args, message in [
        ((with_pixel(X, np.nan), y), "contains NaN"),
        ((X[:, :5], y), r"images of \(5, 8\), .* fitted on images of \(8, 8\)"),
        ((X, y[:-1]), "X has 60, y has 59"),
        ((X, y + 1), r"^y has the classes \[3\], which are not among \[0, 1, 2\]: all"),
        ((X, y, np.zeros(60)), "weight zero|classes="),
    ]:
        with pytest.raises(ValueError, match=message):
            go_on(*args)
        same(before, vars(model))
        assert history_of(model) == history
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    model.warm_start = False


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"units": 9}, "units"),
        ({"pooling": "mean", "n_layers": 2}, "n_layers, pooling"),
        ({"clipvalue": 0.5}, "clipvalue"),
        ({"optimizer": "sgd"}, "optimizer"),
    ],
)
def test_going_on_with_another_network(params, names, three, fitted):
    model, expected = fitted
    plain = model.get_params()
    message = f"^{names} changed since the last fit, .*: set it back, or fit with"
    try:
        model.set_params(**params)
        with pytest.raises(ValueError, match=message):
            model.partial_fit(*three)
    finally:
        model.set_params(**plain)
    np.testing.assert_array_equal(model.predict_proba(three[0]), expected)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1], r"^y has the classes \[2\], which are not among \[0, 1\]"),
        ([0], r"^classes has one class, 0: a classifier needs at least two\.$"),
    ],
)
def test_first_partial_fit_with_bad_classes(classes, message, three):
    model = make()
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*three, classes=classes)
    same(before, vars(model))


def test_later_partial_fit_with_other_classes(three, fitted):
    model, expected = fitted
    before = dict(vars(model))
    message = r"^classes=\[0, 1\] differ from those of the first call, \[0, 1, 2\]\.$"
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*three, classes=[0, 1])
    same(before, vars(model))
    np.testing.assert_array_equal(model.predict_proba(three[0]), expected)


def test_balanced_weights_in_partial_fit(three):
    model = make(class_weight="balanced")
    before = dict(vars(model))
    message = "^class_weight='balanced' needs all samples at once, .*: give a dict"
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*three)
    same(before, vars(model))


def test_the_fixture_is_as_it_was(three, fitted):
    # The last test: none of the above has left a mark, and the fit can be repeated.
    model, expected = fitted
    assert model.get_params() == make().get_params()
    np.testing.assert_array_equal(
        clone(model).fit(*three).predict_proba(three[0]), expected
    )


def test_network_that_gives_logits(three, fitted):
    def logits(input_shape, n_classes):
        import keras

        return keras.Sequential(
            [
                keras.Input(input_shape),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(n_classes),
            ]
        )

    message = r"sum to .*must be probabilities: end it with activation='softmax'\.$"
    refuse(three, fitted, message, {"network": logits}, *three)
