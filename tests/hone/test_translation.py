"""Every word that people read is in the catalogue, in good order, and reaches the page in their language."""

import pytest
from django.apps import apps
from django.utils.functional import Promise

from tests.translation import catalogue, raw_text, sources

OURS = ("accounts", "audit", "labeling", "training")


@pytest.mark.slow
def test_every_string_of_the_source_is_translated() -> None:
    entries = {(entry.msgctxt, entry.msgid): entry for entry in catalogue.read()}
    wrong = []
    for message in sources.messages():
        entry = entries.get(message.key)
        translated = entry and (entry.msgstr_plural.get(0) if message.plural else entry.msgstr)
        if entry is None:
            wrong.append(f"{message.place}: not in the catalogue (make messages): {message.text!r}")
        elif not translated:
            wrong.append(f"{message.place}: no translation: {message.text!r}")
        elif entry.fuzzy:
            wrong.append(f"{message.place}: fuzzy: {message.text!r}")
        elif catalogue.placeholders(translated) != catalogue.placeholders(message.plural or message.text):
            wrong.append(f"{message.place}: other placeholders: {message.text!r} -> {translated!r}")
    assert not wrong, "\n".join(["strings without a good translation:", *wrong])


def test_the_catalogue_holds_nothing_else() -> None:
    known = {message.key for message in sources.messages()}
    left = [entry.msgid for entry in catalogue.read() if (entry.msgctxt, entry.msgid) not in known]
    assert not left, "\n".join(["no longer in the source (make messages):", *map(repr, left)])


def test_what_django_reads_is_what_people_edit() -> None:
    assert catalogue.MO.read_bytes() == catalogue.read().to_binary(), "django.mo is not django.po: make messages"


def test_chinese_is_set_as_chinese() -> None:
    """Full-width marks between Chinese characters, none doubled, and no space beside a full-width mark."""
    wrong = [
        f"{entry.msgid!r} -> {text!r}"
        for entry in catalogue.read()
        for text in [entry.msgstr or entry.msgstr_plural.get(0, "")]
        if catalogue.badly_set(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_string_keeps_the_language_in_which_its_module_was_read() -> None:
    frozen = [place for path in sources.modules() for place in sources.frozen(path)]
    assert not frozen, "\n".join(["gettext at import, where gettext_lazy belongs:", *frozen])


@pytest.mark.parametrize(
    ("paths", "find"),
    [
        (sources.templates(), raw_text.in_template),
        (sources.scripts(), raw_text.in_script),
        (sources.product_modules(), raw_text.in_module),
    ],
    ids=["templates", "scripts", "python"],
)
def test_no_words_are_written_outside_the_translation(paths: list, find: object) -> None:
    found = [place for path in paths for place in find(path)]  # type: ignore[operator]
    assert not found, "\n".join(["words that no translation reaches:", *found])


def test_what_models_say_of_themselves_follows_the_reader() -> None:
    wrong = []
    for model in (model for label in OURS for model in apps.get_app_config(label).get_models()):
        for field in model._meta.get_fields():
            given = getattr(field, "_verbose_name", None)
            if isinstance(given, str) and not field.primary_key:
                wrong.append(f"{model.__name__}.{field.name}: {given!r}")
            if isinstance(given, Promise) and field.help_text and not isinstance(field.help_text, Promise):
                wrong.append(f"{model.__name__}.{field.name}: {field.help_text!r}")
            for value, label in getattr(field, "choices", None) or ():
                if not isinstance(label, Promise) and field.name != "language":
                    wrong.append(f"{model.__name__}.{field.name}={value}: {label!r}")
    assert not wrong, "\n".join(["not translated where it is shown:", *wrong])


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>Some words</p>", ["Some words"]),
        ('<p>{% translate "Some words" %}</p>', []),
        ("<p>{% blocktranslate %}Some words{% endblocktranslate %}</p>", []),
        ('<input placeholder="Some words">', ["Some words"]),
        ('<a{% if a > b %} class="c"{% endif %} title="{{ b }}">x</a>', []),
        ('{{ name|default:"nobody" }}', ['|default:"nobody"']),
        ("<kbd>Shift</kbd><code>pip install</code>", []),
        ("<b>1</b>\n<i>Zwei</i>", ["Zwei"]),
    ],
)
def test_the_search_in_templates_finds_what_it_should(tmp_path: object, source: str, found: list[str]) -> None:
    path = sources.TEMPLATES / "sample.html"
    assert [place.split(": ", 1)[1] for place in raw_text.in_template(path, source)] == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('toast("It is saved");', True),
        ("say(`Saved ${n} times`);", True),
        ('// it is "not shown at all"', False),
        ('find(".answer [data-x]")', False),
        ('import { t } from "./strings.js";', False),
    ],
)
def test_the_search_in_scripts_finds_sentences(source: str, found: bool) -> None:
    assert bool(list(raw_text.in_script(sources.SCRIPTS / "sample.js", source))) is found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise ValidationError("This is wrong.")', True),
        ('raise ValidationError(_("This is wrong."))', False),
        ('forms.CharField(label="Name")', True),
        ('form.add_error("name", _("This is wrong."))', False),
        ('messages.success(request, f"{n} saved now")', True),
    ],
)
def test_the_search_in_python_finds_what_is_shown(source: str, found: bool) -> None:
    assert bool(list(raw_text.in_module(sources.ROOT / "labeling/sample.py", source))) is found
