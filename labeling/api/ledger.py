"""A project's ledger for programs."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import generics, serializers

from hone.accounts import access
from labeling.export import annotator
from labeling.models import LedgerEntry


class LedgerEntrySerializer(serializers.ModelSerializer):
    annotator = serializers.SerializerMethodField(help_text="a person, named as in the export")
    user_name = serializers.CharField(source="user.username")
    amount = serializers.DecimalField(
        max_digits=14, decimal_places=4, help_text="below zero where it was paid out or taken back"
    )

    class Meta:
        model = LedgerEntry
        fields = [
            "id", "kind", "annotator", "user_name", "amount", "currency", "ranking", "demonstration", "rate", "seconds",
            "corrects", "reason", "at", "written_at", "up_to",
        ]  # fmt: skip

    def get_annotator(self, row: LedgerEntry) -> str:
        return annotator(row.user_id)


class LedgerView(generics.ListAPIView):
    """The project's ledger, oldest entry first; entries never change, so reading on finds what is new. Managers."""

    serializer_class = LedgerEntrySerializer

    def get_queryset(self) -> QuerySet[LedgerEntry]:
        if getattr(self, "swagger_fake_view", False):
            return LedgerEntry.objects.none()
        user: Any = self.request.user
        project = access.project_for(user, self.kwargs["slug"], roles=access.MANAGERS)
        return LedgerEntry.objects.filter(project=project).select_related("user")


class OwnLedgerView(generics.ListAPIView):
    """Your own entries in the project's ledger, oldest first."""

    serializer_class = LedgerEntrySerializer

    def get_queryset(self) -> QuerySet[LedgerEntry]:
        if getattr(self, "swagger_fake_view", False):
            return LedgerEntry.objects.none()
        user: Any = self.request.user
        project = access.project_for(user, self.kwargs["slug"])
        return LedgerEntry.objects.filter(project=project, user=user).select_related("user")
