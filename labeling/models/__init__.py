"""The labeling tables, a module for each idea."""

from labeling.models.guidelines import Guideline
from labeling.models.labels import Comparison, Demonstration, Ranking
from labeling.models.prompts import Category, Prompt
from labeling.models.quality import QualityReport, Retraction
from labeling.models.work import Batch, Completion, Draft, Item, Skip, SkipReason, Slot

__all__ = [
    "Batch",
    "Category",
    "Comparison",
    "Completion",
    "Demonstration",
    "Draft",
    "Guideline",
    "Item",
    "Prompt",
    "QualityReport",
    "Ranking",
    "Retraction",
    "Skip",
    "SkipReason",
    "Slot",
]
