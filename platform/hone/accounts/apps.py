from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "hone.accounts"
    label = "accounts"
    verbose_name = "Accounts"
