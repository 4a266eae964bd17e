"""Checkpoints, snapshots, rounds with their stages, runs and their metrics, and where each completion came from."""

from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project
from labeling.models import Batch, Completion


class Checkpoint(models.Model):
    """A folder of weights that transformers loads. `parent` is the model that the run started from."""

    class Kind(models.TextChoices):
        BASE = "base", _("Base model")
        SFT = "sft", _("SFT model")
        REWARD = "reward", _("Reward model")
        POLICY = "policy", _("Policy")

    name = models.CharField(max_length=120, unique=True)
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.PROTECT, related_name="checkpoints")
    kind = models.CharField(max_length=10, choices=Kind)
    path = models.CharField(max_length=500, help_text="folder with config.json, safetensors and tokenizer")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    run = models.OneToOneField("Run", null=True, blank=True, on_delete=models.PROTECT, related_name="checkpoint")
    size_bytes = models.BigIntegerField(default=0)
    metrics = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def folder(self) -> Path:
        return Path(self.path)


class Snapshot(models.Model):
    """An immutable data set: a Parquet file and its manifest. The file's sha256 is part of the row.

    A corpus is too large to be copied: its file is the list of sources, as the stage pretrain reads it.
    """

    class Kind(models.TextChoices):
        DEMONSTRATIONS = "demonstrations", _("Demonstrations")
        RANKINGS = "rankings", _("Rankings")
        PROMPTS = "prompts", _("Prompts")
        CORPUS = "corpus", _("Corpus")

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="snapshots")
    kind = models.CharField(max_length=16, choices=Kind)
    path = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64)
    manifest = models.JSONField(help_text="schema version, filters, counts, guideline versions, label ids")
    rows = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.kind} snapshot {self.pk} ({self.rows} rows)"


