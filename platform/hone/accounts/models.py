"""Users, projects, memberships and API tokens."""

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.contrib.sessions.base_session import AbstractBaseSession
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
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
    match_languages = models.BooleanField(
        _("match languages"),
        default=False,
        db_default=False,
        help_text=_("Items go to people who have the prompt's language, or any language."),
    )
    confirm_guideline = models.BooleanField(
        _("new guideline versions are read first"),
        default=True,
        db_default=True,
        help_text=_("Before their next item, people confirm that they have read a version that is new to them."),
    )
    # On the project, so that labeling.qualifying asks nothing more of those without a test.
    asks_qualification = models.BooleanField(
        _("contractors qualify first"),
        default=False,
        db_default=False,
        help_text=_("Before their first item, contractors pass the project's qualification test."),
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
    # labeling.lanes matches them with what an item asks for; read by the hand-out statement.
    languages = ArrayField(
        models.CharField(max_length=8), verbose_name=_("languages"), default=list, db_default=[], blank=True
    )
    skills = ArrayField(
        models.CharField(max_length=24), verbose_name=_("skills"), default=list, db_default=[], blank=True
    )
    # Of the project's qualification test, see labeling.qualifying: passed, or let in by a manager.
    qualified_at = models.DateTimeField(_("qualified"), null=True, blank=True)
    extra_attempts = models.PositiveSmallIntegerField(_("extra attempts"), default=0, db_default=0)
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


class Invitation(models.Model):
    """A link by which people join a project. Only the digest of its token is stored; the link is shown once."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    digest = models.CharField(max_length=128, unique=True, editable=False)
    role = models.CharField(_("role"), max_length=20, choices=Membership.Role, default=Membership.Role.CONTRACTOR)
    note = models.CharField(_("note"), max_length=200, blank=True)
    max_uses = models.PositiveIntegerField(pgettext_lazy("how many may join", "people"), default=1)
    uses = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField(_("valid until"))
    revoked_at = models.DateTimeField(null=True, blank=True)
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField(auto_now_add=True)
    people = models.ManyToManyField(User, through="InvitationUse", related_name="+")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(uses__lte=models.F("max_uses"), max_uses__gte=1), name="invitation_uses_counted"
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=["manager", "reviewer", "contractor"]), name="invitation_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project} · {self.role} · {self.made_at:%Y-%m-%d}"


class InvitationUse(models.Model):
    """Who joined by an invitation, and when."""

    invitation = models.ForeignKey(Invitation, on_delete=models.CASCADE, related_name="joined")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["invitation", "user"], name="invitation_used_once")]

    def __str__(self) -> str:
        return f"{self.user} by {self.invitation_id}"


class Session(AbstractBaseSession):
    """A browser's session and whose it is, so that one look finds both (hone.accounts.sessions)."""

    # No constraint in the database: a session may outlive its user by a moment, and belongs to nobody then.
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+", db_constraint=False)

    @classmethod
    def get_session_store_class(cls) -> type:
        from hone.accounts.sessions import SessionStore  # it needs this model

        return SessionStore


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
