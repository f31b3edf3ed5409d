"""Steps under way, with values of which a test says when they are there."""

import threading
import time

import pytest
import tensorflow as tf

from tfopt.distribute._flight import LIVES, Flight


class Value:
    """A step's result: comes when it is let go, after the errors given."""

    def __init__(self, result, *errors):
        self.result, self.errors, self.ready = result, list(errors), threading.Event()
        self.fetches = 0

    def fetch(self):
        self.fetches += 1
        assert self.ready.wait(20)
        if self.errors:
            raise self.errors.pop(0)
        return self.result

    def let_go(self):
        self.ready.set()
        return self


class Coordinator:
    """Hands out the values it was given, in order."""

    def __init__(self, values):
        self.values, self.sent = list(values), []

    def schedule(self, function, args):
        self.sent.append((function, *args))
        return self.values.pop(0)


def gone(kind, message="gone"):
    return getattr(tf.errors, kind)(None, None, message)


def unasked():
    raise AssertionError("nobody was to be asked")


def test_a_step_waits_only_when_too_many_are_under_way():
    values = [Value(number) for number in range(3)]
    coordinator = Coordinator(values)
    flight = Flight(coordinator, 3, 20, unasked)
    assert flight.add("step", 0) == flight.add("step", 1) == []
    assert coordinator.sent == [("step", 0), ("step", 1)]
    timer = threading.Timer(0.2, values[1].let_go)
    begin = time.monotonic()
    timer.start()
    # The third is one too many; whatever ends first comes back, once.
    assert flight.add("step", 2) == [1]
    assert 0.1 < time.monotonic() - begin < 10
    for value in values:
        value.let_go()
    assert sorted(flight.rest()) == [0, 2]
    assert list(flight.rest()) == []


def test_results_come_as_steps_end():
    values = [Value(number) for number in range(3)]
    flight = Flight(Coordinator(values), 9, 20, unasked)
    for number in range(3):
        flight.add("step", number)
    found, rest = [], flight.rest()
    for number in (2, 0, 1):
        values[number].let_go()
        found.append(next(rest))
    assert found == [2, 0, 1]


@pytest.mark.parametrize(
    "error",
    [
        gone("UnavailableError"),
        gone("AbortedError"),
        # Of a worker that was started again before the coordinator knew that it was gone.
        gone("InvalidArgumentError", "Unable to find the relevant tensor remote_handle: Op ID: 2038"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_result_that_a_worker_took_along_is_asked_for_again(error):
    value = Value(7, error, error).let_go()
    flight = Flight(Coordinator([value]), 1, 20, unasked)
    assert flight.add("step", 0) == [7]
    assert value.fetches == 3


def test_a_step_whose_result_is_gone_for_good_is_sent_again():
    lost, again, other = Value(7, *[gone("UnavailableError")] * 1000), Value(8), Value(9)
    coordinator = Coordinator([value.let_go() for value in (lost, other, again)])
    flight = Flight(coordinator, 2, 0.3, lambda: None)
    begin = time.monotonic()
    assert flight.add("step", 0) == []
    assert flight.add("step", 1) == [9]
    assert list(flight.rest()) == [8]
    assert 0.3 <= time.monotonic() - begin < 10
    assert coordinator.sent == [("step", 0), ("step", 1), ("step", 0)]


def test_a_worker_that_stays_away_is_an_error_in_the_end():
    value = Value(7, *[gone("UnavailableError")] * 1000).let_go()
    coordinator = Coordinator([value] * 10)
    flight = Flight(coordinator, 1, 0.1, lambda: None)
    with pytest.raises(tf.errors.UnavailableError):
        flight.add("step", 0)
    assert len(coordinator.sent) == LIVES


def test_a_worker_is_given_time_from_when_it_is_gone_not_from_when_the_step_was_sent():
    value = Value(7, gone("UnavailableError"), gone("UnavailableError"))
    flight = Flight(Coordinator([value]), 1, 0.5, lambda: None)
    threading.Timer(1.0, value.let_go).start()
    assert flight.add("step", 0) == [7]


def test_an_error_of_the_step_itself_is_raised_at_once():
    value = Value(7, gone("InvalidArgumentError")).let_go()
    with pytest.raises(tf.errors.InvalidArgumentError):
        Flight(Coordinator([value]), 1, 20, unasked).add("step", 0)
    assert value.fetches == 1


def test_who_waits_without_a_result_asks_whether_there_is_one_to_come():
    asked = []

    def ask():
        asked.append(time.monotonic())
        if len(asked) == 3:
            raise TimeoutError("nobody is left")

    value = Value(7)
    flight = Flight(Coordinator([value]), 1, 0.1, ask)
    with pytest.raises(TimeoutError, match="nobody is left"):
        flight.add("step", 0)
    assert asked[2] - asked[0] >= 0.2
    value.let_go()
    assert list(flight.rest()) == [7]
