from __future__ import annotations

import errno
import functools
import gzip
import hashlib
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pooch
import pytest
import torch

from bench import protocol
from bench.data import Binarised, binarise, fetch, read_idx, split
from bench.protocol import DataError, Splits, UserError
from bench.streams import stream

if TYPE_CHECKING:
    from tests.conftest import Mirror

    Mirrors = tuple[Mirror, Mirror]

BODY = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Grey(Binarised):
    """Images of no digits at all."""

    name = "grey"
    version = "1"

    def load(self, folder: Path) -> Splits:
        return split(np.zeros((4, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8))


# ---------------------------------------------------------------- binarisation


def test_a_binarised_data_set_meets_the_protocol() -> None:
    dataset: protocol.Dataset = Grey()
    assert (dataset.likelihood, dataset.unit) == ("bernoulli", "nats")


@pytest.mark.parametrize("white", [16, 255])
def test_pixels_are_bernoulli_with_the_stored_brightness(white: int) -> None:
    n = 4000
    x = torch.arange(white + 1, dtype=torch.uint8).expand(n, 1, -1)
    drawn = binarise(x, white, stream(0, "binarise"))
    assert drawn.shape == (n, white + 1)
    assert drawn.dtype == torch.float32
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    p = torch.arange(white + 1) / white
    standard_error = (p * (1 - p) / n).sqrt()
    # 256 levels: 5 standard errors are exceeded once in 7,000 times; black and white have no error at all
    assert bool(((drawn.mean(0) - p).abs() <= 5 * standard_error).all())


def test_dynamic_binarisation_follows_its_noise() -> None:
    x = torch.full((10, 28, 28), 128, dtype=torch.uint8)
    assert torch.equal(Grey().prepare(x, stream(3, "binarise", 7)), Grey().prepare(x, stream(3, "binarise", 7)))
    assert not torch.equal(Grey().prepare(x, stream(3, "binarise", 7)), Grey().prepare(x, stream(3, "binarise", 8)))


def test_fixed_binarisation_depends_on_the_data_set_alone() -> None:
    class Renamed(Grey):
        name = "other"

    class Revised(Grey):
        version = "2"

    x = torch.full((50, 8, 8), 128, dtype=torch.uint8)
    torch.manual_seed(1)
    first = Grey().fixed(x)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(Grey().fixed(x), first)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    assert not torch.equal(Renamed().fixed(x), first)
    assert not torch.equal(Revised().fixed(x), first)


def test_the_first_images_have_the_same_fixed_bits_however_many_are_scored() -> None:
    x = torch.full((1000, 8, 8), 100, dtype=torch.uint8)
    whole = Grey().fixed(x)
    for n in (2, 17, 200, 999):
        assert torch.equal(Grey().fixed(x[:n]), whole[:n])


def test_fixed_bits_are_known() -> None:
    """A change of them, by a library or by us, would break the pairing with records that are there."""
    bits = Grey().fixed(torch.full((100, 8, 8), 128, dtype=torch.uint8))
    digest = hashlib.sha256(np.packbits(bits.numpy().astype(bool)).tobytes()).hexdigest()
    assert digest == "55bbd7ae1c691d9d65699e2c3cd34f2373d18933e1f54a8ee882478adbccb106"


def test_fixed_bits_do_not_follow_the_default_type() -> None:
    x = torch.full((100, 8, 8), 77, dtype=torch.uint8)
    expected = Grey().fixed(x)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(Grey().fixed(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fixed_bits_are_the_same_on_a_gpu() -> None:
    x = torch.randint(256, (500, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    there = Grey().fixed(x.cuda())
    assert there.device.type == "cuda"
    assert torch.equal(there.cpu(), Grey().fixed(x))


# ---------------------------------------------------------------- splits


def test_validation_is_the_last_of_training() -> None:
    train, test = np.arange(20, dtype=np.uint8).reshape(10, 2), np.zeros((3, 2), np.uint8)
    splits = split(train, test, 4)
    assert np.array_equal(splits.train, train[:6])
    assert np.array_equal(splits.validation, train[6:])
    assert np.array_equal(splits.test, test)
    assert np.shares_memory(splits.train, train)
    assert split(train, test).validation.shape == (0, 2)


def test_the_digest_tells_splits_apart() -> None:
    train, test = np.arange(20, dtype=np.uint8).reshape(10, 2), np.zeros((3, 2), np.uint8)
    altered = train.copy()
    altered[0, 0] = 1
    all_splits = [
        split(train, test),
        split(train, test, 4),
        split(altered, test),
        split(train, test + 1),
        split(train.astype(np.float32), test),
    ]
    assert len({splits.sha256 for splits in all_splits}) == len(all_splits)
    assert split(train.copy(), test.copy()).sha256 == split(train, test).sha256
    # the digest is of the values, not of how they lie in memory
    assert split(np.asfortranarray(train), test).sha256 == split(train, test).sha256


@pytest.mark.parametrize("validation", [-1, 10])
def test_a_validation_split_leaves_something_to_train_on(validation: int) -> None:
    with pytest.raises(UserError) as caught:
        split(np.zeros((10, 2), np.uint8), np.zeros((3, 2), np.uint8), validation)
    assert str(caught.value) == (
        f"validation = {validation} cannot be taken from 10 training items; 0 to 9 are allowed"
    )


# ---------------------------------------------------------------- the idx format


def write_idx(path: Path, array: np.ndarray, *, magic: bytes = b"", tail: bytes = b"") -> Path:
    header = (magic or bytes([0, 0, 8, array.ndim])) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes() + tail))
    return path


IMAGES = np.random.default_rng(0).integers(0, 256, (30, 5, 4), dtype=np.uint8)


def test_an_idx_file_gives_its_array(tmp_path: Path) -> None:
    array = read_idx(write_idx(tmp_path / "a.gz", IMAGES), IMAGES.shape)
    assert array.dtype == np.uint8
    assert np.array_equal(array, IMAGES)
    torch.from_numpy(array)  # would warn of an array that cannot be written


def refusal(path: Path, shape: tuple[int, ...] = IMAGES.shape) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path, shape)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_idx_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "a.gz", IMAGES, magic=bytes([0, 0, 13, 3]))
    assert refusal(path) == f"{path} starts with 00 00 0d 03, expected 00 00 08 03 (idx, bytes)"


def test_an_idx_file_of_another_shape_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 3]) + (2**31).to_bytes(4, "big") * 3
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(header))
    assert refusal(path) == f"{path} declares the shape (2147483648, 2147483648, 2147483648), expected (30, 5, 4)"


