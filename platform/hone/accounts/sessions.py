"""Sessions in the database, each with its person: every request begins with the one statement that reads both."""

import json
from contextvars import ContextVar
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db

from hone import prepared
from hone.accounts.models import Session, User

_SESSION = f"""
SELECT session.session_data, {prepared.columns(User, "person")}
  FROM accounts_session AS session LEFT JOIN accounts_user AS person ON person.id = session.user_id
 WHERE session.session_key = %(key)s AND session.expire_date > now()
"""
# The user who was read with this thread's last session, until the backend asks for them: Django gives it no request.
_read: ContextVar[User | None] = ContextVar("read", default=None)


class SessionStore(db.SessionStore):
    """As Django's own; nothing is cached, so whoever logs out is out everywhere at once."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        row: Any = super().create_model_instance(data)
        assert isinstance(row, Session)
        row.user_id = data.get(SESSION_KEY)
        return row

    def load(self) -> dict[str, Any]:
        found = prepared.row(_SESSION, {"key": self.session_key})
        if found is None:
            self._session_key = None
            return {}
        _read.set(prepared.instance(User, found) if found["id"] is not None else None)
        return self.decode(found["session_data"])

    def encode(self, session_dict: dict[str, Any]) -> str:
        """JSON as it is: who could write it could write any row. A log-in is signed by itself (HASH_SESSION_KEY)."""
        return json.dumps(session_dict, separators=(",", ":"))

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        if str(session_data).startswith("{"):
            found: dict[str, Any] = json.loads(session_data)
            return found
        return super().decode(session_data)  # signed, from before


def take_user(user_id: Any) -> User | None:
    """The user of this key, if they are who was just read with a session; at most once, as they may change."""
    user = _read.get()
    _read.set(None)
    return user if user is not None and user.pk == user_id else None
