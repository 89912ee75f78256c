"""Faults of disks, processes and files, and what holds after any of them.

What was there before or what was to replace it is there, whole, and loads to exactly the same numbers, or one
`StorageError` names the file and says what to do. Never another exception, never other numbers, never a dead process.

A case is a function of a seed, of what is given, and of a folder of its own; it says in a word what came of it.
`test_faults.py` tries some two hundred, `benchmarks/faults.py` as many as one likes.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import StorageError

ADVICE = (
    "Use a copy",
    "elete the folder",
    "Check the path",
    "Is it",
    "Make room",
    "Ask for",
    "If you trust",
    "arviz.from",
)
ENDINGS = (".nc", ".zarr")
LENGTH = {"draws": 130, "tune": 120, "chains": 2, "seed": 3, "progress": False}


class BrokenPromiseError(AssertionError):
    """What must hold after a fault does not."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """Two posteriors of one model, the first of them in files, and how long it takes to write them."""

    model: Any
    old: Any
    new: Any
    files: dict[str, Path]
    seconds: dict[str, float]


def make_given(folder: Path) -> Given:
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    old, new = make_posterior(model, seed=1), make_posterior(model, seed=2)
    files, seconds = {}, {}
    for ending in (*ENDINGS, *ENDINGS):  # the second time is what it takes
        start = time.perf_counter()
        files[ending] = old.save(folder / f"old{ending}")
        seconds[ending] = time.perf_counter() - start
    return Given(model=model, old=old, new=new, files=files, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of NUTS, finished, and its checkpoint."""

    model: Any
    posterior: Any
    checkpoint: Path


def make_run(given: Given, folder: Path) -> Run:
    path = folder / "run.zarr"
    return Run(model=given.model, posterior=resume(given.model, path), checkpoint=path)


