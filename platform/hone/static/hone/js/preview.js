// Live Markdown preview beside a form's textarea: <div data-preview-of="id_body">.
import { previewer } from "./markdown.js";

for (const place of document.querySelectorAll("[data-preview-of]")) {
  const area = document.getElementById(place.dataset.previewOf);
  const render = previewer(place);
  let timer = null;
  area.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => render(area.value), 400); });
  render(area.value);
}
