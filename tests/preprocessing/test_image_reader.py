import mmap
import os
import pickle
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import joblib
import numpy as np
import pytest
import tifffile
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

import sklstm
from sklstm import ImageReader, RowSequencer, load_image_folder
from sklstm.images.decoding._whole import is_whole
from sklstm.preprocessing import _image_reader
from sklstm.preprocessing._ahead import map_ahead
from sklstm.preprocessing._image_reader import _read


def picture(height=40, width=50, seed=0):
    """Return a smooth image of red, green and blue."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 2)


def write(path, image, extension=None, params=()):
    """Write an image (gray, or red, green and blue) under any file name."""
    if image.ndim == 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[2])]]
    ok, data = cv2.imencode(extension or path.suffix, image, list(params))
    assert ok
    path.write_bytes(data.tobytes())
    return path


@pytest.fixture
def paths(tmp_path):
    return [write(tmp_path / f"{i:03}.png", picture(seed=i)) for i in range(5)]


def test_rgb(paths):
    images = ImageReader(color="rgb").fit_transform(paths)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, [picture(seed=i) for i in range(5)])


def test_gray(paths):
    images = ImageReader().fit_transform(paths)
    assert images.shape == (5, 40, 50)
    weights = np.array([0.299, 0.587, 0.114])
    expected = np.stack([picture(seed=i) @ weights for i in range(5)])
    assert np.abs(images - expected).max() <= 2


def test_gray_file_as_rgb(tmp_path):
    gray = picture()[..., 0]
    image = ImageReader(color="rgb").transform([write(tmp_path / "a.png", gray)])[0]
    np.testing.assert_array_equal(image, np.stack([gray] * 3, axis=-1))


@pytest.mark.parametrize(
    "container", [list, tuple, np.array, lambda p: np.array([str(x) for x in p])]
)
def test_containers(paths, container):
    X = container(paths)
    expected = ImageReader().transform(paths)
    np.testing.assert_array_equal(ImageReader().fit_transform(X), expected)


@pytest.mark.parametrize("kind", ["str", "Path"])
def test_series(paths, kind):
    pd = pytest.importorskip("pandas")
    X = pd.Series([str(p) for p in paths] if kind == "str" else paths, name="file")
    expected = ImageReader().transform(paths)
    np.testing.assert_array_equal(ImageReader().fit_transform(X[::-1]), expected[::-1])


def test_order_is_kept_over_many_files(tmp_path):
    for i in range(300):
        write(tmp_path / f"{i}.pgm", np.full((2, 3), i % 256, np.uint8))
    order = np.random.default_rng(0).permutation(300)
    images = ImageReader().transform([tmp_path / f"{i}.pgm" for i in order])
    np.testing.assert_array_equal(images[:, 0, 0], order % 256)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm"])
def test_formats(tmp_path, extension):
    path = write(tmp_path / f"a{extension}", picture())
    image = ImageReader(color="rgb").transform([path])[0]
    assert np.abs(image.astype(int) - picture()).mean() < 5


@pytest.mark.parametrize("name", ["日本語 ñ.png", "with space.png", "no_suffix"])
def test_names(tmp_path, name):
    path = write(tmp_path / name, picture(), ".png")
    assert ImageReader().transform([path]).shape == (1, 40, 50)


def test_alpha_is_dropped(tmp_path):
    rgba = np.dstack([picture(), picture(seed=1)[..., :1]])
    image = ImageReader(color="rgb").transform([write(tmp_path / "a.png", rgba)])[0]
    np.testing.assert_array_equal(image, picture())


@pytest.mark.parametrize("color", ["gray", "rgb"])
@pytest.mark.parametrize(
    ("extension", "dtype"), [(".png", "uint16"), (".tif", "uint16"), (".tif", "f4")]
)
def test_depth_is_kept(tmp_path, color, extension, dtype):
    rgb = (picture() * 200.5).astype(dtype)
    same = write(tmp_path / f"a{extension}", rgb if color == "rgb" else rgb[..., 0])
    other = write(tmp_path / f"b{extension}", rgb if color == "gray" else rgb[..., 0])
    reader = ImageReader(color=color)
    images = reader.transform([same, other])
    assert images.dtype == dtype
    if color == "rgb":
        np.testing.assert_array_equal(images[0], rgb)
        np.testing.assert_array_equal(images[1], np.stack([rgb[..., 0]] * 3, axis=-1))
    else:
        np.testing.assert_array_equal(images[0], rgb[..., 0])
        expected = rgb @ np.array([0.299, 0.587, 0.114])
        assert np.abs(images[1] - expected).max() <= 0.01 * rgb.max()
    assert reader.set_params(size=9).transform([same, other]).dtype == dtype


# -- depths ------------------------------------------------------------------------


@pytest.fixture
def depths(tmp_path):
    """Files of one picture in several depths, by the name of the depth."""
    gray = np.random.default_rng(0).integers(0, 256, (8, 9), np.uint8)
    gray[0, 0] = 255
    header = f"{gray.shape[1]} {gray.shape[0]}"
    text = f"P2 {header} 1023 " + " ".join(
        str(v * 1023 // 255) for v in gray.ravel().tolist()
    )
    (tmp_path / "10.pgm").write_text(text)
    return {
        "uint8": write(tmp_path / "8.png", gray),
        "uint16": write(tmp_path / "16.png", gray * np.uint16(257)),
        "uint16 up to 1023": tmp_path / "10.pgm",
        "float32": write(tmp_path / "32.tif", gray.astype(np.float32)),
        "unit": write(tmp_path / "unit.tif", (gray / 255).astype(np.float32)),
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [("uint8", "uint16"), ("uint16", "uint16 up to 1023"), ("float32", "uint8")],
)
def test_depths_are_not_mixed(depths, one, other, tmp_path):
    a, b = depths[one], depths[other]
    message = rf"X mixes depths, .*: {a} is {one} and {b} is {other}; convert them to "
    with pytest.raises(ValueError, match=message + "one depth, or set scale='unit'"):
        ImageReader().transform([a, a, b])
    message = (
        rf"X differs in depth from the files of fit: in fit, {a} is {one} and {b} is "
        rf"{other}; convert them to one depth, or set scale='unit' to bring integers"
    )
    reader = ImageReader().fit([a])
    assert reader.transform([a]).shape == (1, 8, 9)
    with pytest.raises(ValueError, match=message):
        reader.transform([b, b])
    # Copies of the reader keep the depth, but a clone and a new fit forget it.
    with pytest.raises(ValueError, match=message):
        pickle.loads(pickle.dumps(reader)).transform([b])
    sklstm.save(reader, tmp_path / "reader.sklstm")
    with pytest.raises(ValueError, match=message):
        sklstm.load(tmp_path / "reader.sklstm").transform([b])
    assert clone(reader).transform([b]).shape == (1, 8, 9)
    assert reader.fit([b]).transform([b]).shape == (1, 8, 9)


def test_depth_of_fit_is_that_of_the_first_file_that_can_be_read(depths, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    files = [tmp_path / "none.png", tmp_path / "bad.png", depths["uint16"]]
    reader = ImageReader().fit(files)
    assert (reader.depth_, reader.depth_file_) == ("uint16", str(depths["uint16"]))
    assert not hasattr(reader.fit(files[:2]), "depth_")
    assert reader.transform([depths["uint8"]]).dtype == np.uint8


def test_one_scale_for_all_depths(depths):
    files = [depths[name] for name in ("uint8", "uint16", "uint16 up to 1023", "unit")]
    for color in ("gray", "rgb"):
        for size in (None, 5):
            reader = ImageReader(scale="unit", color=color, size=size).fit(files[:1])
            images = reader.transform(files)
            assert images.dtype == np.float32
            np.testing.assert_array_equal(images[0], images[1])
            np.testing.assert_allclose(images[2], images[0], atol=1e-3)
            np.testing.assert_allclose(images[3], images[0], rtol=1e-5)
            assert 0.5 < images.max() <= 1


def test_floats_beyond_the_unit_scale_are_not_mixed_with_integers(depths):
    reader = ImageReader(scale="unit")
    assert reader.fit_transform([depths["float32"]]).max() == 255
    message = r"32\.tif is floats beyond 1 and .*8\.png is integers, which are scaled"
    for files in ([depths["float32"]], [depths["unit"], depths["float32"]]):
        with pytest.raises(ValueError, match=f"X mixes depths, .*{message}"):
            ImageReader(scale="unit").transform([*files, depths["uint8"]])
    with pytest.raises(ValueError, match=f"the files of fit: in fit, .*{message}"):
        reader.transform([depths["uint8"]])
    # Depths that were found with another scale do not count.
    reader.set_params(scale=None)
    assert reader.transform([depths["uint8"]]).dtype == np.uint8


def test_readers_pickled_by_release_0_1_have_no_scale(depths):
    state = ImageReader(size=4).__getstate__()
    del state["scale"]
    reader = ImageReader.__new__(ImageReader)
    reader.__setstate__(state)
    assert reader.get_params()["scale"] is None
    assert reader.transform([depths["uint8"]]).shape == (1, 4, 4)


# -- size --------------------------------------------------------------------------


def test_mixed_sizes_need_size(tmp_path):
    a = write(tmp_path / "a.png", picture(40, 50))
    b = write(tmp_path / "b.png", picture(40, 51))
    message = (
        r"X mixes sizes: .*a\.png is \(40, 50\) and .*b\.png is \(40, 51\) "
        r"\(height, width\); give size= to bring all to one"
    )
    with pytest.raises(ValueError, match=message):
        ImageReader().transform([a, a, b])
    assert ImageReader(size=(8, 9)).transform([a, b]).shape == (2, 8, 9)
    assert ImageReader(size=8, color="rgb").transform([a, b]).shape == (2, 8, 8, 3)


def test_shrinking_averages_areas(tmp_path):
    gray = picture()[..., 0]
    small = ImageReader(size=(20, 10)).transform([write(tmp_path / "a.png", gray)])[0]
    means = gray.reshape(20, 2, 10, 5).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 0.51


def test_enlarging_is_linear(tmp_path):
    ramp = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (4, 1))
    large = ImageReader(size=(4, 75)).transform([write(tmp_path / "a.png", ramp)])[0]
    steps = np.diff(large[:, 2:-2].astype(int), axis=1)
    assert set(np.unique(steps)) <= {3, 4}


def test_shrinking_one_axis_and_enlarging_the_other(tmp_path):
    stripes = np.tile(np.array([0, 200], np.uint8), (4, 20))
    image = ImageReader(size=(8, 20)).transform([write(tmp_path / "a.png", stripes)])
    # The mean of two stripes is 100. Linear interpolation would also give 100 here, but
    # not for a factor of four.
    assert (image == 100).all()
    image = ImageReader(size=(8, 10)).transform([tmp_path / "a.png"])
    assert (image == 100).all()


# -- bad files ---------------------------------------------------------------------


def test_missing_files(paths, tmp_path):
    X = [paths[0], tmp_path / "no.png", paths[1], tmp_path / "nein.png"]
    message = r"X names 2 of 4 files that do not exist: .*no\.png, .*nein\.png\."
    with pytest.raises(FileNotFoundError, match=message):
        ImageReader().transform(X)


def test_many_missing_files_are_counted(tmp_path):
    X = [tmp_path / f"{i}.png" for i in range(9)]
    with pytest.raises(FileNotFoundError, match=r"4\.png and 4 more\."):
        ImageReader().transform(X)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm"])
@pytest.mark.parametrize("part", [0.97, 0.5, 0.1])
def test_truncated_file(paths, tmp_path, extension, part, capfd):
    whole = write(tmp_path / f"whole{extension}", picture()).read_bytes()
    bad = tmp_path / f"bad{extension}"
    bad.write_bytes(whole[: int(len(whole) * part)])
    message = rf"X names 1 of 2 files that cannot be read .*: .*bad\{extension}\."
    with pytest.raises(ValueError, match=message):
        ImageReader().transform([tmp_path / f"whole{extension}", bad])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("params", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
                                    (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])  # fmt: skip
def test_jpeg_is_complete_or_refused_at_every_byte(tmp_path, params):
    path = tmp_path / "a.jpg"
    data = write(path, picture(), params=params).read_bytes()
    expected = ImageReader().transform([path])
    # `is_whole` is tested itself, because some versions of OpenCV refuse such files,
    # and others fill them with grey.
    assert not any(is_whole(data[:n]) for n in range(8, len(data)))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        ImageReader().transform([path])
    # Some cameras append bytes, which do no harm.
    path.write_bytes(data + b"\0" * 10)
    np.testing.assert_array_equal(ImageReader().transform([path]), expected)


def test_jpeg_with_a_whole_preview_is_still_truncated(tmp_path):
    path = tmp_path / "a.jpg"
    data = write(path, picture()).read_bytes()
    preview = write(tmp_path / "b.jpg", picture(8, 8)).read_bytes()
    segment = b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview
    path.write_bytes(data[:2] + segment + data[2:])
    assert ImageReader().transform([path]).shape == (1, 40, 50)
    assert not is_whole(data[:2] + segment + data[2:-100])


def test_damaged_png(tmp_path, capfd):
    path = tmp_path / "a.png"
    data = bytearray(write(path, picture()).read_bytes())
    assert not any(is_whole(bytes(data[:n])) for n in range(8, len(data)))
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read"):
        ImageReader().transform([path])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n"]
)
def test_not_an_image(paths, tmp_path, content):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as images, .*text\.png"):
        ImageReader().transform([*paths, path])


def test_folder(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as images"):
        ImageReader().transform([tmp_path])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    pipe = tmp_path / "0" / "pipe.png"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match=r"because it is no file: .*pipe"):
        ImageReader().transform([pipe])
    with pytest.raises(ValueError, match="1 unreadable"):
        load_image_folder(tmp_path)


def test_log_level_of_opencv_is_put_back(paths, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"bad")
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_FATAL)
    try:
        ImageReader().transform(paths)
        with pytest.raises(ValueError, match="cannot be read"):
            ImageReader().transform([tmp_path / "bad.png"])
        assert logging.getLogLevel() == logging.LOG_LEVEL_FATAL
    finally:
        logging.setLogLevel(before)


def test_two_readers_run_at_the_same_time(paths, monkeypatch):
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    both, first_is_out = threading.Barrier(2, timeout=20), threading.Event()
    levels = []

    def read_slowly(path, *args):
        # The barrier opens only if both readers read at the same time.
        both.wait()
        if path.endswith("001.png"):
            assert first_is_out.wait(20)
            levels.append(logging.getLogLevel())
        return _read(path, *args)

    monkeypatch.setattr(_image_reader, "_read", read_slowly)
    with ThreadPoolExecutor(2) as pool:
        first, last = (pool.submit(ImageReader().transform, [p]) for p in paths[:2])
        assert first.result(20).shape == (1, 40, 50)
        first_is_out.set()
        assert last.result(20).shape == (1, 40, 50)
    # OpenCV is silent until the last reader ends.
    assert levels == [logging.LOG_LEVEL_SILENT]
    assert logging.getLogLevel() == before != logging.LOG_LEVEL_SILENT


def test_few_images_are_held_before_the_sizes_are_compared(tmp_path):
    # While a slow file is read, only a few others may be decoded.
    image = np.zeros((500, 500), np.uint8)
    first = write(tmp_path / "a.png", image)
    other = write(tmp_path / "b.png", image[1:])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="X mixes sizes"):
            ImageReader().transform([first, other] + [first] * 400)
        peak = tracemalloc.get_traced_memory()[1] / image.nbytes
    finally:
        tracemalloc.stop()
    # The bound is the batch itself and four results for each thread.
    assert peak < 402 + 5 * joblib.cpu_count()


def test_results_are_held_for_few_items_ahead():
    made = []

    def make(i):
        made.append(i)
        return i

    results = map_ahead(make, range(1000))
    assert next(results) == 0
    time.sleep(0.05)
    assert len(made) <= 4 * joblib.cpu_count()
    assert list(results) == list(range(1, 1000))
    results = map_ahead(make, range(1000))
    next(results)
    made.clear()
    results.close()
    assert len(made) <= 4 * joblib.cpu_count()


# -- bad X and parameters ----------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.zeros((2, 4, 4)),
            r"ImageReader takes paths of files, but X already is an array of images of "
            r"shape \(2, 4, 4\); leave ImageReader out",
        ),
        ("a.png", r"X must be a list or .* got an array of shape \(\) \(put one path"),
        (np.array([["a.png"]]), r"of shape \(1, 1\) \(pass one column\)"),
        ([], r"0 sample\(s\)"),
        ([1.5], r"paths as str or pathlib.Path; X\[0\] is float: 1.5"),
        (["a.png", None], r"X\[1\] is NoneType: None"),
        (np.zeros(3), r"X\[0\] is float64"),
    ],
)
def test_bad_x(X, message):
    for method in (ImageReader().fit, ImageReader().transform):
        with pytest.raises(ValueError, match=message):
            method(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"color": "bgr"}, "color must be one of 'gray', 'rgb'; got 'bgr'"),
        (
            {"size": 0},
            r"size must be a whole number of at least 1, or \(height, width\) of such; "
            "got 0",
        ),
        ({"size": (4, 4, 3)}, r"size must be .* got \(4, 4, 3\)"),
        ({"size": 4.5}, r"size must be .* got 4.5"),
        ({"scale": "full"}, "scale must be one of None, 'unit'; got 'full'"),
    ],
)
def test_bad_parameters(params, message):
    reader = ImageReader(**params)  # The parameters are not checked yet.
    for method in (reader.fit, reader.transform):
        with pytest.raises(ValueError, match=message):
            method(["a.png"])


# -- the interface of scikit-learn, whose checks cannot use paths --------------------


def test_is_an_estimator(paths):
    reader = ImageReader(size=8, color="rgb")
    assert reader.get_params() == {
        "size": 8, "color": "rgb", "on_disk": None, "scale": None
    }  # fmt: skip
    assert clone(reader).get_params() == reader.get_params()
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.transform(paths), reader.transform(paths))
    assert reader.set_params(size=None).size is None
    assert not hasattr(reader, "set_output")
    learned = {"depth_": "uint8", "depth_file_": str(paths[0])}
    assert vars(ImageReader().fit(paths)) == {**vars(ImageReader()), **learned}


def test_images_on_disk_are_the_same(paths, tmp_path):
    folder = tmp_path / "held"
    folder.mkdir()
    images = ImageReader(on_disk=folder).fit_transform(paths)
    np.testing.assert_array_equal(images, ImageReader().fit_transform(paths))
    assert isinstance(images.base.base.obj, mmap.mmap)
    assert list(folder.iterdir()) == []  # The file has no name.
    images[0] = 0  # The array is writeable.
    again = joblib.Parallel(n_jobs=2)([joblib.delayed(np.sum)(images[1:])])
    assert again == [images[1:].sum()]
    with pytest.raises(ValueError, match="on_disk must be None or a folder that"):
        ImageReader(on_disk=tmp_path / "gone").fit(paths)


def test_tags():
    tags = get_tags(ImageReader())
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.input_tags.two_d_array
    assert not tags.requires_fit


def test_pipeline(paths):
    pipeline = make_pipeline(ImageReader(size=16), RowSequencer(sequence_length=4))
    assert pipeline.fit_transform(paths).shape == (5, 4, 64)
    assert pipeline.transform(paths[:2]).shape == (2, 4, 64)


def test_opencv_is_imported_on_first_use():
    code = "import sys, sklstm; sklstm.ImageReader(); assert 'cv2' not in sys.modules"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_file_with_values_that_are_not_finite_is_named(value, tmp_path):
    image = np.zeros((4, 5), "f4")
    image[1, 2] = value
    tifffile.imwrite(tmp_path / "good.tif", np.zeros((4, 5), "f4"))
    tifffile.imwrite(tmp_path / "bad.tif", image)
    paths = [tmp_path / "good.tif", tmp_path / "bad.tif"]
    for scale in (None, "unit"):
        with pytest.raises(ValueError, match=r"1 of its values are NaN .*bad\.tif"):
            ImageReader(scale=scale).fit(paths).transform(paths)
