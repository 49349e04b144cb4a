"""The server: what it answers, refuses and shares, and how it stops."""

import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from flaxner.commands.serve import main as serve_main
from flaxner.commands.serve import settings as parse_settings
from flaxner.inference.aggregation import STRATEGIES
from flaxner.inference.parts import submit_together
from flaxner.inference.pipeline import pipeline
from flaxner.serving.logs import _Lines
from flaxner.serving.queue import Busy, JobQueue
from flaxner.serving.server import listen, serve
from flaxner.serving.service import Service, open_models
from flaxner.serving.settings import Settings, named
from tests.chaos import xla_flags
from tests.pipelines import ODD, SCORES, edited
from tests.servers import Client, Slow, logged, running
from tests.wordpiece import TEXTS

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
WORDS = [text.split() for text in TEXTS]


@pytest.fixture(scope="module")
def ner(folder):
    return pipeline("ner", model=folder, device="cpu")


@pytest.fixture(scope="module")
def server(folder, ner):
    with running(folder, models={"tiny": ner}, max_body=4000, max_texts=40) as made:
        yield made


@pytest.fixture
def client(server):
    made = server.client()
    yield made
    made.close()


def assert_same(got, expected):
    """Check that entities are equal, with scores as close as packing leaves them."""
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert list(mine) == list(theirs)
        assert abs(mine["score"] - float(theirs["score"])) < SCORES
        assert {**mine, "score": 0} == {**theirs, "score": 0}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_answers_equal_the_pipelines(client, ner, strategy):
    texts = [*TEXTS, *(text for text in ODD if len(text) < 100)]
    expected = ner(texts, aggregation_strategy=strategy)
    answer = client.ask("/ner", {"text": texts, "strategy": strategy})
    assert answer.status == 200, answer.content
    assert answer.content["model"] == "tiny"
    for mine, theirs in zip(answer.content["entities"], expected, strict=True):
        assert_same(mine, theirs)
    one = client.ask("/ner", {"text": TEXTS[1], "strategy": strategy}).content["entities"]
    assert_same(one, ner(TEXTS[1], aggregation_strategy=strategy))


def test_tags_equal_the_pipelines(client, ner):
    answer = client.ask("/ner/words", {"words": [*WORDS, []]})
    assert answer.content == {"model": "tiny", "tags": ner.predict_words([*WORDS, []])}
    answer = client.ask("/ner/words", {"words": WORDS[0], "decoder": "argmax", "max_length": 12})
    assert (
        answer.content["tags"] == ner.predict_words([WORDS[0]], decoder="argmax", max_length=12)[0]
    )


