"""What a project does with answers that name a model: labeling.identity finds the names."""

from functools import lru_cache
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project

# Families of assistants and their makers, as they name themselves; a version or size behind a name goes with it.
# Left out are names that are everyday words above all (Falcon, Phi, Solar, 书生); a project that needs them adds them.
_DEFAULT = """
ChatGPT
GPT
InstructGPT
OpenAI
Claude
Anthropic
Gemini
Gemma
Bard
Google
Google AI
Google DeepMind
DeepMind
Llama
Vicuna
LMSYS
Large Model Systems Organization
Meta
Meta AI
Microsoft
Mistral
Mixtral
Mistral AI
Grok
xAI
Copilot
Bing Chat
Cohere
Nemotron
OLMo
StableLM
OpenAssistant
Open Assistant
LAION
Qwen
QwQ
Tongyi
Tongyi Qianwen
Alibaba
Alibaba Cloud
Baidu
Tencent
ByteDance
DeepSeek
ChatGLM
GLM
Zhipu
Zhipu AI
Baichuan
01.AI
InternLM
Kimi
Moonshot AI
MiniMax
Hunyuan
ERNIE Bot
ERNIE
Doubao
GigaChat
YandexGPT
HyperCLOVA
EXAONE
通义千问
千问
阿里云
阿里巴巴
文心一言
百度
豆包
字节跳动
讯飞星火
科大讯飞
智谱
智谱清言
腾讯
混元
深度求索
月之暗面
零一万物
"""


def default_names() -> str:
    """One a line."""
    return _DEFAULT.strip()


@lru_cache(maxsize=256)
def names_listed(names: str) -> tuple[str, ...]:
    """The names of a text that has one a line, each once."""
    lines = (" ".join(line.split()) for line in names.splitlines())
    return tuple(dict.fromkeys(line for line in lines if line))


class Handling(models.TextChoices):
    OFF = "off", _("Show answers as they are")
    MASK = "mask", _("Hide the names: people see ▒▒▒ in their place")
    ASIDE = "aside", _("Set such answers aside before items are opened")


class Where(models.TextChoices):
    SELF = "self", _("Where an answer says it of itself: “I am …”, “made by …”")
    ANY = "any", _("Wherever a name stands")


class ModelNamesQuerySet(models.QuerySet["ModelNames"]):
    def for_project(self, project: Project) -> "ModelNames":
        """The project's choice; without a row nothing is hidden."""
        return self.filter(project=project).first() or ModelNames(project=project)


class ModelNames(models.Model):
    """How a project keeps a model's name from its raters. Stored answers, exports and trainers keep the true text."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="model_names")
    handling = models.CharField(_("answers that name a model"), max_length=5, choices=Handling, default=Handling.OFF)
    where = models.CharField(_("which names count"), max_length=4, choices=Where, default=Where.SELF)
    names = models.TextField(
        _("names"),
        max_length=20_000,
        default=default_names,
        help_text=_("One a line. Whole words, capitals or not; Chinese, Japanese and Thai inside longer text too."),
    )

    objects = ModelNamesQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "model names"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(handling__in=Handling.values, where__in=Where.values), name="model_names_known"
            )
        ]

    def __str__(self) -> str:
        return f"model names of {self.project_id}"

    @property
    def listed(self) -> tuple[str, ...]:
        """Each name once."""
        return names_listed(self.names)

    @property
    def hidden(self) -> dict[str, Any] | None:
        """As labeling.statements reads it with a slot: Slot.hidden_names."""
        return {"where": self.where, "names": self.names} if self.handling == Handling.MASK else None
