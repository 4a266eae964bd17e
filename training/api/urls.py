from django.urls import path

from training.api import views

urlpatterns = [
    path("projects/<slug:slug>/rounds/", views.RoundList.as_view(), name="rounds"),
    path("projects/<slug:slug>/checkpoints/", views.CheckpointList.as_view(), name="checkpoints"),
    path("projects/<slug:slug>/snapshots/", views.SnapshotList.as_view(), name="snapshots"),
    path("snapshots/<int:pk>/file/", views.SnapshotFile.as_view(), name="snapshot-file"),
    path("runs/<int:pk>/", views.RunDetail.as_view(), name="run"),
    path("runs/<int:pk>/metrics/", views.RunMetrics.as_view(), name="run-metrics"),
    path("runs/<int:pk>/report/", views.RunReport.as_view(), name="run-report"),
    path("checkpoints/<int:pk>/lineage/", views.Lineage.as_view(), name="lineage"),
]
