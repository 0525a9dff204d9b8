"""What each peer of engines.py does: sklstm, skorch, bare PyTorch, scikeras and Keras.

Every peer has a method `make(work, what)`. It returns a function without arguments that
does the work once. All networks of one work have the same layers.
"""

import gc

import numpy as np
import small_folds

FEATURES, STEPS, UNITS, LONG_BATCH, LONG_BATCHES, LONG_EPOCHS = 28, 28, 128, 128, 20, 2
BATCH, FILTERS, SQUEEZED, NOISE, DROPOUT, RATE = 32, 32, 16, 0.2, 0.3, 3e-3
# Layers of "cnn_lstm" and "cnn" for images of 28 x 28: filters before each halving, and
# those after the last one. "cnn" has as many weights as "cnn_lstm" with 93 filters.
STEM, BODY = ((1, 2, 4), (93, 93))


def sequences():
    rng = np.random.default_rng(0)
    n = LONG_BATCH * LONG_BATCHES
    X = rng.standard_normal((n, STEPS, FEATURES)).astype("float32")
    return X, rng.integers(0, 10, n).astype("int64")


def images(n, folder=None):
    """Return images of 28 x 28, uint8, of MNIST or of blobs with noise."""
    if folder is not None:
        with np.load(f"{folder}/mnist.npz") as file:
            return file["x_train"][:n], file["y_train"][:n].astype("int64")
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % 10)
    X = rng.normal(60, 40, (n, 28, 28))
    for image, label in zip(X, y, strict=True):
        row, column = divmod(int(label), 4)
        image[8 * row : 8 * row + 6, 7 * column : 7 * column + 6] += 120
    return X.clip(0, 255).astype("uint8"), y.astype("int64")


def scaled(X):
    """Return images as sklstm's networks see them after their own standardization."""
    X = X.astype("float32")
    return (X - X.mean()) / X.std()


class Peer:
    """Does the works of one peer.

    Parameters
    ----------
    n_images : int
        Number of images of the works "conv" and "predict".
    folder : str or None
        Folder of mnist.npz. If None, images are made.
    """

    modules: tuple = ()

    def __init__(self, n_images, folder):
        self.n_images = n_images
        self.folder = folder

    def make(self, work, what):
        return getattr(self, work)(what)

    def images(self):
        return images(self.n_images, self.folder)


class Sklstm(Peer):
    """sklstm on the backend of the process."""

    modules = ("sklstm",)

    def folds(self, what):
        make = small_folds.with_sklstm()
        X, y = small_folds.load()
        return lambda: small_folds.job("folds", make, X, y)

    def long(self, what):
        from sklstm import LSTMImageClassifier

        X, y = sequences()
        params = {
            "units": UNITS,
            "bidirectional": what == "both",
            "input_noise": 0,
            "dropout": 0.2,
            "learning_rate": 1e-3,
            "lr_schedule": "constant",
            "clipvalue": None,
            "epochs": LONG_EPOCHS,
            "batch_size": LONG_BATCH,
        }
        return lambda: LSTMImageClassifier(**params).fit(X, y)

    def classifier(self, network):
        from sklstm import LSTMImageClassifier

        # The names of networks are the same in both, "lstm" included.
        params = {"learning_rate": RATE, "lr_schedule": "constant", "clipvalue": 1.0}
        return LSTMImageClassifier(network, epochs=1, batch_size=BATCH, **params)

    def conv(self, what):
        X, y = self.images()
        return lambda: self.classifier(what).fit(X, y)

    def n_weights(self, what):
        X, y = self.images()
        model = self.classifier(what).fit(X[:64], y[:64]).model_
        return sum(int(np.prod(v.shape)) for v in model.trainable_variables)

    def predict(self, what):
        X, y = self.images()
        classifier = self.classifier(what).fit(X[:64], y[:64])
        return lambda: classifier.predict_proba(X)

    def one(self, what):
        from sklearn.pipeline import make_pipeline

        from sklstm import RowSequencer

        X, y = images(64)
        if what == "pipeline":
            classifier = make_pipeline(RowSequencer(), self.classifier("lstm"))
        else:
            classifier = self.classifier(what)
        classifier.fit(X, y)
        return lambda: classifier.predict_proba(X[:1])

    def memory(self, what):
        """Return a function that does the next of many different fits."""
        from sklearn.datasets import load_digits

        from sklstm import LSTMImageClassifier

        X, y = load_digits(return_X_y=True)
        X = X.astype("float32").reshape(-1, 8, 8)
        rng = np.random.default_rng(0)

        def fit():
            n = int(rng.integers(150, 301))
            LSTMImageClassifier(
                # Twelve graphs, of which the pool keeps eight.
                units=int(rng.choice([8, 12, 16])),
                n_layers=int(rng.integers(1, 3)),
                bidirectional=bool(rng.integers(2)),
                input_noise=rng.uniform(0.1, 0.5),
                dropout=rng.uniform(0.1, 0.5),
                learning_rate=10 ** rng.uniform(-3.5, -2),
                batch_size=int(rng.choice([16, 32, 64])),
                epochs=2,
            ).fit(X[:n], y[:n]).predict(X[:n])
            gc.collect()

        return fit


