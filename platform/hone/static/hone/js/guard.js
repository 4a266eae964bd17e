// Leaving with unsaved text asks first, but not while the form is on its way (page.js).
export function guard(form) {
  if (!form) return;
  let changed = form.dataset.guard === "changed";
  form.addEventListener("input", () => { changed = true; });
  addEventListener("beforeunload", (event) => { if (changed && !form.dataset.sent) event.preventDefault(); });
}
