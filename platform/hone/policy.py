"""Which Content-Security-Policy a page has: the strict one, except where third-party pages cannot keep to it."""

from collections.abc import Callable
from functools import cache

from csp.constants import HEADER
from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase


class PolicyMiddleware:
    """Replaces single directives under the addresses of settings.LOOSER_POLICIES; all others stay as strict there.

    Not django-csp's own middleware, which builds the same words anew for each answer: no page of ours changes them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        looser = (prefix for prefix in settings.LOOSER_POLICIES if request.path_info.startswith(prefix))
        response.headers.setdefault(HEADER, _policy(next(looser, "")))
        return response


@cache
def _policy(prefix: str) -> str:
    return build_policy(replace=settings.LOOSER_POLICIES.get(prefix))