class Round(models.Model):
    """One turn of the loop: an ordered list of stages with their recipe."""

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        WAITING = "waiting", _("Waiting")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="rounds")
    number = models.PositiveIntegerField()
    name = models.CharField(_("name"), max_length=120)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    start = models.ForeignKey(
        Checkpoint,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="the model that the round starts from",
    )
    include_simulated = models.BooleanField(
        _("simulated labels"), default=False, help_text=_("Train on labels by scripted contractors as well.")
    )
    heldout_percent = models.PositiveSmallIntegerField(_("held-out share, percent"), default=10)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="round_number_once"),
            models.CheckConstraint(
                condition=models.Q(heldout_percent__lte=90), name="round_heldout_leaves_training_rows"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def batch_name(self, what: str) -> str:
        """What a batch of this round is called, for example "Spring: write"; a long name of the round is cut."""
        room = (Batch._meta.get_field("name").max_length or 0) - len(f": {what}")
        name = self.name if len(self.name) <= room else f"{self.name[: room - 1].rstrip()}…"
        return f"{name}: {what}"


class Stage(models.Model):
    """One step of a round. People's stages wait for a batch, machines' stages for a run."""

    class Kind(models.TextChoices):
        PRETRAIN = "pretrain", _("Pretrain")
        WRITE = "write", _("Write")
        SFT = "sft", _("SFT")
        SAMPLE = "sample", _("Sample")
        RANK = "rank", _("Rank")
        REWARD = "reward", _("Reward model")
        DPO = "dpo", _("DPO")
        PPO = "ppo", _("PPO")
        BEST_OF_N = "best_of_n", _("Best of N")
        EVALUATE = "evaluate", _("Evaluate")

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        WAITING = "waiting", _("Waiting for people")
        READY = "ready", _("Waiting for the lead")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    round = models.ForeignKey(Round, on_delete=models.CASCADE, related_name="stages")
    index = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    params = models.JSONField(default=dict, help_text="the trainer's fields, or the people's gate")
    batch = models.ForeignKey(Batch, null=True, blank=True, on_delete=models.PROTECT, related_name="stages")
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["round", "index"]
        constraints = [models.UniqueConstraint(fields=["round", "index"], name="stage_index_once")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.round}"

    @property
    def is_human(self) -> bool:
        return self.kind in {self.Kind.WRITE, self.Kind.RANK}


class Run(models.Model):
    """One trainer process, over all its attempts. PostgreSQL holds the truth about it; Celery only wakes a worker."""

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        SUCCEEDED = "succeeded", _("Done")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="runs")
    stage = models.ForeignKey(Stage, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    kind = models.CharField(max_length=10, help_text="the trainer's module, as sft or reward")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    params = models.JSONField(default=dict)
    model = models.ForeignKey(Checkpoint, on_delete=models.PROTECT, related_name="runs_from")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="runs")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    woken_at = models.DateTimeField(null=True, blank=True, help_text="when a worker was last sent for it")

    # The worker's lease. `fence` grows with every attempt: a worker that lost its lease writes nothing any more.
    attempt = models.PositiveSmallIntegerField(default=0)
    fence = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    host = models.CharField(max_length=120, blank=True)
    boot_id = models.CharField(max_length=40, blank=True)
    process_group = models.IntegerField(null=True, blank=True)
    process_started = models.FloatField(null=True, blank=True, help_text="the leader's start time, so that a "
                                        "recycled process id is never signalled")  # fmt: skip

    # What the trainer said so far.
    events_offset = models.BigIntegerField(default=0, help_text="bytes of events.jsonl read")
    step = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=300, blank=True)
    result = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["lease_expires_at"], condition=models.Q(state="running"), name="run_lease_expiry")
        ]

    def __str__(self) -> str:
        return f"{self.kind} run {self.pk}"

    @property
    def folder(self) -> Path:
        return Path(settings.RUNS_DIR) / str(self.pk)

    @property
    def log_path(self) -> Path:
        return self.folder / "log.txt"

    @property
    def attempt_started_at(self) -> datetime | None:
        """When this attempt's trainer was started."""
        return datetime.fromtimestamp(self.process_started, UTC) if self.process_started else None

    @property
    def has_ended(self) -> bool:
        return self.state in self.ENDED

    @property
    def can_be_resumed(self) -> bool:
        return self.state in (self.State.FAILED, self.State.CANCELLED)


class RunInput(models.Model):
    """A checkpoint or a snapshot that a run reads beside its model and its data, by `trainers.inputs.KNOWN`'s name."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="inputs")
    name = models.CharField(max_length=20)
    checkpoint = models.ForeignKey(
        Checkpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="inputs_of"
    )
    snapshot = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.PROTECT, related_name="inputs_of")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["run", "name"], name="run_input_once"),
            models.CheckConstraint(
                condition=models.Q(checkpoint__isnull=False) ^ models.Q(snapshot__isnull=False),
                name="run_input_is_one_thing",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of run {self.run_id}"

    @property
    def path(self) -> str:
        """Where it lies."""
        found = self.checkpoint or self.snapshot
        assert found is not None
        return found.path


class Metric(models.Model):
    """One number that a trainer logged at a step."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="metrics")
    step = models.PositiveIntegerField()
    name = models.CharField(max_length=80)
    value = models.FloatField()
    at = models.DateTimeField()

    class Meta:
        ordering = ["step"]
        constraints = [models.UniqueConstraint(fields=["run", "step", "name"], name="metric_once")]

    def __str__(self) -> str:
        return f"{self.name}={self.value} at step {self.step}"


class Generation(models.Model):
    """Which checkpoint wrote a completion, and how. Kept apart from labeling so that no rater's page can show it."""

    completion = models.OneToOneField(Completion, on_delete=models.CASCADE, related_name="generation")
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.PROTECT, related_name="generations")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="generations")
    seed = models.BigIntegerField()
    finish_reason = models.CharField(max_length=10)
    token_count = models.PositiveIntegerField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.completion_id} by {self.checkpoint_id}"
