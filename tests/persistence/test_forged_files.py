"""All of persistence: forged, damaged and older files.

These tests go through all modules of the package.
"""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from hashlib import sha256
from pathlib import Path

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import sklstm
from sklstm import ImageReader, LSTMImageClassifier, PatchSequencer, RowSequencer
from sklstm.networks.layers._scan import pack_map, unpack_map
from sklstm.persistence._archive import pack, seal, unseal


def saved(estimator):
    file = io.BytesIO()
    sklstm.save(estimator, file)
    return file.getvalue()


def loaded(data):
    return sklstm.load(io.BytesIO(data))


def forge(data, change):
    """Let `change` alter the parts, JSON decoded, and seal them as a forger would."""
    parts = unseal(data)
    for name in ("meta.json", "structure.json"):
        parts[name] = json.loads(parts[name])
    change(parts)
    for name in ("meta.json", "structure.json"):
        parts[name] = json.dumps(parts[name]).encode()
    return seal(parts)


@pytest.fixture(scope="module")
def data(digits):
    images, y = digits
    return images[:40].astype("uint8"), y[:40]


@pytest.fixture(scope="module")
def fitted(data):
    classifier = LSTMImageClassifier(
        units=2, epochs=1, random_state=0, sequencer=PatchSequencer(4, 4)
    )
    return classifier.fit(*data)


# Versions


@pytest.mark.parametrize(
    ("package", "version"), [("sklstm", "0.0.1"), ("sklstm", "99.0"), ("keras", "2.1")]
)
def test_another_version_warns_with_both(package, version, fitted):
    def forge_version(parts):
        parts["meta.json"]["versions"][package] = version

    forged = forge(saved(fitted), forge_version)
    with pytest.warns(
        UserWarning,
        match=rf"written by {package} {version} and is read "
        r"by \d",
    ) as caught:
        again = loaded(forged)
    assert caught[0].filename == __file__
    assert again.get_params()["units"] == 2


def test_another_scikit_learn_warns_once_for_all_steps():
    def forge_version(parts):
        parts["meta.json"]["versions"]["scikit-learn"] = "1.0"

    pipeline = make_pipeline(StandardScaler(), PCA()).fit(np.eye(3))
    with pytest.warns(UserWarning, match=r"scikit-learn 1\.0 and is read by") as caught:
        loaded(forge(saved(pipeline), forge_version))
    assert len(caught) == 1


def test_a_newer_format_is_refused():
    def from_the_future(parts):
        parts["meta.json"].update(format=2)
        parts["meta.json"]["versions"]["sklstm"] = "7.0"
        parts["new part"] = b""

    with pytest.raises(
        ValueError, match=r"has format 2, of sklstm 7\.0, .*: update skl"
    ):
        loaded(forge(saved(RowSequencer()), from_the_future))


def test_what_another_version_wrote_and_this_one_cannot_read_names_both():
    def of_another(change):
        def forged(parts):
            parts["meta.json"]["versions"]["sklstm"] = "0.9.0"
            change(parts["structure.json"]["estimator"])

        return forge(saved(RowSequencer()), forged)

    both = rf"It was written by sklstm 0\.9\.0 and is read by {sklstm.__version__}"
    data = of_another(lambda estimator: estimator.update({"class": "sklstm.New"}))
    with pytest.raises(ValueError, match=f"needs the class 'sklstm.New'.*{both}"):
        loaded(data)
    data = of_another(lambda estimator: estimator.update({"state": 3}))
    with pytest.raises(ValueError, match=f"content is not what .*{both}"):
        loaded(data)


def test_a_parameter_that_came_later_has_its_default():
    def forget(parts):
        del parts["structure.json"]["estimator"]["state"]["order"]

    again = loaded(forge(saved(RowSequencer(order="snake")), forget))
    assert again.order == "forward"


# Files from a stranger


class Bomb:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (Path(self.path), "ran"))


