"""Real file systems, each mounted for a test and unmounted with it; as root, and most of them through FUSE."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .servers import need

# A mount took 0.1 s on an idle machine with two cores.
START = 20.0
SIZE = 48 << 20

Command = Callable[[Path, Path], Sequence[str]]


def _need_fuse() -> None:
    """Skip where no file system can be mounted through FUSE, in CI too: it is the machine that lacks it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"no FUSE on this machine: {error.strerror}")


@contextlib.contextmanager
def tmpfs(base: Path) -> Iterator[Path]:
    """A disk in memory."""
    folder = _folder(base)
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "fetchq-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is refused here: {done.stderr.strip()}")
    with _unmounting(folder):
        yield folder


@contextlib.contextmanager
def ntfs(base: Path) -> Iterator[Path]:
    """Windows' file system, as ntfs-3g has it."""
    _need_fuse()
    image = _image(base, [need("mkntfs"), "-F", "-Q", "-q"])
    with _served(base, [need("ntfs-3g"), "-o", "no_detach", str(image)]) as folder:
        yield folder


@contextlib.contextmanager
def bindfs(base: Path) -> Iterator[Path]:
    """Another folder, which gives its files to another user: their dates and rights are not ours to set."""
    _need_fuse()
    source = base / "source"
    source.mkdir()
    words = [need("bindfs"), "-f", "--force-user=12345", "--chmod-deny", "--xattr-none", str(source)]
    with _served(base, words) as folder:
        yield folder


@contextlib.contextmanager
def sshfs(base: Path) -> Iterator[Path]:
    """A folder of an SFTP server, which talks to sshfs through pipes."""
    _need_fuse()
    program, server = need("sshfs"), need("sftp-server")
    source = base / "source"
    source.mkdir()
    # Two processes, each with its standard output as the other's input.
    shell = 'mkfifo "$1"; "$2" <"$1" | "$3" ":$4" "$5" -f -o passive >"$1"'
    words = ["sh", "-c", shell, "sh", str(base / "pipe"), server, program, str(source)]
    with _served(base, words) as folder:
        yield folder


MOUNTS = {"tmpfs": tmpfs, "ntfs": ntfs, "bindfs": bindfs, "sshfs": sshfs}


def _folder(base: Path) -> Path:
    folder = base / "mounted"
    folder.mkdir()
    return folder


def _image(base: Path, make: Sequence[str]) -> Path:
    """Return a file with an empty file system in it."""
    image = base / "image"
    with image.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run([*make, str(image)], check=True, capture_output=True)
    return image


@contextlib.contextmanager
def _served(base: Path, command: Sequence[str]) -> Iterator[Path]:
    """Run *command*, with a new folder as its last word, for as long as that is mounted."""
    folder = _folder(base)
    with (base / "said").open("wb") as said:
        process = subprocess.Popen([*command, str(folder)], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + START
        while not os.path.ismount(folder):
            if process.poll() is not None or time.monotonic() > deadline:
                text = (base / "said").read_text("utf-8", "replace").strip()
                pytest.skip(f"no FUSE on this machine: {text[-200:]}")
            time.sleep(0.02)
        with _unmounting(folder):
            yield folder
    finally:
        # Unmounted, it ends by itself.
        try:
            process.wait(START)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _unmounting(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        # Lazily: an antivirus program or an indexer may look at it.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
