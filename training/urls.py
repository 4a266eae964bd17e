from django.urls import path

from training.views import console, launch, reports

app_name = "training"
urlpatterns = [
    path("", console.home, name="console"),
    path("p/<slug:slug>/rounds/new/", launch.new_round, name="round_new"),
    path("p/<slug:slug>/rounds/estimate/", launch.estimate_round, name="round_estimate"),
    path("rounds/<int:pk>/", console.round_page, name="round"),
    path("rounds/<int:pk>/stages/", console.round_stages, name="round_stages"),
    path("rounds/<int:pk>/cancel/", console.round_cancel, name="round_cancel"),
    path("rounds/<int:pk>/resume/", console.round_resume, name="round_resume"),
    path("stages/<int:pk>/continue/", console.stage_continue, name="stage_continue"),
    path("runs/", console.run_list, name="runs"),
    path("runs/<int:pk>/", console.run_page, name="run"),
    path("runs/<int:pk>/live/", console.run_live, name="run_live"),
    path("runs/<int:pk>/report/", reports.run_report, name="run_report"),
    path("runs/<int:pk>/samples/", reports.run_samples, name="run_samples"),
    path("runs/<int:pk>/cancel/", console.run_cancel, name="run_cancel"),
    path("runs/<int:pk>/resume/", console.run_resume, name="run_resume"),
    path("checkpoints/", console.checkpoints, name="checkpoints"),
    path("checkpoints/<int:pk>/", console.checkpoint_page, name="checkpoint"),
]