def resume(model: Any, path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few draws
        return model.sample(**LENGTH, checkpoint=path)


def run_cases(case: Any, seeds: Any, given: Any, folder: Path) -> Counter[str]:
    """Run a case for many seeds; count what came of them."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        own = Path(folder) / f"{case.__name__}_{seed}"
        own.mkdir()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of damaged files the libraries say what they like
                seen[case(int(seed), given, own)] += 1
        except BaseException as error:
            error.add_note(f"case {case.__name__}, seed {seed}, in {own}")
            raise
        shutil.rmtree(own)
    return seen


# What is there is damaged


def flip(rng, file):
    """One bit, or a few."""
    data = bytearray(file.read_bytes())
    for _ in range(int(rng.choice([1, 1, 1, 3]))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)


def cut(rng, file):
    """The end is gone."""
    os.truncate(file, int(rng.integers(file.stat().st_size)))


def scribble(rng, file):
    """Some bytes in a row are others, or zeros."""
    data = bytearray(file.read_bytes())
    start = int(rng.integers(len(data)))
    n = min(int(rng.integers(1, 600)), len(data) - start)
    data[start : start + n] = rng.bytes(n) if rng.random() < 0.5 else bytes(n)
    file.write_bytes(data)


def lose(rng, file):
    """A file is gone, or the folder that it was in."""
    if rng.random() < 0.7:
        file.unlink()
    else:
        shutil.rmtree(file.parent)


def exchange(rng, file):
    """A file has the content of another one of its folder."""
    others = sorted(other for other in file.parent.iterdir() if other.is_file())
    file.write_bytes(others[int(rng.integers(len(others)))].read_bytes())


DAMAGES = {"flip": flip, "cut": cut, "scribble": scribble, "lose": lose, "exchange": exchange}


def damage(rng, path, kind):
    """Damage a file, or one of the files of a folder; half of the time a larger one is the more likely one."""
    if path.is_file():
        DAMAGES[kind](rng, path)
        return
    files = sorted(each for each in path.rglob("*") if each.is_file() and each.stat().st_size and each.name != "lock")
    sizes = np.array([each.stat().st_size for each in files], dtype=float)
    DAMAGES[kind](rng, files[int(rng.choice(len(files), p=sizes / sizes.sum() if rng.random() < 0.5 else None))])


def damaged_file(seed: int, given: Given, folder: Path) -> str:
    """A saved posterior that is damaged loads as it was saved, or is refused."""
    ending = ENDINGS[seed % 2]
    path = copy(given.files[ending], folder)
    kinds = ("flip", "cut", "scribble") if ending == ".nc" else tuple(DAMAGES)
    kind = kinds[seed // 2 % len(kinds)]
    damage(np.random.default_rng(seed), path, kind)
    return f"{ending} {kind}: {what_is_there(path, {'the same': given.old})}"


def damaged_checkpoint(seed: int, run: Run, folder: Path) -> str:
    """A damaged checkpoint gives the draws of the whole run, or is refused."""
    path = copy(run.checkpoint, folder)
    kind = tuple(DAMAGES)[seed % len(DAMAGES)]
    damage(np.random.default_rng(seed), path, kind)
    try:
        found = resume(run.model, path)
    except StorageError as error:
        check_advice(error, path)
        return f"checkpoint {kind}: refused"
    for group in ("posterior", "sample_stats"):
        if not found.data[group].to_dataset().equals(run.posterior.data[group].to_dataset()):
            raise BrokenPromiseError(f"{path} goes on to other draws")
    return f"checkpoint {kind}: the same"


# A posterior is saved over another one, and something happens


def full_disk(seed: int, given: Given, folder: Path) -> str:
    """The disk takes only so much of each file."""
    rng, path = np.random.default_rng(seed), copy(given.files[ENDINGS[seed % 2]], folder)
    largest = max(each.stat().st_size for each in (path, *path.rglob("*")) if each.is_file())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(rng.integers(0, 1.3 * largest)), hard))
    try:
        raised = save(given.new, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    return f"full disk {path.suffix}: {check_replaced(path, given, raised)}"


def interrupted(seed: int, given: Given, folder: Path) -> str:
    """Ctrl-C at a random moment."""
    rng, path = np.random.default_rng(seed), copy(given.files[ENDINGS[seed % 2]], folder)
    raised, armed = None, [True]

    def ring(*_: Any) -> None:
        if armed:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, float(rng.uniform(1e-4, 1.2 * given.seconds[path.suffix])))
        given.new.save(path)
        armed.clear()
    except KeyboardInterrupt as error:
        raised = error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    return f"interrupted {path.suffix}: {check_replaced(path, given, raised)}"


def killed(seed: int, given: Given, folder: Path) -> str:
    """A process that saves one and the other in turn is killed. It is a fork: for processes without other threads."""
    rng, path = np.random.default_rng(seed), copy(given.files[ENDINGS[seed % 2]], folder)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            while True:
                given.new.save(path)
                given.old.save(path)
        os._exit(1)
    time.sleep(float(rng.uniform(0.0, 4.0 * given.seconds[path.suffix])))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise BrokenPromiseError(f"the process ended by itself, with status {status}")
    found = what_is_there(path, {"old": given.old, "new": given.new})
    if found == "refused":
        raise BrokenPromiseError(f"{path} is neither the old nor the new one")
    given.old.save(path)  # whatever is left is in nobody's way
    return f"killed {path.suffix}: {found}"


def save(posterior: Any, path: Path) -> StorageError | None:
    try:
        posterior.save(path)
    except StorageError as error:
        check_advice(error, path)
        return error
    return None


KILLS = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import made_posterior
from pathlib import Path
os.fsync = lambda file: None  # what is killed is a process and not the machine
made_posterior.SHAPE = (2, 20)
import faults
folder, start, stop = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
given = faults.make_given(folder)
print(json.dumps(faults.run_cases(faults.killed, range(start, stop), given, folder)))
"""


def run_kills(seeds: range, folder: Path) -> Counter[str]:
    """Run `killed` for many seeds in a process of its own, where forks are safe."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", KILLS, str(folder), str(seeds.start), str(seeds.stop)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokenPromiseError(done.stderr)
    return Counter(json.loads(done.stdout.splitlines()[-1]))


# What holds


def what_is_there(path: Path, allowed: dict[str, Any]) -> str:
    """Load a file after a fault: the name of the posterior that it is, or "refused"."""
    try:
        found = bmm.load(path)
    except StorageError as error:
        check_advice(error, path)
        return "refused"
    for name, posterior in allowed.items():
        if is_same(found, posterior):
            return name
    raise BrokenPromiseError(f"{path} loads as something else")


def check_replaced(path: Path, given: Given, raised: BaseException | None) -> str:
    """Find one of the two, and nothing beside it; the old one after an error."""
    found = what_is_there(path, {"old": given.old, "new": given.new})
    if found == "refused" or (found == "new" and isinstance(raised, StorageError)):
        raise BrokenPromiseError(f"{path} is {found} after {raised!r}")
    if (raised is None) != (found == "new") and not isinstance(raised, KeyboardInterrupt):
        raise BrokenPromiseError(f"{path} is {found} after {raised!r}")
    beside = [each.name for each in path.parent.iterdir() if each != path]
    if beside and not isinstance(raised, KeyboardInterrupt):
        raise BrokenPromiseError(f"{beside} are left")
    return found


def check_advice(error: StorageError, path: Path) -> None:
    message = str(error)
    if path.name not in message or not any(advice in message for advice in ADVICE) or len(message) > 1000:
        raise BrokenPromiseError(f"the error does not say what is to be done about which file: {message}") from error


def is_same(one: Any, other: Any) -> bool:
    """Whether two posteriors are the same to the last bit."""
    return (
        one.data.identical(other.data)
        and one.design.frame.equals(other.design.frame)
        and one.priors.rows == other.priors.rows
        and np.array_equal(one.priors.contrast, other.priors.contrast)
        and (one.program, one.notes) == (other.program, other.notes)
    )


def copy(path: Path, folder: Path) -> Path:
    target = folder / path.name
    return Path(shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target))
