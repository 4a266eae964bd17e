// A short message at the foot of the window, read out politely, gone after a while; while it is
// pointed at or has the focus, it stays.
export function toast(text, { state = "", seconds = 5, action = null } = {}) {
  const place = document.getElementById("toasts");
  const box = document.createElement("div");
  box.className = "toast";
  if (state) box.dataset.state = state;
  box.append(text);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button button-small";
    button.textContent = action.label;
    button.addEventListener("click", () => { box.remove(); action.run(); });
    box.append(button);
  }
  let timer = null;
  const stay = () => clearTimeout(timer);
  const go = () => { stay(); timer = setTimeout(() => box.remove(), seconds * 1000); };
  for (const name of ["pointerenter", "focusin"]) box.addEventListener(name, stay);
  for (const name of ["pointerleave", "focusout"]) {
    box.addEventListener(name, () => { if (!box.matches(":hover, :focus-within")) go(); });
  }
  place.append(box);
  go();
  return box;
}