def test_an_idx_file_that_ends_early_or_late_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "short.gz"
    short.write_bytes(gzip.compress(gzip.decompress(write_idx(tmp_path / "a.gz", IMAGES).read_bytes())[:-7]))
    assert refusal(short) == f"{short} is truncated: it holds 593 of 600 bytes"
    long = write_idx(tmp_path / "long.gz", IMAGES, tail=b"x")
    assert refusal(long) == f"{long} is too long: it goes on after 600 bytes"
    empty = tmp_path / "empty.gz"
    empty.write_bytes(gzip.compress(b""))
    assert refusal(empty) == f"{empty} starts with , expected 00 00 08 03 (idx, bytes)"


def test_a_gzip_file_that_is_truncated_or_altered_is_refused(tmp_path: Path) -> None:
    whole = write_idx(tmp_path / "a.gz", IMAGES).read_bytes()
    for name, content in {
        "cut": whole[:-20],
        "altered": whole[:100] + bytes([whole[100] ^ 255]) + whole[101:],
        "checksum": whole[:-8] + b"\0" * 8,
        "text": b"<html>Not Found</html>",
    }.items():
        path = tmp_path / f"{name}.gz"
        path.write_bytes(content)
        assert refusal(path).startswith(f"{path} is not a whole gzip file (")


def test_an_idx_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.gz") == f"{tmp_path / 'a.gz'} cannot be read (No such file or directory)"


# ---------------------------------------------------------------- downloads


