"""Shapes of requests and answers. Rules about content live in labeling.responses, not here."""

from django.core.validators import ProhibitNullCharactersValidator
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from hone.accounts.models import Project
from labeling.export import annotator
from labeling.models import Demonstration, Guideline, Prompt, Review, SkipReason, Verdict


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


class MixSerializer(serializers.Serializer):
    category = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    wanted_percent = serializers.FloatField()
    prompts = serializers.IntegerField()
    demonstrations = serializers.IntegerField()
    percent = serializers.FloatField()


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
    annotator = serializers.SerializerMethodField()

    class Meta:
        model = Demonstration
        fields = ["id", "prompt", "messages", "note", "findings", "annotator", "guideline", "simulated", "created_at"]

    def get_annotator(self, row: Demonstration) -> str:
        return annotator(row.author_id)


class GuidelineSerializer(serializers.ModelSerializer):
    class Meta:
        model = Guideline
        fields = ["id", "number", "title", "body", "published_at"]


class LeaseSerializer(serializers.Serializer):
    lease_token = serializers.UUIDField()


def _item_key() -> serializers.CharField:
    return serializers.CharField(
        required=False, allow_blank=True, help_text="as it came with the item; needed for a draft after a lost lease"
    )


class DraftSerializer(serializers.Serializer):
    content = serializers.DictField(help_text="what the page can restore: tiers and unacceptable, or messages")
    item_key = _item_key()


class SubmitSerializer(LeaseSerializer):
    client_key = serializers.UUIDField(help_text="made by the client; a repeat finds the first result")
    item_key = _item_key()
    tiers = serializers.ListField(
        child=serializers.ListField(), required=False, help_text="rank: letters, best tier first"
    )
    unacceptable = serializers.ListField(required=False, help_text="rank: letters below the line")
    ratings = serializers.DictField(required=False, help_text="rank: {letter: {scale key: whole number}}")
    flags = serializers.DictField(required=False, help_text="rank: {letter: [flag key, …]}")
    strength = serializers.IntegerField(
        required=False, allow_null=True, help_text="rank, two answers: 1 negligibly better or unsure … 4 significantly"
    )
    reason = serializers.CharField(
        required=False, allow_blank=True, trim_whitespace=False, help_text="rank: why this order"
    )
    verdict = serializers.ChoiceField(
        choices=Verdict.choices,
        required=False,
        allow_blank=True,
        help_text="rank: why there is no order, instead of one",
    )
    messages = serializers.ListField(required=False, help_text="write: the whole conversation")
    guideline_version = serializers.IntegerField(
        required=False, allow_null=True, help_text="the one that was shown; refused where the lease is on another"
    )
    category = serializers.CharField(required=False, allow_blank=True)
    language = serializers.CharField(required=False, allow_blank=True)
    note = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    active_seconds = serializers.IntegerField(required=False, default=0)
    may_take_back = serializers.BooleanField(
        required=False,
        default=False,
        help_text="nothing is built on the label for 15 seconds, and until then take-back/ removes it",
    )


class TakeBackSerializer(serializers.Serializer):
    client_key = serializers.UUIDField(help_text="with which the label was submitted")


class AnyText(serializers.CharField):
    """A text as it was typed. NUL and lone surrogates are cleaned away later, as at submit, and no reason to refuse."""

    def __init__(self) -> None:
        super().__init__(allow_blank=True, trim_whitespace=False)
        refusing = (ProhibitNullCharactersValidator, ProhibitSurrogateCharactersValidator)
        self.validators = [check for check in self.validators if not isinstance(check, refusing)]


MOST_CHECKED = 200_000  # characters


class CheckSerializer(serializers.Serializer):
    messages = serializers.ListField(
        child=serializers.DictField(child=AnyText()),
        max_length=400,
        help_text="the whole conversation as it stands, unfinished perhaps",
    )

    def validate_messages(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        """Bounded as a whole: each message may be as long as the project allows, and somebody waits for the answer."""
        if sum(len(turn.get("content", "")) for turn in messages) > MOST_CHECKED:
            raise serializers.ValidationError(_("The conversation is too long to be checked."))
        return messages


class AlikeSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    text = serializers.CharField()


class FindingSerializer(serializers.Serializer):
    check = serializers.ChoiceField(
        choices=["length", "language", "words", "email", "phone", "card", "iban", "duplicates"]
    )
    action = serializers.ChoiceField(choices=["warn", "block"])
    sentence = serializers.CharField()
    message = serializers.IntegerField(help_text="which message of the conversation, from 0")
    start = serializers.IntegerField(allow_null=True, help_text="of its span in the text, in code points")
    end = serializers.IntegerField(allow_null=True)
    prompt = AlikeSerializer(allow_null=True, help_text="the earlier prompt that is alike")


class FindingsSerializer(serializers.Serializer):
    findings = FindingSerializer(many=True)


class SkipSerializer(LeaseSerializer):
    reason = serializers.ChoiceField(choices=SkipReason.choices)
    note = serializers.CharField(required=False, allow_blank=True, default="")


class PreviewSerializer(serializers.Serializer):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False, max_length=400_000)


class ImportSerializer(serializers.Serializer):
    file = serializers.FileField()
    kind = serializers.ChoiceField(choices=["prompts", "demonstrations"], default="prompts")


class ProjectDetailSerializer(ProjectSerializer):
    counts = serializers.DictField(child=serializers.IntegerField())
    mix = MixSerializer(many=True)

    class Meta(ProjectSerializer.Meta):
        fields = [*ProjectSerializer.Meta.fields, "counts", "mix"]


class ImportedSerializer(serializers.Serializer):
    file = serializers.CharField()
    created = serializers.IntegerField()
    duplicates = serializers.IntegerField()


