"""Sessions in the database, read by one prepared statement: every request begins with it."""

from typing import Any

from django.contrib.sessions.backends import db

from hone import prepared

_SESSION = "SELECT session_data FROM django_session WHERE session_key = %(key)s AND expire_date > now()"


class SessionStore(db.SessionStore):
    """As Django's own; nothing is cached, so whoever logs out is out everywhere at once."""

    def load(self) -> dict[str, Any]:
        found = prepared.row(_SESSION, {"key": self.session_key})
        if found is None:
            self._session_key = None
            return {}
        return self.decode(found["session_data"])
