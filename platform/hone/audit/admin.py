from django.contrib import admin

from hone.audit.models import Event
from hone.readonly_admin import ReadOnlyAdmin


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["at", "actor", "verb", "target"]
    list_filter = ["verb"]
    search_fields = ["target", "actor__username"]
    list_select_related = ["actor"]
