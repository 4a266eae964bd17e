// Single-key shortcuts: off while typing or in a dialog, and off altogether by a switch (WCAG 2.1.4).
const STORE = "hone-keys";

function enabled() {
  try { return localStorage.getItem(STORE) !== "off"; } catch { return true; }
}

export function keys(handle) {
  const box = document.querySelector("[data-keys-switch]");
  if (box) {
    box.checked = enabled();
    box.addEventListener("change", () => {
      try { localStorage.setItem(STORE, box.checked ? "on" : "off"); } catch { /* for this page only */ }
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    const command = event.ctrlKey || event.metaKey;
    if (event.altKey || (typing && !command) || (!command && box && !box.checked)) return;
    // With Caps Lock on, x comes as X.
    handle(event, command, event.key.length === 1 ? event.key.toLowerCase() : event.key);
  });
}
