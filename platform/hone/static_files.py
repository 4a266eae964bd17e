"""Static files under names that hold their content's hash, our own JavaScript modules' imports included."""

from collections.abc import Callable
from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStorage(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True
    # Third-party style sheets name source maps that their packages leave out.
    manifest_strict = False

    def url_converter(
        self, name: str, hashed_files: dict[str, str], template: str | None = None
    ) -> Callable[[Any], str]:
        """Rewrites imports in our own modules alone: other packages' bundles hold words that only look like them."""
        if name.endswith(".js") and not name.startswith("hone/"):
            return lambda match: match[0]
        return super().url_converter(name, hashed_files, template)
