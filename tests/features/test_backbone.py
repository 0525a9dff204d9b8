"""The part of a Keras model up to a feature map: how images are prepared for it."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.features._backbone import backbone_of, choose_preprocessing

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
    before = images.copy()
    found = choose_preprocessing(model, "auto")(images)
    np.testing.assert_array_equal(images, before)
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


def test_a_model_that_does_not_rescale_is_unknown():
    model = applications.MobileNetV3Small(
        weights=None, include_top=False, include_preprocessing=False
    )
    with pytest.raises(ValueError, match="does not know what images the model"):
        choose_preprocessing(model, "auto")


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
    assert not model.compiled
    assert model.predict_function is None
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert backbone_of(model, None) is backbone
