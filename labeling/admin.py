"""The labeling tables in the Django admin: read-only, since workflows own them; guidelines have their own page."""

from django.contrib import admin

from hone.readonly_admin import ReadOnlyAdmin
from labeling.models import (
    Batch,
    Comparison,
    Demonstration,
    Guideline,
    Item,
    LedgerEntry,
    PayRate,
    Prompt,
    Ranking,
    RankingForm,
    Retraction,
    Review,
    Skip,
    Slot,
)


@admin.register(Prompt)
class PromptAdmin(ReadOnlyAdmin):
    list_display = ["id", "preview", "project", "category", "language", "source"]
    list_filter = ["project", "category", "language"]
    search_fields = ["content_hash"]


@admin.register(Guideline)
class GuidelineAdmin(ReadOnlyAdmin):
    list_display = ["title", "project", "number", "published_at", "published_by"]
    list_filter = ["project"]


@admin.register(RankingForm)
class RankingFormAdmin(ReadOnlyAdmin):
    list_display = ["project", "strength", "ties", "reason", "updated_at"]
    list_select_related = ["project"]


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ["name", "project", "kind", "created_at"]
    list_filter = ["project", "kind"]


@admin.register(Item)
class ItemAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "kind", "batch", "prompt", "priority"]
    list_filter = ["project", "kind"]
    list_select_related = ["project", "batch", "prompt"]


@admin.register(Slot)
class SlotAdmin(ReadOnlyAdmin):
    list_display = ["id", "item", "state", "holder", "lease_expires_at", "submitted_at"]
    list_filter = ["project", "kind", "state"]
    list_select_related = ["item", "holder"]


@admin.register(Demonstration)
class DemonstrationAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "author", "guideline", "simulated", "created_at"]
    list_filter = ["project", "simulated"]
    list_select_related = ["project", "author", "guideline"]


@admin.register(Ranking)
class RankingAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "author", "tiers", "unacceptable", "verdict", "simulated", "created_at"]
    list_filter = ["project", "simulated"]
    list_select_related = ["project", "author"]


@admin.register(Comparison)
class ComparisonAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "ranking", "chosen", "rejected", "margin", "simulated"]
    list_filter = ["project", "simulated"]
    list_select_related = ["project", "ranking", "chosen", "rejected"]


@admin.register(Skip)
class SkipAdmin(ReadOnlyAdmin):
    list_display = ["id", "item", "author", "reason", "simulated", "created_at"]
    list_filter = ["reason", "simulated"]
    list_select_related = ["item", "author"]


@admin.register(Retraction)
class RetractionAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "author", "since", "rankings", "demonstrations", "made_by", "made_at", "undone_at"]
    list_filter = ["project"]
    list_select_related = ["project", "author", "made_by"]


@admin.register(PayRate)
class PayRateAdmin(ReadOnlyAdmin):
    list_display = ["project", "user", "basis", "currency", "effective_from", "made_by"]
    list_filter = ["project"]
    list_select_related = ["project", "user", "made_by"]


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "user", "kind", "amount", "currency", "at"]
    list_filter = ["project", "kind"]
    list_select_related = ["project", "user"]


@admin.register(Review)
class ReviewAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "kind", "state", "round", "author", "reviewer", "decided_at"]
    list_filter = ["project", "kind", "state"]
    list_select_related = ["project", "author", "reviewer"]
