// Two answers side by side with what differs marked. Letters typed in the dialog choose the pair.
import { diff } from "./diff.js";

export function diffDialog(root, answers) {
  const dialog = root.querySelector("#diff-dialog");
  const [left, right] = dialog.querySelectorAll("select");
  const [leftText, rightText] = dialog.querySelectorAll("[data-diff]");
  const texts = Object.fromEntries(answers.map((answer) => [answer.letter, answer.text]));
  let turn = 0;

  function show() {
    const parts = diff(texts[left.value], texts[right.value]);
    fill(leftText, parts, "gone", "del");
    fill(rightText, parts, "new", "ins");
  }

  function fill(place, parts, kind, tag) {
    place.replaceChildren();
    for (const [what, text] of parts) {
      if (what === "same") place.append(text);
      else if (what === kind) {
        const mark = document.createElement(tag);
        mark.textContent = text;
        place.append(mark);
      }
    }
  }

  left.addEventListener("change", show);
  right.addEventListener("change", show);
  dialog.addEventListener("keydown", (event) => {
    const letter = event.key.toUpperCase();
    if (letter === "V" && !event.ctrlKey && !event.metaKey) { event.preventDefault(); dialog.close(); }
    if (!(letter in texts) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    (turn++ % 2 ? right : left).value = letter;
    show();
  });

  return (selected) => {
    const letters = Object.keys(texts);
    turn = 0;
    left.value = selected;
    right.value = letters[(letters.indexOf(selected) + 1) % letters.length];
    show();
    dialog.showModal();
  };
}
