// One item of work in one page: lease, draft, clock, submit, skip, and the banner that says what is wrong.
// rank.js and write.js give it what to read and what to send.
import { ApiError, Offline, work as api } from "./api.js";
import { Autosave } from "./autosave.js";
import { Clock } from "./clock.js";
import { Lease } from "./lease.js";
import { t } from "./strings.js";

const find = (name) => document.querySelector(`[data-${name}]`);

export class Session {
  constructor({ work, readDraft, readBody, onErrors }) {
    this.work = work;
    this.readBody = readBody;
    this.onErrors = onErrors;
    // Made once for the page: a second send of the same judgement is a replay, never a second row.
    this.clientKey = newKey();
    this.clock = new Clock(Number(work.draft?.active_seconds) || 0);
    this.clock.onTick = () => { find("clock").textContent = this.clock.text(); };
    this.clock.onTick();
    this.autosave = new Autosave({
      read: readDraft,
      save: (content, options) => api.saveDraft(work.slot, { ...content, active_seconds: this.clock.seconds }, options),
      savedAt: work.draft_saved_at,
      onState: (state, autosave) => this.showSaved(state, autosave),
    });
    this.lease = new Lease({
      slot: work.slot,
      token: work.lease_token,
      seconds: work.lease_seconds || 300,
      onLost: () => this.leaseLost(),
      onState: (state) => this.showConnection(state),
    });
    this.bindSkip();
    // Back from the next item: this page may show what is submitted already.
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
    find("retake").addEventListener("click", () => this.retake());
    for (const button of document.querySelectorAll("[data-next-item]")) button.addEventListener("click", () => this.next());
  }

  changed() { this.autosave.changed(); }

  showSaved(state, autosave) {
    const place = find("saved");
    place.dataset.state = state;
    if (state === "saved") {
      const [unit, count] = autosave.ago();
      place.textContent = t("saved", { ago: t(unit, { n: count }) });
    } else {
      place.textContent = state === "clean" ? "" : t(`save_${state}`, { why: autosave.why });
    }
    // Read out when the state turns, not each time the seconds change.
    if (state !== this.saidState && ["saved", "offline", "failed", "refused"].includes(state)) {
      find("saved-said").textContent = place.textContent;
      this.saidState = state;
    }
    if (state === "offline" || state === "saved") this.showConnection(state === "offline" ? "offline" : "online");
  }

  showConnection(state) { find("offline").hidden = state !== "offline"; }

  async leaseLost() {
    await this.autosave.flush();
    find("lease-lost").hidden = false;
    this.setBusy(false);
    this.onLease?.(false);
    find("retake").focus();
  }

  // The same item may still be free; otherwise the page opens whatever is next.
  async retake() {
    try {
      const work = await api.next(this.work.project, this.work.kind);
      if (work?.slot !== this.work.slot) return this.next();
      this.lease.resume(work.lease_token);
      find("lease-lost").hidden = true;
      this.onLease?.(true);
    } catch (error) {
      this.fail(error);
    }
  }

  next() {
    this.autosave.stop();
    this.lease.stop();
    location.assign(location.pathname);
  }

  async submit() {
    if (this.busy || this.lease.lost) return;
    this.setBusy(true);
    find("failure").hidden = true;
    await Promise.all([this.autosave.stop(), this.lease.pause()]);
    if (this.lease.lost) return this.autosave.start();
    const body = {
      lease_token: this.lease.token,
      client_key: this.clientKey,
      ...this.readBody(),
      active_seconds: this.clock.seconds,
    };
    try {
      await api.submit(this.work.slot, body);
      this.next();
    } catch (error) {
      this.setBusy(false);
      this.autosave.start();
      this.lease.unpause();
      if (error instanceof ApiError && error.code === "already_submitted") this.already();
      else if (error instanceof ApiError && error.status === 409) this.lease.lose();
      else if (error instanceof ApiError && error.status === 400 && error.errors) this.onErrors(error.errors);
      else this.fail(error);
    }
  }

  // Another tab was first: nothing here can be sent any more.
  already() {
    this.lease.stop();
    this.autosave.stop();
    this.onLease?.(false);
    find("already").hidden = false;
    find("already").querySelector("button").focus();
  }

  bindSkip() {
    const dialog = document.getElementById("skip-dialog");
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const form = new FormData(event.target);
      await Promise.all([this.autosave.flush(), this.lease.pause()]);
      try {
        await api.skip(this.work.slot, {
          lease_token: this.lease.token,
          reason: form.get("reason") || "",
          note: form.get("note") || "",
        });
        dialog.close();
        this.next();
      } catch (error) {
        dialog.close();
        this.lease.unpause();
        if (error instanceof ApiError && error.status === 409) this.lease.lose();
        else this.fail(error);
      }
    });
  }

  fail(error) {
    const text = error instanceof Offline ? t("send_offline") : firstSentence(error.errors) || error.message;
    find("failure").hidden = false;
    find("failure-text").textContent = t("send_failed", { why: text });
    if (error instanceof Offline) this.showConnection("offline");
  }

  setBusy(busy) {
    this.busy = busy;
    find("submit").toggleAttribute("data-busy", busy);
  }
}

// crypto.randomUUID exists only on https and localhost; a team's first trial often runs on plain http.
function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function firstSentence(errors) {
  return errors ? Object.values(errors).flat()[0] : "";
}
