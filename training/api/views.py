"""Rounds, runs, checkpoints with their lineage, and snapshots whose files never change."""

from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hone.accounts import access
from hone.api.negotiation import IgnoreAccept
from training import lineage, reports
from training.api import serializers
from training.models import Checkpoint, Metric, Round, Run, Snapshot
from training.reports.files import Unreadable

_PARQUET = "application/vnd.apache.parquet"


def _check_lead(request: Request, slug: str) -> Any:
    return access.project_for(request.user, slug, roles=access.LEADS)  # type: ignore[arg-type]


class _OfProject(generics.ListAPIView):
    model: type[Any]

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return self.model._default_manager.none()
        project = _check_lead(self.request, self.kwargs["slug"])
        return self.model._default_manager.filter(project=project)


class RoundList(_OfProject):
    """A project's rounds with their stages. Managers and reviewers."""

    model = Round
    serializer_class = serializers.RoundSerializer

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().prefetch_related("stages__runs")


class CheckpointList(_OfProject):
    """The checkpoints that a project's runs made. Managers and reviewers."""

    model = Checkpoint
    serializer_class = serializers.CheckpointSerializer


class SnapshotList(_OfProject):
    """A project's frozen data sets with their manifests. Managers and reviewers."""

    model = Snapshot
    serializer_class = serializers.SnapshotSerializer


class SnapshotFile(APIView):
    content_negotiation_class = IgnoreAccept

    @extend_schema(responses={(200, _PARQUET): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int) -> FileResponse:
        """The snapshot's Parquet file, for a corpus its list of sources (JSON).

        Its ETag is its sha256: the file under an id never changes.
        """
        snapshot = get_object_or_404(Snapshot.objects.select_related("project"), pk=pk)
        _check_lead(request, snapshot.project.slug)
        is_list = snapshot.kind == Snapshot.Kind.CORPUS
        answer = FileResponse(
            open(snapshot.path, "rb"),  # noqa: SIM115 - FileResponse closes it
            content_type="application/json" if is_list else _PARQUET,
            as_attachment=True,
            filename=f"{snapshot.project.slug}-{snapshot.kind}-{snapshot.pk}.{'json' if is_list else 'parquet'}",
        )
        answer["ETag"] = f'"{snapshot.sha256}"'
        return answer


def _run(request: Request, pk: int) -> Run:
    run = get_object_or_404(Run.objects.select_related("project"), pk=pk)
    _check_lead(request, run.project.slug)
    return run


class RunDetail(APIView):
    @extend_schema(responses=serializers.RunSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """A run: state, progress, result."""
        return Response(serializers.RunSerializer(_run(request, pk)).data)


class RunMetrics(APIView):
    @extend_schema(responses=dict, parameters=[OpenApiParameter("after", int, description="only later steps")])
    def get(self, request: Request, pk: int) -> Response:
        """Every metric of a run as {name: [[step, value], …]}, for charts; with `after`, of the steps after that one.

        A run that is resumed logs some steps a second time: their values are new.
        """
        series: dict[str, list[list[float]]] = {}
        rows = Metric.objects.filter(run=_run(request, pk)).order_by("step")
        if after := request.query_params.get("after"):
            if not after.isdecimal() or int(after) > 2**31 - 1:
                raise ValidationError({"after": _("This must be the number of a step.")})
            rows = rows.filter(step__gt=int(after))
        for name, step, value in rows.values_list("name", "step", "value"):
            series.setdefault(name, []).append([step, value])
        return Response(series)


class RunReport(APIView):
    @extend_schema(responses=dict)
    def get(self, request: Request, pk: int) -> Response:
        """What a run measured, as its trainer wrote it: {"kind", "report"}, for a reward model also "scores"; of PPO
        {"kind", "samples"}. Staff.

        404 where the run has left no report (yet), or one that cannot be read.
        """
        run = _run(request, pk)
        # It names people with how often a model agrees with them, and folders of the machine.
        access.require_staff(request.user)  # type: ignore[arg-type]
        try:
            found = reports.raw(run)
        except Unreadable as error:
            raise NotFound(reports.sentence(error), code="unreadable") from error
        if found is None:
            raise NotFound(_("This run has left no report."))
        return Response({"kind": run.kind, **found})


class Lineage(APIView):
    @extend_schema(responses=dict)
    def get(self, request: Request, pk: int) -> Response:
        """A checkpoint's ancestors, with the data, labels, authors and guideline versions behind each."""
        checkpoint = get_object_or_404(Checkpoint.objects.select_related("project", "run__snapshot"), pk=pk)
        if checkpoint.project is None:
            access.require_staff(request.user)  # type: ignore[arg-type]
        else:
            _check_lead(request, checkpoint.project.slug)
        return Response(
            [
                {
                    "checkpoint": serializers.CheckpointSerializer(step["checkpoint"]).data,
                    "run": step["run"].pk if step["run"] else None,
                    "snapshot": serializers.SnapshotSerializer(step["snapshot"]).data if step["snapshot"] else None,
                    "inputs": serializers.RunInputSerializer(step["inputs"], many=True).data,
                    "authors": step["labels"]["authors"] if step["labels"] else {},
                    "sampled": [model.name for model in step["labels"]["sampled"]] if step["labels"] else [],
                }
                for step in lineage.of(checkpoint)
            ]
        )