def replace_root(value):
    def change(parts):
        parts["structure.json"] = value

    return change


def holding(value):
    """Forge a transformer that holds a value."""

    def change(parts):
        parts["structure.json"]["estimator"]["state"]["func"] = value

    return change


def keras_object(**description):
    """Forge a transformer that holds a Keras object of that description."""
    pairs = [
        [key, {"dict": []} if value == {} else value]
        for key, value in description.items()
    ]
    return holding({"keras": {"dict": pairs}})


def estimator_of(name):
    return replace_root({"estimator": {"class": name, "state": {}}})


def in_array(data):
    def change(parts):
        parts["arrays.npz"] = pack({"0.npy": data})
        parts["structure.json"]["estimator"]["state"]["kw_args"] = {"array": 0}

    return change


def npy(header, body=b""):
    text = repr(header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def add(name, data=b""):
    def change(parts):
        parts[name] = data

    return change


FORGED = {
    "climbs out": (
        add("../../evil.txt"),
        r"holds '\.\./\.\./evil\.txt', which is no part",
    ),
    "absolute": (add("/etc/evil"), "holds '/etc/evil', which is no part"),
    "a pickle beside": (add("networks/0.pkl"), r"holds 'networks/0\.pkl', which is no"),
    "no estimator": (replace_root([1, 2]), "holds no estimator"),
    "no structure": (lambda parts: parts.update({"structure.json": {}}), "content is"),
    "unknown tag": (holding({"eval": "1 + 1"}), "content is not what sklstm.save"),
    "popen": (estimator_of("subprocess.Popen"), "needs the class 'subprocess.Popen'"),
    "private": (
        estimator_of("sklearn.compose._column_transformer.ColumnTransformer"),
        "needs the class 'sklearn.compose._column",
    ),
    "not an estimator": (
        estimator_of("sklearn.pipeline.make_pipeline"),
        "needs the class 'sklearn.pipeline.make_pipeline'",
    ),
    "no kind of estimator": (
        estimator_of("sklearn.pipeline.Bunch"),
        "needs the class 'sklearn.pipeline.Bunch'",
    ),
    "compiled code that trusts counts": (
        estimator_of("sklearn.preprocessing.OneHotEncoder"),
        "needs the class 'sklearn.preprocessing.OneHotEncoder'",
    ),
    "and starting points": (
        estimator_of("sklearn.linear_model.Lasso"),
        "needs the class 'sklearn.linear_model.Lasso'",
    ),
    "and a cache": (
        estimator_of("sklearn.preprocessing.MultiLabelBinarizer"),
        "needs the class 'sklearn.preprocessing.MultiLabelBinarizer'",
    ),
    "other module": (
        estimator_of("sklearn.svm.SVC"),
        "needs the class 'sklearn.svm.SVC'",
    ),
    "a search": (
        estimator_of("sklstm.OptunaSearchCV"),
        "needs the class 'sklstm.Optuna",
    ),
    "function": (holding({"function": "os.system"}), "needs the function 'os.system'"),
    "class": (
        holding({"class": "subprocess.Popen"}),
        "needs the class 'subprocess.Pop",
    ),
    "callback that writes": (
        holding({"class": "keras.callbacks.ModelCheckpoint"}),
        "needs the class 'keras.callbacks.ModelCheckpoint'",
    ),
    "numpy function": (
        holding({"class": "numpy.fromfile"}),
        "needs the class 'numpy.fr",
    ),
    "object dtype": (
        holding({"dtype": "O"}),
        "names the dtype 'O', which is not plain",
    ),
    "cache": (
        lambda parts: parts["structure.json"]["estimator"]["state"].update(
            memory="/tmp"
        ),
        "names a folder to keep a cache in",
    ),
    "random state": (
        holding({"random_state": [[1, 2, 3], 10**9, 0, 0.0]}),
        "holds a random state at 1000000000, beyond its key",
    ),
    "itself": (holding({"again": 0}), "holds an estimator that holds itself"),
    "lambda layer": (
        keras_object(module="keras.layers", class_name="Lambda", config={}),
        "holds a Lambda layer or a lambda, which is code",
    ),
    "lambda": (
        keras_object(class_name="__lambda__", config={}),
        "holds a Lambda layer or a lambda, which is code",
    ),
    "keras function": (
        keras_object(module="keras.utils", class_name="function", config="get_file"),
        "needs the Keras object 'keras.utils.get_file'",
    ),
    "unsafe switch": (
        keras_object(
            module="keras.config",
            class_name="function",
            config="enable_unsafe_deserialization",
        ),
        "needs the Keras object 'keras.config.enable_unsafe_deserialization'",
    ),
    "layer that reads": (
        keras_object(module="keras.layers", class_name="StringLookup", config={}),
        "needs the Keras object 'keras.layers.StringLookup'",
    ),
    "layer that unpickles": (
        keras_object(module="keras.layers", class_name="TorchModuleWrapper", config={}),
        "needs the Keras object 'keras.layers.TorchModuleWrapper'",
    ),
    "other package": (
        keras_object(module="os", class_name="system", config={}),
        "needs the Keras object 'os.system'",
    ),
    "false name": (
        keras_object(
            module="keras.layers",
            class_name="Dense",
            config={},
            registered_name="Custom>Evil",
        ),
        "needs the Keras object 'keras.layers.Dense'",
    ),
    "false name of ours": (
        keras_object(
            module="os", class_name="system", config={}, registered_name="sklstm>system"
        ),
        "needs the Keras object 'os.system'",
    ),
    "false kind": (
        keras_object(module="keras.losses", class_name="deserialize", config={}),
        "needs the Keras object 'keras.losses.deserialize'",
    ),
    "no kind of operation": (
        keras_object(module="keras.src.ops.numpy", class_name="KerasTensor", config={}),
        "needs the Keras object 'keras.src.ops.numpy.KerasTensor'",
    ),
    "type": (
        keras_object(class_name="__typespec__", module="os", config={}),
        "needs the Keras object 'os.__typespec__'",
    ),
    "structured pickle": (
        in_array(
            npy(
                {"descr": [("a", "|O")], "fortran_order": False, "shape": (1,)},
                b"x" * 8,
            )
        ),
        "holds an array of Python objects, which only a pickle can be",
    ),
    "giant array": (
        in_array(npy({"descr": "<f8", "fortran_order": False, "shape": (2**40,)})),
        r"holds an array of another size than its shape, \(1099511627776,\)",
    ),
    "negative array": (
        in_array(
            npy({"descr": "<f8", "fortran_order": False, "shape": (-1, -2)}, b"a" * 16)
        ),
        "content is not what sklstm.save writes",
    ),
    "code for a header": (
        in_array(
            b"\x93NUMPY\x01\x00" + struct.pack("<H", 24) + b"__import__('os').abort()"
        ),
        "content is not what sklstm.save writes",
    ),
    "structured array": (
        in_array(
            npy(
                {"descr": [("a", "<f8")], "fortran_order": False, "shape": (1,)},
                b"x" * 8,
            )
        ),
        "holds an array of dtype .*, which is not plain",
    ),
    "array of nothing": (
        in_array(npy({"descr": "|V0", "fortran_order": False, "shape": (2**40,)})),
        r"holds an array of dtype \|V0, which is not plain",
    ),
    "hidden in an array": (
        holding(
            {
                "keras": {
                    "dict": [
                        ["class_name", "Sequential"],
                        ["module", "keras"],
                        ["registered_name", None],
                        [
                            "config",
                            {
                                "dict": [
                                    ["name", "s"],
                                    [
                                        "layers",
                                        {"objects": [[1], [{"dict": [["a", "b"]]}]]},
                                    ],
                                ]
                            },
                        ],
                    ]
                }
            }
        ),
        "holds a ndarray in the description of a Keras object",
    ),
    "averages": (
        estimator_of("sklearn.linear_model.SGDClassifier"),
        "needs the class 'sklearn.linear_model.SGDClassifier'",
    ),
    "no array": (holding({"array": 5}), "content is not what sklstm.save writes"),
}


@pytest.mark.parametrize(("change", "message"), FORGED.values(), ids=FORGED)
def test_a_forged_file_is_refused(change, message, tmp_path):
    path = tmp_path / "forged.sklstm"
    path.write_bytes(forge(saved(FunctionTransformer()), change))
    with pytest.raises(
        ValueError, match=r"forged\.sklstm' is not loaded: it"
    ) as caught:
        sklstm.load(path)
    assert caught.match(message)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["forged.sklstm"]
    assert not Path("evil.txt").exists()


def test_a_folder_to_write_to_is_refused(tmp_path):
    reader = ImageReader(size=(4, 4))
    reader.on_disk = str(tmp_path)
    with pytest.raises(TypeError, match=r"on_disk=.* is a folder of this machine"):
        saved(reader)

    def forge_folder(parts):
        state = parts["structure.json"]["estimator"]["state"]
        assert state["on_disk"] is None
        state["on_disk"] = "/tmp"

    with pytest.raises(ValueError, match="names a folder to write images to"):
        loaded(forge(saved(ImageReader(size=(4, 4))), forge_folder))


def test_a_map_unpacks_to_no_more_than_a_limit():
    packed = pack_map(np.zeros((4, 2), np.int32))
    np.testing.assert_array_equal(unpack_map(packed), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="more than 67108864 values are not unpacked"):
        unpack_map({**packed, "shape": [2**20, 2**7]})


@pytest.mark.parametrize("versions", [5, {"sklstm": None}, {"keras": "\x1b[31m"}])
def test_versions_that_are_none(versions):
    def forge_versions(parts):
        parts["meta.json"]["versions"] = versions

    with pytest.raises(ValueError, match="is not loaded: it"):
        loaded(forge(saved(FunctionTransformer()), forge_versions))


def test_nesting_without_end_is_refused():
    parts = unseal(saved(FunctionTransformer()))
    parts["structure.json"] = b"[" * 10**6
    with pytest.raises(
        ValueError, match=r"not what sklstm\.save writes \(RecursionErr"
    ):
        loaded(seal(parts))


def test_a_hidden_pickle_does_not_run(tmp_path):
    ran = tmp_path / "ran.txt"
    bomb = Bomb(ran)
    hidden = io.BytesIO()
    np.save(hidden, np.array([bomb], object), allow_pickle=True)
    change = in_array(hidden.getvalue())
    with pytest.raises(
        ValueError, match="an array of Python objects, which only a pickle"
    ):
        loaded(forge(saved(FunctionTransformer()), change))
    for data in (pickle.dumps(bomb), pickle.dumps(bomb, protocol=0)):
        with pytest.raises(ValueError, match=r"The file .* is no file of sklstm\.save"):
            loaded(data)
    assert not ran.exists()
    pickle.loads(pickle.dumps(bomb))
    assert ran.exists()  # the control: it would have run


def test_a_network_with_a_lambda_layer_is_refused(fitted):
    def hide(parts):
        layers = [keras.Input((8,)), keras.layers.Lambda(lambda x: x)]
        network = keras.Sequential(layers)
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            description = keras.saving.serialize_keras_object(network)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("config.json", json.dumps(description))
        parts["networks/0.keras"] = file.getvalue()

    with pytest.raises(ValueError, match="it holds a Lambda layer or a lambda"):
        loaded(forge(saved(fitted), hide))


def test_every_cut_and_every_flipped_bit_is_found(fitted):
    whole = saved(fitted)
    places = np.random.default_rng(0).integers(0, len(whole), 300)
    for place in {0, 1, 70, len(whole) - 1, *places.tolist()}:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(place) % 8
        with pytest.raises(
            ValueError, match=r"is damaged, cut short|is no file of skl"
        ):
            loaded(bytes(flipped))
    for end in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        with pytest.raises(
            ValueError, match=r"is damaged, cut short|is no file of skl"
        ):
            loaded(whole[:end])
    with pytest.raises(ValueError, match="is damaged, cut short"):
        loaded(whole + b"\0")


def sealed(data):
    """Put a checksum to the bytes of any zip, as a forger would."""
    body = data[:-2] + struct.pack("<H", 71) + b"sha256:"
    return body + sha256(body).hexdigest().encode()


def test_zip_bombs_are_refused(fitted):
    squeezed = io.BytesIO()
    with zipfile.ZipFile(squeezed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.json", b"{}")
        archive.writestr("arrays.npz", bytes(2**26))
    assert len(squeezed.getvalue()) < 2**17
    message = "holds 'meta.json' compressed, .* which may unpack to any size"
    with pytest.raises(ValueError, match=message):
        loaded(sealed(squeezed.getvalue()))
    with pytest.raises(ValueError, match="compressed"):
        loaded(forge(saved(fitted), add("arrays.npz", squeezed.getvalue())))
    with pytest.raises(ValueError, match="compressed"):
        loaded(forge(saved(fitted), add("networks/0.keras", squeezed.getvalue())))

    # Entries of the directory that share the same bytes.
    plain = pack({"meta.json": bytes(1000)})
    start = plain.index(b"PK\x01\x02")
    entry, end = plain[start:-22], bytearray(plain[-22:])
    directory = b"".join(
        entry.replace(b"meta.json", b"%09d" % number) for number in range(50)
    )
    end[8:12] = struct.pack("<HH", 50, 50)
    end[12:16] = struct.pack("<I", len(directory))
    with pytest.raises(ValueError, match="claims to hold more bytes than it has"):
        loaded(sealed(plain[:start] + directory + bytes(end)))


def test_two_parts_of_one_name_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("meta.json", b"{}")
        archive.writestr("meta.json", b"[]")
    with pytest.raises(ValueError, match="holds two parts of one name"):
        loaded(sealed(file.getvalue()))


def test_numbers_of_another_network_are_refused(fitted, data):
    def swap(parts):
        lease = parts["structure.json"]["estimator"]["state"]["_lease"]["lease"]
        names = dict(lease["state"]["dict"])["names"]
        names[-1], names[-2] = names[-2], names[-1]

    with pytest.raises(ValueError, match=r"The weights are those of .* and the netw"):
        loaded(forge(saved(fitted), swap)).predict(data[0])


def test_weights_of_a_model_that_do_not_fit_it(data):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Dense(2)])
    step = sklstm.FeatureSequencer(model, preprocessing=None)
    step.fit(data[0])

    def change(weights):
        def forged(parts):
            state = parts["structure.json"]["estimator"]["state"]
            state["backbone"]["model"][1] = weights

        return forge(saved(step), forged)

    loaded(change([{"array": 0}, {"array": 1}]))
    for weights in ([], [{"array": 1}, {"array": 0}], [{"array": 0}], "text", 3):
        with pytest.raises(ValueError, match="whose weights do not fit it"):
            loaded(change(weights))


def test_a_file_names_no_folder_for_features(data, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Dense(2)])
    step = sklstm.FeatureSequencer(model, preprocessing=None).fit(data[0])

    def folder(parts):
        state = parts["structure.json"]["estimator"]["state"]
        state["cache"] = str(tmp_path)

    with pytest.raises(ValueError, match="names a folder to write features to"):
        loaded(forge(saved(step), folder))

    def inside(parts):
        state = parts["structure.json"]["estimator"]["state"]
        state["_how"]["dict"].append(["cache", str(tmp_path)])

    with pytest.raises(ValueError, match="The file is not loaded"):
        loaded(forge(saved(step), inside))
    assert list(tmp_path.iterdir()) == []
