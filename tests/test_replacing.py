"""Files are complete or not there, whatever becomes of the disk, and nothing is left beside them."""

import errno
import os
import resource
import signal
import stat
import time

import numpy as np
import pytest

from bayesmm.errors import StorageError
from bayesmm.locking import HeldError, is_free, lock
from bayesmm.replacing import MARK, PARTIAL, SteadyFile, remove, replacing, undisturbed, whole


@pytest.fixture
def largest_file():
    """Set the size from which on the system refuses to write: what a full disk is, for any user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    limit(soft)


def interrupt_after(_):
    raise KeyboardInterrupt


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path, largest_file):
    path = tmp_path / "a.txt"
    path.write_text("old")
    largest_file(1000)
    with (
        pytest.raises(StorageError, match=r"a\.txt' cannot be written: File too large\. Ask for"),
        replacing(path) as p,
    ):
        p.write_text("new" * 1000)
    largest_file(resource.RLIM_INFINITY)
    with pytest.raises(KeyboardInterrupt), replacing(path) as p:
        interrupt_after(p.write_text("half of it"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_link_stays_one_and_permissions_stay(tmp_path):
    kept, link = tmp_path / "kept.txt", tmp_path / "link.txt"
    kept.write_text("old")
    kept.chmod(0o600)
    link.symlink_to("kept.txt")
    with replacing(link) as partial:
        partial.write_text("new")
    assert link.is_symlink()
    assert kept.read_text() == "new"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    fresh = tmp_path / "fresh.txt"
    (tmp_path / "plain.txt").touch()
    with replacing(fresh) as partial:
        partial.write_text("new")
    assert fresh.stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(pipe) as partial:
        partial.write_text("numbers")
    assert os.read(reader, 99) == b"numbers"
    os.close(reader)


def test_a_name_may_be_as_long_as_the_system_takes(tmp_path):
    path = tmp_path / ("n" * 251 + ".csv")
    with replacing(path) as partial:
        partial.write_text("x")
    assert path.read_text() == "x"


@pytest.mark.parametrize("step", range(12))
def test_a_folder_is_found_wherever_its_replacement_stops(step, tmp_path, monkeypatch):
    """At every call that moves or deletes, the process ends."""
    path = tmp_path / "a.zarr"
    for text in ("first", "old"):
        with replacing(path, folder=True) as partial:
            (partial / "x").write_text(text)

    class Ended(BaseException):
        pass

    calls = []

    def end(call):
        def ending(*arguments, **options):
            calls.append(call)
            if len(calls) > step:
                raise Ended
            return call(*arguments, **options)

        return ending

    with monkeypatch.context() as patch:
        for name in ("os.rename", "os.replace", "os.unlink", "os.rmdir", "shutil.rmtree", "os.fsync"):
            module, attribute = name.split(".")
            patch.setattr(name, end(getattr(__import__(module), attribute)))
        try:
            with replacing(path, folder=True) as partial:
                (partial / "x").write_text("new")
            ended = False
        except Ended:
            ended = True
    assert (whole(path) / "x").read_text() in ({"old", "new"} if ended else {"new"})
    with replacing(path, folder=True) as partial:
        (partial / "x").write_text("newer")
    assert (path / "x").read_text() == "newer"
    assert (whole(path) / "x").read_text() == "newer"
    assert not list(tmp_path.glob("*.previous*"))


def test_what_a_killed_process_left_is_deleted_and_what_is_held_is_not(tmp_path):
    left, held, recent = (tmp_path / f"{MARK}{i}{PARTIAL}.nc" for i in range(3))
    for path in (left, held, recent):
        path.touch()
    for path in (left, held):
        os.utime(path, (time.time() - 999,) * 2)
    with lock(held):
        assert not is_free(held)
        with replacing(tmp_path / "a.txt") as partial:
            partial.write_text("x")
    assert names(tmp_path) == sorted(["a.txt", held.name, recent.name])
    with lock(held), pytest.raises(HeldError), lock(held):
        pass


def test_a_steady_file_is_a_file_where_the_disk_fails_too(tmp_path, largest_file):
    """Random reads and writes, against bytes in memory; half of the cases hit the limit."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        path = tmp_path / "steady"
        path.write_bytes(b"")
        limit = int(rng.integers(0, 400_000)) if seed % 2 else 10**9
        largest_file(limit)
        expected = bytearray()
        with SteadyFile(path) as file:
            for _ in range(25):
                start, n = int(rng.integers(0, 400_000)), int(rng.integers(0, 90_000))
                file.seek(start)
                if rng.random() < 0.6:
                    data = rng.bytes(n)
                    assert file.write(memoryview(data)) == n
                    if n:
                        expected.extend(bytes(max(0, start + n - len(expected))))
                        expected[start : start + n] = data
                else:
                    buffer = bytearray(n)
                    found = file.readinto(memoryview(buffer))
                    assert buffer[:found] == expected[start : start + n], seed
                    assert found == len(expected[start : start + n])
            file.truncate(len(expected))
            if len(expected) > limit:
                with pytest.raises(OSError) as caught:
                    file.check()
                assert caught.value.errno == errno.EFBIG
            else:
                file.check()
                assert path.read_bytes() == expected, seed
        largest_file(resource.RLIM_INFINITY)


def test_an_interruption_is_put_off_and_not_lost():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of the tests' ignores it
    try:
        reached = []
        with pytest.raises(KeyboardInterrupt), undisturbed():
            reached.append(signal.raise_signal(signal.SIGINT))
        assert reached
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_deleting_what_is_not_there_is_no_error(tmp_path):
    remove(tmp_path / "nothing")


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    folder = tmp_path / "results.csv"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept", encoding="utf-8")
    with pytest.raises(StorageError, match=r"results\.csv"), replacing(folder):
        pass
    assert (folder / "kept.txt").read_text(encoding="utf-8") == "kept"
    assert list(tmp_path.iterdir()) == [folder]
