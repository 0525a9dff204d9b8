"""The CRF as a whole: layer, loss and inference.

The results are compared with an enumeration of all paths, and for long chains with the
forward-backward algorithm in float64.
"""

import itertools
import warnings

from sklstm._keras import keras

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax

from sklstm import networks
from sklstm.networks import CRFLoss, FusedLSTM, LinearChainCRF, shift_labels
from sklstm.networks.crf import _chain
from sklstm.networks.initialize import initialize

BACKEND = keras.backend.backend()
LENGTHS = (6, 1, 3, 2, 5, 4)
tensorflow_only = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="other backends know all shapes"
)


def compiled(function):
    """Return the function, compiled on JAX, where it takes seconds otherwise."""
    if BACKEND != "jax":
        return function
    import jax

    return jax.jit(function)


log_likelihood = compiled(networks.log_likelihood)
log_partition = compiled(networks.log_partition)
marginals = compiled(networks.marginals)
max_marginals = compiled(networks.max_marginals)
path_score = compiled(networks.path_score)
viterbi = compiled(networks.viterbi)


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def crf(n_labels, seed=1, scale=1.5):
    """Return a layer with random weights."""
    layer = LinearChainCRF()
    layer.build((None, None, n_labels))
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.normal(0, scale, weight.shape).astype("float32"))
    return layer


def weights_of(layer):
    """Return the weights in float64: transitions, start, end."""
    return [to_numpy(w).astype(float) for w in layer.weights]


def numbers(n, n_steps, n_labels, seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, scale, (n, n_steps, n_labels)).astype("float32")


def some_labels(n, n_steps, n_labels, seed=2):
    return np.random.default_rng(seed).integers(0, n_labels, (n, n_steps))


def mask_of(lengths):
    return np.arange(max(lengths)) < np.array(lengths)[:, None]


def score_of(path, emissions, transitions, start, end):
    """Return the score of a path of one chain (n_steps, n_labels), by definition."""
    score = start[path[0]] + end[path[-1]]
    score += sum(emissions[t, label] for t, label in enumerate(path))
    return score + sum(transitions[i, j] for i, j in itertools.pairwise(path))


def all_paths(emissions, weights):
    """Return all paths of one chain (n_paths, n_steps), and their scores."""
    n_steps, n_labels = emissions.shape
    paths = np.array(list(itertools.product(range(n_labels), repeat=n_steps)))
    return paths, np.array([score_of(path, emissions, *weights) for path in paths])


def forward_backward(emissions, weights, add):
    """Return the forward scores, with each step itself, and the backward scores."""
    transitions, start, end = weights
    forward, backward = np.zeros((2, *emissions.shape))
    forward[0] = start + emissions[0]
    for t in range(1, len(emissions)):
        forward[t] = add(forward[t - 1][:, None] + transitions, axis=0) + emissions[t]
    backward[-1] = end
    for t in range(len(emissions) - 2, -1, -1):
        backward[t] = add(transitions + emissions[t + 1] + backward[t + 1], axis=1)
    return forward, backward