class Skorch(Peer):
    """Networks of PyTorch in skorch."""

    modules = ("torch", "skorch")

    def folds(self, what):
        make = small_folds.with_skorch()
        X, y = small_folds.load()
        return lambda: small_folds.job("folds", make, X, y)

    def long(self, what):
        import torch
        from skorch import NeuralNetClassifier

        X, y = sequences()
        params = {
            "module__both": what == "both",
            "module__units": UNITS,
            "module__dropout": 0.2,
            "criterion": torch.nn.CrossEntropyLoss,
            "optimizer": torch.optim.Adam,
            "lr": 1e-3,
            "max_epochs": LONG_EPOCHS,
            "batch_size": LONG_BATCH,
            "iterator_train__shuffle": True,
            "train_split": None,
            "verbose": 0,
        }
        network = torch_networks()["rows"]
        return lambda: NeuralNetClassifier(network, **params).fit(X, y)


class PyTorch(Peer):
    """Networks of PyTorch in a loop written by hand."""

    modules = ("torch",)

    def folds(self, what):
        X, y = small_folds.load()
        make = self.rows(8, small_folds.UNITS, both=True)
        epochs, batch = small_folds.EPOCHS, small_folds.BATCH

        def fit_and_predict(train, test):
            network = fit_torch(make, X[train], y[train], epochs, batch, 1e-3)
            return torch_outputs(network, X[test]).argmax(1)

        return lambda: each_fold(X, y, fit_and_predict)

    def rows(self, n_features, units, both):
        kind = torch_networks()["rows"]
        return lambda: kind(units, both, 0.2, n_features)

    def long(self, what):
        X, y = sequences()
        make = self.rows(FEATURES, UNITS, what == "both")
        return lambda: fit_torch(make, X, y, LONG_EPOCHS, LONG_BATCH, 1e-3)

    def fit(self, what, X, y):
        """Fit the network of sklstm with this name for an epoch."""
        make = torch_networks()[what]
        if what == "lstm":
            return fit_torch(make, scaled(X), y, 1, BATCH, RATE, 1.0)
        return fit_torch(make, scaled(X)[:, None], y, 1, BATCH, RATE, 1.0)

    def conv(self, what):
        X, y = self.images()
        return lambda: self.fit(what, X, y)

    def n_weights(self, what):
        # PyTorch's LSTM has a second bias, which is added to the first one.
        named = torch_networks()[what]().named_parameters()
        return sum(p.numel() for name, p in named if "bias_hh" not in name)

    def predict(self, what):
        X, y = self.images()
        network = self.fit(what, X[:64], y[:64])
        return lambda: torch_outputs(network, with_channel(scaled(X), what))

    def one(self, what):
        X, y = images(64)
        network = self.fit(what, X, y)
        Z = with_channel(scaled(X), what)
        return lambda: torch_outputs(network, Z[:1])


class Scikeras(Peer):
    """Keras' layers in scikeras."""

    modules = ("tensorflow", "scikeras")

    def folds(self, what):
        make = small_folds.with_scikeras()
        X, y = small_folds.load()
        return lambda: small_folds.job("folds", make, X, y)


