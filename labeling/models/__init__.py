"""The labeling tables, a module for each idea."""

from labeling.models.guidelines import Guideline, GuidelineReading, QuizAttempt
from labeling.models.hidden import GoldItem, HiddenChecks
from labeling.models.labels import Comparison, Demonstration, Ranking, Verdict
from labeling.models.model_names import ModelNames
from labeling.models.pay import Ledger, LedgerEntry, PayRate
from labeling.models.prompts import Category, Prompt
from labeling.models.qualification import Qualification, QualificationAttempt
from labeling.models.quality import QualityReport, Retraction
from labeling.models.ranking_form import RankingForm
from labeling.models.review import Review, ReviewComment, ReviewRules
from labeling.models.work import Batch, Completion, Draft, Hidden, Item, Lane, Skip, SkipReason, Slot
from labeling.models.writing_rules import PromptBand, WritingRules

__all__ = [
    "Batch",
    "Category",
    "Comparison",
    "Completion",
    "Demonstration",
    "Draft",
    "GoldItem",
    "Guideline",
    "GuidelineReading",
    "Hidden",
    "HiddenChecks",
    "Item",
    "Lane",
    "Ledger",
    "LedgerEntry",
    "PayRate",
    "ModelNames",
    "Prompt",
    "PromptBand",
    "Qualification",
    "QualificationAttempt",
    "QualityReport",
    "QuizAttempt",
    "Ranking",
    "RankingForm",
    "Retraction",
    "Review",
    "ReviewComment",
    "ReviewRules",
    "Skip",
    "SkipReason",
    "Slot",
    "Verdict",
    "WritingRules",
]
