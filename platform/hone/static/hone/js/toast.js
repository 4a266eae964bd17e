// A short message at the foot of the window, read out politely, gone after a while.
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
  place.append(box);
  setTimeout(() => box.remove(), seconds * 1000);
  return box;
}
