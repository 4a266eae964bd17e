"""An endpoint as a sampler, against a small server in the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from training.trainers.endpoint import EndpointSampler, check_url
from training.trainers.program import StopFlag, Stopped, TrainerError

DRAW: dict[str, Any] = {"max_new_tokens": 7, "top_p": 0.9}


@dataclass
class Server:
    """What was asked of it, and how it answers: `troubles` are statuses for the next requests, one each."""

    url: str = ""
    models: list[str] = field(default_factory=lambda: ["tiny"])
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    troubles: list[int] = field(default_factory=list)
    body: bytes | None = None


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, {"data": [{"id": name} for name in found.models]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append(body)
            found.keys.append(self.headers.get("Authorization"))
            if found.troubles:
                self.answer(found.troubles.pop(0), {"error": {"message": "not\nnow"}})
                return
            text = f"{body['prompt']} by {body['seed']}"
            done = {"text": text, "finish_reason": "length" if body["seed"] % 2 else "stop"}
            self.answer(200, {"choices": [done], "usage": {"completion_tokens": body["seed"]}})

        def answer(self, status: int, body: Any) -> None:
            content = found.body if found.body is not None and status == 200 else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, args=[0.02], daemon=True)
    thread.start()
    yield found
    http.shutdown()
    http.server_close()


def sampler(server: Server, **words: Any) -> EndpointSampler:
    return EndpointSampler(server.url, stop=StopFlag(), **({"sleep": lambda seconds: None} | words))


def test_each_completion_is_asked_for_with_its_own_seed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    found = sampler(server, stop_text="\nQuestion:").generate(
        [[1, 2], [3]], k=2, temperature=0.8, seeds=[10, 20], **DRAW
    )
    assert [[c.text for c in group] for group in found] == [
        ["[1, 2] by 10", "[1, 2] by 11"],
        ["[3] by 20", "[3] by 21"],
    ]
    assert [(c.finish_reason, c.token_count, c.ids) for c in found[0]] == [("stop", 10, []), ("length", 11, [])]
    asked = next(body for body in server.asked if body["seed"] == 21)
    assert asked == {
        "model": "tiny",
        "prompt": [3],
        "max_tokens": 7,
        "temperature": 0.8,
        "top_p": 0.9,
        "seed": 21,
        "n": 1,
        "stream": False,
        "stop": ["\nQuestion:"],
    }
    assert set(server.keys) == {"Bearer secret"}


def test_a_greedy_answer_is_asked_for_once(server: Server) -> None:
    found = sampler(server).generate([[1]], k=3, temperature=0.0, seeds=[4], **DRAW)
    assert len(found[0]) == 3 and len(server.asked) == 1 and server.asked[0]["top_p"] == 1.0


def test_what_may_pass_is_tried_again_with_growing_pauses(server: Server) -> None:
    waited: list[float] = []
    asking = sampler(server, sleep=waited.append)
    server.troubles = [503, 429, 500]
    assert asking.generate([[1]], k=1, temperature=1.0, seeds=[4], **DRAW)[0][0].text == "[1] by 4"
    assert waited == [1.0, 2.0, 4.0]


def test_a_server_that_stays_away_has_a_sentence(server: Server) -> None:
    asking = sampler(server)
    server.troubles = [502] * 5
    with pytest.raises(TrainerError, match=r"is away; it was asked 5 times: it says 502 Bad Gateway: not now\."):
        asking.generate([[1]], k=1, temperature=1.0, seeds=[4], **DRAW)
    assert len(server.asked) == 5
    with pytest.raises(TrainerError, match="is away; it was asked 5 times: .*refused"):
        EndpointSampler("http://127.0.0.1:1/v1", stop=StopFlag(), sleep=lambda seconds: None)


def test_what_it_refuses_is_not_asked_again(server: Server) -> None:
    asking = sampler(server)
    server.troubles = [400]
    with pytest.raises(TrainerError, match="refused a request: it says 400 Bad Request: not now"):
        asking.generate([[1]], k=1, temperature=1.0, seeds=[4], **DRAW)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "answered with something that is not JSON"),
        (b'{"choices": []}', "without text, finish_reason or usage"),
        (
            b'{"choices": [{"text": "a", "finish_reason": "content_filter"}], "usage": {"completion_tokens": 1}}',
            "ended an answer with 'content_filter'",
        ),
    ],
)
def test_an_answer_of_another_form_is_refused(server: Server, body: bytes, words: str) -> None:
    asking = sampler(server)
    server.body = body
    with pytest.raises(TrainerError, match=words):
        asking.generate([[1]], k=1, temperature=1.0, seeds=[4], **DRAW)


def test_the_model_is_named_or_the_only_one(server: Server) -> None:
    server.models = ["a", "b"]
    assert sampler(server, model="b").model == "b"
    with pytest.raises(TrainerError, match="has 2 models"):
        sampler(server)
    with pytest.raises(TrainerError, match="endpoint_model 'c' is not at"):
        sampler(server, model="c")


def test_a_stopped_run_asks_no_more(server: Server) -> None:
    asking = sampler(server)
    asking.stop.set()
    with pytest.raises(Stopped):
        asking.generate([[1]], k=1, temperature=1.0, seeds=[4], **DRAW)
    assert server.asked == []


@pytest.mark.parametrize("url", ["", "localhost:8000", "file:///etc/passwd", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(TrainerError, match="endpoint must be an address"):
        check_url(url)
