// The line that says whether what was typed is with the server (_saved.html), on every page that saves drafts.
import { t } from "./strings.js";

const SAID = ["saved", "offline", "failed", "refused"];

// What an Autosave calls with its state.
export function savedLine(root) {
  const place = root.querySelector("[data-saved]");
  const said = root.querySelector("[data-saved-said]");
  let last = "";
  return (state, autosave) => {
    place.dataset.state = state;
    if (state === "saved") {
      const [unit, count] = autosave.ago();
      place.textContent = t("saved", { ago: t(unit, { n: count }) });
    } else {
      place.textContent = state === "clean" ? "" : t(`save_${state}`, { why: autosave.why });
    }
    // Read out when the state turns, not each time the seconds change.
    if (state === last || !SAID.includes(state)) return;
    said.textContent = place.textContent;
    last = state;
  };
}
