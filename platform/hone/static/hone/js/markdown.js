// Shows texts as Markdown in one place. An older text's answer never overwrites a newer one's.
import { preview } from "./api.js";
import { bidi } from "./bidi.js";
import { t } from "./strings.js";

export function previewer(place) {
  let latest = 0;
  return async (text) => {
    const mine = (latest += 1);
    if (!text.trim()) { place.textContent = t("preview_empty"); return; }
    try {
      const { html } = await preview(text);
      if (mine !== latest) return;
      // The server has sanitised this HTML; raw text never comes here.
      place.innerHTML = html;
      bidi(place.parentElement);
    } catch {
      if (mine === latest) place.textContent = t("preview_failed");
    }
  };
}
