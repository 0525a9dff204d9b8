"""The part of a Keras model up to a feature map: how images are prepared for it."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.features._backbone import backbone_of, choose_preprocessing, preprocess

applications = keras.applications


@pytest.mark.parametrize(
    ("module", "make"),
    [
        (applications.mobilenet, "MobileNet"),
        (applications.mobilenet_v2, "MobileNetV2"),
        (applications.vgg16, "VGG16"),
        (applications.resnet, "ResNet50"),
        pytest.param(applications.resnet_v2, "ResNet50V2", marks=pytest.mark.slow),
        pytest.param(applications.resnet, "ResNet101", marks=pytest.mark.slow),
        pytest.param(applications.resnet_v2, "ResNet152V2", marks=pytest.mark.slow),
        pytest.param(applications.vgg19, "VGG19", marks=pytest.mark.slow),
        pytest.param(applications.densenet, "DenseNet121", marks=pytest.mark.slow),
        pytest.param(applications.xception, "Xception", marks=pytest.mark.slow),
        pytest.param(applications.inception_v3, "InceptionV3", marks=pytest.mark.slow),
        pytest.param(
            applications.inception_resnet_v2,
            "InceptionResNetV2",
            marks=pytest.mark.slow,
        ),
        pytest.param(applications.nasnet, "NASNetMobile", marks=pytest.mark.slow),
    ],
)
def test_models_of_keras_get_what_keras_says(module, make):
    model = getattr(module, make)(weights=None, include_top=False)
    images = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    found = preprocess(images.copy(), choose_preprocessing(model, "auto"))
    expected = module.preprocess_input(images.copy(), data_format="channels_last")
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        "MobileNetV3Small",
        pytest.param("EfficientNetB0", marks=pytest.mark.slow),
        pytest.param("EfficientNetV2B0", marks=pytest.mark.slow),
        pytest.param("ConvNeXtTiny", marks=pytest.mark.slow),
    ],
)
def test_models_that_rescale_get_the_images(make):
    model = getattr(applications, make)(weights=None, include_top=False)
    assert choose_preprocessing(model, "auto") is None


def sequential(*layers, **kwargs):
    return keras.Sequential([keras.Input((8, 8, 3)), *layers], **kwargs)


@pytest.mark.parametrize(
    "model",
    [
        lambda: applications.MobileNetV3Small(
            weights=None, include_top=False, include_preprocessing=False
        ),
        lambda: sequential(keras.layers.Rescaling(2.0, -1.0)),  # takes 0 to 1
        lambda: sequential(keras.layers.Normalization(mean=0.5, variance=0.1)),
        lambda: sequential(keras.layers.Conv2D(2, 3), name="vgg16_of_mine"),
    ],
    ids=["left out", "0 to 1", "of other values", "a name that begins so"],
)
def test_a_model_that_may_take_other_values_is_unknown(model):
    with pytest.raises(ValueError, match="does not know what images the model"):
        choose_preprocessing(model(), "auto")


def test_a_map_behind_the_pooling_is_no_feature_map():
    model = applications.MobileNet(weights=None, input_shape=(64, 64, 3))
    with pytest.raises(ValueError, match=r"'conv_preds', has one position only: make"):
        backbone_of(model, None)
    assert backbone_of(model, "conv_pw_13_relu").map_shape((64, 64, 3)) == (2, 2, 1024)


def test_models_whose_map_is_not_clear():
    inner = sequential(keras.layers.Conv2D(2, 3), name="inner")
    inputs = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inner(inputs))
    outer = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    with pytest.raises(ValueError, match=r"give backbone.get_layer\('inner'\)"):
        backbone_of(outer, None)
    with pytest.raises(ValueError, match=r"layer='inner' is a model inside the backbo"):
        backbone_of(outer, "inner")
    x = keras.layers.Conv2D(2, 3)(inputs)
    two = keras.Model(inputs, [x, keras.layers.Conv2D(2, 3)(x)])
    with pytest.raises(ValueError, match="has 2 outputs: name the layer="):
        backbone_of(two, None)


def conv(**kwargs):
    layer = keras.layers.Conv2D(2, 3, **kwargs)
    model = sequential(layer)
    layer.set_weights([np.ones((3, 3, 3, 2)), np.ones(2)])
    return model


def test_the_digest_is_that_of_what_is_computed():
    def digest(model):
        return backbone_of(model, None).digest()

    def with_activation(name):
        # A layer may be called like something else in its configuration.
        return sequential(keras.layers.Activation(name, name=name))

    same = [conv(), conv(name="other", trainable=False)]
    assert digest(same[0]) == digest(same[1])
    models = [conv(activation="relu"), conv(strides=2), conv(padding="same")]
    models += [with_activation("relu"), with_activation("sigmoid")]
    models += [conv(dtype="mixed_bfloat16")]
    digests = {digest(model) for model in (same[0], *models)}
    assert len(digests) == 1 + len(models)
    # Layers of operators and of models inside have numbers in their names.
    again = []
    for _ in range(2):
        inputs = keras.Input((8, 8, 3))
        inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.ReLU()])
        again.append(keras.Model(inputs, keras.layers.ReLU()(inner(inputs) * 0.5 + 1)))
    assert digest(again[0]) == digest(again[1])


def test_the_code_of_own_layers_belongs_to_the_digest():
    def layer(factor):
        class Own(keras.layers.Layer):
            def call(self, inputs):
                return inputs * 2 if factor == 2 else inputs * 3

        class Other(keras.layers.Layer):
            def call(self, inputs):
                return inputs * 3

        Other.__qualname__ = Own.__qualname__
        return Own() if factor == 2 else Other()

    one, other = (backbone_of(sequential(layer(k)), None) for k in (2, 3))
    assert one.digest() != other.digest()


@pytest.mark.backend
def test_a_model_that_changes_is_traced_again():
    def difference(model):
        images = np.random.default_rng(0).uniform(0, 9, (2, 8, 8, 3)).astype("float32")
        backbone = backbone_of(model, None)
        expected = keras.ops.convert_to_numpy(model(images, training=False))
        return backbone.digest(), np.abs(backbone.compute(images) - expected).max()

    normalization = keras.layers.Normalization()
    activation = keras.layers.Conv2D(2, 3, activation="relu")
    model = sequential(normalization, activation, keras.layers.Conv2D(3, 3))
    digests = []

    def check():
        digest, error = difference(model)
        digests.append(digest)
        assert error < 1e-4

    check()
    normalization.adapt(np.arange(4 * 192.0).reshape(4, 8, 8, 3))
    check()
    activation.activation = keras.activations.sigmoid
    check()
    model.pop()
    check()
    model.layers[-1].kernel.assign(np.ones((3, 3, 3, 2)))
    check()
    assert len(set(digests)) == 5


def test_the_model_is_only_read(generators_stay):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3), keras.layers.Dropout(0.5)]
    )
    before = model.get_weights()
    model.trainable = True
    with generators_stay():
        backbone = backbone_of(model, None)
        found = backbone.compute(np.ones((2, 8, 8, 1), "float32"))
    np.testing.assert_array_equal(found[0], found[1])
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert backbone_of(model, None) is backbone
