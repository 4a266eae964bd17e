"""Drawing completions from an OpenAI-compatible server that holds the model, such as `vllm serve`.

A prompt is sent to `POST <base>/completions` as token ids, so the server reads exactly what the other engines read,
and the K completions of a prompt are K requests with seeds of their own. The standard library's HTTP is enough for
that. The key, where the server wants one, is taken from the environment variable OPENAI_API_KEY.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from training.trainers.program import StopFlag, Stopped, TrainerError
from training.trainers.samplers import Completion

# Requests under way at once: a server batches them, and its keep-up is its own affair.
_AT_ONCE = 16
_TRIES = 5
# A completion of some thousand tokens on a slow server takes minutes.
_TIMEOUT = 600.0
_LONGEST_WAIT = 60.0


def check_url(url: str) -> None:
    """Refuse what is no http(s) address with a host; raises TrainerError."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TrainerError(f"endpoint must be an address like http://host:8000/v1, not {url!r}.")


class EndpointSampler:
    """The Sampler that asks a server.

    Where it does not answer, or says 429 or 5xx, a request is sent again, five times in all with growing pauses;
    then TrainerError says so. `stop_text` ends an answer too; `sleep` is how it waits.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "",
        stop: StopFlag,
        stop_text: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        check_url(url)
        self.url, self.stop, self.stop_text, self.sleep = url.rstrip("/"), stop, stop_text, sleep
        self.model = self._model(model)

    def generate(
        self,
        prompts: list[list[int]],
        *,
        k: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
    ) -> list[list[Completion]]:
        """See samplers.Sampler. A greedy answer is asked for once and given K times."""
        asked = k if temperature > 0 else 1
        bodies = [
            {
                "model": self.model,
                "prompt": prompt,
                "max_tokens": max_new_tokens,
                "temperature": temperature,
                "top_p": top_p if temperature > 0 else 1.0,
                "seed": seed + index,
                "n": 1,
                "stream": False,
            }
            | ({"stop": [self.stop_text]} if self.stop_text else {})
            for prompt, seed in zip(prompts, seeds, strict=True)
            for index in range(asked)
        ]
        pool = ThreadPoolExecutor(max_workers=_AT_ONCE)
        try:
            found = list(pool.map(self._complete, bodies))
        finally:
            # After a failure, what has not begun is not sent any more.
            pool.shutdown(cancel_futures=True)
        groups = [found[start : start + asked] for start in range(0, len(found), asked)]
        return [group if len(group) == k else group * k for group in groups]

    def _model(self, wanted: str) -> str:
        """The model's name there; asking for it also tells early whether the server is there."""
        try:
            names = [str(entry["id"]) for entry in self._ask("/models")["data"]]
        except (KeyError, TypeError) as error:
            raise TrainerError(f"The endpoint {self.url} does not list its models as OpenAI's does.") from error
        if wanted and wanted not in names:
            raise TrainerError(f"endpoint_model {wanted!r} is not at {self.url}, which has {', '.join(names)}.")
        if not wanted and len(names) != 1:
            raise TrainerError(
                f"The endpoint {self.url} has {len(names)} models ({', '.join(names)}): endpoint_model must name one."
            )
        return wanted or names[0]

    def _complete(self, body: dict[str, Any]) -> Completion:
        answer = self._ask("/completions", body)
        try:
            choice = answer["choices"][0]
            text, reason = choice["text"], choice["finish_reason"]
            count = int((answer.get("usage") or {})["completion_tokens"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise TrainerError(
                f"The endpoint {self.url} answered without text, finish_reason or usage.completion_tokens."
            ) from error
        if not isinstance(text, str) or reason not in ("stop", "length"):
            raise TrainerError(f"The endpoint {self.url} ended an answer with {reason!r}, not with stop or length.")
        return Completion(ids=[], finish_reason=reason, token_count=count, text=text)

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON, to a GET without a body and else a POST; tries again what may pass."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        problem = ""
        for attempt in range(1, _TRIES + 1):
            if self.stop:
                raise Stopped
            wait = 2.0 ** (attempt - 1)
            request = urllib.request.Request(self.url + path, data=data, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
                    return json.loads(response.read())
            except urllib.error.HTTPError as error:
                problem = f"it says {error.code} {error.reason}{_said(error)}"
                if error.code != 429 and error.code < 500:
                    raise TrainerError(f"The endpoint {self.url} refused a request: {problem}.") from error
                after = error.headers.get("Retry-After", "")
                wait = min(float(after), _LONGEST_WAIT) if after.isdigit() else wait
            except (OSError, http.client.HTTPException) as error:
                problem = str(getattr(error, "reason", error) or type(error).__name__)
            except ValueError as error:
                raise TrainerError(f"The endpoint {self.url} answered with something that is not JSON.") from error
            if attempt < _TRIES:
                self.sleep(wait)
        raise TrainerError(f"The endpoint {self.url} is away; it was asked {_TRIES} times: {problem}.")


def _said(error: urllib.error.HTTPError) -> str:
    """The message in an error's body, where it has one: ": ..." in one line."""
    try:
        said = json.loads(error.read(65_536))
        message = (said.get("error") or said)["message"]
        return ": " + " ".join(str(message).split())[:200]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
