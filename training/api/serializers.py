"""Shapes of the training side's answers."""

from typing import Any

from rest_framework import serializers

from training.models import Checkpoint, Round, Run, RunInput, Snapshot, Stage


class CheckpointSerializer(serializers.ModelSerializer):
    class Meta:
        model = Checkpoint
        fields = ["id", "name", "kind", "parent", "run", "size_bytes", "metrics", "created_at"]


class SnapshotSerializer(serializers.ModelSerializer):
    class Meta:
        model = Snapshot
        fields = ["id", "kind", "sha256", "rows", "manifest", "created_at"]


class StageSerializer(serializers.ModelSerializer):
    runs: Any = serializers.PrimaryKeyRelatedField(many=True, read_only=True)

    class Meta:
        model = Stage
        fields = ["index", "kind", "state", "params", "batch", "runs", "started_at", "ended_at"]


class RoundSerializer(serializers.ModelSerializer):
    stages = StageSerializer(many=True, read_only=True)

    class Meta:
        model = Round
        fields = [
            "id", "number", "name", "state", "start", "include_simulated", "heldout_percent", "stages",
            "created_at", "ended_at",
        ]  # fmt: skip


class RunInputSerializer(serializers.ModelSerializer):
    class Meta:
        model = RunInput
        fields = ["name", "checkpoint", "snapshot"]


class RunSerializer(serializers.ModelSerializer):
    inputs = RunInputSerializer(many=True, read_only=True)

    class Meta:
        model = Run
        fields = [
            "id", "kind", "state", "params", "model", "snapshot", "inputs", "attempt", "step", "total_steps", "status",
            "result", "error", "created_at", "started_at", "ended_at",
        ]  # fmt: skip
