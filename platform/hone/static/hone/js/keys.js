// Single-key shortcuts: off while typing or in a dialog, and off altogether by a switch (WCAG 2.1.4).
const STORE = "hone-keys";
let forThisPage = null; // where the browser stores nothing

function enabled() {
  if (forThisPage !== null) return forThisPage;
  try { return localStorage.getItem(STORE) !== "off"; } catch { return true; }
}

document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-keys-switch]")) return;
  forThisPage = event.target.checked;
  try { localStorage.setItem(STORE, forThisPage ? "on" : "off"); } catch { /* for this page only */ }
});

// `root`, where given, is the part of the page whose keys these are: laid aside (desk.js), it hears none.
export function keys(handle, { root = null, signal } = {}) {
  for (const box of document.querySelectorAll("[data-keys-switch]")) box.checked = enabled();
  document.addEventListener("keydown", (event) => {
    if (root && !root.isConnected) return;
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const field = event.target.closest("input, textarea, select, [contenteditable]");
    // A field of a dialog that has just closed keeps the focus until the next frame: nobody types in it.
    const typing = field && !field.closest("dialog:not([open])");
    const command = event.ctrlKey || event.metaKey;
    if (event.altKey || (typing && !command) || (!command && !enabled())) return;
    // With Caps Lock on, x comes as X.
    handle(event, command, event.key.length === 1 ? event.key.toLowerCase() : event.key);
  }, { signal });
}
