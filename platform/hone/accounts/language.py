"""In which language somebody is answered: their own choice, else this browser's, else what the browser asks for."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from hone.accounts.models import User


class LanguageMiddleware(LocaleMiddleware):
    """Stands behind the one that finds the user. A token's request has no session: its Accept-Language decides."""

    def process_request(self, request: HttpRequest) -> None:
        chosen = getattr(request.user, "language", "")
        translation.activate(chosen or translation.get_language_from_request(request))
        request.LANGUAGE_CODE = translation.get_language()  # type: ignore[attr-defined]


@require_POST
def choose(request: HttpRequest) -> HttpResponse:
    """Keeps the choice with the user and in a cookie, so that this browser's log-in page speaks it too."""
    code = request.POST.get("language", "")
    if request.user.is_authenticated and code in dict(settings.LANGUAGES):
        User.objects.filter(pk=request.user.pk).update(language=code)
    return set_language(request)
