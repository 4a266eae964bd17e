"""Confirming a guideline version, which the next item waits for."""

from django.http import Http404
from django.urls import reverse
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hone.accounts import access
from labeling import guideline_reading
from labeling.models import Guideline


class ConfirmedSerializer(serializers.Serializer):
    version = serializers.IntegerField()
    confirmed_at = serializers.DateTimeField()


class QuizNotPassedSerializer(serializers.Serializer):
    code = serializers.ChoiceField(choices=["quiz_not_passed"])
    detail = serializers.CharField()
    version = serializers.IntegerField()
    page = serializers.CharField(help_text="where a person answers its questions")


def _refusal(code: str, detail: str, guideline: Guideline) -> Response:
    page = reverse("labeling:guideline_read", args=[guideline.project.slug])
    body = {"code": code, "detail": detail, "version": guideline.number, "page": page}
    return Response(body, status=status.HTTP_409_CONFLICT)


def guideline_unread(guideline: Guideline) -> Response:
    detail = _("Version %(n)d of the guideline is to be read and confirmed first.") % {"n": guideline.number}
    return _refusal("guideline_unread", detail, guideline)


class ConfirmView(APIView):
    @extend_schema(request=None, responses={200: ConfirmedSerializer, 409: QuizNotPassedSerializer})
    def post(self, request: Request, slug: str, number: int) -> Response:
        """Confirms that you have read a published version; a repeat finds the first confirmation."""
        project = access.project_for(request.user, slug)  # type: ignore[arg-type]
        guideline = project.guidelines.filter(number=number, published_at__isnull=False).first()
        if guideline is None:
            raise Http404(_("There is no such version."))
        try:
            reading = guideline_reading.confirm(guideline=guideline, user=request.user)  # type: ignore[arg-type]
        except guideline_reading.QuizNotPassed:
            detail = _("This version has questions: answer them on its page.")
            return _refusal("quiz_not_passed", detail, guideline)
        return Response({"version": number, "confirmed_at": reading.confirmed_at})
