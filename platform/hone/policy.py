"""Which Content-Security-Policy a page has: the strict one, except where third-party pages cannot keep to it."""

from typing import Any

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase


class PolicyMiddleware(CSPMiddleware):
    """Replaces single directives under the addresses of settings.LOOSER_POLICIES; all others stay as strict there."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts: Any = super().get_policy_parts(request, response, report_only)
        for prefix, directives in settings.LOOSER_POLICIES.items():
            if request.path_info.startswith(prefix):
                parts.replace = directives
        return parts
