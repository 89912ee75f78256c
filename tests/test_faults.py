"""After any fault there is a whole file or one error that says what to do: many cases, by their seeds."""

from __future__ import annotations

import faults
import pytest

pytest.importorskip("h5netcdf")
pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("made_posterior.SHAPE", (2, 20))
        return faults.make_given(tmp_path_factory.mktemp("given"))


def count(seen, word):
    return sum(n for outcome, n in seen.items() if outcome.endswith(f": {word}"))


def test_a_damaged_file_loads_as_it_was_saved_or_is_refused(given, tmp_path):
    seen = faults.run_cases(faults.damaged_file, range(80), given, tmp_path)
    assert count(seen, "refused") + count(seen, "the same") == 80  # damage to what is not read is none
    assert count(seen, "refused") > 50, seen


def test_a_damaged_checkpoint_gives_the_same_draws_or_is_refused(given, tmp_path):
    run = faults.make_run(given, tmp_path)
    seen = faults.run_cases(faults.damaged_checkpoint, range(40), run, tmp_path)
    assert count(seen, "refused") + count(seen, "the same") == 40
    assert count(seen, "refused") > 20, seen


def test_a_full_disk_leaves_the_old_file(given, tmp_path):
    seen = faults.run_cases(faults.full_disk, range(14), given, tmp_path)
    assert count(seen, "old") + count(seen, "new") == 14
    assert count(seen, "old") > 5, seen


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ctrl-C while something is deleted
def test_an_interrupted_save_leaves_the_old_file_or_the_new_one(given, tmp_path):
    seen = faults.run_cases(faults.interrupted, range(14), given, tmp_path)
    assert count(seen, "old") + count(seen, "new") == 14


def test_a_killed_process_leaves_the_old_file_or_the_new_one(tmp_path):
    seen = faults.run_kills(range(10), tmp_path)
    assert count(seen, "old") + count(seen, "new") == 10
