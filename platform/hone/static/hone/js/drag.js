// Drags a letter into a zone with mouse, touch or pen. Only the letter itself takes the touch
// (touch-action: none), so that scrolling over the answers never drags.
const THRESHOLD = 5;

export function makeDraggable(root, { onDrop, onTap, signal }) {
  let held = null;

  root.addEventListener("pointerdown", (event) => {
    const handle = event.target.closest("[data-drag]");
    if (!handle || event.button !== 0 || held) return;
    held = { handle, id: event.pointerId, x: event.clientX, y: event.clientY, ghost: null, zone: null };
    handle.setPointerCapture(event.pointerId);
  });

  root.addEventListener("pointermove", (event) => {
    if (held?.id !== event.pointerId) return;
    if (!held.ghost) {
      if (Math.hypot(event.clientX - held.x, event.clientY - held.y) < THRESHOLD) return;
      lift();
    }
    held.ghost.style.translate = `${event.clientX - 16}px ${event.clientY - 16}px`;
    hover(document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-zone-box]") ?? null);
  });

  root.addEventListener("pointerup", (event) => {
    if (held?.id !== event.pointerId) return;
    const { handle, ghost, zone } = held;
    drop();
    // A tap soon after a quick drag may come without its click, so it counts here.
    if (!ghost) onTap(handle.dataset.drag);
    else if (zone) onDrop(handle.dataset.drag, zone.dataset.zoneBox);
  });

  root.addEventListener("pointercancel", (event) => { if (held?.id === event.pointerId) drop(); });
  addEventListener("keydown", (event) => { if (event.key === "Escape" && held) drop(); }, { signal });
  // The page was swapped for the next item while a letter was in the air.
  document.addEventListener("lostpointercapture", (event) => { if (held?.id === event.pointerId) drop(); }, { signal });
  signal.addEventListener("abort", () => { if (held) drop(); });

  // click also comes from Enter and Space; a second time for the same letter changes nothing.
  root.addEventListener("click", (event) => {
    const handle = event.target.closest("[data-drag]");
    if (handle) onTap(handle.dataset.drag);
  });

  function lift() {
    held.ghost = held.handle.cloneNode(true);
    held.ghost.classList.add("is-held");
    held.ghost.removeAttribute("data-drag");
    held.ghost.setAttribute("aria-hidden", "true");
    document.body.append(held.ghost);
    held.handle.classList.add("is-away");
    document.body.classList.add("is-dragging");
  }

  function hover(zone) {
    if (zone === held.zone) return;
    held.zone?.classList.remove("is-over");
    zone?.classList.add("is-over");
    held.zone = zone;
  }

  function drop() {
    hover(null);
    held.ghost?.remove();
    held.handle.classList.remove("is-away");
    document.body.classList.remove("is-dragging");
    held = null;
  }
}
