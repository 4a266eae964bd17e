"""Reading a project's data, importing prompts, exporting comparisons."""

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, status
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hone.accounts import access
from hone.accounts.models import Project, User
from hone.api.negotiation import IgnoreAccept
from hone.audit.models import record
from labeling import importing, queries
from labeling.api import serializers
from labeling.export import FORMATS, comparison_lines
from labeling.models import Demonstration, Guideline, Prompt
from labeling.review.exporting import settled

INCLUDE_SIMULATED = OpenApiParameter(
    "include_simulated",
    OpenApiTypes.BOOL,
    description="also labels by scripted contractors; left out by default",
)


def flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "").lower()
    if value not in {"", "0", "1", "true", "false"}:
        raise ValidationError({name: _("It must be true or false.")})
    return value in {"1", "true"}


class ProjectList(generics.ListAPIView):
    """The projects that you can see."""

    serializer_class = serializers.ProjectSerializer

    def get_queryset(self) -> QuerySet[Project]:
        if getattr(self, "swagger_fake_view", False):
            return Project.objects.none()
        return Project.objects.visible_to(self.request.user)  # type: ignore[arg-type]


class ProjectDetail(APIView):
    @extend_schema(responses={200: serializers.ProjectDetailSerializer})
    def get(self, request: Request, slug: str) -> Response:
        """A project with its counts and its mix of categories. Contractors get the count of prompts alone."""
        user: User = request.user  # type: ignore[assignment]
        project = access.project_for(user, slug)
        return Response(
            {
                **serializers.ProjectSerializer(project).data,
                "counts": queries.counts(project, role=access.role_in(user, project)),
                "mix": queries.mix(project),
            }
        )


class _OfProject:
    """Narrows a list to one project whose leads may read it."""

    def project(self) -> Project:
        view: generics.GenericAPIView = self  # type: ignore[assignment]
        return access.project_for(view.request.user, view.kwargs["slug"], roles=access.LEADS)  # type: ignore[arg-type]


class PromptList(_OfProject, generics.ListAPIView):
    """A project's prompts. Managers and reviewers."""

    serializer_class = serializers.PromptSerializer

    def get_queryset(self) -> QuerySet[Prompt]:
        if getattr(self, "swagger_fake_view", False):
            return Prompt.objects.none()
        return Prompt.objects.filter(project=self.project())


class DemonstrationList(_OfProject, generics.ListAPIView):
    """A project's demonstrations; people's alone unless include_simulated is true. Managers and reviewers."""

    serializer_class = serializers.DemonstrationSerializer

    @extend_schema(parameters=[INCLUDE_SIMULATED])
    def get(self, request: Request, *args: object, **kwargs: object) -> Response:
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[Demonstration]:
        if getattr(self, "swagger_fake_view", False):
            return Demonstration.objects.none()
        project = self.project()
        rows = settled(Demonstration.objects.filter(project=project, retraction=None), project=project)
        return rows if flag(self.request, "include_simulated") else rows.filter(simulated=False)


class GuidelineList(generics.ListAPIView):
    """The published versions of a project's labeling spec."""

    serializer_class = serializers.GuidelineSerializer

    def get_queryset(self) -> QuerySet[Guideline]:
        if getattr(self, "swagger_fake_view", False):
            return Guideline.objects.none()
        project = access.project_for(self.request.user, self.kwargs["slug"])  # type: ignore[arg-type]
        return Guideline.objects.filter(project=project, published_at__isnull=False)


class ComparisonExport(APIView):
    content_negotiation_class = IgnoreAccept

    @extend_schema(
        parameters=[
            OpenApiParameter("fmt", OpenApiTypes.STR, enum=list(FORMATS), description="conversational by default"),
            INCLUDE_SIMULATED,
        ],
        responses={(200, "application/x-ndjson"): OpenApiTypes.STR},
    )
    def get(self, request: Request, slug: str) -> StreamingHttpResponse:
        """All comparisons as JSON Lines in TRL's preference format, streamed. Managers and reviewers."""
        project = access.project_for(request.user, slug, roles=access.LEADS)  # type: ignore[arg-type]
        fmt = request.query_params.get("fmt", "conversational")
        if fmt not in FORMATS:
            raise ValidationError({"fmt": _("It must be one of %(names)s.") % {"names": ", ".join(FORMATS)}})
        simulated = flag(request, "include_simulated")
        record("comparisons.exported", project, actor=request.user, fmt=fmt, include_simulated=simulated)
        lines = comparison_lines(project=project, fmt=fmt, include_simulated=simulated)
        answer = StreamingHttpResponse(lines, content_type="application/x-ndjson; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="{project.slug}-comparisons-{fmt}.jsonl"'
        return answer


class ImportView(APIView):
    parser_classes = [MultiPartParser]

    @extend_schema(
        request=serializers.ImportSerializer,
        responses={201: serializers.ImportedSerializer, 400: serializers.ImportRefusedSerializer},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Imports a file of prompts or demonstrations, all or nothing. Managers."""
        project = access.project_for(request.user, slug, roles=access.MANAGERS)  # type: ignore[arg-type]
        body = serializers.ImportSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        file, kind = body.validated_data["file"], body.validated_data["kind"]
        load = importing.import_prompts if kind == "prompts" else importing.import_demonstrations
        try:
            done = load(project=project, file=file.file, name=file.name, actor=request.user)  # type: ignore[arg-type]
        except importing.ImportRefused as error:
            faults = [{"line": fault.line, "reason": fault.reason} for fault in error.faults]
            return Response({"file": error.file, "faults": faults}, status=status.HTTP_400_BAD_REQUEST)
        return Response(
            {"file": done.file, "created": done.created, "duplicates": done.duplicates},
            status=status.HTTP_201_CREATED,
        )
