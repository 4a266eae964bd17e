"""The refusal of a next item to whoever has to do something else first."""

from django.urls import reverse
from django.utils.translation import gettext as _
from rest_framework import serializers, status
from rest_framework.response import Response


class NotHandedOutSerializer(serializers.Serializer):
    code = serializers.ChoiceField(choices=["guideline_unread", "not_qualified"])
    detail = serializers.CharField()
    version = serializers.IntegerField(
        required=False, help_text="of guideline_unread alone: the version of the guideline to confirm"
    )
    page = serializers.CharField(help_text="where a person reads and confirms it, or takes the test")


def not_qualified(slug: str) -> Response:
    body = {
        "code": "not_qualified",
        "detail": _("Pass this project's qualification test first."),
        "page": reverse("labeling:qualify", args=[slug]),
    }
    return Response(body, status=status.HTTP_409_CONFLICT)