class FaultSerializer(serializers.Serializer):
    line = serializers.IntegerField()
    reason = serializers.CharField()


class ImportRefusedSerializer(serializers.Serializer):
    file = serializers.CharField()
    faults = FaultSerializer(many=True)


class ShownTurnSerializer(serializers.Serializer):
    role = serializers.ChoiceField(choices=["system", "user", "assistant"])
    content = serializers.CharField()
    html = serializers.CharField()


class ShownPromptSerializer(serializers.Serializer):
    messages = ShownTurnSerializer(many=True)
    category = serializers.CharField()
    language = serializers.CharField()


class ShownAnswerSerializer(serializers.Serializer):
    letter = serializers.CharField()
    text = serializers.CharField()
    html = serializers.CharField()


class ShownGuidelineSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    title = serializers.CharField()
    html = serializers.CharField()


class LimitsSerializer(serializers.Serializer):
    max_chars = serializers.IntegerField(help_text="of any text")
    response_min = serializers.IntegerField(allow_null=True)
    response_max = serializers.IntegerField(allow_null=True)
    checked = serializers.BooleanField(help_text="whether the project has rules for what is written")


class ShownScaleSerializer(serializers.Serializer):
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    low = serializers.IntegerField()
    high = serializers.IntegerField()
    low_label = serializers.CharField()
    high_label = serializers.CharField()
    optional = serializers.BooleanField()


class ShownFlagSerializer(serializers.Serializer):
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    help = serializers.CharField()


class ShownRankingFormSerializer(serializers.Serializer):
    scales = ShownScaleSerializer(many=True)
    flags = ShownFlagSerializer(many=True)
    strength = serializers.BooleanField(help_text="two answers: how much better the better one is")
    ties = serializers.BooleanField(help_text="two answers may share a tier")
    reason = serializers.ChoiceField(choices=["off", "optional", "required"])


class ReviewCommentSerializer(serializers.Serializer):
    number = serializers.IntegerField(help_text="from 1")
    message = serializers.IntegerField(allow_null=True, help_text="write: which message of the conversation, from 0")
    answer = serializers.CharField(allow_null=True, help_text="rank: the answer's letter")
    start = serializers.IntegerField(help_text="of its span in that text, in code points")
    end = serializers.IntegerField()
    quote = serializers.CharField(help_text="what stands there")
    body = serializers.CharField()


class VerdictSerializer(serializers.Serializer):
    review = serializers.IntegerField()
    state = serializers.ChoiceField(choices=Review.State.choices)
    state_label = serializers.CharField()
    remark = serializers.CharField()
    reason = serializers.CharField(help_text="of a rejection, in words")
    decided_at = serializers.DateTimeField(allow_null=True)
    comments = ReviewCommentSerializer(many=True)


class PieceSerializer(serializers.Serializer):
    text = serializers.CharField()
    numbers = serializers.ListField(child=serializers.IntegerField(), help_text="of the comments about it")


class CutTextSerializer(serializers.Serializer):
    message = serializers.IntegerField(allow_null=True)
    answer = serializers.CharField(allow_null=True)
    role = serializers.CharField(allow_null=True)
    pieces = PieceSerializer(many=True)
    comments = ReviewCommentSerializer(many=True)


class ReturnedSerializer(VerdictSerializer):
    texts = CutTextSerializer(many=True, help_text="what was submitted, cut where comments begin and end")
    commented = CutTextSerializer(many=True, help_text="those that have comments")


class WorkSerializer(serializers.Serializer):
    """A leased slot, as labeling.work.payload describes it."""

    slot = serializers.IntegerField()
    item_key = serializers.CharField(help_text="yours of this item, for texts kept in the browser and for late drafts")
    kind = serializers.ChoiceField(choices=["write", "rank"])
    project = serializers.SlugField()
    lease_token = serializers.UUIDField()
    lease_expires_at = serializers.DateTimeField()
    lease_seconds = serializers.IntegerField()
    prompt = ShownPromptSerializer(allow_null=True)
    answers = ShownAnswerSerializer(many=True)
    form = ShownRankingFormSerializer(allow_null=True, help_text="rank: what is asked besides an order; null: nothing")
    by_strength = serializers.BooleanField(help_text="rank: two answers whose better one is chosen by a strength")
    guideline = ShownGuidelineSerializer(allow_null=True, help_text="the version under which the label will stand")
    draft = serializers.DictField(allow_null=True)
    draft_saved_at = serializers.DateTimeField(allow_null=True)
    limits = LimitsSerializer()
    returned = ReturnedSerializer(allow_null=True, help_text="what a reviewer said; null: this is new work")


class RenewedSerializer(serializers.Serializer):
    lease_expires_at = serializers.DateTimeField()
    newer_guideline = serializers.BooleanField(help_text="a version was published after the item was handed out")


class SavedSerializer(serializers.Serializer):
    saved_at = serializers.DateTimeField()


class MadeSerializer(serializers.Serializer):
    id = serializers.IntegerField()


class SubmittedSerializer(MadeSerializer):
    next_slot = serializers.IntegerField(
        allow_null=True, help_text="of the item that was fetched ahead and is yours now; null: ask for the next one"
    )


class NotTakenBackSerializer(serializers.Serializer):
    code = serializers.ChoiceField(choices=["too_late", "in_use", "not_yours"])
    detail = serializers.CharField()


class PreviewedSerializer(serializers.Serializer):
    html = serializers.CharField()


class RefusedSerializer(serializers.Serializer):
    errors = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))  # type: ignore[assignment]


class ConflictSerializer(serializers.Serializer):
    code = serializers.ChoiceField(choices=["lease_lost", "already_submitted"])
    detail = serializers.CharField()
    draft_saved = serializers.BooleanField(required=False)
