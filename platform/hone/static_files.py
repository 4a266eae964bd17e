"""Static files under names that hold their content's hash, JavaScript module imports included."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStorage(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True
    # Third-party style sheets name source maps that their packages leave out.
    manifest_strict = False