def test_request_options_work_as_in_the_pipeline(client, ner):
    long = " ".join(TEXTS * 2)
    for given in ({"stride": 8}, {"truncation": True}, {"ignore_labels": ["LOC", "O"]}):
        answer = client.ask("/ner", {"text": long, "strategy": "simple", **given})
        assert_same(answer.content["entities"], ner(long, aggregation_strategy="simple", **given))
    every = client.ask("/ner", {"text": long}).content["entities"]
    best = sorted(entity["score"] for entity in every)[len(every) // 2]
    some = client.ask("/ner", {"text": long, "threshold": best}).content["entities"]
    assert some == [entity for entity in every if entity["score"] >= best] != every


REFUSED = [
    (b"{", 422, "the body must be JSON: EOF while parsing an object at line 1 column 1"),
    (b"\xff\xfe{}", 422, "the body must be JSON"),
    (b"[" * 1900, 422, "the body must be JSON: recursion limit exceeded"),
    (b'{"text": "\\ud800"}', 422, "the body must be JSON"),
    ([1], 422, "the body must be a JSON object with model, decoder, text"),
    ({}, 422, "the body lacks 'text'"),
    ({"txt": "x", "text": "x"}, 422, "unknown field 'txt'; choose from: model"),
    ({"text": 3}, 422, "text must be a string or a non-empty list of strings"),
    ({"text": []}, 422, "text must be a string or a non-empty list of strings"),
    ({"text": ["a", None]}, 422, "a text must be a string: got NoneType"),
    ({"text": [["a"]]}, 422, "a text must be a string: got list \"['a']\"; for words use POST /"),
    ({"text": "a", "decoder": "argmax", "strategy": "max"}, 422, "decoder applies to aggregation"),
    ({"text": "a", "strategy": "best"}, 422, "aggregation_strategy must be one of none"),
    ({"text": "a", "strategy": 1}, 422, "strategy must be a valid string"),
    ({"text": "a", "threshold": "1"}, 422, "threshold must be a valid number"),
    ({"text": "a", "threshold": 1.5}, 422, "threshold must be less than or equal to 1"),
    ({"text": "a", "stride": 8}, 422, None),  # allowed with the default strategy "word"
    ({"text": "a", "stride": 8, "strategy": "none"}, 422, "stride needs an aggregation_strategy"),
    ({"text": "a", "stride": 99}, 422, "stride must be at least 0 and less than"),
    ({"text": "a", "calibrated": True}, 422, "calibrated=True needs a temperature in the model's"),
    ({"text": "a", "model": "other"}, 422, "unknown model 'other'; choose from: tiny"),
    ({"text": ["a"] * 41}, 422, "a request may have at most 40 texts: this one has 41; send"),
    ({"text": "a" * 5000}, 413, "a request may have at most 4,000 bytes: send less at once"),
    ({"text": "a" * 10_000_000}, 413, "a request may have"),  # clients send all before they listen
]


def test_every_refusal_is_a_sentence(client):
    for body, status, sentence in REFUSED:
        answer = client.ask("/ner", body)
        if sentence is None:
            assert answer.status == 200
            continue
        assert (answer.status, answer.content["error"][: len(sentence)]) == (status, sentence)
        assert answer.content["request_id"] == answer.headers["x-request-id"]
    for body, sentence in (
        ({"words": []}, "words must be a non-empty list of words"),
        ({"words": ["a", ["b"]]}, "a word must be a string: got list"),
        ({"words": [["a"], "b"]}, "a text must be a list of words"),
        ({"words": ["a"], "max_length": 7}, "max_length must be at least 8"),
        ({"words": ["a"], "decoder": "x"}, "decoder must be one of crf, viterbi, argmax"),
    ):
        answer = client.ask("/ner/words", body)
        assert (answer.status, answer.content["error"][: len(sentence)]) == (422, sentence)
    for body in (b"text=a", b"a" * 10_000_000):
        answer = client.ask("/ner", body, headers={"Content-Type": "text/plain"})
        assert answer.status == 415
    assert client.ask("/nothing").status == 404
    assert client.ask("/ner").content["error"] == "/ner does not accept GET: see /docs"


def test_a_long_text_is_refused(folder, ner):
    with running(folder, models={"tiny": ner}, max_length=50) as server:
        client = server.client()
        answer = client.ask("/ner", {"text": ["a", "b" * 51]})
        sentence = "a text may have at most 50 characters: text 1 has 51"
        assert answer.content["error"].startswith(sentence)
        assert client.ask("/ner/words", {"words": ["a"] * 26}).status == 422
        assert client.ask("/ner/words", {"words": ["a"] * 25}).status == 200
        client.close()


def hostile_bodies(count):
    """Bodies that no well-meaning client would send, and some that one might."""
    rng = np.random.default_rng(7)
    good = json.dumps({"text": TEXTS[0], "strategy": "simple", "threshold": 0.5}).encode()
    words = json.dumps({"words": WORDS[0]}).encode()
    values = (
        *(None, True, -1, 1e308, 10**30, "", "\u202e\x00", "\ud83d\ude00" * 20, [], {}, [[]]),
        *([None], [["a"]], ["a", 3], {"text": "a"}, [[[[["a"]]]]], "x" * 300, ["\n"] * 30),
        *("viterbi", "none", "word", 0, 1, 0.5, "tiny", ["O"], "א" * 50, "e\u0301" * 30),
    )
    fields = (
        *("text", "words", "strategy", "threshold", "model", "decoder", "stride", "truncation"),
        *("ignore_labels", "max_length", "__class__", ""),
    )
    for number in range(count):
        kind = number % 5
        if kind == 0:  # change, cut or double bytes
            body = bytearray(good if rng.random() < 0.5 else words)
            for _ in range(rng.integers(1, 4)):
                body[rng.integers(len(body))] = rng.integers(32, 256)
            yield bytes(body[: rng.integers(1, 2 * len(body))])
        elif kind == 1:
            yield rng.bytes(rng.integers(0, 200))
        elif kind == 2:
            yield b'[{"'[rng.integers(3) :][:1] * int(rng.integers(1, 2000))
        else:  # JSON with arbitrary fields
            body = {"text": "a b"} if number % 3 else {"words": ["a", "b"]}
            for _ in range(rng.integers(1, 3)):
                body[fields[rng.integers(len(fields))]] = values[rng.integers(len(values))]
            yield json.dumps(body).encode()


def send_hostile(server, count):
    statuses = {}
    client = server.client()
    for number, body in enumerate(hostile_bodies(count)):
        answer = client.ask("/ner" if number % 3 else "/ner/words", body)
        assert answer.status in (200, 413, 422), (body, answer)
        assert (answer.status == 200) == ("error" not in answer.content)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    assert client.ask("/ner", {"text": TEXTS[0]}).status == 200
    client.close()
    assert statuses[200] > count / 50
    assert statuses[422] > count / 2


def test_hostile_bodies_are_refused(server):
    send_hostile(server, 1000)


@pytest.mark.slow
def test_many_hostile_bodies_are_refused(server):
    send_hostile(server, 10_000)


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /ner HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"POST /ner HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 200_000 + b"\r\n\r\n",
        b"POST /ner HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
        b"GET /\xff\xfe?%00%ff HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\xffb\r\n\r\n",
    ],
)
def test_a_broken_request_ends_only_its_own_connection(server, client, raw):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        reply = b""
        with contextlib.suppress(OSError):  # the server may already have hung up
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            reply = connection.recv(4096)
    assert not reply or b" 500 " not in reply.split(b"\r\n")[0]
    assert client.ask("/healthz").status == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/docs"])
