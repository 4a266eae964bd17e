// One item of work in one page: lease, draft, clock, submit, skip, and the banners that say what is wrong.
// rank.js and write.js give it what to read and what to send.
import { ApiError, Offline, work as api } from "./api.js";
import { Autosave } from "./autosave.js";
import { newKey } from "./client-key.js";
import { Clock } from "./clock.js";
import { Keeping } from "./keeping.js";
import { Lease } from "./lease.js";
import { savedLine } from "./saved.js";
import { bindSkip } from "./skip.js";
import { t } from "./strings.js";
import { bare, firstSentence, showTrouble, troubleOf, whyOf } from "./trouble.js";

export class Session {
  // `restore`, where the page has it, takes a draft's content back into its fields.
  constructor({ root, work, desk, readDraft, readBody, onErrors, isNearlyDone, restore = null }) {
    Object.assign(this, { root, work, desk, isNearlyDone });
    this.life = new AbortController();
    const { signal } = this.life;
    const user = document.querySelector('meta[name="user"]')?.content ?? "";
    this.readBody = readBody;
    this.onErrors = onErrors;
    this.busy = false;
    this.closed = false;
    this.begun = false;
    this.keeping = new Keeping({ user, work, read: readDraft, restore });
    this.clock = new Clock({ seconds: Number(work.draft?.active_seconds) || 0, key: `${user}:${work.slot}`, root, signal });
    this.clock.onTick = () => { this.find("clock").textContent = this.clock.text(); };
    this.clock.onTick();
    const showSaved = savedLine(root);
    this.autosave = new Autosave({
      signal,
      read: readDraft,
      save: (content, options) =>
        this.ask(api.saveDraft(work, { ...content, active_seconds: this.clock.seconds }, options)),
      savedAt: work.draft_saved_at,
      onState: (state, autosave) => {
        showSaved(state, autosave);
        this.keeping.follow(state);
      },
    });
    this.keeping.offer({ find: (name) => this.find(name), changed: () => this.changed() });
    this.lease = new Lease({
      signal,
      token: work.lease_token,
      seconds: work.lease_seconds || 300,
      renew: (token) => this.ask(api.renew(work.slot, token)),
      onLost: (code) => (code === "already_submitted" ? this.already() : this.leaseLost()),
    });
    bindSkip(this);
    this.find("retake").addEventListener("click", () => this.retake());
    for (const button of root.querySelectorAll("[data-next-item]")) button.addEventListener("click", () => this.next());
  }

  find(name) { return this.root.querySelector(`[data-${name}]`); }

  get signal() { return this.life.signal; }

  // The one state that every button and key asks: the item is ours and not done, and nothing is under way.
  get gone() { return this.closed || this.lease.lost; }

  get canAct() { return !this.busy && !this.gone; }

  changed() {
    this.begun = true;
    this.autosave.changed();
    this.look();
    if (this.autosave.failures) this.keeping.follow("failed");
  }

  look() { if (this.isNearlyDone()) this.desk.lookAhead(this); }

  // Any answer takes the notice of a trouble away, a refusal too; nothing else does.
  async ask(request) {
    try {
      const answer = await request;
      showTrouble("");
      return answer;
    } catch (error) {
      const trouble = troubleOf(error);
      showTrouble(trouble);
      if (trouble) this.lease.soon();
      throw error;
    }
  }

  // Over an open dialog nobody sees what the page says, nor can the focus go to it. Laid aside, it has none.
  closeDialogs() {
    if (!this.root.isConnected) return;
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  }

  async leaseLost() {
    this.closeDialogs();
    this.setBusy(true);
    this.autosave.start();
    this.find("lost-kept").hidden = !(await this.autosave.flush());
    this.find("lease-lost").hidden = false;
    this.setBusy(false);
    this.find("retake").focus();
  }

  // The same item may still be free; otherwise the page opens whatever is next.
  async retake() {
    if (this.busy) return;
    this.setBusy(true);
    try {
      const work = await this.ask(api.next(this.work.project, this.work.kind));
      // A newer guideline or form is shown with the item, so the page is loaded again.
      const same = shownAs(work) === shownAs(this.work);
      this.desk.drop();
      if (same) this.lease.resume(work.lease_token);
      this.setBusy(false);
      if (!same) { this.next(); return; }
      this.find("failure").hidden = true;
      this.find("lease-lost").hidden = true;
    } catch (error) {
      this.setBusy(false);
      // A new version is to be read first, or a test passed: the page of the next item leads there.
      if (error instanceof ApiError && ["guideline_unread", "not_qualified"].includes(error.code)) this.next();
      else this.fail(error, "not_retaken");
    }
  }

