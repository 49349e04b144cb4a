"""The short version of tests/chaos.py: real processes, real signals."""

import signal

import pytest

from tests import chaos


def test_killed_and_stopped_runs_produce_the_same_bytes(tmp_path):
    chaos.whole(tmp_path, epochs=8)
    hits, log = chaos.interrupt(tmp_path, kills=1, terms=1, epochs=8, seed=1)
    assert hits, "no signal was sent in time"
    chaos.compare(tmp_path / "whole", tmp_path / "chaos")
    if signal.SIGTERM in hits:
        assert "SIGTERM: stopped; saved up to step" in log.read_text().replace("\n", " ")


@pytest.mark.slow
def test_many_kills(tmp_path):
    chaos.whole(tmp_path, epochs=40)
    hits, _ = chaos.interrupt(tmp_path, kills=8, terms=2, epochs=40, seed=2)
    assert len(hits) >= 5
    chaos.compare(tmp_path / "whole", tmp_path / "chaos")