def failure(folder: Path, mirrors: Mirrors | tuple[()], files: dict[str, str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        fetch(folder, files or {"a.gz": SHA256}, [mirror.url for mirror in mirrors])
    message = str(caught.value)
    assert "\n" not in message
    return message


def failure_at(folder: Path, *mirrors: str) -> str:
    with pytest.raises(DataError) as caught:
        fetch(folder, {"a.gz": SHA256}, mirrors)
    return str(caught.value)


BY_HAND = f"fetch these files on a machine that can, and name their folder with --data-dir: a.gz (SHA-256 {SHA256})"


@pytest.mark.timeout(20)
def test_a_folder_without_flock_is_not_waited_for(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    mirrors[0].files["a.gz"] = BODY
    (path,) = fetch(tmp_path, {"a.gz": SHA256}, [mirrors[0].url])
    assert path.read_bytes() == BODY


def test_a_file_comes_from_the_first_mirror(tmp_path: Path, mirrors: Mirrors) -> None:
    first, second = mirrors
    first.files["a.gz"] = second.files["a.gz"] = BODY
    (path,) = fetch(tmp_path, {"a.gz": SHA256}, [first.url + "/", second.url])
    assert path.read_bytes() == BODY
    assert path.stat().st_mode & 0o777 == 0o644
    assert (first.asked, second.asked) == (["a.gz"], [])
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name != ".download.lock") == ["a.gz"]
    fetch(tmp_path, {"a.gz": SHA256}, [first.url, second.url])
    assert first.asked == ["a.gz"], "what is there is not asked for again"


@pytest.mark.parametrize("fault", ["404", "garbage", "cut", "broken off", "down"])
def test_the_second_mirror_stands_in_for_the_first(tmp_path: Path, mirrors: Mirrors, fault: str) -> None:
    first, second = mirrors
    second.files["a.gz"] = BODY
    if fault == "garbage":
        first.files["a.gz"] = b"<html>Sign in to this network</html>"
    elif fault == "cut":
        first.files["a.gz"] = BODY[:1000]
    elif fault == "broken off":
        first.files["a.gz"], first.claims["a.gz"] = BODY[:1000], len(BODY)
    elif fault == "down":
        first.close()
    (path,) = fetch(tmp_path, {"a.gz": SHA256}, [first.url, second.url])
    assert path.read_bytes() == BODY
    assert second.asked == ["a.gz"]


def test_mirrors_that_all_fail_are_named_with_their_reasons(tmp_path: Path, mirrors: Mirrors) -> None:
    first, second = mirrors
    second.files["a.gz"] = BODY[:-1]
    assert failure(tmp_path, mirrors) == (
        f"cannot download a.gz ({first.url}/a.gz: HTTP status 404; {second.url}/a.gz: not the expected file); {BY_HAND}"
    )
    first.files["a.gz"], first.claims["a.gz"] = BODY[:1000], len(BODY)
    second.close()
    assert failure(tmp_path, mirrors) == (
        f"cannot download a.gz ({first.url}/a.gz: the connection broke off; "
        f"{second.url}/a.gz: no connection); {BY_HAND}"
    )
    assert not (tmp_path / "a.gz").exists()
    assert not (tmp_path / ".download").exists()


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path, mirrors: Mirrors) -> None:
    for mirror in mirrors:
        mirror.close()
    message = failure(tmp_path, mirrors)
    assert message.count("no connection") == 2
    assert message.endswith(BY_HAND)


def test_a_stalled_transfer_an_untrusted_server_and_a_dead_proxy_are_told_apart(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = mirrors
    first.files["a.gz"], first.stuck = BODY, {"a.gz"}
    monkeypatch.setattr(pooch, "HTTPDownloader", functools.partial(pooch.HTTPDownloader, timeout=0.2))
    message = failure_at(tmp_path, first.url, second.url.replace("http:", "https:"))
    assert "a.gz: no answer in time; https:" in message
    assert "a.gz: no trusted connection (TLS or its certificate)); " in message
    first.release.set()
    second.close()
    monkeypatch.setenv("HTTP_PROXY", second.url)
    monkeypatch.setenv("NO_PROXY", "")
    assert "(http://data.invalid/a.gz: the proxy that is set does not answer); " in failure_at(
        tmp_path, "http://data.invalid"
    )


def test_an_unpacked_file_and_another_library_s_folder_serve_as_well(tmp_path: Path) -> None:
    packed = gzip.compress(BODY)
    files = {"a.gz": hashlib.sha256(packed).hexdigest()}

    def got() -> Path:
        return fetch(tmp_path, files, [], {"a.gz": SHA256}, ["there/raw"])[0]

    raw = tmp_path / "there" / "raw"
    raw.mkdir(parents=True)
    for place, content in (
        (raw / "a", BODY),
        (raw / "a.gz", packed),
        (tmp_path / "a", BODY),
        (tmp_path / "a.gz", packed),
    ):
        place.write_bytes(content)
        assert got() == place, "the nearest is taken"
    for wrong in ("a.gz", "a"):
        (tmp_path / "a.gz").unlink(missing_ok=True)
        (tmp_path / wrong).write_bytes(BODY[:-1])
        with pytest.raises(DataError, match=f"{tmp_path / wrong} is truncated or altered"):
            got()


def test_files_that_are_there_need_no_network_and_no_right_to_write(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(BODY)
    assert fetch(tmp_path, {"a.gz": SHA256}, []) == [tmp_path / "a.gz"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.gz"]


@pytest.mark.parametrize("content", [BODY[:-1], b"", BODY[:-1] + b"\0"], ids=["cut", "empty", "altered"])
def test_a_wrong_file_is_an_error_and_is_left_alone(tmp_path: Path, mirrors: Mirrors, content: bytes) -> None:
    mirrors[0].files |= {"a.gz": BODY, "b.gz": BODY}
    path = tmp_path / "b.gz"
    path.write_bytes(content)
    assert failure(tmp_path, mirrors, {"a.gz": SHA256, "b.gz": SHA256}) == (
        f"{path} is truncated or altered: its SHA-256 is {hashlib.sha256(content).hexdigest()}, expected {SHA256}; "
        "delete it to have it downloaded again, or put the right file in its place"
    )
    assert path.read_bytes() == content
    assert mirrors[0].asked == [], "nothing is downloaded beside a wrong file"


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.gz").mkdir()
    assert failure(tmp_path, ()) == f"{tmp_path / 'a.gz'} cannot be read (Is a directory)"


def test_a_data_folder_that_is_missing_is_told(tmp_path: Path, mirrors: Mirrors) -> None:
    folder = tmp_path / "dtaa"
    remedy = "create it to have the data downloaded into it, or correct --data-dir"
    assert failure(folder, mirrors) == f"the data folder {folder} does not exist; {remedy}"
    assert not folder.exists()
    folder.write_text("")
    assert failure(folder, mirrors) == f"the data folder {folder} is not a folder; {remedy}"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which not even root may write")
def test_a_data_folder_that_cannot_be_written_is_told(mirrors: Mirrors) -> None:
    mirrors[0].files["a.gz"] = BODY
    message = failure(Path("/proc/self"), mirrors)
    assert message.startswith("cannot download into /proc/self (")
    assert message.endswith(BY_HAND)


# ---------------------------------------------------------------- downloads as processes see them

SCRIPT = """
import sys
from pathlib import Path
from bench.data import fetch
fetch(Path(sys.argv[1]), {"a.gz": sys.argv[2]}, sys.argv[3:])
"""


def downloading(folder: Path, mirror: Mirror, **streams: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(folder), SHA256, mirror.url]
    return subprocess.Popen(command, text=True, **streams)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_download_that_is_killed_half_way_passes_for_nothing(tmp_path: Path, mirrors: Mirrors) -> None:
    mirror, _ = mirrors
    mirror.files["a.gz"], mirror.stuck = BODY, {"a.gz"}
    with downloading(tmp_path, mirror, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: any(part.stat().st_size for part in (tmp_path / ".download").glob("*")))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.gz").exists()
    mirror.release.set()
    (path,) = fetch(tmp_path, {"a.gz": SHA256}, [mirror.url])
    assert path.read_bytes() == BODY
    assert not (tmp_path / ".download").exists(), "what the killed process left is swept up"


def test_processes_that_want_the_same_file_download_it_once(tmp_path: Path, mirrors: Mirrors) -> None:
    mirror, _ = mirrors
    mirror.files["a.gz"], mirror.stuck = BODY, {"a.gz"}
    with (
        downloading(tmp_path, mirror, stderr=subprocess.DEVNULL) as one,
        downloading(tmp_path, mirror, stderr=subprocess.DEVNULL) as other,
    ):
        wait_for(lambda: mirror.asked)
        mirror.release.set()
    assert (one.returncode, other.returncode) == (0, 0)
    assert mirror.asked == ["a.gz"]


def test_a_log_shows_plain_lines_and_a_terminal_a_bar(tmp_path: Path, mirrors: Mirrors) -> None:
    mirror, _ = mirrors
    mirror.files["a.gz"] = BODY
    with downloading(tmp_path, mirror, stderr=subprocess.PIPE) as process:
        assert process.stderr
        log = process.stderr.read()
    assert f"Downloading data from '{mirror.url}/a.gz'" in log
    assert "%" not in log
    (tmp_path / "a.gz").unlink()
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with downloading(tmp_path, mirror, stderr=theirs) as process:
        assert process.wait(30) == 0
    screen = os.read(ours, 1 << 16).decode()
    os.close(theirs)
    os.close(ours)
    assert "100%" in screen


def test_importing_data_imports_no_torch() -> None:
    script = "import sys, bench.data; sys.exit(bool({'torch', 'sklearn', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
