"""Every address of the site."""

from functools import partial

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path, reverse_lazy
from django.views import defaults
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from hone.accounts import language
from hone.accounts import views as accounts
from hone.accounts.joining import join
from hone.health import health
from labeling.views import home

site = [
    path("", home, name="home"),
    path(
        "login/",
        auth.LoginView.as_view(template_name="hone/login.html", redirect_authenticated_user=True),
        name="login",
    ),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("join/", join, name="join"),
    path("account/", accounts.account, name="account"),
    path(
        "account/password/",
        auth.PasswordChangeView.as_view(template_name="hone/password.html", success_url=reverse_lazy("hone:account")),
        name="password",
    ),
    path("account/tokens/<slug:token_key>/delete/", accounts.delete_token, name="token_delete"),
    path("language/", language.choose, name="language"),
    path("health/", health, name="health"),
]
api = [
    path("", include("labeling.api.urls")),
    path("", include("training.api.urls")),
    path("", RedirectView.as_view(pattern_name="api:docs"), name="root"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path(
        # The split view: its script has an address of its own, so that no inline script is needed.
        "docs/",
        SpectacularSwaggerSplitView.as_view(url_name="api:schema", template_name="hone/api_docs.html"),
        name="docs",
    ),
]
handler400 = partial(defaults.bad_request, template_name="hone/400.html")
handler403 = partial(defaults.permission_denied, template_name="hone/403.html")
handler404 = partial(defaults.page_not_found, template_name="hone/404.html")
handler500 = partial(defaults.server_error, template_name="hone/500.html")

# Addresses are tried one after the other, so those that people at work ask for all day come first.
urlpatterns = [
    path("api/v1/", include((api, "api"))),
    path("console/", include("training.urls")),
    path("admin/", admin.site.urls),
    path("", include((site, "hone"))),
    path("", include("labeling.urls")),
]
