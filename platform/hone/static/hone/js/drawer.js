// The guideline beside the work. Not modal: one reads a rule and goes on judging. Everything is looked up when it is
// used, since the work around it is swapped for the next item (desk.js) while the panel stays as it is.
let opener = null;

const panelOf = (id) => document.getElementById(id);
const isOpen = (panel) => panel.classList.contains("is-open");

function set(panel, open) {
  panel.classList.toggle("is-open", open);
  showState(panel);
  if (open) {
    opener = document.activeElement;
    panel.querySelector("[data-drawer-close]").focus();
  } else if (panel.contains(document.activeElement) || document.activeElement === document.body) {
    back(panel).focus();
  }
}

// The page may have been swapped for the next item since it was opened, and its opener with it.
function back(panel) {
  if (opener?.isConnected && opener !== document.body) return opener;
  const button = [...document.querySelectorAll(`[aria-controls="${panel.id}"]`)].find((each) => each.checkVisibility());
  return button ?? document.querySelector("[data-begin]") ?? document.getElementById("main");
}

// The buttons of a page that has just appeared say whether their drawer is open.
export function showState(panel) {
  for (const button of document.querySelectorAll(`[aria-controls="${panel?.id}"]`)) {
    button.setAttribute("aria-expanded", String(isOpen(panel)));
  }
}

export function toggleDrawer(id) {
  const panel = panelOf(id);
  if (panel) set(panel, !isOpen(panel));
}

export function drawer(id) {
  document.addEventListener("click", (event) => {
    if (event.target.closest(`[aria-controls="${id}"]`)) toggleDrawer(id);
    else if (event.target.closest("[data-drawer-close]") && panelOf(id)) set(panelOf(id), false);
  });
  addEventListener("keydown", (event) => {
    const panel = panelOf(id);
    if (event.key !== "Escape" || event.defaultPrevented || event.isComposing || !panel || !isOpen(panel)) return;
    // One Esc, one thing: a field elsewhere has its own, and a search is emptied first.
    const field = event.target.closest("input, textarea, select");
    if ((field && (field.value || !panel.contains(field))) || document.querySelector("dialog[open]")) return;
    set(panel, false);
  });
}
