"""The endpoints that the working pages (and any other client of a contractor) speak to."""

import functools
from typing import Any

from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from hone.accounts.models import Project, User
from hone.api.negotiation import IgnoreAccept
from hone.lists import in_a_row
from hone.markdown import render
from labeling import ahead, assignment, checks, guidelines, responses, settling
from labeling.api import serializers
from labeling.api.qualification import NotHandedOutSerializer, not_qualified
from labeling.api.reading import guideline_unread
from labeling.messages import clean_text
from labeling.models import Slot
from labeling.models.work import Kind
from labeling.qualifying import NotQualified
from labeling.review import returning
from labeling.take_back import NotTakenBack, take_back
from labeling.work import payload

REFUSED = {400: serializers.RefusedSerializer}
LOST = {409: serializers.ConflictSerializer}


def lease_lost(*, draft_saved: bool = False) -> Response:
    detail = _("Your lease on this item has ended.")
    if draft_saved:
        detail = in_a_row(detail, _("What you entered is kept as a draft."))
    return Response(
        {"code": "lease_lost", "detail": detail, "draft_saved": draft_saved}, status=status.HTTP_409_CONFLICT
    )


def already_submitted() -> Response:
    detail = _("You have submitted this item already, perhaps in another tab.")
    return Response({"code": "already_submitted", "detail": detail}, status=status.HTTP_409_CONFLICT)


def invalid(error: responses.Invalid) -> Response:
    return Response({"errors": error.errors}, status=status.HTTP_400_BAD_REQUEST)


def check_slot(request: Request, slot_id: int) -> Project:
    """The slot's project, if it is one of the user's."""
    return assignment.enter_by_slot(slot_id, user=request.user, lock=False)  # type: ignore[arg-type]


def first_sentence(errors: Any) -> str:
    """The first sentence in a serializer's errors, which nest as the request did; it may repeat the request's text."""
    while not isinstance(errors, str):
        errors = next(iter(errors.values() if isinstance(errors, dict) else errors))
    return clean_text(str(errors))


@functools.cache
def _checking(kind: type[Serializer]) -> Serializer:
    """One for all requests: it keeps nothing of what it checks, and making one copies every field."""
    return kind()


class Checked(APIView):
    """A view whose request body has a serializer; `read` answers with the checked values."""

    serializer_class: Any
    content_negotiation_class = IgnoreAccept

    def read(self, request: Request) -> dict[str, Any]:
        if request.data is None:
            raise responses.Invalid(non_field_errors=_("No data was sent."))
        try:
            return _checking(self.serializer_class).run_validation(request.data)
        except ValidationError as error:
            found: Any = error.detail
            raise responses.Invalid(**{field: first_sentence(at) for field, at in found.items()}) from error

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, responses.Invalid):
            return invalid(exc)
        return super().handle_exception(exc)


class NextView(APIView):
    content_negotiation_class = IgnoreAccept

    @extend_schema(
        request=None,
        responses={
            200: serializers.WorkSerializer,
            204: OpenApiResponse(description="nothing to do"),
            409: NotHandedOutSerializer,
        },
    )
    def post(self, request: Request, slug: str, kind: str) -> Response:
        """Leases the next item of this kind, or renews the one you hold."""
        if kind not in Kind.values:
            raise Http404
        try:
            slot = assignment.next_slot_in(slug, user=request.user, kind=kind)  # type: ignore[arg-type]
        except NotQualified:
            return not_qualified(slug)
        except assignment.GuidelineUnread as unread:
            return guideline_unread(unread.guideline)
        if slot is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(payload(slot=slot, user=request.user))  # type: ignore[arg-type]


class RenewView(Checked):
    serializer_class = serializers.LeaseSerializer

    @extend_schema(
        request=serializers.LeaseSerializer, responses={200: serializers.RenewedSerializer, **REFUSED, **LOST}
    )
    def post(self, request: Request, slot_id: int) -> Response:
        """Extends the lease while the page is open."""
        check_slot(request, slot_id)
        token = self.read(request)["lease_token"]
        try:
            slot = assignment.renew(slot_id=slot_id, user=request.user, lease_token=token)  # type: ignore[arg-type]
        except assignment.LeaseLost:
            mine = responses.is_submitted(slot_id=slot_id, user=request.user)  # type: ignore[arg-type]
            return already_submitted() if mine else lease_lost()
        assert slot.lease_expires_at is not None
        return Response(
            {
                "lease_expires_at": slot.lease_expires_at.isoformat(),
                "newer_guideline": guidelines.newer_than_shown(slot),
            }
        )


class DraftView(Checked):
    serializer_class = serializers.DraftSerializer

    @extend_schema(request=serializers.DraftSerializer, responses={200: serializers.SavedSerializer, **REFUSED})
    def put(self, request: Request, slot_id: int) -> Response:
        """Keeps what was entered so far, with or without a lease; without one and a draft, `item_key` is needed."""
        check_slot(request, slot_id)
        draft = responses.save_draft(slot_id=slot_id, user=request.user, **self.read(request))  # type: ignore[arg-type]
        return Response({"saved_at": draft.saved_at.isoformat()})


