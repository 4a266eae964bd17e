"""Files that are absent, torn, huge or of another shape: one sentence on the page, never an error."""

import json
import os
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from tests import report_files
from tests.report_files import FILES, make, page_of
from training import reports
from training.reports import files

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("kind", FILES)
def test_without_its_file_there_is_no_report(client: Client, lead: User, project: Project, kind: str) -> None:
    run = make(project, kind, state="running")
    client.force_login(lead)
    assert reports.of(run) is None and "What it measured" not in page_of(client, run)
    run.folder.parent.mkdir(exist_ok=True)
    run.folder.write_text("a file in the folder's place")
    assert reports.of(run) is None


BROKEN = [
    b"",
    b'{"policy": {',
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"a": ' + b"[" * 100_000,
    b'{"accuracy": "high", "policy": 3, "sources": {}, "curve": 7, "judged": 3}',
    b'{"people": [], "kl": [], "sources": [1], "curve": [{"n": true, "kl": 1}], "win_rate": {"mean": "x"}}',
    b'{"calibration": {"bins": [{"low": 0, "high": 1, "comparisons": 3, "confidence": 7, "right": 9}]},'
    b' "best_of_n": [{"n": 2, "kl": 1e300, "reward_mean": 1}], "curve": [{"n": -1, "kl": -1, "reward_mean": 1}],'
    b' "sources": [{"name": 5}], "prompt": "what"}',
    b'{"accuracy": {"value": 7, "low": 6, "high": 8}, "win_rate": {"mean": -1}, "sources": 1, "chosen_reward": [],'
    b' "score": "x"}',
]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_one_sentence(
    client: Client, api: APIClient, lead: User, project: Project, kind: str, content: bytes
) -> None:
    run = make(project, kind)
    report_files.write(run, FILES[kind], content)
    client.force_login(lead)
    # A file of lines may have none yet.
    is_sound = kind == "ppo" and not content
    assert page_of(client, run).count("The report cannot be read: ") == (not is_sound)


@pytest.mark.parametrize("kind", FILES)
def test_an_empty_object_and_numbers_that_are_none_are_shown(
    client: Client, lead: User, project: Project, kind: str
) -> None:
    run = make(project, kind)
    client.force_login(lead)
    zero = {"n": 1, "kl": 0, "reward_mean": 0, "reward_low": 0, "reward_high": 0}
    for content in (
        {},
        {"accuracy": None, "people": None, "policy": {}, "sources": [], "curve": [], "win_rate": {}},
        {"curve": [zero, zero], "best_of_n": [zero], "sources": [{}], "categories": {"": {}}, "by_category": {"": {}}},
    ):
        report_files.write(run, FILES[kind], content)
        assert "What it measured" in page_of(client, run) and "cannot be read" not in page_of(client, run)
    report_files.write(run, FILES[kind], '{"win_rate": {"mean": NaN, "low": 1e999}, "prompts": ' + "9" * 400 + "}")
    assert "cannot be read" not in page_of(client, run)


def test_a_huge_file_and_a_link_are_not_read(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    run = make(project, "evaluate")
    monkeypatch.setattr(files, "LARGEST", 2**20)
    report_files.write(run, "report.json", b'{"a": "' + b"x" * 2**20 + b'"}')
    assert reports.of(run).problem == "The report cannot be read: report.json is larger than 1 MiB."  # type: ignore[union-attr]
    (tmp_path / "elsewhere.json").write_text('{"prompts": 3}')
    (run.folder / "report.json").unlink()
    (run.folder / "report.json").symlink_to(tmp_path / "elsewhere.json")
    assert "cannot be opened" in reports.of(run).problem  # type: ignore[union-attr]
    (run.folder / "report.json").unlink()
    os.mkfifo(run.folder / "report.json")
    assert "not a plain file" in reports.of(run).problem  # type: ignore[union-attr]


def test_a_torn_line_behind_whole_ones_is_one_that_is_still_written(
    client: Client, lead: User, project: Project
) -> None:
    run = make(project, "ppo")
    report_files.ppo(run, words="words")
    path = run.folder / "samples.jsonl"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + whole.splitlines()[0][:40], encoding="utf-8")
    assert len(reports.raw(run)["samples"]) == len(whole.splitlines())  # type: ignore[index]
    assert not reports.of(run).problem  # type: ignore[union-attr]
    path.write_bytes(whole.encode() + '{"text": "一'.encode()[:-1])  # within a character
    assert len(reports.raw(run)["samples"]) == len(whole.splitlines())  # type: ignore[index]
    path.write_text(whole[:40] + "\n" + whole, encoding="utf-8")
    assert "line 1 of samples.jsonl is not whole JSON" in reports.of(run).problem  # type: ignore[union-attr]


def test_half_a_surrogate_pair_does_not_break_the_page(client: Client, lead: User, project: Project) -> None:
    run = make(project, "pretrain")
    dropped = {
        "no_text": {"why": "w", "documents": 1, "characters": 2, "examples": [{"where": "a", "text": "X\ud800Y"}]}
    }
    source = {"name": "\udfffname", "documents": 1, "dropped": dropped}
    report_files.write(run, FILES["pretrain"], json.dumps({"sources": [source]}))
    client.force_login(lead)
    assert "X?Y" in page_of(client, run)
