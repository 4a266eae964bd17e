"""Accounts in the Django admin."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from hone.accounts.models import ApiToken, Membership, Project, User

admin.site.unregister(Group)  # roles are memberships of a project


@admin.register(User)
class HoneUserAdmin(UserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "display_name", "email", "is_staff", "is_simulated", "is_active"]
    list_filter = ["is_staff", "is_simulated", "is_active"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        (_("Person"), {"fields": ["display_name", "email", "language", "is_simulated"]}),
        (_("Rights"), {"fields": ["is_active", "is_staff", "is_superuser"]}),
    ]


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]
    exclude = ["languages", "skills"]  # the members page checks them


@admin.register(Project)
class ProjectAdmin(ModelAdmin):
    list_display = ["name", "slug", "slots_per_item", "lease_seconds", "created_at"]
    search_fields = ["name", "slug"]
    inlines = [MembershipInline]


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """Tokens can be seen (never their digests) and deleted; they are made on their owner's account page alone."""

    list_display = ["name", "user", "token_key", "created", "expiry"]
    readonly_fields = ["name", "user", "token_key", "created", "expiry"]
    exclude = ["digest"]

    def has_add_permission(self, request: object, obj: object = None) -> bool:
        return False
