"""Django settings. Everything that differs between machines is read from the environment, here alone.

Without DATABASE_URL and BROKER_URL the addresses of the embedded servers are used; hone.embedded writes them to
`var/services.json` when it starts them, so that `manage.py` in a second terminal finds the same database.
"""

import contextlib
import json
import os
import secrets
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from hone import env

BASE_DIR = Path(__file__).resolve().parents[2]
VAR_DIR = Path(env.text("HONE_VAR", str(BASE_DIR / "var"))).resolve()


def _embedded(name: str) -> str:
    """The address of an embedded server that hone.embedded started, or an empty string."""
    try:
        return json.loads((VAR_DIR / "services.json").read_text(encoding="utf-8")).get(name, "")
    except (OSError, ValueError):
        return ""


def _database(url: str) -> dict[str, Any]:
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError as error:
        raise env.SettingError(f"DATABASE_URL cannot be read: {error}.") from None
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname", "hone"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": str(parts.pop("port", "")),
        "OPTIONS": {**parts, **_preparing(str(parts.get("options") or ""))},
        # Health checks let a web worker survive a database restart without serving an error first.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }


def _preparing(options: str) -> dict[str, Any]:
    """For hone.prepared; Django's own cursors never prepare. Off behind a pooler that cannot keep statements.

    Their plans are made once a connection: PostgreSQL would otherwise plan the hand-out anew at each request, at more
    cost than running it. `tests/labeling/test_statements.py` holds these plans.
    """
    if not env.boolean("PREPARED_STATEMENTS", True):
        return {"prepare_threshold": None}
    return {"prepare_threshold": 5, "options": f"{options} -c plan_cache_mode=force_generic_plan".strip()}


def _secret_key() -> str:
    """SECRET_KEY, or one made once for this machine and kept in var/ readable by its owner alone."""
    given = env.text("SECRET_KEY")
    if given:
        return given
    path = VAR_DIR / "secret_key"
    try:
        if not path.exists():
            _make_once(path, secrets.token_urlsafe(48))
        key = path.read_text(encoding="utf-8")
    except OSError as error:
        raise env.SettingError(f"The key in {path} cannot be made or read: {error.strerror}.") from None
    if not key:
        raise env.SettingError(f"{path} is empty: remove it, and the next start makes a new key.")
    return key


