import threading

import jax
import numpy as np
import pytest

from bayesmm.bayes.exploring.compiling import Program, signature

ARGUMENT = np.linspace(0.0, 1.0, 5)


class Square:
    """Counts how often it is traced; fails at the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.traced = 0
        self.failures = failures

    def __call__(self, x):
        self.traced += 1
        if self.traced <= self.failures:
            raise ArithmeticError("cannot be traced")
        return x**2


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def test_prepared_program_is_compiled_once_and_gives_the_same_result():
    square = Square()
    program = Program(square, {})
    program.prepare(jax.ShapeDtypeStruct(ARGUMENT.shape, ARGUMENT.dtype))
    program.prepare(jax.ShapeDtypeStruct(ARGUMENT.shape, ARGUMENT.dtype))
    np.testing.assert_array_equal(program(ARGUMENT), ARGUMENT**2)
    np.testing.assert_array_equal(program(ARGUMENT + 1.0), (ARGUMENT + 1.0) ** 2)
    assert square.traced == 1


def test_another_shape_is_another_compilation():
    square = Square()
    program = Program(square, {})
    assert program(ARGUMENT).shape == (5,)
    assert program(ARGUMENT[:3]).shape == (3,)
    assert program(ARGUMENT.astype(np.float32)).dtype == np.float32
    assert square.traced == 3


def test_prepared_program_computes_in_double_precision():
    program = Program(Square(), {})
    program.prepare(jax.ShapeDtypeStruct((), np.float64))
    assert float(program(np.float64(1.0 + 1e-12))) - 1.0 == pytest.approx(2e-12, rel=1e-3)


def test_shapes_are_told_without_compiling():
    program = Program(Square(), {"no_such_option": True})
    assert program.shapes(ARGUMENT).shape == ARGUMENT.shape


@pytest.mark.parametrize("begin", [Program.prepare, Program.__call__])
def test_error_of_the_function_reaches_the_caller_and_the_next_call_tries_again(begin):
    program = Program(Square(failures=1), {})
    with pytest.raises(ArithmeticError, match="cannot be traced"):
        begin(program, ARGUMENT)
    np.testing.assert_array_equal(program(ARGUMENT), ARGUMENT**2)


def test_error_of_the_compiler_in_another_thread_reaches_the_caller():
    program = Program(Square(), {"no_such_option": True})
    program.prepare(ARGUMENT)
    for _ in range(2):
        with pytest.raises(Exception, match="no_such_option"):
            program(ARGUMENT)


def test_threads_that_call_together_share_one_compilation():
    square = Square()
    program = Program(square, {})
    together = threading.Barrier(4)
    found = []

    def call():
        with jax.enable_x64(True):
            together.wait()
            found.append(np.asarray(program(ARGUMENT)))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert square.traced == 1
    assert len(found) == 4
    for values in found:
        np.testing.assert_array_equal(values, ARGUMENT**2)


def test_signature_of_arrays_is_that_of_their_shapes():
    arrays = {"a": np.zeros((2, 3)), "b": (np.int64(1), np.zeros(0, dtype=np.int32))}
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), arrays)
    assert signature(arrays) == signature(shapes)
    assert signature(arrays) != signature(arrays | {"a": np.zeros((3, 2))})
    assert signature({"a": np.zeros(2)}) != signature({"b": np.zeros(2)})