class Keras(Peer):
    """Keras' layers and `model.fit`."""

    modules = ("tensorflow", "keras")

    def folds(self, what):
        X, y = small_folds.load()
        epochs, batch = small_folds.EPOCHS, small_folds.BATCH

        def fit_and_predict(train, test):
            model = keras_rows(8, small_folds.UNITS, both=True)
            model.fit(X[train], y[train], batch, epochs, verbose=0)
            return model.predict(X[test], verbose=0).argmax(1)

        return lambda: each_fold(X, y, fit_and_predict)

    def long(self, what):
        X, y = sequences()

        def fit():
            model = keras_rows(FEATURES, UNITS, what == "both")
            model.fit(X, y, LONG_BATCH, LONG_EPOCHS, verbose=0)

        return fit

    def conv(self, what):
        X, y = self.images()

        def fit():
            keras_images(what).fit(scaled(X)[..., None], y, BATCH, 1, verbose=0)

        return fit

    def n_weights(self, what):
        variables = keras_images(what).trainable_variables
        return sum(int(np.prod(v.shape)) for v in variables)

    def model(self, what):
        if what == "lstm":
            return keras_rows(28, 64, both=True)
        return keras_images(what)

    def predict(self, what):
        X = scaled(self.images()[0])
        X = X if what == "lstm" else X[..., None]
        model = self.model(what)
        return lambda: model.predict(X, verbose=0)

    def one(self, what):
        X = scaled(images(64)[0])
        X = X if what == "lstm" else X[..., None]
        model = self.model(what)
        return lambda: model.predict(X[:1], verbose=0)


def each_fold(X, y, fit_and_predict):
    """Return the accuracy of each fold that small_folds.py has."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return [
        float((fit_and_predict(train, test) == y[test]).mean())
        for train, test in folds.split(X, y)
    ]


def with_channel(X, what):
    """Return images as PyTorch's convolutions read them, or as rows for "lstm"."""
    return X if what == "lstm" else X[:, None]


