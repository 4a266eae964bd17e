"""Which address a request came from, for the log-in throttle."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The connection's address, or what the outermost of our PROXY_COUNT proxies saw.

    Each proxy adds the address that it was asked from at the right end of X-Forwarded-For; what stands further left
    came with the request, and anybody can write anything there. A request with fewer entries passed by the proxies.
    """
    hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    seen = request.META.get("REMOTE_ADDR", "")
    if 0 < settings.PROXY_COUNT <= len(hops):
        seen = _address(hops[-settings.PROXY_COUNT]) or seen
    return _address(seen)


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
