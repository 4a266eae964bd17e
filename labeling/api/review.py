"""Reviewing for programs: the list, the next label, and the verdict."""

from typing import Any

from django.db.models import BigIntegerField, QuerySet
from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import generics, serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hone.accounts import access
from hone.accounts.models import Project, User
from labeling.api.serializers import (
    DraftSerializer,
    LeaseSerializer,
    ReviewCommentSerializer,
    ShownGuidelineSerializer,
    VerdictSerializer,
)
from labeling.api.work import REFUSED, Checked
from labeling.export import annotator
from labeling.models import Review
from labeling.models.review import RejectReason
from labeling.review import deciding, listing, queue, showing


class ReviewSerializer(serializers.ModelSerializer):
    annotator = serializers.SerializerMethodField(help_text="the author, named as in exports")
    reviewer = serializers.SerializerMethodField(help_text="named as in exports; null: nobody yet")
    comments = serializers.SerializerMethodField()

    class Meta:
        model = Review
        fields = [
            "id", "kind", "demonstration", "ranking", "state", "round", "previous", "marks", "annotator", "reviewer",
            "remark", "reject_reason", "comments", "created_at", "decided_at",
        ]  # fmt: skip

    def get_annotator(self, row: Review) -> str:
        return annotator(row.author_id)

    def get_reviewer(self, row: Review) -> str | None:
        return annotator(row.reviewer_id) if row.reviewer_id else None

    @extend_schema_field(ReviewCommentSerializer(many=True))
    def get_comments(self, row: Review) -> list[dict[str, Any]]:
        return showing.verdict(row)["comments"]


class ShownMarkSerializer(serializers.Serializer):
    mark = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]


class BlockSerializer(serializers.Serializer):
    start = serializers.IntegerField(help_text="in code points of the text")
    end = serializers.IntegerField()
    text = serializers.CharField()


class ShownRatingSerializer(serializers.Serializer):
    label = serializers.CharField()  # type: ignore[assignment]
    value = serializers.IntegerField()
    high = serializers.IntegerField(help_text="the scale's highest value")


class ReviewedTextSerializer(serializers.Serializer):
    message = serializers.IntegerField(allow_null=True, help_text="write: which message, from 0")
    answer = serializers.CharField(allow_null=True, help_text="rank: the letter under which the author saw it")
    role = serializers.CharField(allow_null=True)
    is_bad = serializers.BooleanField(help_text="rank: below the line")
    ratings = ShownRatingSerializer(many=True)
    flags = serializers.ListField(child=serializers.CharField())
    text = serializers.CharField()
    html = serializers.CharField()
    blocks = BlockSerializer(many=True, help_text="its paragraphs")


class TurnSerializer(serializers.Serializer):
    role = serializers.CharField()
    content = serializers.CharField()


class HeldReviewSerializer(serializers.Serializer):
    """A leased review, as labeling.review.showing.payload describes it."""

    review = serializers.IntegerField()
    project = serializers.SlugField()
    lease_token = serializers.UUIDField()
    lease_expires_at = serializers.DateTimeField()
    lease_seconds = serializers.IntegerField()
    author = serializers.CharField(help_text="a pseudonym where the project reviews blindly")
    guideline = ShownGuidelineSerializer(allow_null=True, help_text="the version under which it was made")
    previous = VerdictSerializer(allow_null=True, help_text="of a corrected label: what was said before")
    draft = serializers.DictField(allow_null=True)
    kind = serializers.ChoiceField(choices=["write", "rank"])
    round = serializers.IntegerField()
    marks = ShownMarkSerializer(many=True, help_text="why it is here")
    category = serializers.CharField()
    language = serializers.CharField()
    note = serializers.CharField()
    active_seconds = serializers.IntegerField()
    submitted_at = serializers.DateTimeField()
    conversation = TurnSerializer(many=True, help_text="rank: what the answers answer")
    texts = ReviewedTextSerializer(many=True)
    findings = serializers.ListField(child=serializers.CharField(), help_text="write: remarks that stood at submit")
    order = serializers.CharField(help_text="rank: the order given, B > A = C")
    bad = serializers.CharField(help_text="rank: letters below the line")
    strength = serializers.CharField(help_text="rank: how much better, in a word")
    reason = serializers.CharField()
    cannot_judge = serializers.CharField(help_text="rank: why there is no order; empty where there is one")


class DecideSerializer(LeaseSerializer):
    verdict = serializers.ChoiceField(choices=list(deciding.STATES))
    # Checked one by one in deciding, which names the faulty one.
    comments = serializers.ListField(required=False, help_text="[{message or answer, start, end, body}, …]")
    remark = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    reason = serializers.ChoiceField(required=False, allow_blank=True, choices=RejectReason.choices)


class DecidedSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    state = serializers.CharField()


class RenewedReviewSerializer(serializers.Serializer):
    lease_expires_at = serializers.DateTimeField()


class KeptSerializer(serializers.Serializer):
    saved_at = serializers.DateTimeField()


class HeldDraftSerializer(LeaseSerializer, DraftSerializer):
    content = serializers.DictField(help_text="comments and remark as far as they are")


class ReviewConflictSerializer(serializers.Serializer):
    code = serializers.ChoiceField(choices=["lease_lost", "label_gone", "already_submitted"])
    detail = serializers.CharField()


LOST = {409: ReviewConflictSerializer}


def conflict(code: str) -> Response:
    sentences = {
        "lease_lost": _("You no longer hold this review: the time ran out, or it was decided."),
        "label_gone": _("A manager has retracted this label, so there is nothing to review."),
        "already_submitted": _("You gave another verdict on this label, perhaps in another tab. That one stands."),
    }
    return Response({"code": code, "detail": sentences[code]}, status=status.HTTP_409_CONFLICT)


def check_review(request: Request, review_id: int) -> User:
    """The user, if they may review in the review's project. Whose lease it is, the workflow itself decides."""
    user: User = request.user  # type: ignore[assignment]
    if review_id > BigIntegerField.MAX_BIGINT:
        raise Http404
    found = Project.objects.filter(reviews=review_id).values_list("slug", flat=True).first()
    access.project_for(user, found or "", roles=access.LEADS)
    return user


class ReviewList(generics.ListAPIView):
    """A project's reviews. Managers and reviewers."""

    serializer_class = ReviewSerializer

    @extend_schema(parameters=[OpenApiParameter("state", OpenApiTypes.STR, enum=Review.State.values)])
    def get(self, request: Request, *args: object, **kwargs: object) -> Response:
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[Review]:
        if getattr(self, "swagger_fake_view", False):
            return Review.objects.none()
        project = access.project_for(self.request.user, self.kwargs["slug"], roles=access.LEADS)  # type: ignore[arg-type]
        rows = listing.of_project(project)
        state = self.request.query_params.get("state", "")
        if state and state not in Review.State.values:
            raise ValidationError({"state": _("It must be one of %(names)s.") % {"names": ", ".join(Review.State)}})
        return rows.filter(state=state) if state else rows


class NextView(APIView):
    @extend_schema(
        request=None, responses={200: HeldReviewSerializer, 204: OpenApiResponse(description="nothing to review")}
    )
    def post(self, request: Request, slug: str) -> Response:
        """Leases the next label to review, or renews the one you hold. Managers and reviewers; never your own work."""
        user: User = request.user  # type: ignore[assignment]
        project = access.project_for(user, slug, roles=access.LEADS)
        found = queue.next_review(project=project, user=user)
        if found is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(showing.payload(found, user=user, role=access.role_in(user, project)))


class RenewView(Checked):
    serializer_class = LeaseSerializer

    @extend_schema(request=LeaseSerializer, responses={200: RenewedReviewSerializer, **REFUSED, **LOST})
    def post(self, request: Request, review_id: int) -> Response:
        """Extends the lease while the page is open."""
        user = check_review(request, review_id)
        try:
            found = queue.renew(review_id=review_id, user=user, **self.read(request))
        except queue.LeaseLost:
            return conflict("lease_lost")
        assert found.lease_expires_at is not None
        return Response({"lease_expires_at": found.lease_expires_at.isoformat()})


class DraftView(Checked):
    serializer_class = HeldDraftSerializer

    @extend_schema(request=HeldDraftSerializer, responses={200: KeptSerializer, **REFUSED, **LOST})
    def put(self, request: Request, review_id: int) -> Response:
        """Keeps the comments and the remark that are being written, for this reviewer."""
        user = check_review(request, review_id)
        try:
            saved_at = queue.save_draft(review_id=review_id, user=user, **self.read(request))
        except queue.LeaseLost:
            return conflict("lease_lost")
        return Response({"saved_at": saved_at.isoformat()})


class DecideView(Checked):
    serializer_class = DecideSerializer

    @extend_schema(request=DecideSerializer, responses={200: DecidedSerializer, **REFUSED, **LOST})
    def post(self, request: Request, review_id: int) -> Response:
        """Approves, returns (with a comment or a remark) or rejects (with a reason). Sent again, it changes nothing."""
        user = check_review(request, review_id)
        try:
            done = deciding.decide(review_id=review_id, user=user, **self.read(request))
        except queue.LeaseLost:
            return conflict("lease_lost")
        except deciding.LabelGone:
            return conflict("label_gone")
        except deciding.AlreadyDecided:
            return conflict("already_submitted")
        return Response({"id": done.review.pk, "state": done.review.state})
