"""Scripted contractors: they log in and work through the same HTTP endpoints as the browser's pages.

Their accounts are marked `simulated`, and so is every row that they make. They write the demonstrations that the
examples ship, and rank by `training.demo.judging`.
"""

import random
import threading
import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from labeling.messages import content_hash
from training.demo import judging

# How often an idle contractor asks for work: seldom, since the trainers need the cores.
IDLE_SECONDS = 2.0
# Each contractor adds noise of their own to the scores, so that they sometimes disagree as people do.
NOISE = 0.15


@dataclass(frozen=True)
class Login:
    """A demo account."""

    username: str
    password: str


class LoginRefused(Exception):
    """The site does not let the contractor in; the text is a sentence."""


class Contractor(threading.Thread):
    """Works through a project's write and rank items until told to stop.

    `problem` is what went wrong last and may pass, as when the web process is restarted; `failure` is what ended it.
    """

    def __init__(
        self, *, address: str, login: Login, project: str, answers: dict[str, list[dict[str, str]]], seed: int
    ) -> None:
        super().__init__(name=f"contractor-{login.username}", daemon=True)
        self.address, self.login, self.project = address, login, project
        self.answers = answers
        self.noise = random.Random(seed)
        self.stopping = threading.Event()
        self.problem: str | None = None
        self.failure: str | None = None

    def stop(self) -> None:
        self.stopping.set()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._session()
            except httpx.HTTPError as error:
                self.problem = f"{self.login.username} tries again: {error or type(error).__name__}"
                self.stopping.wait(1.0)
            except LoginRefused as error:
                self.failure = str(error)
                return
            except Exception as error:
                self.failure = f"The scripted contractor {self.login.username} broke: {type(error).__name__}: {error}"
                return

    def _session(self) -> None:
        with httpx.Client(base_url=self.address, timeout=30.0, follow_redirects=True) as client:
            self._log_in(client)
            while not self.stopping.is_set():
                worked = [self._work(client, kind) for kind in ("write", "rank")]
                self.problem = None
                if not any(worked):
                    self.stopping.wait(IDLE_SECONDS)

    def _log_in(self, client: httpx.Client) -> None:
        """Raises LoginRefused where trying again would not help."""
        try:
            client.get("/login/").raise_for_status()
            fields = {"username": self.login.username, "password": self.login.password}
            self._post(client, "/login/", data=fields)
        except httpx.HTTPStatusError as error:
            if not error.response.is_client_error:
                raise
            why = f"{error.request.url} answered {error.response.status_code} {error.response.reason_phrase}"
            raise LoginRefused(f"The scripted contractor {self.login.username} cannot log in: {why}.") from error
        if "sessionid" not in client.cookies:
            why = "the site does not take the password"
            raise LoginRefused(f"The scripted contractor {self.login.username} cannot log in: {why}.")

    def _post(self, client: httpx.Client, path: str, **body: Any) -> httpx.Response:
        headers = {"X-CSRFToken": client.cookies["csrftoken"], "Referer": self.address}
        answer = client.post(path, headers=headers, **body)
        answer.raise_for_status()
        return answer

    def _work(self, client: httpx.Client, kind: str) -> bool:
        """Takes and submits one item; answers whether there was one."""
        answer = self._next(client, kind)
        if answer.status_code == httpx.codes.NO_CONTENT:
            return False
        work = answer.json()
        body = self._written(work) if kind == "write" else self._ranked(work)
        lease = {"lease_token": work["lease_token"]}
        path = f"/api/v1/work/{work['slot']}"
        if body is None:
            note = "No answer is shipped for this prompt."
            self._post(client, f"{path}/skip/", json={**lease, "reason": "other", "note": note})
        else:
            sent = {**lease, "client_key": str(uuid.uuid4()), "active_seconds": 0, **body}
            self._post(client, f"{path}/submit/", json=sent)
        return True

    def _next(self, client: httpx.Client, kind: str) -> httpx.Response:
        """Asks for an item, and confirms a guideline version that is to be read first."""
        path = f"/api/v1/projects/{self.project}/work/{kind}/next/"
        try:
            return self._post(client, path)
        except httpx.HTTPStatusError as error:
            body = error.response.json() if error.response.status_code == httpx.codes.CONFLICT else {}
            if body.get("code") != "guideline_unread":
                raise
            self._post(client, f"/api/v1/projects/{self.project}/guideline/{body['version']}/confirm/")
            return self._post(client, path)

    def _written(self, work: dict[str, Any]) -> dict[str, Any] | None:
        if work["prompt"] is None:
            return None
        prompt = [{"role": turn["role"], "content": turn["content"]} for turn in work["prompt"]["messages"]]
        messages = self.answers.get(content_hash(prompt))
        return {"messages": messages} if messages else None

    def _ranked(self, work: dict[str, Any]) -> dict[str, Any]:
        prompt = work["prompt"]["messages"][-1]["content"]
        scores = {
            answer["letter"]: judging.score(prompt=prompt, answer=answer["text"]) + self.noise.gauss(0, NOISE)
            for answer in work["answers"]
        }
        return judging.judged(scores=scores, form=work["form"])
