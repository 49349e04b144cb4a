"""One pipeline in many threads, processes and tasks; a failure midway loses no earlier answer."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flaxner.inference.pipeline import pipeline
from tests.wordpiece import TEXTS

WORDS = [text.split() for text in TEXTS]


@pytest.fixture(scope="module")
def ner(folder):
    return pipeline("ner", model=folder, aggregation_strategy="word")


def collect(items, into):
    for item in items:
        into.append(item)


def several(number):
    """Return texts for one thread: unlike its neighbours', and more than one chunk of a stream."""
    return [f"{TEXTS[(i + number) % 4]} {i * number}" for i in range(40 + number)]


def test_sixteen_threads_give_the_serial_answers(folder):
    """All start at once, on a pipeline that has not compiled or cached anything yet."""
    calls = [
        (several(number), strategy)
        for number, strategy in enumerate(("word", "none", "first", "simple") * 4)
    ]
    serial = pipeline("ner", model=folder)
    expected = [
        (
            serial(texts, aggregation_strategy=strategy),
            list(serial.stream(texts, aggregation_strategy=strategy)),
            serial.predict_words([text.split() for text in texts]),
        )
        for texts, strategy in calls
    ]
    shared, start = pipeline("ner", model=folder), threading.Barrier(16)

    def work(call):
        texts, strategy = call
        start.wait()
        return (
            shared(texts, aggregation_strategy=strategy),
            list(shared.stream(iter(texts), aggregation_strategy=strategy)),
            shared.predict_words([text.split() for text in texts]),
        )

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, calls)) == expected


def test_asyncio_tasks(ner):
    texts = several(3)
    expected = [ner(text) for text in texts]

    async def gathered():
        inside = ner(texts[0])  # blocks the event loop, but works all the same
        return inside, await asyncio.gather(*(asyncio.to_thread(ner, text) for text in texts))

    assert asyncio.run(gathered()) == (expected[0], expected)


PROCESSES = """
import multiprocessing, os, sys
from flaxner import pipeline

texts = {texts!r}

def work(ner):
    return ner(texts)

def opened(folder):
    return pipeline("ner", model=folder, aggregation_strategy="word")(texts)

if __name__ == "__main__":
    ner = pipeline("ner", model=sys.argv[1], aggregation_strategy="word")
    expected = ner(texts)
    child = os.fork()
    if not child:
        try:
            for attempt in (lambda: ner(texts), lambda: list(ner.stream(texts)), ner.warmup,
                            lambda: ner.predict_words([["a"]]), lambda: opened(sys.argv[1])):
                try:
                    attempt()
                except RuntimeError as error:
                    assert "JAX does not work in a fork: start workers with" in str(error)
                else:
                    os._exit(1)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(2)  # a normal exit would wait for JAX's threads
    assert os.waitpid(child, 0)[1] == 0, "the fork must refuse to compute"
    assert ner(texts) == expected
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(work, [ner]) == [expected]
        assert pool.map(opened, [sys.argv[1]]) == [expected]
    print("same")
"""


def test_forked_and_spawned_processes(folder, tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(PROCESSES.format(texts=several(1)))
    command = [sys.executable, "-W", "ignore", str(script), str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert (made.returncode, made.stdout) == (0, "same\n"), made.stderr[-2000:]


def test_an_exported_pipeline_cannot_be_pickled(ner, tmp_path):
    import pickle

    from flaxner.inference.opening import load_exported

    with pytest.raises(TypeError, match="call load_exported in the other process"):
        pickle.dumps(load_exported(ner.export(tmp_path / "served")))


@pytest.mark.parametrize("place", [0, 1, 32, 33, 200])
def test_a_generator_that_raises_midway(ner, place):
    """Earlier texts are answered, the generator's error is raised, and the pipeline still works."""
    texts = [f"{TEXTS[i % 4]} {i}" for i in range(place)]

    def failing(items):
        yield from items
        raise OSError("the line is dead")

    for items, call in (
        (texts, ner),
        (texts, ner.stream),
        ([text.split() for text in texts], ner.stream_words),
    ):
        answers = []
        with pytest.raises(OSError, match="the line is dead"):
            collect(call(failing(items)), answers)
        assert len(answers) == place
    expected = ner(texts) if texts else []
    assert [[e["text"] for e in a] for a in ner.stream(texts)] == [
        [e["text"] for e in a] for a in expected
    ]


def test_a_none_among_the_texts(ner):
    texts = [*(f"{TEXTS[i % 4]} {i}" for i in range(50)), None, TEXTS[0]]
    answers = []
    with pytest.raises(ValueError, match="a text must be a string: got NoneType"):
        collect(ner(iter(texts)), answers)
    assert len(answers) == 50


def test_closing_a_stream_ends_its_thread(ner):
    before = threading.active_count()
    stream = ner.stream(TEXTS[i % 4] for i in range(100_000))
    assert next(stream) == ner(TEXTS[0])
    stream.close()
    assert threading.active_count() <= before
    assert ner(TEXTS[0])


INTERRUPTED = """
import sys
from flaxner import pipeline

texts = {texts!r}
ner = pipeline("ner", model=sys.argv[1], aggregation_strategy="word")
expected = ner(texts)

def endless():
    while True:
        yield from texts

try:
    for number, _ in enumerate(ner.stream(endless())):
        if number == 500:
            print("now", flush=True)
except KeyboardInterrupt:
    print(ner(texts) == expected, flush=True)
"""


def test_ctrl_c_midway(folder, tmp_path):
    """The stream stops at once, and the pipeline still gives the same answers."""
    script = tmp_path / "stream.py"
    script.write_text(INTERRUPTED.format(texts=several(1)))
    process = subprocess.Popen(
        [sys.executable, script, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    # An exception that a signal raises inside JAX's garbage collection callback is lost
    # (jax._src.lib._xla_gc_callback); users press Ctrl-C again.
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        if select.select([process.stdout], [], [], 20)[0]:
            break
    else:
        process.kill()
    assert process.stdout.readline() == "True\n"
    assert process.wait(timeout=60) == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to read the memory")
def test_fifty_thousand_texts(folder):
    """Memory stops growing after the first thousands, and there are few shapes."""
    import jax

    fresh = pipeline("ner", model=folder, device=jax.devices()[0], aggregation_strategy="word")
    sizes = []
    for number, _ in enumerate(fresh.stream(map(varied, range(50_000))), 1):
        if number % 10_000 == 0:
            sizes.append(resident())
    for number in range(200):  # and one at a time
        fresh(varied(number * 37))
    assert sizes[-1] - sizes[0] < 40 << 20, sizes
    assert len(set(fresh.predictor.traces)) == len(fresh.predictor.traces) <= 8


def varied(number):
    """Return a text of 0 to 100 words, different for each number."""
    count = (number * 7919) % 101
    return " ".join(f"{TEXTS[(number + i) % 4].split()[i % 6]}{number % 997}" for i in range(count))


def resident():
    """Return the resident memory of the process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
