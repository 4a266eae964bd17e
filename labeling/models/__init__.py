"""The labeling tables, a module for each idea."""

from labeling.models.guidelines import Guideline
from labeling.models.labels import Comparison, Demonstration, Ranking
from labeling.models.prompts import Category, Prompt
from labeling.models.quality import QualityReport, Retraction
from labeling.models.ranking_form import RankingForm
from labeling.models.review import Review, ReviewComment, ReviewRules
from labeling.models.work import Batch, Completion, Draft, Item, Skip, SkipReason, Slot
from labeling.models.writing_rules import PromptBand, WritingRules

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
    "PromptBand",
    "QualityReport",
    "Ranking",
    "RankingForm",
    "Retraction",
    "Review",
    "ReviewComment",
    "ReviewRules",
    "Skip",
    "SkipReason",
    "Slot",
    "WritingRules",
]
