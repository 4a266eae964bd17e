from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "hone.audit"
    label = "audit"
    verbose_name = "Audit"