def test_head_is_get_without_the_body(client, path):
    """Load balancers and `curl -I` ask so."""
    head, get = client.ask(path, method="HEAD"), client.ask(path)
    assert (head.status, head.raw) == (get.status, b"") == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_requests_share_passes(server, ner, monkeypatch):
    """Requests arriving together share a pass, whatever their strategies; each gets its answer."""
    batches = []
    forward = ner.predictor.engine._forward

    def counted(params, input_ids, segment_ids, position_ids):
        batches.append(int(segment_ids.max(axis=1).sum()))
        time.sleep(0.02)  # a slow model, so that other requests arrive meanwhile
        return forward(params, input_ids, segment_ids, position_ids)

    monkeypatch.setattr(ner.predictor.engine, "_forward", counted)
    asked = [
        ("/ner", {"text": TEXTS[i % 4], "strategy": STRATEGIES[i % 6]}) if i % 7 else
        ("/ner/words", {"words": WORDS[i % 4]}) for i in range(48)
    ]  # fmt: skip

    def send(question):
        client = server.client()
        content = client.ask(*question).content
        client.close()
        return content

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(send, asked))
    assert sum(batches) == 48  # every text once
    assert len(batches) <= 24
    monkeypatch.undo()
    for (path, body), answer in zip(asked, answers, strict=True):
        if path == "/ner":
            expected = ner(body["text"], aggregation_strategy=body["strategy"])
            assert_same(answer["entities"], expected)
        else:
            assert answer["tags"] == ner.predict_words([body["words"]])[0]


