"""Users, projects, memberships and API tokens."""

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from knox.models import AbstractAuthToken


class User(AbstractUser):  # type: ignore[django-manager-missing]
    """A person, or a simulated contractor. Everything that a simulated account labels carries `simulated`."""

    display_name = models.CharField(_("display name"), max_length=100, blank=True)
    is_simulated = models.BooleanField(
        _("simulated"),
        default=False,
        help_text=_("A scripted contractor: its labels stay apart from people's."),
    )

    language = models.CharField(
        _("language"),
        max_length=16,
        blank=True,
        choices=settings.LANGUAGES,
        help_text=_("Empty: as the browser asks."),
    )

    class Meta(AbstractUser.Meta):
        constraints = [
            models.CheckConstraint(
                condition=models.Q(language__in=["", "en", "zh-hans"]),
                name="user_language_known",
            ),
        ]

    @property
    def name(self) -> str:
        return self.display_name or self.username


class ProjectQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> "ProjectQuerySet":
        """Projects that the user is an active member of; staff see all."""
        if user.is_staff:
            return self
        return self.filter(memberships__user=user, memberships__is_active=True)


class Project(models.Model):
    """One labeling effort: its prompts, guidelines, people and rounds."""

    slug = models.SlugField(_("address"), max_length=60, unique=True)
    name = models.CharField(_("name"), max_length=120)
    description = models.TextField(_("description"), blank=True)
    slots_per_item = models.PositiveSmallIntegerField(
        _("people per item"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(20)],
        help_text=_("How many people write or rank each item."),
    )
    lease_seconds = models.PositiveIntegerField(
        _("lease, seconds"),
        default=300,
        validators=[MinValueValidator(30), MaxValueValidator(3600)],
        help_text=_("How long an item stays reserved after the page was last seen open."),
    )
    max_chars = models.PositiveIntegerField(
        _("longest text, characters"), default=20_000, validators=[MinValueValidator(100)]
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user's role in a project."""

    class Role(models.TextChoices):
        MANAGER = "manager", _("Manager")
        REVIEWER = "reviewer", _("Reviewer")
        CONTRACTOR = "contractor", _("Contractor")

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(_("role"), max_length=20, choices=Role, default=Role.CONTRACTOR)
    is_active = models.BooleanField(_("active"), default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["user", "project"], name="membership_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=["manager", "reviewer", "contractor"]),
                name="membership_role_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.project} · {self.role}"


class ApiToken(AbstractAuthToken):
    """A named API token. Only its SHA-512 digest is stored (knox); the token itself is shown once."""

    # knox makes the digest the primary key, which would put it into the administration's addresses and log.
    id = models.BigAutoField(primary_key=True)
    digest = models.CharField(max_length=128, unique=True)
    name = models.CharField(_("name"), max_length=60)

    class Meta:
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name} ({self.token_key}…)"
