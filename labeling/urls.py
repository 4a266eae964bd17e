from django.urls import path

from labeling import views
from labeling.views import manage, people, quality, review, working, writing_rules
from labeling.views.settings import settings

app_name = "labeling"
urlpatterns = [
    path("p/<slug:slug>/", views.project, name="project"),
    path("p/<slug:slug>/write/", working.write, name="write"),
    path("p/<slug:slug>/rank/", working.rank, name="rank"),
    path("p/<slug:slug>/guideline/", working.guideline, name="guideline"),
    path("p/<slug:slug>/guideline/edit/", manage.guideline_edit, name="guideline_edit"),
    path("p/<slug:slug>/guideline/<int:number>/", working.guideline, name="guideline"),
    path("p/<slug:slug>/prompts/", manage.prompts, name="prompts"),
    path("p/<slug:slug>/import/", manage.import_file, name="import"),
    path("p/<slug:slug>/members/", manage.members, name="members"),
    path("p/<slug:slug>/settings/writing/", writing_rules.writing_rules, name="writing_rules"),
    path("p/<slug:slug>/settings/", settings, name="settings"),
    path("p/<slug:slug>/settings/review/", review.rules, name="review_rules"),
    path("p/<slug:slug>/review/", review.review, name="review"),
    path("p/<slug:slug>/reviews/", review.reviews, name="reviews"),
    path("p/<slug:slug>/reviews/<int:pk>/", review.verdict, name="verdict"),
    path("p/<slug:slug>/reviews/<int:pk>/free/", review.free, name="review_free"),
    path("p/<slug:slug>/data/", manage.data, name="data"),
    path("p/<slug:slug>/me/", people.me, name="me"),
    path("p/<slug:slug>/members.csv", people.members_csv, name="members_csv"),
    path("p/<slug:slug>/quality/", quality.quality, name="quality"),
    path("p/<slug:slug>/people/<int:pk>/", quality.person, name="person"),
    path("p/<slug:slug>/people/<int:pk>/retract/", quality.retract, name="retract"),
    path("p/<slug:slug>/retractions/<int:pk>/restore/", quality.restore, name="restore"),
]
