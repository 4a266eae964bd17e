"""Who a session belongs to."""

from typing import Any

from django.contrib.auth import get_user, middleware
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from hone.accounts import sessions
from hone.accounts.models import User


class Backend(ModelBackend):
    """As Django's own, which would read the user again at each request."""

    def get_user(self, user_id: Any) -> User | None:
        user = sessions.take_user(user_id)
        if user is None:  # of a session that began before sessions knew their user, or asked for without one
            found: User | None = super().get_user(user_id)
            return found
        return user if self.user_can_authenticate(user) else None


class AuthenticationMiddleware(middleware.AuthenticationMiddleware):
    """Reads the user at once: every answer is in their language, and a lazy one costs at each look at it."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        request.user = get_user(request)
        sessions.take_user(None)  # another request of this thread must not find who was read for this one
