// Skip: the item goes on to somebody else, with a reason.
import { ApiError, work as api } from "./api.js";

export function bindSkip(session) {
  const dialog = session.root.querySelector("#skip-dialog");
  session.find("skip").addEventListener("click", () => { if (session.canAct) dialog.showModal(); });
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    skip(session, dialog, new FormData(event.target));
  });
}

async function skip(session, dialog, form) {
  if (!session.canAct) return;
  session.setBusy(true);
  session.find("failure").hidden = true;
  await Promise.all([session.autosave.flush(), session.lease.pause()]);
  if (session.lease.lost) return;
  const body = { lease_token: session.lease.token, reason: form.get("reason") || "", note: form.get("note") || "" };
  try {
    await session.ask(api.skip(session.work.slot, body));
    session.leave();
  } catch (error) {
    dialog.close();
    session.setBusy(false);
    session.lease.unpause();
    if (error instanceof ApiError && error.status === 409) session.lease.lose();
    else session.fail(error, "not_skipped");
  }
}
