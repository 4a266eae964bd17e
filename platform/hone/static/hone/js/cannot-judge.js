// "Cannot judge": a submission that says why there is no order. Skip, in contrast, passes the item on.
// The dialog's text is the page's note, so that nobody types it twice and the draft keeps it.
export function cannotJudge({ page, work, note, canAct, changed, submit }) {
  const dialog = page.querySelector("#cannot-judge-dialog");
  const form = dialog.querySelector("form");
  const words = form.elements.note;
  let chosen = "";
  form.elements.verdict.value = work.draft?.verdict ?? "";

  function open() {
    if (!canAct()) return;
    words.value = note.value;
    dialog.showModal();
    (form.querySelector(":checked") ?? form.elements.verdict[0]).focus();
  }

  words.addEventListener("input", () => { note.value = words.value; changed(); });
  form.addEventListener("change", () => changed());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!canAct()) return;
    chosen = form.elements.verdict.value;
    dialog.close();
    submit();
  });
  // As on the page itself: the command key sends, wherever the focus is.
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) { event.preventDefault(); form.requestSubmit(); }
  });
  page.querySelector("[data-cannot-judge]").addEventListener("click", open);

  return {
    open,
    draft: () => (form.elements.verdict.value ? { verdict: form.elements.verdict.value } : {}),
    // What is sent, where this is what the person chose to send last.
    body: () => (chosen ? { verdict: chosen, note: note.value.trim() } : null),
    clear: () => { chosen = ""; },
  };
}
