// The guideline beside the work. Not modal: one reads a rule and goes on judging.
export function drawer(id) {
  const panel = document.getElementById(id);
  if (!panel) return () => {};
  const buttons = document.querySelectorAll(`[aria-controls="${id}"]`);
  let opener = null;

  function set(open) {
    panel.classList.toggle("is-open", open);
    for (const button of buttons) button.setAttribute("aria-expanded", String(open));
    if (open) {
      opener = document.activeElement;
      panel.querySelector("[data-drawer-close]").focus();
    } else if (panel.contains(document.activeElement) || document.activeElement === document.body) {
      opener?.focus?.();
    }
  }

  const toggle = () => set(!panel.classList.contains("is-open"));
  for (const button of buttons) button.addEventListener("click", toggle);
  panel.querySelector("[data-drawer-close]").addEventListener("click", () => set(false));
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && panel.classList.contains("is-open") && !document.querySelector("dialog[open]")) set(false);
  });
  return toggle;
}
