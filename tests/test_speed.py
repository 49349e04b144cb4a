"""speed.jsonl: its lines across sessions, checked by hand, and the curve of a report."""

import json

import pytest

from flaxner.reporting.record import read_speed
from flaxner.reporting.structure import speeds
from flaxner.runs.speed_log import SpeedLog


class Clock:
    """A clock that advances only when a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


def rows(path):
    return [tuple(json.loads(line).values()) for line in path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path):
    """Steps 1 to 5 of 100 tokens and one second each; after step 3 an evaluation of 10 seconds."""
    clock = Clock()
    log = SpeedLog(tmp_path / "speed.jsonl", 0, clock, every=2)
    log.begin(0)
    for step in range(1, 6):
        clock.now += 1
        log.done(step, 100)
        if step == 3:
            with log.paused(step):
                clock.now += 10
    log.close()
    return tmp_path / "speed.jsonl"


def test_lines_by_hand(log):
    assert rows(log) == [(0, 0, 0), (2, 2, 200), (3, 3, 100), (3, 13, 0), (4, 14, 100)]


def test_an_evaluation_slows_no_step(log):
    assert speeds(read_speed(log)) == {"tokens/s": [(2, 100), (3, 100), (4, 100)]}


def test_late_reports_do_not_change_the_length_of_a_step(tmp_path):
    """On a CPU, the loop reports a step only when the next one is done."""
    clock = Clock()
    log = SpeedLog(tmp_path / "speed.jsonl", 0, clock, every=2)
    log.begin(0)
    clock.now = 3
    log.done(1, 100, 1)
    log.done(2, 100, 2)
    log.done(3, 100, 3)
    with log.paused(3):
        clock.now = 9
    log.close()
    assert rows(tmp_path / "speed.jsonl") == [(0, 0, 0), (2, 2, 200), (3, 3, 100), (3, 9, 0)]
    curve = speeds(read_speed(tmp_path / "speed.jsonl"))
    assert curve == {"tokens/s": [(2, 100), (3, 100)]}


@pytest.mark.parametrize(("first", "kept"), [(0, 0), (2, 2), (3, 4), (9, 5)])
def test_a_session_continues_after_the_lines_of_earlier_steps(log, first, kept):
    before = rows(log)
    with log.open("a") as file:
        file.write('{"step": 5, "sec')  # a power failure
    clock = Clock()
    clock.now = 20.5
    again = SpeedLog(log, first, clock, every=2)
    again.begin(first)
    again.close()
    assert rows(log) == [*before[:kept], (first, 20.5, 0)]


def test_another_process_writes_nothing():
    log = SpeedLog(None, 4, Clock(), every=1)
    with log.paused(5):
        log.done(5, 10)
    log.close()


def test_an_invalid_line_is_reported_and_no_file_gives_no_curve(tmp_path):
    path = tmp_path / "speed.jsonl"
    assert speeds(read_speed(path)) == {}
    path.write_text('{"step": 1, "seconds": 1, "tokens": 0}\n{"step": 2}\n{"step": 3')
    with pytest.raises(ValueError, match="line 2"):
        read_speed(path)
