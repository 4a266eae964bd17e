"""Who a session belongs to, read by one prepared statement: every request of a page asks."""

from typing import Any

from django.contrib.auth import get_user, middleware
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from hone import prepared
from hone.accounts.models import User

_USER = f"SELECT {prepared.columns(User, 'accounts_user')} FROM accounts_user WHERE id = %(id)s"


class Backend(ModelBackend):
    """As Django's own, which would compile the same query at each request."""

    def get_user(self, user_id: Any) -> User | None:
        found = prepared.row(_USER, {"id": user_id})
        user = prepared.instance(User, found) if found else None
        return user if user is not None and self.user_can_authenticate(user) else None


class AuthenticationMiddleware(middleware.AuthenticationMiddleware):
    """Reads the user at once: every answer is in their language, and a lazy one costs at each look at it."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        request.user = get_user(request)