class CheckView(Checked):
    serializer_class = serializers.CheckSerializer

    @extend_schema(
        request=serializers.CheckSerializer, responses={200: serializers.FindingsSerializer, **REFUSED, **LOST}
    )
    def post(self, request: Request, slot_id: int) -> Response:
        """What the project's rules say about a conversation that is being written; submit asks the same again."""
        project = check_slot(request, slot_id)
        # Answers show prompts of the project, so only whoever holds the item is told; the holder stays after a submit.
        held = Slot.objects.filter(kind="write", holder=request.user.pk, state=Slot.State.LEASED)
        slot = held.select_related("item__prompt").filter(pk=slot_id).first()
        if slot is None:
            return lease_lost()
        messages = [
            {"role": turn.get("role", ""), "content": clean_text(turn.get("content", ""))}
            for turn in self.read(request)["messages"]
        ]
        prompt = slot.item.prompt
        found = checks.run(
            project=project,
            messages=messages,
            given=len(prompt.messages) if prompt else 0,
            own=returning.own_prompts(slot),
        )
        return Response({"findings": checks.shown(found)})


class SubmitView(Checked):
    serializer_class = serializers.SubmitSerializer

    @extend_schema(
        request=serializers.SubmitSerializer,
        responses={201: serializers.SubmittedSerializer, 200: serializers.SubmittedSerializer, **REFUSED, **LOST},
    )
    def post(self, request: Request, slot_id: int) -> Response:
        """Submits the answer: 201, or 200 when this client key was submitted before."""
        try:
            values = self.read(request)
        except responses.Invalid:
            check_slot(request, slot_id)  # which the submit would have done: outsiders are told nothing else
            raise
        try:
            done = responses.submit(
                slot_id=slot_id,
                user=request.user,  # type: ignore[arg-type]
                lease_token=values.pop("lease_token"),
                client_key=values.pop("client_key"),
                open_for=settling.OPEN_SECONDS if values.pop("may_take_back") else None,
                answer=values,
            )
        except assignment.LeaseLost as lost:
            return lease_lost(draft_saved=lost.draft_saved)
        except responses.AlreadySubmitted:
            return already_submitted()
        code = status.HTTP_200_OK if done.is_replay else status.HTTP_201_CREATED
        return Response({"id": done.label.pk, "next_slot": done.next_slot}, status=code)


class TakeBackView(Checked):
    serializer_class = serializers.TakeBackSerializer

    @extend_schema(
        request=serializers.TakeBackSerializer,
        responses={200: serializers.WorkSerializer, 409: serializers.NotTakenBackSerializer, **REFUSED},
    )
    def post(self, request: Request, slot_id: int) -> Response:
        """Takes back a label that was submitted with `may_take_back`, for 15 seconds: the item is yours again."""
        project = check_slot(request, slot_id)
        user: User = request.user  # type: ignore[assignment]
        try:
            slot = take_back(slot_id=slot_id, user=user, project=project, **self.read(request))
        except NotTakenBack as error:
            return Response({"code": error.code, "detail": str(error)}, status=status.HTTP_409_CONFLICT)
        return Response(payload(slot=slot, user=user))


class GiveBackView(Checked):
    serializer_class = serializers.LeaseSerializer

    @extend_schema(request=serializers.LeaseSerializer, responses={204: OpenApiResponse(description="done"), **REFUSED})
    def post(self, request: Request, slot_id: int) -> Response:
        """Frees an item that was fetched ahead, as a page does that is left. Any other stays as it is."""
        check_slot(request, slot_id)
        ahead.give_back(slot_id=slot_id, user=request.user, **self.read(request))  # type: ignore[arg-type]
        return Response(status=status.HTTP_204_NO_CONTENT)


class SkipView(Checked):
    serializer_class = serializers.SkipSerializer

    @extend_schema(request=serializers.SkipSerializer, responses={200: serializers.MadeSerializer, **REFUSED, **LOST})
    def post(self, request: Request, slot_id: int) -> Response:
        """Passes the item on, with a reason."""
        check_slot(request, slot_id)
        try:
            skipped = responses.skip(slot_id=slot_id, user=request.user, **self.read(request))  # type: ignore[arg-type]
        except assignment.LeaseLost:
            return lease_lost()
        return Response({"id": skipped.pk})


class PreviewView(Checked):
    serializer_class = serializers.PreviewSerializer

    @extend_schema(request=serializers.PreviewSerializer, responses={200: serializers.PreviewedSerializer, **REFUSED})
    def post(self, request: Request) -> Response:
        """Markdown as the other pages will show it."""
        return Response({"html": render(self.read(request)["text"])})
