"""Fixtures that every test may ask for. Servers come from tests/servers.py."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.db import connection
from django.utils import translation
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from tests import factories, template

# On a loaded machine one example may take long; how long tests may take is pytest-timeout's matter.
hypothesis.settings.register_profile("hone", deadline=None)
hypothesis.settings.load_profile("hone")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """pytest-django asks for it before it makes the worker's database."""
    connection.settings_dict["TEST"]["TEMPLATE"] = template.database()
    # A statement that waits for a forgotten transaction ends with the reason, and not with the test's time.
    options = connection.settings_dict["OPTIONS"]
    options["options"] = f"{options.get('options') or ''} -c lock_timeout=60s".strip()


@pytest.fixture(autouse=True)
def plain_files(settings: Any, tmp_path: Path) -> None:
    """Static files without a collectstatic; runs and snapshots in the test's own folder; quick passwords."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.RUNS_DIR = tmp_path / "runs"
    settings.SNAPSHOTS_DIR = tmp_path / "snapshots"
    settings.MODELS_DIR = tmp_path / "models"


@pytest.fixture(autouse=True)
def numbered_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same texts in whatever order tests run: by a text's hash a prompt is held out or not."""
    monkeypatch.setattr(factories, "_number", itertools.count(1))


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    """A request leaves its language with the thread, as Django's middleware does: not for the next test."""
    yield
    translation.deactivate()


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The runs that were sent to a worker, without a broker."""
    from training import tasks

    sent: list[int] = []
    monkeypatch.setattr(tasks.execute_run, "apply_async", lambda args, **_: sent.append(args[0]))
    yield sent


@pytest.fixture
def project(db: None) -> Project:
    return factories.make_project("alpha")


@pytest.fixture
def manager(project: Project) -> User:
    return factories.make_member(project, "manager", username="manager")


@pytest.fixture
def reviewer(project: Project) -> User:
    return factories.make_member(project, "reviewer", username="reviewer")


@pytest.fixture
def contractor(project: Project) -> User:
    return factories.make_member(project, "contractor", username="contractor")


@pytest.fixture
def outsider(db: None) -> User:
    return factories.make_user("outsider")


@pytest.fixture
def lead(db: None) -> User:
    return factories.make_user("lead", is_staff=True)


@pytest.fixture
def api() -> APIClient:
    return APIClient()


@pytest.fixture
def shared_data() -> Path:
    """Real files of other projects, which are not part of this repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data files at {SHARED_DATA}")
    return SHARED_DATA
