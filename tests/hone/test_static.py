"""The storage that serves static files in production: every name in our files leads to a file that exists."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

SOURCE = Path(__file__).resolve().parents[2] / "platform" / "hone" / "static"
IMPORTS = re.compile(r"""\b(?:from|import)\s*\(?\s*["']([^"']+)["']""")
URLS = re.compile(r"""url\(\s*["']?([^"')]+)["']?\s*\)|@import\s+["']([^"']+)["']""")
HASHED = re.compile(r"\.[0-9a-f]{12}\.\w+$")


@pytest.fixture
def collected(settings: Any, tmp_path: Path) -> Path:
    """Our own files as `manage.py collectstatic` leaves them (other packages' take ten times as long)."""
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "hone.static_files.HashedStorage"}}
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATICFILES_DIRS = [SOURCE]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path / "static"


def test_every_import_and_url_leads_to_a_hashed_file(collected: Path) -> None:
    found = 0
    for suffix, pattern in (("js", IMPORTS), ("css", URLS)):
        files = [path for path in (collected / "hone").rglob(f"*.{suffix}") if HASHED.search(path.name)]
        assert len(files) == len(list((SOURCE / "hone").rglob(f"*.{suffix}")))
        for path in files:
            for groups in pattern.findall(path.read_text(encoding="utf-8")):
                name = groups if isinstance(groups, str) else groups[0] or groups[1]
                if name.startswith(("data:", "#")):
                    continue
                found += 1
                target = (path.parent / name.split("#")[0]).resolve()
                assert HASHED.search(target.name) and target.is_file(), f"{path.name} names {name}"
    assert found > 30, "the patterns find what they should"
