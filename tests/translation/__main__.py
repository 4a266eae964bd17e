"""`make messages`: the catalogue holds what the source says, and is compiled. Names what has no translation yet."""

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hone.settings")
django.setup()

from tests.translation import catalogue  # noqa: E402

waiting = catalogue.update()
for entry in waiting:
    print(f"{entry.occurrences[0][0]}: {entry.msgid}")
print(f"{len(waiting)} strings wait for a translation in {catalogue.PO.relative_to(catalogue.ROOT)}.")
sys.exit(bool(waiting))
