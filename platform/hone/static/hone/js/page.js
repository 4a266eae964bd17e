// What every page has: the theme switch, menus, dialogs by attribute, copy buttons, form guards.
import { bidi } from "./bidi.js";
import { guard } from "./guard.js";
import { dropAll } from "./kept.js";
import { scrollers } from "./scrollers.js";
import { localTimes } from "./times.js";
import { toast } from "./toast.js";

const root = document.documentElement;
bidi(document);
localTimes(document);
scrollers(document);
guard(document.querySelector("form[data-guard]"));

// Texts that the network refused stay in the browser until their writer logs out, or somebody else logs in.
const user = document.querySelector('meta[name="user"]')?.content;
if (user) dropAll({ except: user });
document.querySelector("form[data-log-out]")?.addEventListener("submit", () => dropAll());

// On a phone the current tab may lie outside the strip.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });

const THEMES = ["system", "light", "dark"];

function showTheme(button) {
  const theme = root.dataset.theme || "system";
  const label = button.dataset[theme];
  button.setAttribute("aria-label", label);
  button.title = label;
  for (const icon of button.querySelectorAll("[data-for]")) icon.toggleAttribute("hidden", icon.dataset.for !== theme);
}

for (const button of document.querySelectorAll("[data-theme-switch]")) {
  showTheme(button);
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme || "system") + 1) % THEMES.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("hone-theme", next);
    } catch {
      // The choice lasts for this page only.
    }
    showTheme(button);
  });
}

// A dialog closes by a press beside it that also begins there, not by one that selects its text to the end.
let pressed = null;
document.addEventListener("pointerdown", (event) => {
  pressed = event.target instanceof HTMLDialogElement && outside(event) ? event.target : null;
}, { capture: true });

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  const opener = event.target.closest("[data-open]");
  if (opener) document.getElementById(opener.dataset.open)?.showModal();
  const closer = event.target.closest("[data-close]");
  if (closer) closer.closest("dialog")?.close();
  const copier = event.target.closest("[data-copy]");
  if (copier) copy(copier);
  if (event.target === pressed && pressed.open && outside(event)) pressed.close();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  const menu = document.querySelector("details.menu[open]");
  if (!menu) return;
  event.preventDefault();
  menu.open = false;
  menu.querySelector("summary").focus();
});

// A form marked data-once cannot be sent twice by a double click. No event tells that Esc stopped the sending,
// so after a while the form can be sent again.
const SENDING = 10_000;
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-once]") || event.defaultPrevented) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "1";
  setTimeout(() => { delete form.dataset.sent; }, SENDING);
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Filters send themselves when a select changes; the address keeps them.
for (const select of document.querySelectorAll("form[data-autosubmit] select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

function outside(event) {
  const box = event.target.getBoundingClientRect();
  return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
    toast(button.dataset.copied, { state: "done" });
  } catch {
    // Clipboard needs a secure context; select the text so that Ctrl+C does it.
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }
}
