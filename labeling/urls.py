from django.urls import path

from labeling import views
from labeling.views import (
    hidden_checks,
    invitations,
    manage,
    pay,
    people,
    quality,
    reading,
    unjudged,
    working,
    writing_rules,
)
from labeling.views.settings import settings

app_name = "labeling"
urlpatterns = [
    path("p/<slug:slug>/", views.project, name="project"),
    path("p/<slug:slug>/write/", working.write, name="write"),
    path("p/<slug:slug>/rank/", working.rank, name="rank"),
    path("p/<slug:slug>/write/ahead/", working.ahead, {"kind": "write"}, name="write_ahead"),
    path("p/<slug:slug>/rank/ahead/", working.ahead, {"kind": "rank"}, name="rank_ahead"),
    path("p/<slug:slug>/guideline/", working.guideline, name="guideline"),
    path("p/<slug:slug>/guideline/edit/", manage.guideline_edit, name="guideline_edit"),
    path("p/<slug:slug>/guideline/read/", reading.read, name="guideline_read"),
    path("p/<slug:slug>/guideline/<int:number>/", working.guideline, name="guideline"),
    path("p/<slug:slug>/prompts/", manage.prompts, name="prompts"),
    path("p/<slug:slug>/import/", manage.import_file, name="import"),
    path("p/<slug:slug>/members/", manage.members, name="members"),
    path("p/<slug:slug>/settings/writing/", writing_rules.writing_rules, name="writing_rules"),
    path("p/<slug:slug>/settings/pay/", pay.rates, name="pay_rates"),
    path("p/<slug:slug>/settings/pay/<int:pk>/withdraw/", pay.withdraw, name="pay_withdraw"),
    path("p/<slug:slug>/settings/checks/", hidden_checks.hidden_checks, name="hidden_checks"),
    path("p/<slug:slug>/items/<int:pk>/gold/", hidden_checks.gold, name="gold"),
    path("p/<slug:slug>/settings/", settings, name="settings"),
    path("p/<slug:slug>/data/", manage.data, name="data"),
    path("me/", people.overview, name="my_work"),
    path("p/<slug:slug>/me/", people.me, name="me"),
    path("p/<slug:slug>/pay/", pay.balances, name="pay"),
    path("p/<slug:slug>/pay/ledger.csv", pay.ledger_csv, name="ledger_csv"),
    path("p/<slug:slug>/pay/<int:pk>/", pay.person, name="pay_person"),
    path("p/<slug:slug>/invitations/", invitations.invitations, name="invitations"),
    path("p/<slug:slug>/invitations/<int:pk>/revoke/", invitations.revoke, name="invitation_revoke"),
    path("p/<slug:slug>/members.csv", people.members_csv, name="members_csv"),
    path("p/<slug:slug>/quality/", quality.quality, name="quality"),
    path("p/<slug:slug>/quality/items/", unjudged.unjudged, name="unjudged"),
    path("p/<slug:slug>/quality/items/<int:pk>/withdraw/", unjudged.withdraw, name="withdraw"),
    path("p/<slug:slug>/quality/items/<int:pk>/restore/", unjudged.restore, name="restore_item"),
    path("p/<slug:slug>/people/<int:pk>/", quality.person, name="person"),
    path("p/<slug:slug>/people/<int:pk>/retract/", quality.retract, name="retract"),
    path("p/<slug:slug>/retractions/<int:pk>/restore/", quality.restore, name="restore"),
]