def torch_networks():
    """Return classes of the networks in bare PyTorch, which give logits."""
    import torch
    from torch import nn

    class Rows(nn.Module):
        """LSTM over rows, and its last outputs, as the network "lstm" of sklstm."""

        def __init__(self, units, both, dropout, n_features=FEATURES):
            super().__init__()
            self.lstm = nn.LSTM(n_features, units, batch_first=True, bidirectional=both)
            self.dropout = nn.Dropout(dropout)
            self.dense = nn.Linear((1 + both) * units, 10)

        def forward(self, x):
            _, (h, _) = self.lstm(x)
            h = torch.cat([h[0], h[1]], 1) if len(h) == 2 else h[0]
            return self.dense(self.dropout(h))

    def block(n_inputs, n_outputs, size, relu=True):
        layers = [
            nn.Conv2d(n_inputs, n_outputs, size, padding=size // 2, bias=False),
            nn.BatchNorm2d(n_outputs, eps=1e-3, momentum=0.1),
        ]
        return [*layers, nn.ReLU()] if relu else layers

    def stem():
        layers, depth = [], 1
        for factor in STEM:
            if depth > 1:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers += block(depth, FILTERS * factor, 3)
                depth = FILTERS * factor
        return layers, depth

    class Convolutions(nn.Module):
        """What "cnn_lstm" and "cnn" share: noise and channels last."""

        def forward(self, x):
            x = x.contiguous(memory_format=torch.channels_last)
            if self.training:
                x = x + NOISE * torch.randn_like(x)
            return self.classify(self.convolutions(x))

    class CnnLstm(Convolutions):
        def __init__(self):
            super().__init__()
            layers, depth = stem()
            layers += block(depth, SQUEEZED, 1, relu=False)
            self.convolutions = nn.Sequential(*layers)
            options = {"batch_first": True, "bidirectional": True}
            self.rows = nn.LSTM(7 * SQUEEZED, 64, **options)
            self.columns = nn.LSTM(7 * SQUEEZED, 64, **options)
            self.dropout = nn.Dropout(DROPOUT)
            self.dense = nn.Linear(256, 10)

        def classify(self, x):
            ends = []
            for lstm, order in (
                (self.rows, (0, 2, 3, 1)),
                (self.columns, (0, 3, 2, 1)),
            ):
                steps, _ = lstm(x.permute(order).flatten(2))
                ends.append(self.dropout(steps).amax(1))
            return self.dense(torch.cat(ends, 1))

    class Cnn(Convolutions):
        def __init__(self):
            super().__init__()
            layers, depth = stem()
            for width in BODY:
                layers += block(depth, width, 3)
                depth = width
            self.convolutions = nn.Sequential(*layers)
            self.dropout = nn.Dropout(DROPOUT)
            self.dense = nn.Linear(depth, 10)

        def classify(self, x):
            return self.dense(self.dropout(x.amax((2, 3))))

    def lstm():
        return Rows(64, True, DROPOUT)

    return {"rows": Rows, "lstm": lstm, "cnn_lstm": CnnLstm, "cnn": Cnn}


def fit_torch(make, X, y, epochs, batch_size, rate, clip=None):
    """Make a network of bare PyTorch and train it; return it.

    The loss and the number of right answers are summed, as every peer reports them.
    """
    import torch

    network = make().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters(), rate)
    loss_of = torch.nn.CrossEntropyLoss()
    X, y = torch.from_numpy(X), torch.from_numpy(np.asarray(y, "int64"))
    for _ in range(epochs):
        total, right = torch.zeros(()), torch.zeros(())
        for rows in torch.randperm(len(X)).split(batch_size):
            inputs, targets = X[rows], y[rows]
            outputs = network(inputs)
            loss = loss_of(outputs, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_value_(network.parameters(), clip)
            optimizer.step()
            with torch.no_grad():
                total += loss.detach() * len(rows)
                right += (outputs.argmax(1) == targets).sum()
        assert np.isfinite([float(total), float(right)]).all()
    return network


def torch_outputs(network, X, batch_size=256):
    """Return the probabilities of a network of bare PyTorch."""
    import torch

    network.eval()
    with torch.no_grad():
        parts = torch.from_numpy(X).split(batch_size)
        return torch.cat([network(part).softmax(1) for part in parts]).numpy()


def keras_compiled(inputs, x, rate, clip=None):
    import keras

    x = keras.layers.Dense(10, activation="softmax")(x)
    model = keras.Model(inputs, x)
    optimizer = keras.optimizers.Adam(rate, clipvalue=clip)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def keras_rows(n_features, units, both):
    import keras

    inputs = keras.Input((None, n_features))
    layer = keras.layers.LSTM(units)
    x = (keras.layers.Bidirectional(layer) if both else layer)(inputs)
    return keras_compiled(inputs, keras.layers.Dropout(0.2)(x), 1e-3)


def keras_images(what):
    """Return "cnn_lstm" or "cnn" made of Keras' own layers."""
    import keras

    layers = keras.layers

    def block(x, filters, size, relu=True):
        x = layers.Conv2D(filters, size, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.ReLU()(x) if relu else x

    inputs = keras.Input((28, 28, 1))
    x = layers.GaussianNoise(NOISE)(inputs)
    for i, factor in enumerate(STEM):
        if i > 0:
            x = layers.MaxPooling2D(2)(x)
        for _ in range(2):
            x = block(x, FILTERS * factor, 3)
    if what == "cnn":
        for width in BODY:
            x = block(x, width, 3)
        x = layers.Dropout(DROPOUT)(layers.GlobalMaxPooling2D()(x))
        return keras_compiled(inputs, x, RATE, 1.0)
    x = block(x, SQUEEZED, 1, relu=False)
    ends = []
    for lines in (x, layers.Permute((2, 1, 3))(x)):
        steps = layers.Reshape((7, -1))(lines)
        steps = layers.Bidirectional(layers.LSTM(64, return_sequences=True))(steps)
        ends.append(layers.GlobalMaxPooling1D()(layers.Dropout(DROPOUT)(steps)))
    return keras_compiled(inputs, layers.Concatenate()(ends), RATE, 1.0)