def gradients(function, arrays):
    """Return the gradients that the backend gives for a scalar function."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tensors = [tf.constant(a, "float32") for a in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        found = tape.gradient(value, tensors)
    elif BACKEND == "jax":
        import jax

        tensors = [keras.ops.convert_to_tensor(a, "float32") for a in arrays]
        gradient = jax.grad(function, argnums=tuple(range(len(tensors))))
        found = jax.jit(gradient)(*tensors)
    else:
        import torch

        tensors = [torch.tensor(a, dtype=torch.float32) for a in arrays]
        for tensor in tensors:
            tensor.requires_grad_(True)
        found = torch.autograd.grad(function(*tensors), tensors)
    return [to_numpy(gradient) for gradient in found]


# --- against all paths --------------------------------------------------------------


@pytest.mark.backend
@pytest.mark.parametrize("n_labels", [2, 3])
def test_all_functions_against_all_paths_of_masked_chains(n_labels):
    n_steps = max(LENGTHS)
    layer, emissions = crf(n_labels), numbers(len(LENGTHS), n_steps, n_labels)
    labels = some_labels(len(LENGTHS), n_steps, n_labels)
    loss = compiled(CRFLoss(reduction=None))
    # Labels at masked steps must not matter.
    anything = np.where(mask_of(LENGTHS), labels, -1)
    potentials = layer(emissions, mask=mask_of(LENGTHS))
    probabilities, through = to_numpy(marginals(potentials)), max_marginals(potentials)
    best, best_score = (to_numpy(x) for x in viterbi(potentials))
    through = to_numpy(through)
    assert best.dtype == np.int32

    for i, length in enumerate(LENGTHS):
        paths, scores = all_paths(
            emissions[i, :length].astype(float), weights_of(layer)
        )
        total = logsumexp(scores)
        own = scores[(paths == labels[i, :length]).all(axis=1)][0]
        for function, expected in (
            (log_partition, total),
            (lambda p: path_score(p, anything), own),
            (lambda p: path_score(p, labels), own),
            (lambda p: log_likelihood(p, anything), own - total),
            (lambda p: loss(labels, p), (total - own) / length),
        ):
            value = to_numpy(function(potentials))[i]
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-5)
        for label in range(n_labels):
            here = paths == label
            np.testing.assert_allclose(
                probabilities[i, :length, label],
                np.exp(scores - total) @ here,
                atol=2e-6,
            )
            np.testing.assert_allclose(
                through[i, :length, label],
                np.where(here.T, scores, -np.inf).max(axis=1),
                rtol=1e-5,
                atol=1e-5,
            )
        np.testing.assert_array_equal(best[i, :length], paths[scores.argmax()])
        assert best_score[i] == pytest.approx(scores.max(), rel=1e-5)
        np.testing.assert_array_equal(
            through[i, :length].argmax(axis=1), best[i, :length]
        )
        # Masked steps repeat the last unmasked step.
        assert (best[i, length:] == best[i, length - 1]).all()
        rest = probabilities[i, length:]
        np.testing.assert_allclose(
            rest, np.broadcast_to(probabilities[i, length - 1], rest.shape), atol=2e-6
        )
    np.testing.assert_allclose(probabilities.sum(axis=2), 1, rtol=1e-5)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 7, 8, 9, 33])
def test_any_number_of_steps(n_steps):
    layer, emissions = crf(3), numbers(2, n_steps, 3)
    potentials = layer(emissions)
    probabilities, through = marginals(potentials), max_marginals(potentials)
    for i in range(2):
        forward, backward = forward_backward(emissions[i], weights_of(layer), logsumexp)
        total = logsumexp(forward[-1] + backward[-1])
        np.testing.assert_allclose(
            to_numpy(probabilities)[i], np.exp(forward + backward - total), atol=2e-6
        )
        assert to_numpy(log_partition(potentials))[i] == pytest.approx(total, rel=1e-5)
        forward, backward = forward_backward(emissions[i], weights_of(layer), np.max)
        np.testing.assert_allclose(
            to_numpy(through)[i], forward + backward, rtol=1e-5, atol=1e-5
        )


def test_potentials_by_their_definition():
    layer, emissions = crf(2), numbers(2, 3, 2)
    transitions, start, end = weights_of(layer)
    mask = np.array([[True, True, True], [True, True, False]])
    potentials = to_numpy(layer(emissions, mask=mask))
    assert potentials.dtype == np.float32
    for j in range(2):
        np.testing.assert_allclose(
            potentials[:, 0, :, j], np.tile(start[j] + emissions[:, 0, j, None], 2)
        )
        middle = transitions[:, j] + emissions[0, 1, j]
        np.testing.assert_allclose(potentials[0, 1, :, j], middle, rtol=1e-5)
        for i, last in ((0, 2), (1, 1)):
            expected = transitions[:, j] + emissions[i, last, j] + end[j]
            np.testing.assert_allclose(potentials[i, last, :, j], expected, rtol=1e-5)
    assert (potentials[1, 2].diagonal() == 0).all()
    assert (potentials[1, 2][~np.eye(2, dtype=bool)] < -1e8).all()
    assert layer.compute_output_shape((None, 3, 2)) == (None, 3, 2, 2)


@pytest.mark.backend
def test_untrained_steps_are_independent():
    emissions, labels = numbers(4, 7, 3), some_labels(4, 7, 3)
    potentials = LinearChainCRF()(emissions)
    np.testing.assert_allclose(
        to_numpy(marginals(potentials)), softmax(emissions, axis=2), atol=2e-6
    )
    np.testing.assert_array_equal(to_numpy(viterbi(potentials)[0]), emissions.argmax(2))
    chosen = np.take_along_axis(log_softmax(emissions, axis=2), labels[..., None], 2)
    loss = compiled(CRFLoss())(labels, potentials)
    assert to_numpy(loss) == pytest.approx(-chosen.mean(), rel=1e-5)


def test_viterbi_returns_one_of_several_best_paths():
    # Both 0, 1, 0, ... and 1, 0, 1, ... are best. A choice for each step alone could
    # mix them.
    layer = LinearChainCRF()
    layer.build((None, None, 2))
    layer.transitions.assign(np.array([[0, 1], [1, 0]], "float32"))
    for n_steps in (2, 5, 8, 21):
        labels, score = viterbi(layer(np.zeros((1, n_steps, 2), "float32")))
        assert (np.abs(np.diff(to_numpy(labels)[0])) == 1).all()
        assert to_numpy(score)[0] == n_steps - 1


@pytest.mark.backend
def test_an_empty_chain_is_uniform_and_has_no_gradient():
    layer, emissions = crf(2), numbers(2, 4, 2)
    mask = mask_of((4, 0))
    potentials = layer(emissions, mask=mask)
    assert np.isfinite(to_numpy(potentials)).all()
    np.testing.assert_allclose(to_numpy(marginals(potentials))[1], 0.5)
    assert to_numpy(log_partition(potentials))[1] == pytest.approx(np.log(2))
    np.testing.assert_array_equal(to_numpy(max_marginals(potentials))[1], 0)
    assert to_numpy(viterbi(potentials)[1])[1] == 0
    each = to_numpy(CRFLoss(reduction=None)(some_labels(2, 4, 2), potentials))
    assert each[1] == pytest.approx(np.log(2))
    (gradient,) = gradients(
        lambda x: CRFLoss()(some_labels(2, 4, 2), layer(x, mask=mask)), [emissions]
    )
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).all()


def test_shift_labels_is_a_shift_of_the_emissions():
    layer, emissions, mask = crf(3), numbers(6, 6, 3), mask_of(LENGTHS)
    shift = np.array([0.5, -2.0, 0.0])
    shifted = shift_labels(layer(emissions, mask=mask), shift)
    expected = layer(emissions + shift.astype("float32"), mask=mask)
    np.testing.assert_allclose(to_numpy(shifted), to_numpy(expected), atol=1e-5)


# --- gradients ----------------------------------------------------------------------


@pytest.mark.backend
def test_gradients_against_finite_differences():
    lengths, n_labels = (5, 3), 3
    layer, labels = crf(n_labels), some_labels(2, 5, n_labels)
    arrays = [numbers(2, 5, n_labels), *weights_of(layer)]

    def own(emissions, *weights):
        potentials, _ = layer.stateless_call(
            list(weights), [], emissions, mask=mask_of(lengths)
        )
        return keras.ops.sum(log_likelihood(potentials, labels))

    def expected(emissions, *weights):
        total = 0.0
        for i, length in enumerate(lengths):
            _, scores = all_paths(emissions[i, :length], weights)
            path = labels[i, :length]
            total += score_of(path, emissions[i], *weights) - logsumexp(scores)
        return total

    for k, gradient in enumerate(gradients(own, arrays)):
        differences = np.zeros(gradient.shape)
        for index in np.ndindex(gradient.shape):
            ends = []
            for step in (1e-4, -1e-4):
                moved = [np.array(a, dtype=float) for a in arrays]
                moved[k][index] += step
                ends.append(expected(*moved))
            differences[index] = (ends[0] - ends[1]) / 2e-4
        np.testing.assert_allclose(gradient, differences, atol=2e-5)
        assert np.abs(gradient).max() > 0.1


@pytest.mark.backend
@pytest.mark.parametrize("scale", [0.0, 1.5])  # 0.0: all paths are equally probable
def test_the_gradient_of_the_log_partition_is_the_marginals(scale):
    layer = crf(3, scale=scale)
    emissions, mask = scale * numbers(6, 6, 3), mask_of(LENGTHS)
    (gradient,) = gradients(
        lambda x: keras.ops.sum(log_partition(layer(x, mask=mask))), [emissions]
    )
    probabilities = to_numpy(marginals(layer(emissions, mask=mask)))
    np.testing.assert_allclose(gradient, probabilities * mask[..., None], atol=2e-6)


# --- long chains --------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, pytest.param(30.0, marks=pytest.mark.backend)])
def test_4000_steps_in_float32_against_float64(scale):
    layer = crf(2)
    layer.transitions.assign(np.array([[3.0, -3.0], [-2.0, 2.5]], "float32"))
    # All scores are far from zero. Their sums are much larger than their differences.
    emissions = 5 * scale + numbers(2, 4000, 2, scale=scale)
    potentials = layer(emissions)
    best, best_score = (to_numpy(x) for x in viterbi(potentials))
    likelihood = to_numpy(log_likelihood(potentials, best))
    for i in range(2):
        wide = emissions[i].astype(float)
        forward, backward = forward_backward(wide, weights_of(layer), logsumexp)
        total = logsumexp(forward[-1] + backward[-1])
        assert to_numpy(log_partition(potentials))[i] == pytest.approx(total, rel=1e-6)
        np.testing.assert_allclose(
            to_numpy(marginals(potentials))[i],
            np.exp(forward + backward - total),
            atol=3e-5,
        )
        forward, backward = forward_backward(wide, weights_of(layer), np.max)
        np.testing.assert_allclose(
            to_numpy(max_marginals(potentials))[i], forward + backward, rtol=1e-6
        )
        score = score_of(best[i], wide, *weights_of(layer))
        assert score == pytest.approx((forward + backward).max(), rel=1e-9)
        assert best_score[i] == pytest.approx(score, rel=1e-6)
        # It is the difference of two numbers that are hundreds of times larger.
        assert likelihood[i] == pytest.approx(score - total, rel=1e-5)
    (gradient,) = gradients(
        lambda x: CRFLoss()(best, layer(x)), [emissions.astype("float32")]
    )
    assert np.isfinite(gradient).all()


# --- in a network -------------------------------------------------------------------


def network(**layer):
    inputs = keras.Input((None, 3))
    x = keras.layers.Masking()(inputs)
    x = FusedLSTM(4, return_sequences=True)(x)
    x = keras.layers.Dense(2)(x)
    return keras.Model(inputs, LinearChainCRF(**layer)(x))


def padded_sequences():
    x = numbers(3, 6, 3)
    x[1, 4:] = 0
    x[2, 2:] = 0
    return x


def test_the_mask_of_a_network_reaches_the_chain():
    model, x = network(), padded_sequences()
    together = to_numpy(log_partition(model(x)))
    for i, length in enumerate((6, 4, 2)):
        alone = to_numpy(log_partition(model(x[i : i + 1, :length])))[0]
        assert together[i] == pytest.approx(alone, rel=1e-5)


@pytest.mark.backend
def test_saves_and_loads_trains_and_starts_anew(tmp_path):
    model, x, y = network(), padded_sequences(), some_labels(3, 6, 2)
    model.compile("adam", CRFLoss())
    before = [to_numpy(w) for w in model.layers[-1].weights]
    assert all((w == 0).all() for w in before)
    for _ in range(2):
        model.train_on_batch(x, y, sample_weight=np.array([1.0, 2.0, 0.5]))
    assert all((to_numpy(w) != 0).all() for w in model.layers[-1].weights)

    model.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(model(x)))
    assert isinstance(loaded.loss, CRFLoss)

    initialize(model, np.random.SeedSequence(0))
    for old, weight in zip(before, model.layers[-1].weights, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), old)


@pytest.mark.backend
def test_loss_with_sample_weights_and_float_labels():
    layer, mask = crf(2), mask_of(LENGTHS)
    potentials = layer(numbers(6, 6, 2), mask=mask)
    labels, weights = some_labels(6, 6, 2), np.arange(6.0)
    each = -to_numpy(log_likelihood(potentials, labels)) / mask.sum(axis=1)
    loss = compiled(CRFLoss())
    assert to_numpy(loss(labels, potentials)) == pytest.approx(each.mean(), rel=1e-5)
    for y in (labels, labels.astype("float32")):
        weighted = to_numpy(loss(y, potentials, sample_weight=weights))
        assert weighted == pytest.approx((each * weights).mean(), rel=1e-5)
    config = CRFLoss(reduction="sum").get_config()
    total = CRFLoss.from_config(config)(labels, potentials)
    assert to_numpy(total) == pytest.approx(each.sum(), rel=1e-5)


@pytest.mark.backend
def test_the_layer_computes_in_float32_under_a_mixed_policy():
    layer = crf(2)
    half = LinearChainCRF(dtype="mixed_float16")
    half.build((None, None, 2))
    half.set_weights(layer.get_weights())
    emissions = numbers(2, 4000, 2).astype("float16")
    potentials = half(keras.ops.convert_to_tensor(emissions))
    np.testing.assert_array_equal(
        to_numpy(potentials), to_numpy(layer(emissions.astype("float32")))
    )
    assert to_numpy(potentials).dtype == np.float32
    assert {w.dtype for w in half.weights} == {"float32"}


WRONG_LABELS = {
    "above": ([[0, 1, 1], [0, 2, 1]], "labels hold 2"),
    "below": ([[0, 1, 1], [0, -1, 1]], "labels hold -1"),
    "in between": ([[0, 1, 1], [0, 0.5, 1]], r"labels hold 0\.5"),
    "missing": ([[0, 1, 1], [0, np.nan, 1]], "labels hold nan"),
    "far above": ([[0, 1, 1], [0, 2**32, 1]], "labels hold 4294967296"),
}


@pytest.mark.backend
@pytest.mark.parametrize("case", WRONG_LABELS)
def test_invalid_labels_are_refused(case):
    labels, message = WRONG_LABELS[case]
    potentials = keras.ops.zeros((2, 3, 2, 2))
    for function in (
        lambda: networks.log_likelihood(potentials, labels),
        lambda: networks.path_score(potentials, labels),
        lambda: CRFLoss()(np.array(labels), potentials),
    ):
        with pytest.raises(ValueError, match=message):
            function()


@pytest.mark.backend
@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch makes no graph")
def test_invalid_labels_are_an_error_or_nan_in_a_graph():
    if BACKEND == "jax":
        import jax

        loss = jax.jit(CRFLoss(reduction=None))
    else:
        import tensorflow as tf

        loss = tf.function(CRFLoss(reduction=None), reduce_retracing=True)
    potentials = crf(2)(numbers(2, 3, 2))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loss(keras.ops.zeros((2, 3)), potentials)
    assert not told
    wrong = np.array([labels for labels, _ in WRONG_LABELS.values()], "float32")
    for labels in wrong:
        given = keras.ops.convert_to_tensor(labels)
        if BACKEND == "tensorflow":
            with pytest.raises(
                tf.errors.InvalidArgumentError, match="whole numbers from 0 to 1"
            ):
                loss(given, potentials)
            continue
        found = to_numpy(loss(given, potentials))
        assert np.isfinite(found[0])
        assert np.isnan(found[1])


@tensorflow_only
def test_training_on_invalid_labels_is_refused():
    import tensorflow as tf

    inputs = keras.Input((3, 2))
    model = keras.Model(inputs, LinearChainCRF()(keras.layers.Dense(2)(inputs)))
    model.compile("sgd", CRFLoss())
    before = model.get_weights()
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="whole numbers from 0 to 1"
    ):
        model.fit(numbers(2, 3, 2), np.full((2, 3), 2), verbose=0)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.backend
def test_labels_at_masked_steps_may_have_any_value():
    mask = mask_of((4, 2, 0))
    potentials = crf(2)(numbers(3, 4, 2), mask=mask)
    labels = some_labels(3, 4, 2)
    expected = to_numpy(log_likelihood(potentials, labels))
    for anything in (-1, 7, np.nan):
        filled = np.where(mask, labels, anything)
        np.testing.assert_array_equal(
            to_numpy(log_likelihood(potentials, filled)), expected
        )


def test_labels_and_potentials_of_another_shape_are_refused():
    potentials = keras.ops.zeros((2, 3, 2, 2))
    for shape in ((2, 3, 1), (2, 3, 2), (2, 4), (3, 3), (2,)):
        with pytest.raises(
            ValueError, match=r"labels of shape .* \(n, n_steps\), a num"
        ):
            networks.log_likelihood(potentials, np.zeros(shape, int))
    with pytest.raises(ValueError, match="labels are <U1, but must be whole numbers"):
        networks.path_score(potentials, np.full((2, 3), "a"))
    for function in (networks.marginals, networks.viterbi, networks.log_partition):
        with pytest.raises(ValueError, match=r"potentials of shape .* LinearChainCRF"):
            function(keras.ops.zeros((2, 3, 2)))
    with pytest.raises(ValueError, match=r"shift of shape \(2, 1\) must be"):
        shift_labels(potentials, np.ones((2, 1)))


@pytest.mark.backend
@pytest.mark.parametrize("mask", [[False, True, True], [True, False, True]])
def test_masks_that_do_not_pad_at_the_end_are_refused(mask):
    with pytest.raises(ValueError, match="mask leaves out steps of chain 1 before"):
        crf(2)(numbers(2, 3, 2), mask=np.array([[True, True, False], mask]))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        layer = crf(2)
        graph = tf.function(lambda x, mask: layer(x, mask=mask))
        found = graph(numbers(2, 3, 2), tf.constant([[True, True, False], mask]))
        assert np.isfinite(found[0]).all()
        assert np.isnan(found[1]).all()


def test_wrong_emissions():
    for shape in ((None, 2), (None, 5, 1), (None, 5, None)):
        with pytest.raises(ValueError, match="with at least two labels"):
            LinearChainCRF().build(shape)


@pytest.mark.slow
@pytest.mark.backend
def test_learns_from_the_labels_of_neighbours():
    """Labels stay for many steps and are seen through noise: here a chain helps."""
    rng = np.random.default_rng(0)
    n, n_steps, stays = 200, 50, (0.95, 0.85)
    labels = np.zeros((n, n_steps), int)
    for t in range(1, n_steps):
        same = rng.random(n) < np.take(stays, labels[:, t - 1])
        labels[:, t] = np.where(same, labels[:, t - 1], 1 - labels[:, t - 1])
    # For two normal distributions with means one apart, the log-odds of a step are x.
    x = (labels + rng.normal(-0.5, 1.0, labels.shape))[..., None].astype("float32")
    inputs = keras.Input((n_steps, 1))
    scores = keras.layers.Dense(2, kernel_initializer="zeros")(inputs)
    model = keras.Model(inputs, LinearChainCRF()(scores))
    model.compile(keras.optimizers.Adam(0.05), CRFLoss())
    model.fit(x[:100], labels[:100], 50, epochs=40, shuffle=False, verbose=0)

    # A constant can move from a row of the transitions to the emissions of its label.
    # The labels determine only the cost of a change of the label and back.
    (a, b), (c, d) = to_numpy(model.layers[-1].transitions)
    true = sum(np.log(p / (1 - p)) for p in stays)
    assert a - b - c + d == pytest.approx(true, rel=0.15)

    truth, odds, potentials = labels[100:], x[100:, :, 0], model(x[100:])
    errors = np.mean(to_numpy(viterbi(potentials)[0]) != truth)
    stepwise = np.mean((odds > 0) != truth)
    assert stepwise == pytest.approx(0.31, abs=0.02)
    assert errors < 0.6 * stepwise
    probabilities = to_numpy(marginals(potentials))
    chosen = np.take_along_axis(probabilities, truth[..., None], 2)
    cross_entropy = np.logaddexp(0, np.where(truth, -odds, odds)).mean()
    assert -np.log(chosen).mean() < 0.7 * cross_entropy


# --- in TensorFlow's graphs ---------------------------------------------------------


@pytest.mark.slow
@tensorflow_only
def test_unknown_lengths_inside_a_loop_inside_a_graph(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(_chain, "_MOST_LEVELS", 9)  # faster to trace
    layer = crf(2)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec((None, None, 2)),
            tf.TensorSpec((None, None), tf.int32),
        ],
    )
    def steps(emissions, labels):
        """Take two steps of gradient ascent and return all results."""

        def body(k, x, values):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = tf.reduce_sum(log_likelihood(layer(x), labels))
            x = x + 0.1 * tape.gradient(value, x)
            return k + 1, x, values.write(k, value)

        _, x, values = tf.while_loop(
            lambda k, *_: k < 2,
            body,
            (0, emissions, tf.TensorArray(tf.float32, 2)),
        )
        potentials = layer(x)
        through = max_marginals(potentials)
        return x, values.stack(), marginals(potentials), through, *viterbi(potentials)

    for n_steps in (1, 2, 5, 6, 300):
        emissions, labels = numbers(3, n_steps, 2), some_labels(3, n_steps, 2)
        got = [x.numpy() for x in steps(emissions, labels.astype("int32"))]
        x, values = tf.constant(emissions), []
        for _ in range(2):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = tf.reduce_sum(log_likelihood(layer(x), labels))
            x = x + 0.1 * tape.gradient(value, x)
            values.append(value)
        potentials = layer(x)
        expected = [x, tf.stack(values), marginals(potentials)]
        expected += [max_marginals(potentials), *viterbi(potentials)]
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=2e-5, atol=2e-5)


@tensorflow_only
def test_more_unknown_steps_than_levels_are_an_error(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(_chain, "_MOST_LEVELS", 3)
    function = tf.function(
        log_partition, autograph=False, input_signature=[tf.TensorSpec((1, None, 2, 2))]
    )
    assert function(np.zeros((1, 8, 2, 2), "float32")).shape == (1,)
    with pytest.raises(tf.errors.InvalidArgumentError):
        function(np.zeros((1, 9, 2, 2), "float32"))


@tensorflow_only
def test_xla_compiles_it():
    import tensorflow as tf

    layer, emissions, labels = crf(2), numbers(2, 5, 2), some_labels(2, 5, 2)

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = CRFLoss()(labels, layer(x))
        return tape.gradient(loss, x)

    compiled = tf.function(gradient, autograph=False, jit_compile=True)
    x = tf.constant(emissions)
    np.testing.assert_allclose(compiled(x), gradient(x), rtol=1e-4, atol=1e-6)