def _make_once(path: Path, content: str) -> None:
    """Writes a file that only its owner can read; where two processes of one start do so, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and then linked: a reader never meets an empty or half-written file.
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        os.unlink(aside)


DEBUG = env.boolean("DEBUG", False)
SECRET_KEY = _secret_key()
# This machine's own names stay allowed whatever else is named: health checks and the demo ask there.
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *env.words("ALLOWED_HOSTS")]
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
HTTPS = env.boolean("HTTPS", False)  # set where a proxy in front of us ends TLS

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "django_htmx",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "csp",
    "hone",
    "hone.accounts",
    "hone.audit",
    "labeling",
    "training",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "hone.policy.PolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "hone.accounts.backends.AuthenticationMiddleware",
    "hone.accounts.language.LanguageMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "hone.urls"
WSGI_APPLICATION = "hone.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": _database(env.text("DATABASE_URL") or _embedded("DATABASE_URL") or "postgresql:///hone")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Accounts ----------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "hone.accounts.backends.Backend",
    # Named by sessions that began before the line above was ours; without it their people are logged out at work.
    # May go once SESSION_COOKIE_AGE has passed since everybody runs the first release.
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "hone:login"
LOGIN_REDIRECT_URL = "hone:home"
LOGOUT_REDIRECT_URL = "hone:login"
# Five wrong passwords for one name from one address close that pair for a quarter of an hour.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "hone.accounts.views.locked_out"
AXES_VERBOSE = False
# Proxies between us and the world that set X-Forwarded-For; without this they all look like one address.
PROXY_COUNT = env.integer("PROXY_COUNT", 0, minimum=0, maximum=10)
AXES_CLIENT_IP_CALLABLE = "hone.accounts.addresses.client_address"

KNOX_TOKEN_MODEL = "accounts.ApiToken"
# knox's own migrations make its table even where the model is swapped for ours; an unused table helps nobody.
MIGRATION_MODULES: dict[str, str | None] = {"knox": None}
REST_KNOX = {
    "TOKEN_TTL": None,
    "TOKEN_PREFIX": "hone_",
    "AUTH_HEADER_PREFIX": "Token",
    "TOKEN_MODEL": KNOX_TOKEN_MODEL,
}

# Security ----------------------------------------------------------------------------------------------------
SESSION_ENGINE = "hone.accounts.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "hone.accounts.views.csrf_failure"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}
# Pages that others wrote: the administration (unfold's Alpine evaluates expressions, its templates have inline scripts)
# is for staff; the API's documentation and browsable pages need inline styles alone.
LOOSER_POLICIES = {
    "/admin/": {"script-src": [SELF, UNSAFE_INLINE, UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE]},
    "/api/": {"style-src": [SELF, UNSAFE_INLINE]},
}

# REST --------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "knox.auth.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PARSER_CLASSES": [
        "hone.api.parsers.JSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "hone.api.pagination.ById",
    "PAGE_SIZE": 100,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Hone API",
    "DESCRIPTION": "Prompts, demonstrations, comparisons, snapshots, rounds and runs of a Hone installation.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# Celery ------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = env.text("BROKER_URL") or _embedded("BROKER_URL") or "redis://127.0.0.1:6379/0"
CELERY_TASK_IGNORE_RESULT = True  # state is a row in PostgreSQL, never a Celery result
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"training.tasks.execute_run": {"queue": "train"}}
# Early acknowledgement (the default): Redis would redeliver a training run after its visibility timeout.
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    "free-expired-leases": {"task": "labeling.tasks.free_expired_leases", "schedule": 10.0},
    "remember-prompts": {"task": "labeling.tasks.remember_prompts", "schedule": 10.0, "options": {"expires": 10}},
    "book-earnings": {"task": "labeling.tasks.book_earnings", "schedule": 30.0, "options": {"expires": 30}},
    "forget-expired-sessions": {"task": "hone.accounts.tasks.forget_expired_sessions", "schedule": 3600.0},
    "reap-lost-runs": {"task": "training.tasks.reap_lost_runs", "schedule": 10.0},
    "advance-rounds": {"task": "training.tasks.advance_rounds", "schedule": 2.0, "options": {"expires": 10}},
}
CELERY_TIMEZONE = "UTC"

# Training ----------------------------------------------------------------------------------------------------
RUNS_DIR = VAR_DIR / "runs"
SNAPSHOTS_DIR = VAR_DIR / "snapshots"
MODELS_DIR = VAR_DIR / "models"
# Files and folders to pretrain on; a recipe names them by their names here.
CORPORA_DIR = VAR_DIR / "corpora"
# An OpenAI-compatible server that holds the model which is sampled, for the sampling engine "endpoint".
SAMPLER_ENDPOINT = env.text("SAMPLER_ENDPOINT", "")
SAMPLER_ENDPOINT_MODEL = env.text("SAMPLER_ENDPOINT_MODEL", "")
# What a recipe of PPO may call beside ours (trainers.reward_functions reads the environment itself).
REWARD_FUNCTIONS = env.text("HONE_REWARD_FUNCTIONS", "")
TRAINER_PYTHON = env.text("TRAINER_PYTHON")  # another environment's interpreter for the trainers; ours if empty

# Languages, time, files --------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "platform/hone/locale"]
LANGUAGE_COOKIE_AGE = 31_536_000
TIME_ZONE = env.time_zone("TIME_ZONE", "UTC")
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "hone.static_files.HashedStorage"},
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024  # one submission; files are streamed to disk
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# The admin in the site's own accent (tokens.css) from its lightest to its darkest step.
_ACCENT = {
    "50": "#f3f6fe", "100": "#e8eefd", "200": "#ccd8fb", "300": "#a5bbf7", "400": "#7394f0", "500": "#4a6fe3",
    "600": "#2b50c7", "700": "#2040a6", "800": "#1d3684", "900": "#1b2f69", "950": "#121d40",
}  # fmt: skip
UNFOLD = {
    "SITE_TITLE": "Hone",
    "SITE_HEADER": "Hone",
    "SITE_URL": "/",
    "SITE_SYMBOL": "tune",
    "SHOW_HISTORY": False,
    "COLORS": {"primary": _ACCENT},
}

_LOG_LEVEL = env.one_of("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": _LOG_LEVEL},
    "loggers": {"axes": {"level": "WARNING"}},
}
