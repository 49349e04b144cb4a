"""The short version of tests/chaos.py: real processes, real signals."""

import signal

import pytest

from tests import chaos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    chaos.whole(folder, epochs=8)
    return folder


def test_killed_and_stopped_runs_end_with_the_same_bytes(folder):
    hits, log = chaos.interrupt(folder, kills=1, terms=1, epochs=8, seed=1)
    assert hits, "no signal came in time"
    chaos.compare(folder / "whole", folder / "chaos")
    if signal.SIGTERM in hits:
        assert "SIGTERM: stopped; saved as of step" in log.read_text().replace("\n", " ")


@pytest.mark.slow
def test_many_kills(folder):
    chaos.whole(folder, epochs=40)
    hits, _ = chaos.interrupt(folder, kills=8, terms=2, epochs=40, seed=2)
    assert len(hits) >= 5
    chaos.compare(folder / "whole", folder / "chaos")
