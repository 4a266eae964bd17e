"""Shapes of requests and answers. Rules about content live in labeling.responses, not here."""

from rest_framework import serializers

from hone.accounts.models import Project
from labeling.models import Demonstration, Guideline, Prompt, SkipReason


class ProjectSerializer(serializers.ModelSerializer):
    class Meta:
        model = Project
        fields = [
            "id",
            "slug",
            "name",
            "description",
            "slots_per_item",
            "lease_seconds",
            "max_chars",
            "created_at",
        ]


class PromptSerializer(serializers.ModelSerializer):
    class Meta:
        model = Prompt
        fields = [
            "id",
            "messages",
            "category",
            "language",
            "source",
            "content_hash",
            "simulated",
            "created_at",
        ]


class DemonstrationSerializer(serializers.ModelSerializer):
    annotator = serializers.CharField(source="author_id", read_only=True)

    class Meta:
        model = Demonstration
        fields = ["id", "prompt", "messages", "annotator", "guideline", "simulated", "created_at"]


class GuidelineSerializer(serializers.ModelSerializer):
    class Meta:
        model = Guideline
        fields = ["id", "number", "title", "body", "published_at"]


class LeaseSerializer(serializers.Serializer):
    lease_token = serializers.UUIDField()


class DraftSerializer(serializers.Serializer):
    content = serializers.DictField(help_text="what the page can restore: tiers and unacceptable, or messages")


class SubmitSerializer(LeaseSerializer):
    client_key = serializers.UUIDField(help_text="made by the client; a repeat finds the first result")
    tiers = serializers.ListField(
        child=serializers.ListField(), required=False, help_text="rank: letters, best tier first"
    )
    unacceptable = serializers.ListField(required=False, help_text="rank: letters below the line")
    messages = serializers.ListField(required=False, help_text="write: the whole conversation")
    category = serializers.CharField(required=False, allow_blank=True)
    language = serializers.CharField(required=False, allow_blank=True)
    note = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    active_seconds = serializers.IntegerField(required=False, default=0)


class SkipSerializer(LeaseSerializer):
    reason = serializers.ChoiceField(choices=SkipReason.choices)
    note = serializers.CharField(required=False, allow_blank=True, default="")


class PreviewSerializer(serializers.Serializer):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False, max_length=400_000)


class ImportSerializer(serializers.Serializer):
    file = serializers.FileField()
    kind = serializers.ChoiceField(choices=["prompts", "demonstrations"], default="prompts")


class WorkSerializer(serializers.Serializer):
    """A leased slot, as labeling.work.payload describes it."""

    slot = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=["write", "rank"])
    lease_token = serializers.UUIDField()
    lease_expires_at = serializers.DateTimeField()
    prompt = serializers.DictField(allow_null=True)
    answers = serializers.ListField(child=serializers.DictField())
    draft = serializers.DictField(allow_null=True)
