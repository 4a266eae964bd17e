// Live Markdown preview beside a form's textarea: <div data-preview-of="id_body">.
import { preview } from "./api.js";
import { bidi } from "./bidi.js";
import { t } from "./strings.js";

for (const place of document.querySelectorAll("[data-preview-of]")) {
  const area = document.getElementById(place.dataset.previewOf);
  let timer = null;
  let latest = 0;

  async function show() {
    const mine = (latest += 1);
    if (!area.value.trim()) { place.textContent = t("preview_empty"); return; }
    try {
      const { html } = await preview(area.value);
      if (mine !== latest) return;
      // Sanitised by the server.
      place.innerHTML = html;
      bidi(place.parentElement);
    } catch {
      if (mine === latest) place.textContent = t("preview_failed");
    }
  }

  area.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(show, 400); });
  show();
}

// Leaving with unsaved text asks first.
const form = document.querySelector("form[data-guard]");
if (form) {
  let changed = false;
  form.addEventListener("input", () => { changed = true; });
  form.addEventListener("submit", () => { changed = false; });
  addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });
}
