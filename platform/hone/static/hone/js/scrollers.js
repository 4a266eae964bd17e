// A table that is wider than its place scrolls sideways: then the Tab key reaches it, so that the arrow keys can.
const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";

export function scrollers(root) {
  const observer = new ResizeObserver((entries) => { for (const { target } of entries) reach(target); });
  // Polled parts are written anew by the server, which knows nothing of widths.
  for (const box of root.querySelectorAll(".table-wrap:not([tabindex]):not([data-live] *)")) observer.observe(box);
}

// Whether the focus is in a text's code or table that is wider than its place: the arrows are then its own.
export function scrollsSideways(target) {
  const text = target.closest?.(".prose");
  for (let box = target; text && box !== text; box = box.parentElement) {
    if (box.scrollWidth > box.clientWidth && ["auto", "scroll"].includes(getComputedStyle(box).overflowX)) return true;
  }
  return false;
}

function reach(box) {
  const isWide = box.scrollWidth > box.clientWidth && !box.querySelector(FOCUSABLE);
  box.toggleAttribute("tabindex", isWide);
  if (!isWide) {
    box.removeAttribute("role");
    box.removeAttribute("aria-label");
    return;
  }
  box.tabIndex = 0;
  const heading = box.closest("section, main")?.querySelector("h2, h1");
  box.setAttribute("role", heading ? "region" : "group");
  if (heading) box.setAttribute("aria-label", heading.textContent.trim());
}
