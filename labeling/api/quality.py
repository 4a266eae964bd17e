"""A project's quality report for programs."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hone.accounts import access
from labeling.api.data import INCLUDE_SIMULATED, flag
from labeling.export import annotator
from labeling.quality import measuring


class ShareSerializer(serializers.Serializer):
    value = serializers.FloatField(help_text="between 0 and 1")
    low = serializers.FloatField(help_text="the 95 % interval's lower end, by resampling items")
    high = serializers.FloatField()
    n = serializers.IntegerField(help_text="how many comparisons, or rankings, it is the share of")
    items = serializers.IntegerField(help_text="how many items have one")


class AgreementSerializer(serializers.Serializer):
    with_ties = ShareSerializer(allow_null=True)
    without_ties = ShareSerializer(allow_null=True, help_text="comparable with InstructGPT's 72.6 +- 1.5 %")
    alpha = serializers.FloatField(allow_null=True, help_text="Krippendorff's, ordinal")
    tau_b = serializers.FloatField(allow_null=True, help_text="Kendall's, the mean over two people and an item")
    items = serializers.IntegerField(help_text="ranked by two people or more")
    people = serializers.IntegerField()


class ByCategorySerializer(AgreementSerializer):
    category = serializers.CharField()


class ByVersionSerializer(AgreementSerializer):
    version = serializers.IntegerField(allow_null=True, help_text="of the guideline; null: none was published")


class ByWeekSerializer(AgreementSerializer):
    week = serializers.DateField(help_text="its Monday")


class PairSerializer(ShareSerializer):
    a = serializers.CharField(help_text="a person, named as in the export")
    b = serializers.CharField()


class HabitsSerializer(serializers.Serializer):
    annotator = serializers.CharField(help_text="named as in the export")
    rankings = serializers.IntegerField()
    earlier = ShareSerializer(allow_null=True, help_text="preferences for the answer that was shown earlier")
    longer = ShareSerializer(allow_null=True, help_text="preferences for the longer answer")
    unmoved = ShareSerializer(allow_null=True, help_text="rankings left in the order shown")
    unmoved_by_chance = serializers.FloatField()
    tied = ShareSerializer(allow_null=True, help_text="rankings that tie all answers, of those with an acceptable one")
    seconds = serializers.FloatField(allow_null=True, help_text="the median time on a ranking")
    haste = serializers.FloatField(allow_null=True, help_text="correlation of time and agreement with others")
    timed = serializers.IntegerField(help_text="rankings with a time that others judged too")
    warnings = serializers.ListField(child=serializers.CharField(), help_text="position, length, unmoved, tied, haste")
    agreement = ShareSerializer(allow_null=True, help_text="without ties, with all others")


class CheckedSerializer(serializers.Serializer):
    annotator = serializers.CharField(help_text="named as in the export")
    gold = ShareSerializer(allow_null=True, help_text="agreement with the references of hidden gold items")
    consistency = ShareSerializer(
        allow_null=True, help_text="agreement with their own first ranking, on hidden repeats"
    )
    tau_b = serializers.FloatField(allow_null=True, help_text="Kendall's, of the two rankings of a repeat")


class GoldItemSerializer(serializers.Serializer):
    item = serializers.IntegerField()
    answers = serializers.IntegerField()
    wrong = serializers.IntegerField(help_text="people who agreed with less than half of the reference")
    agreement = serializers.FloatField()
    discrimination = serializers.FloatField(allow_null=True, help_text="correlation with people's other gold items")
    is_suspect = serializers.BooleanField(help_text="a fault of the guideline or of the reference, not of people")


class ChecksSerializer(serializers.Serializer):
    people = CheckedSerializer(many=True)
    gold_items = GoldItemSerializer(many=True)


class ReliabilitySerializer(serializers.Serializer):
    annotator = serializers.CharField(help_text="named as in the export")
    reliability = serializers.FloatField(
        help_text="Crowd-BT's eta: 1 judges as the consensus, 0.5 is a coin, 0 reverses"
    )
    low = serializers.FloatField(help_text="the 95 % interval's lower end")
    high = serializers.FloatField()
    is_reversed = serializers.BooleanField(help_text="the whole interval is below 0.5")


class DisagreementSerializer(serializers.Serializer):
    item = serializers.IntegerField()
    people = serializers.IntegerField()
    agreement = serializers.FloatField(help_text="the mean probability of what people said, by the consensus")


class SuggestionSerializer(serializers.Serializer):
    item = serializers.IntegerField()
    people = serializers.IntegerField()
    sure = serializers.FloatField(help_text="the probability of the least certain step of the order")
    tiers = serializers.ListField(child=serializers.ListField(child=serializers.IntegerField()))


class ConsensusSerializer(serializers.Serializer):
    people = ReliabilitySerializer(many=True)
    disagreements = DisagreementSerializer(many=True)
    suggestions = SuggestionSerializer(many=True, help_text="items that could become gold")


class BodySerializer(serializers.Serializer):
    rankings = serializers.IntegerField()
    people = serializers.IntegerField()
    agreement = AgreementSerializer()
    by_category = ByCategorySerializer(many=True)
    by_version = ByVersionSerializer(many=True)
    by_week = ByWeekSerializer(many=True)
    pairs = PairSerializer(many=True)
    habits = HabitsSerializer(many=True)
    checks = ChecksSerializer(help_text="what hidden gold items and repeats say")
    consensus = ConsensusSerializer(help_text="what all rankings together say (decision 0018)")


class ReportSerializer(serializers.Serializer):
    include_simulated = serializers.BooleanField()
    made_at = serializers.DateTimeField(allow_null=True)
    is_measuring = serializers.BooleanField(help_text="a newer one is under way")
    report = BodySerializer(allow_null=True, help_text="null until the first one is made")


class QualityView(APIView):
    @extend_schema(parameters=[INCLUDE_SIMULATED], responses={200: ReportSerializer})
    def get(self, request: Request, slug: str) -> Response:
        """Agreement between people and each person's habits, newest measurement. Managers and reviewers.

        Where it is older than ten minutes and labels have changed, asking also starts a new measurement.
        """
        project = access.project_for(request.user, slug, roles=access.LEADS)  # type: ignore[arg-type]
        found = measuring.report_of(project, include_simulated=flag(request, "include_simulated"))
        return Response(
            {
                "include_simulated": found.include_simulated,
                "made_at": found.made_at and found.made_at.isoformat(),
                "is_measuring": measuring.is_under_way(found),
                "report": found.body and _named(found.body),
            }
        )


def _named(body: dict[str, Any]) -> dict[str, Any]:
    """The report with people named as everywhere outside the platform."""
    pairs = [{**row, "a": annotator(row["a"]), "b": annotator(row["b"])} for row in body["pairs"]]
    # A report from before these were measured has neither part.
    checks = {"people": [], "gold_items": [], **body.get("checks", {})}
    consensus = {"people": [], "disagreements": [], "suggestions": [], **body.get("consensus", {})}
    return {
        **body,
        "pairs": pairs,
        "habits": _without_ids(body["habits"]),
        "checks": {**checks, "people": _without_ids(checks["people"])},
        "consensus": {**consensus, "people": _without_ids(consensus["people"])},
    }


def _without_ids(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"annotator": annotator(row["person"]), **{key: value for key, value in row.items() if key != "person"}}
        for row in rows
    ]
