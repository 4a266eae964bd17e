"""The training tables in the Django admin, read-only: the console is where they are worked with."""

from django.contrib import admin

from hone.readonly_admin import ReadOnlyAdmin
from training.models import Checkpoint, Round, Run, Snapshot, Stage


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ["name", "kind", "project", "parent", "size_bytes", "created_at"]
    list_filter = ["kind", "project"]
    search_fields = ["name"]
    list_select_related = ["project", "parent"]


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "kind", "rows", "sha256", "created_at"]
    list_filter = ["kind", "project"]
    list_select_related = ["project"]


@admin.register(Round)
class RoundAdmin(ReadOnlyAdmin):
    list_display = ["name", "project", "number", "state", "start", "created_at"]
    list_filter = ["state", "project"]
    list_select_related = ["project", "start"]


@admin.register(Stage)
class StageAdmin(ReadOnlyAdmin):
    list_display = ["id", "round", "index", "kind", "state"]
    list_filter = ["kind", "state"]
    list_select_related = ["round"]


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "state", "project", "model", "attempt", "created_at"]
    list_filter = ["state", "kind", "project"]
    list_select_related = ["project", "model"]
