"""Files are downloaded once, verified, and never half there."""

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

import pooch
import pytest

from bench.data import fetch
from bench.protocol import DataError

if TYPE_CHECKING:
    from tests.conftest import Mirror

    Mirrors = tuple[Mirror, Mirror]
from tests.test_data import BODY, SHA256

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