  // What was typed within the last moment, or offline, goes first.
  async next() {
    if (this.busy) return;
    this.setBusy(true);
    const refused = this.autosave.state === "refused" && this.warned;
    if (this.closed || refused || (await this.autosave.flush())) { this.leave(); return; }
    this.setBusy(false);
    this.warned = this.autosave.state === "refused";
    this.say(this.warned ? t("not_kept", { why: bare(this.autosave.why) }) : t("not_left"));
  }

  leave() { this.desk.leave(); }

  stop() {
    this.autosave.stop();
    this.lease.stop();
  }

  // For good: nothing of it listens, saves or renews any more.
  dispose() {
    this.stop();
    this.life.abort();
  }

  // Taken back: the reservation is new, the rest is as it was left.
  reopen(work) {
    this.closed = false;
    this.lastAnswer = null;
    this.autosave.reopen(work.draft_saved_at);
    this.lease.resume(work.lease_token);
    this.setBusy(false);
  }

  // Another item, the one before this, was not submitted. Without a reason it is no longer so.
  tellBehind(why, goBack = null) {
    const notice = this.find("behind");
    notice.hidden = !why;
    this.find("behind-why").textContent = why && t("behind", { why });
    notice.querySelector("button").onclick = goBack;
  }

  // The same answer sent again is a replay and makes no second row; another answer is another submission.
  keyFor(answer) {
    const text = JSON.stringify(answer);
    if (text !== this.lastAnswer) this.clientKey = newKey();
    this.lastAnswer = text;
    return this.clientKey;
  }

  submit() {
    if (!this.canAct) return;
    this.setBusy(true);
    this.find("failure").hidden = true;
    // The next item first: what is sent from here on stands still beside it.
    this.desk.moveOn(this);
    this.submitting = this.send();
  }

  async send() {
    await Promise.all([this.autosave.stop(), this.lease.pause(), this.desk.settled(this)]);
    if (this.lease.lost) {
      this.failed(t("why_lost"), () => this.find("retake").focus());
      return;
    }
    const judgement = this.readBody();
    const body = {
      lease_token: this.lease.token,
      client_key: this.keyFor(judgement),
      may_take_back: true,
      ...judgement,
      active_seconds: this.clock.seconds,
    };
    let answer;
    try {
      answer = await this.ask(api.submit(this.work, body));
    } catch (error) {
      this.submitFailed(error);
      return;
    }
    this.keeping.drop();
    this.clock.forget();
    this.stop();
    this.desk.done(this, { answer, key: body.client_key });
  }

  failed(why, show) { this.desk.failed(this, { why, show }); }

  submitFailed(error) {
    const conflict = error instanceof ApiError && error.status === 409;
    if (conflict && error.code === "already_submitted") { this.already(); return; }
    // Without an answer nobody knows, until the server says something about the item itself.
    if (error instanceof Offline) this.lease.doubt();
    this.setBusy(false);
    this.autosave.start({ hold: error instanceof Offline });
    this.lease.unpause();
    if (conflict) {
      this.lease.lose();
      this.failed(t("why_lost"), () => this.find("retake").focus());
    } else if (error instanceof ApiError && error.status === 400 && error.errors) {
      this.failed(bare(firstSentence(error.errors)), () => this.onErrors(error.errors));
    } else if (this.lease.uncertain) {
      this.failed(t("why_unknown"), () => this.say(t("send_unknown")));
    } else {
      this.failed(whyOf(error), () => this.fail(error, "send_failed"));
    }
  }

  // Another tab was first, or an earlier send of this one: nothing here can be sent any more.
  already() {
    this.closed = true;
    this.keeping.drop();
    this.lease.stop();
    this.closeDialogs();
    this.setBusy(false);
    this.find("already").hidden = false;
    this.failed(t("why_already"), () => this.find("already").querySelector("button").focus());
  }

  fail(error, sentence) {
    this.say(t(sentence, { why: whyOf(error) }));
  }

  say(text) {
    this.find("failure").hidden = false;
    this.find("failure-text").textContent = text;
  }

  setBusy(busy) {
    this.busy = busy;
    this.find("submit").toggleAttribute("data-busy", busy);
    this.find("skip").disabled = this.gone;
    this.onChange?.();
  }
}

// What an item's page is made of: a lease that is taken anew may come with another guideline or form.
function shownAs(work) {
  return JSON.stringify([work?.slot, work?.guideline?.number, work?.form]);
}
