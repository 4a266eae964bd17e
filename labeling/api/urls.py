from django.urls import path

from labeling.api import data, ledger, quality, reading, review, work

urlpatterns = [
    path("projects/<slug:slug>/work/<str:kind>/next/", work.NextView.as_view(), name="work-next"),
    path("work/<int:slot_id>/submit/", work.SubmitView.as_view(), name="work-submit"),
    path("work/<int:slot_id>/renew/", work.RenewView.as_view(), name="work-renew"),
    path("work/<int:slot_id>/draft/", work.DraftView.as_view(), name="work-draft"),
    path("work/<int:slot_id>/check/", work.CheckView.as_view(), name="work-check"),
    path("work/<int:slot_id>/take-back/", work.TakeBackView.as_view(), name="work-take-back"),
    path("work/<int:slot_id>/give-back/", work.GiveBackView.as_view(), name="work-give-back"),
    path("work/<int:slot_id>/skip/", work.SkipView.as_view(), name="work-skip"),
    path("preview/", work.PreviewView.as_view(), name="preview"),
    path("projects/", data.ProjectList.as_view(), name="projects"),
    path("projects/<slug:slug>/", data.ProjectDetail.as_view(), name="project"),
    path("projects/<slug:slug>/prompts/", data.PromptList.as_view(), name="prompts"),
    path("projects/<slug:slug>/import/", data.ImportView.as_view(), name="import"),
    path("projects/<slug:slug>/guidelines/", data.GuidelineList.as_view(), name="guidelines"),
    path(
        "projects/<slug:slug>/guideline/<int:number>/confirm/", reading.ConfirmView.as_view(), name="guideline-confirm"
    ),
    path("projects/<slug:slug>/demonstrations/", data.DemonstrationList.as_view(), name="demonstrations"),
    path("projects/<slug:slug>/comparisons/export/", data.ComparisonExport.as_view(), name="comparisons-export"),
    path("projects/<slug:slug>/quality/", quality.QualityView.as_view(), name="quality"),
    path("projects/<slug:slug>/ledger/", ledger.LedgerView.as_view(), name="ledger"),
    path("projects/<slug:slug>/ledger/mine/", ledger.OwnLedgerView.as_view(), name="ledger-mine"),
    path("projects/<slug:slug>/reviews/", review.ReviewList.as_view(), name="reviews"),
    path("projects/<slug:slug>/reviews/next/", review.NextView.as_view(), name="review-next"),
    path("reviews/<int:review_id>/renew/", review.RenewView.as_view(), name="review-renew"),
    path("reviews/<int:review_id>/draft/", review.DraftView.as_view(), name="review-draft"),
    path("reviews/<int:review_id>/decide/", review.DecideView.as_view(), name="review-decide"),
]
