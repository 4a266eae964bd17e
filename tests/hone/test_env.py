"""A bad setting stops the start with a sentence."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hone import env
from hone.settings import _make_once

ROOT = Path(__file__).resolve().parents[2]


def start(environment: dict[str, str], code: str = "pass") -> subprocess.CompletedProcess[str]:
    """Reads the settings in a new process that has nothing else in its environment."""
    return subprocess.run(
        [sys.executable, "-c", f"from hone import settings; {code}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("value", "words"), [("soon", "whole number"), ("0", "between 1 and 9"), ("10", "between 1 and 9")]
)
def test_integer_names_the_setting_and_its_bounds(monkeypatch: pytest.MonkeyPatch, value: str, words: str) -> None:
    monkeypatch.setenv("THREADS", value)
    with pytest.raises(env.SettingError, match=words):
        env.integer("THREADS", 2, minimum=1, maximum=9)


def test_boolean_refuses_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG_X", "maybe")
    with pytest.raises(env.SettingError, match="true or false"):
        env.boolean("DEBUG_X", False)


def test_value_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    monkeypatch.setenv("KEY_X_FILE", str(tmp_path / "secret"))
    assert env.text("KEY_X") == "s3cret"


def test_a_file_that_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("KEY_Z_FILE", str(tmp_path / "secret"))
    with pytest.raises(env.SettingError, match="secret, which is not UTF-8"):
        env.text("KEY_Z")


@pytest.mark.parametrize(
    "value", ["8000", "localhost", "localhost:", ":8000", "a:0", "a:65536", "a:x", "a:²", "a:" + "9" * 30]
)
def test_an_address_needs_host_and_port(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HONE_ADDRESS", value)
    with pytest.raises(env.SettingError, match="HONE_ADDRESS .* host:port"):
        env.address("HONE_ADDRESS", "127.0.0.1:8000")


def test_a_good_address_is_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HONE_ADDRESS", raising=False)
    assert env.address("HONE_ADDRESS", "127.0.0.1:8000") == ("127.0.0.1", 8000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIME_ZONE", "Mars/Olympus"),
        ("TIME_ZONE", "../../etc/passwd"),
        ("TIME_ZONE", ""),
        ("TIME_ZONE", "Europe"),
        ("LOG_LEVEL", "LOUD"),
        ("PROXY_COUNT", "many"),
        ("DEBUG", "perhaps"),
        ("DATABASE_URL", "postgresql://[x"),
    ],
)
def test_a_bad_setting_stops_the_start_with_one_sentence(tmp_path: Path, name: str, value: str) -> None:
    ended = start({"HONE_VAR": str(tmp_path), name: value})
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr and name in ended.stderr and len(ended.stderr.splitlines()) <= 2


def test_named_hosts_come_beside_the_machines_own(tmp_path: Path) -> None:
    ended = start({"HONE_VAR": str(tmp_path), "ALLOWED_HOSTS": "hone.example.com"}, "print(settings.ALLOWED_HOSTS)")
    assert ended.stdout.strip() == "['localhost', '127.0.0.1', '[::1]', 'hone.example.com']"
    assert "testserver" not in start({"HONE_VAR": str(tmp_path)}, "print(settings.ALLOWED_HOSTS)").stdout


@pytest.mark.slow
def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    code = "print(settings.SECRET_KEY)"
    with ThreadPoolExecutor(4) as pool:
        keys = {ended.stdout for ended in pool.map(lambda _: start({"HONE_VAR": str(tmp_path)}, code), range(4))}
    assert len(keys) == 1 and len(keys.pop()) > 40
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_the_key_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first to link its file wins, and until then there is none."""
    path = tmp_path / "secret_key"
    link = os.link

    def link_after_another(source: Any, target: Any) -> None:
        assert not path.exists()
        monkeypatch.setattr(os, "link", link)
        _make_once(path, "theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", link_after_another)
    _make_once(path, "ours")
    assert path.read_text() == "theirs"


def test_an_empty_key_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()
    ended = start({"HONE_VAR": str(tmp_path)})
    assert ended.returncode == 1 and "is empty" in ended.stderr


def test_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_Y_FILE", "/does/not/exist")
    with pytest.raises(env.SettingError, match="/does/not/exist"):
        env.text("KEY_Y")
