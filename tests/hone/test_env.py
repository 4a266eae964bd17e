"""A bad setting stops the start with a sentence."""

from pathlib import Path

import pytest

from hone import env


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


def test_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_Y_FILE", "/does/not/exist")
    with pytest.raises(env.SettingError, match="/does/not/exist"):
        env.text("KEY_Y")
