// Live Markdown preview beside a form's textarea: <div data-preview-of="id_body">.
import { previewer } from "./markdown.js";

for (const place of document.querySelectorAll("[data-preview-of]")) {
  const area = document.getElementById(place.dataset.previewOf);
  const render = previewer(place);
  let timer = null;
  area.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => render(area.value), 400); });
  render(area.value);
}

// Leaving with unsaved text asks first, but not while the form is on its way (page.js).
const form = document.querySelector("form[data-guard]");
if (form) {
  let changed = form.dataset.guard === "changed";
  form.addEventListener("input", () => { changed = true; });
  addEventListener("beforeunload", (event) => { if (changed && !form.dataset.sent) event.preventDefault(); });
}