def test_parts_submitted_together_answer_as_each_alone(ner):
    options = [ner.options.changed({"aggregation_strategy": name}) for name in STRATEGIES]
    texts = [*TEXTS, "", " ".join(TEXTS * 3)]
    parts = [ner.texts.part(texts, chosen) for chosen in options]
    together = submit_together(ner.predictor, parts)()
    for call, chosen in zip(together, options, strict=True):
        expected = ner(texts, aggregation_strategy=chosen.aggregation_strategy)
        for mine, theirs in zip(call(), expected, strict=True):
            assert_same([{**e, "score": float(e["score"])} for e in mine], theirs)


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_full_queue_a_late_answer_and_a_client_that_leaves(folder, ner, monkeypatch):
    ner(["first"])  # compile
    with (
        logged() as lines,
        running(folder, models={"tiny": ner}, queue=2, timeout=3.0) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        slow = Slow(ner, monkeypatch)
        waiting = server.service.batcher.waiting

        def ask(text):
            client = server.client()
            answer = client.ask("/ner", {"text": text}, headers={"X-Request-ID": text})
            client.close()
            return answer

        first = pool.submit(ask, "first")
        wait_for(lambda: slow.passes)
        gone = socket.create_connection(("127.0.0.1", server.port))
        body = b'{"text": "gone"}'
        gone.sendall(
            b"POST /ner HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"X-Request-ID: gone\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        wait_for(lambda: len(waiting) == 1)
        second = pool.submit(ask, "second")
        wait_for(lambda: len(waiting) == 2)
        busy = ask("third")
        assert busy.status == 429
        assert busy.content["error"] == "the server is busy: try again in 1 s"
        assert busy.headers["retry-after"] == "1"
        gone.close()
        wait_for(lambda: len(waiting) == 1)  # its place in the queue is free
        late = first.result()
        assert late.status == 503
        assert "longer than the 3 s that this server allows" in late.content["error"]
        assert second.result().status == 503
        wait_for(lambda: len(waiting) == 0)
        slow.go.set()
        wait_for(lambda: waiting._flying == 0)
        assert ask("fourth").status == 200
        assert slow.passes == [1, 1]  # texts that nobody waits for were not computed
    statuses = {line["id"]: line["status"] for line in lines if line["event"] == "request"}
    assert statuses == {"first": 503, "second": 503, "third": 429, "fourth": 200, "gone": 499}
    assert "text" not in json.dumps(lines).replace("texts", "")


def test_a_request_that_the_grace_does_not_suffice_for_is_refused(folder, ner, monkeypatch):
    ner(["first"])  # compile
    raw = (
        b"POST /ner HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Request-ID: %b\r\n"
        b"Content-Length: %d\r\n\r\n%b"
    )
    with logged() as lines, running(folder, models={"tiny": ner}, grace=1.0) as server:
        slow = Slow(ner, monkeypatch)
        sent = {b"computed": (16, b'{"text": "late"}'), b"incomplete": (100, b"{")}
        clients = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in sent]
        for client, (name, (length, body)) in zip(clients, sent.items(), strict=True):
            client.sendall(raw % (name, length, body))
        wait_for(lambda: slow.passes)
        server.server.handle_exit(signal.SIGTERM, None)
        for client in clients:
            reply = b"".join(iter(lambda: client.recv(4096), b""))  # noqa: B023
            client.close()
            assert reply.startswith(b"HTTP/1.1 503 ")
            assert b'"error":"the server is shutting down: try again later","request_id":' in reply
        slow.go.set()
    statuses = {line["id"]: line["status"] for line in lines if line["event"] == "request"}
    assert statuses == {"computed": 503, "incomplete": 503}


def test_the_server_does_not_wait_for_a_slow_body(folder, ner):
    with running(folder, models={"tiny": ner}, timeout=0.3) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(
                b"POST /ner HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            reply = connection.recv(4096)
        assert reply.startswith(b"HTTP/1.1 503 ")


def test_one_bad_text_does_not_affect_the_others(folder, ner, monkeypatch):
    """Whatever fails inside, only the request that caused it fails, not the others in the pass."""
    part = ner.texts.part

    def breaking(texts, options):
        if "poison" in texts:
            raise RuntimeError("a tokenizer's panic")
        return part(texts, options)

    monkeypatch.setattr(ner.texts, "part", breaking)
    with logged() as lines, running(folder, models={"tiny": ner}) as server:

        def ask(text):
            client = server.client()
            answer = client.ask("/ner", {"text": text})
            client.close()
            return answer

        with ThreadPoolExecutor(8) as pool:
            texts = [*TEXTS, "poison", *TEXTS]
            answers = list(pool.map(ask, texts))
    assert [answer.status for answer in answers] == [200] * 4 + [500] + [200] * 4
    sentence = "internal server error: look for this request_id in the server's log"
    assert answers[4].content["error"] == sentence
    assert any("a tokenizer's panic" in line.get("traceback", "") for line in lines)


def test_a_large_request_lets_small_ones_pass():
    class Job:
        def __init__(self, count):
            self.texts, self.sizes = ["x"] * count, [9] * count
            self.taken, self.arrived = 0, time.monotonic()

    queue = JobQueue(limit=2, full=1000, wait=0)
    large, small = Job(500), Job(1)
    queue.put(large)
    queue.put(small)
    with pytest.raises(Busy):
        queue.put(Job(1))
    taken = queue.take()
    assert [job is small for job, _ in taken.texts].index(True) == 32
    assert taken.characters == 1000 == 10 * len(taken.texts)
    places = [place for job, place in taken.texts if job is large]
    while len(places) < 500:
        queue.landed(1000, 1.0)
        places += [place for _, place in queue.take().texts]
    assert places == list(range(500))


def test_metrics_page_and_openapi(server, client):
    client.ask("/ner", {"text": ["a", "b"]})
    text = client.ask("/metrics").raw.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['flaxner_requests_total{route="/ner",status="200"}']) >= 1
    assert float(values['flaxner_texts_total{model="tiny"}']) >= 2
    assert float(values["flaxner_passes_total"]) >= 1
    assert float(values["flaxner_requests_waiting"]) == 0
    assert float(values["flaxner_requests_in_flight"]) == 1  # this request
    assert 'route="/nothing"' not in text
    page = client.ask("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert b"Named entity recognition" in page.raw
    described = client.ask("/openapi.json").content
    schema = described["paths"]["/ner"]["post"]["requestBody"]["content"]["application/json"]
    assert schema["schema"]["properties"]["strategy"]["enum"] == [*STRATEGIES, None]
    assert client.ask("/docs").status == 200


def test_names_on_the_page_are_escaped(folder, ner):
    name = "</script><script>alert(1)</script>"
    with running(folder, models={name: ner}) as server:
        page = server.client().ask("/").raw.decode()
    assert "<script>alert" not in page
    assert "&lt;/script&gt;" in page


def test_other_origins_are_refused_unless_allowed(server, folder, ner):
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    answer = server.client().ask("/ner", method="OPTIONS", headers=asked)
    assert "access-control-allow-origin" not in answer.headers
    with running(folder, models={"tiny": ner}, cors_origins=("https://a.example",)) as other:
        client = other.client()
        allowed = client.ask("/ner", method="OPTIONS", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://a.example"
        refused = client.ask("/ner", method="OPTIONS", headers={**asked, "Origin": "https://b.x"})
        assert "access-control-allow-origin" not in refused.headers
        client.close()


def test_ids_and_logs(folder, ner):
    secret = "Angela Merkel"
    with logged() as lines, running(folder, models={"tiny": ner}) as server:
        client = server.client()
        answer = client.ask("/ner", {"text": secret}, headers={"X-Request-ID": "mine-1"})
        assert answer.headers["x-request-id"] == "mine-1"
        forged = client.ask("/ner", {"text": secret}, headers={"X-Request-ID": 'a" b'})
        assert forged.headers["x-request-id"].isalnum()
        client.ask("/ner", {"text": [secret], "strategy": "bad"})
        client.ask("/healthz")
        client.close()
    asked = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in asked] == [200, 200, 422]
    assert (asked[0]["id"], asked[0]["texts"], asked[0]["characters"]) == ("mine-1", 1, 13)
    assert secret not in json.dumps(lines)
    with logged() as lines, running(folder, models={"tiny": ner}, log_texts=True) as server:
        server.client().ask("/ner", {"text": secret})
    assert any(line.get("content") == [secret] for line in lines)


def test_tracebacks_in_the_log_are_escaped():
    try:
        raise ValueError("a text \x1b[31m with \u202e escapes")
    except ValueError:
        found = sys.exc_info()
    record = logging.LogRecord("flaxner.serving", logging.ERROR, "", 0, "failed", (), found)
    for as_json in (False, True):
        line = _Lines(as_json=as_json).format(record)
        assert "with" in line
        assert "\x1b" not in line
        assert "\u202e" not in line


def test_not_ready_before_shapes_are_compiled(folder, ner):
    with running(folder, models={"tiny": ner}, warm=False) as server:
        client = server.client()
        assert client.ask("/healthz").status == 200
        assert client.ask("/readyz").status == 503
        answer = client.ask("/ner", {"text": "a"})
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        server.service.warm_up()
        assert client.ask("/readyz").status == 200
        compiled = len(ner.predictor.traces)
        for texts in (["a"], list(TEXTS), [" ".join(TEXTS * 2)] * 3, ["x y"] * 900):
            assert client.ask("/ner", {"text": texts}).status == 200
        assert len(ner.predictor.traces) == compiled
        client.close()


def test_sigterm_finishes_accepted_requests(folder, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(SCRIPTS / "serve.py"), "--model", f"tiny={folder}"]
    environment = {**os.environ, "XLA_FLAGS": xla_flags()}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--wait-ms", "300"], stderr=log, env=environment
        )
    try:
        log = tmp_path / "log"
        wait_until = time.monotonic() + 60
        while '"ready"' not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < wait_until
            time.sleep(0.1)
        with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1 port {port}: "):
            listen("127.0.0.1", port)
        body = json.dumps({"text": [" ".join(TEXTS)] * 300}).encode()
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.sendall(
            b"POST /ner HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        client = Client(port)
        asked = b'flaxner_texts_total{model="tiny"} 300.0'
        wait_for(lambda: asked in client.ask("/metrics").raw, seconds=30)
        process.send_signal(signal.SIGTERM)
        reply = b""
        while chunk := connection.recv(2**16):
            reply += chunk
        assert reply.startswith(b"HTTP/1.1 200 OK")
        answer = json.loads(reply.split(b"\r\n\r\n", 1)[1])
        assert len(answer["entities"]) == 300
        assert process.wait(20) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
        assert events[-1] == "ended"
    finally:
        process.kill()


def test_it_listens_once_its_log_says_so(monkeypatch):
    class Reached(Exception):
        pass

    def told(event, **fields):
        assert event == "listening"
        host, port = fields["url"].removeprefix("http://").split(":")
        socket.create_connection((host, int(port)), timeout=5).close()
        raise Reached

    monkeypatch.setattr("flaxner.serving.server.log_event", told)
    monkeypatch.setattr("flaxner.serving.server.set_up", lambda: None)
    monkeypatch.setattr(Service, "warm_up", lambda self: None)
    with pytest.raises(Reached):
        serve(Settings({"m": "hub"}, port=0), lambda settings: Service(settings, {}))


def test_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    (tmp_path / "run" / "hub").mkdir(parents=True)
    assert named(["x=run", "me/it"]) == {"x": "run", "me/it": "me/it"}
    assert named(["run/hub"]) == {"hub": "run/hub"}
    with pytest.raises(ValueError, match=r"reads as NAME=FOLDER: write \./a=b"):
        named(["a=b"])
    assert named(["./a=b"]) == {"a=b": "./a=b"}
    with pytest.raises(ValueError, match="two models are called 'hub'"):
        named(["run/hub", "hub=x"])
    for arguments, sentence in (
        ([], "the following arguments are required: --model"),
        (["--model", "x", "--port", "70000"], "port must be at most 65535"),
        (["--model", "x", "--queue", "0"], "queue must be at least 1: got 0"),
        (["--model", "x", "--timeout", "nan"], "timeout must be a number of seconds above 0"),
        (["--model", "x", "--cors-origin", "a.example"], "cors_origins must be"),
        (["--model", "x", "--hots", "y"], "unknown argument '--hots'; did you mean --host"),
    ):
        with pytest.raises(SystemExit) as end:
            parse_settings(arguments)
        assert end.value.code == 2
        assert sentence in capsys.readouterr().err
    assert parse_settings(["--model", "x"]) == Settings({"x": "x"})


def test_several_models_and_exported_ones(folder, ner, tmp_path):
    path = ner.export(tmp_path / "served")
    settings = Settings({"one": str(folder), "two": str(path)}, device="cpu")
    with pytest.raises(ValueError, match=r"which runs as it was exported: leave out --device"):
        open_models(settings)
    models = open_models(dataclasses.replace(settings, device=None))
    with running(folder, models=models) as server:
        client = server.client()
        for name in (None, "one", "two"):
            answer = client.ask("/ner", {"text": TEXTS[0]} | ({"model": name} if name else {}))
            assert answer.content["model"] == (name or "one")
            assert_same(answer.content["entities"], ner(TEXTS[0], aggregation_strategy="word"))
        page = client.ask("/").raw.decode()
        assert "<option>one</option><option>two</option>" in page
        client.close()


def test_calibrated_scores(folder, tmp_path):
    path = edited(folder, tmp_path / "hub", lambda fields: fields["flaxner"].update(temperature=2))
    ner = pipeline("ner", model=path, device="cpu")
    with running(path, models={"tiny": ner}) as server:
        answer = server.client().ask("/ner", {"text": TEXTS[0], "calibrated": True})
    expected = ner(TEXTS[0], aggregation_strategy="word", calibrated=True)
    assert_same(answer.content["entities"], expected)
    assert expected != ner(TEXTS[0], aggregation_strategy="word")


def test_a_missing_library_is_named(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "flaxner.serving.server", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "uvicorn"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert serve_main(["--model", "/nowhere"]) == 2
    sentence = "serve.py: serving needs uvicorn: pip install 'flaxner[serve]'\n"
    assert capsys.readouterr().err == sentence


def test_a_missing_model_is_named(capsys):
    assert serve_main(["--model", "/nowhere", "--port", "0"]) == 2
    assert capsys.readouterr().err == "serve.py: there is no model folder '/nowhere'\n"


def resident(process):
    """Return a process's resident memory in megabytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def answers(port):
    """Whether a server accepts requests on this port."""
    try:
        return Client(port).ask("/readyz").status == 200
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_stays_flat(folder, tmp_path):
    """SOAK_SECONDS of requests of all kinds, including from clients that leave."""
    seconds = float(os.environ.get("SOAK_SECONDS", "180"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(SCRIPTS / "serve.py"), "--model", str(folder)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stderr=log, env={**os.environ, "XLA_FLAGS": ""}
        )
    end = time.monotonic() + seconds
    counts, failures = {}, []

    def work(seed):
        try:
            ask(np.random.default_rng(seed), Client(port))
        except Exception as error:  # pytest would only warn about it
            failures.append(error)

    def ask(rng, client):
        while time.monotonic() < end:
            text = " ".join(TEXTS[i] for i in rng.integers(4, size=rng.integers(1, 30)))
            kind = rng.integers(10)
            if kind == 0:
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    body = json.dumps({"text": [text] * 20}).encode()
                    connection.sendall(
                        b"POST /ner HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                    )
                status = "left"
            elif kind == 1:
                status = client.ask("/ner", rng.bytes(50)).status
            elif kind == 2:
                status = client.ask("/ner/words", {"words": text.split()}).status
            else:
                strategy = STRATEGIES[rng.integers(6)]
                status = client.ask("/ner", {"text": text, "strategy": strategy}).status
            counts[status] = counts.get(status, 0) + 1
        client.close()

    try:
        wait_for(lambda: answers(port), seconds=400)
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(seconds / 4)
        early = resident(process.pid)
        for thread in threads:
            thread.join()
        late = resident(process.pid)
        print(f"{counts}; {early:.0f} MB after a quarter, {late:.0f} MB at the end")
        assert failures == []
        assert set(counts) <= {200, 422, 429, "left"}
        assert counts[200] > seconds, "the server must have been busy"
        assert late < 1.03 * early + 10
    finally:
        process.terminate()
        assert process.wait(60) == 0
