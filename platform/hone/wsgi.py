"""The WSGI application that granian serves."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hone.settings")
application = get_wsgi_application()
# What was made until here stays for good: the collector need not walk it at work.
gc.collect()
gc.freeze()
# A request makes some thousand objects that end with it; looking for cycles after every 700 of them cost a tenth.
gc.set_threshold(10_000, 10, 100)
