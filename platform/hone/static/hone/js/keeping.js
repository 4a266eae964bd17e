// The text that the network refused: it lies in this browser (kept.js) until the server has it, and is offered when its
// item is on the page again.
import { drop, keep, kept } from "./kept.js";
import { t } from "./strings.js";

export class Keeping {
  // `restore`, where the page has it, takes a draft's content back into its fields; other pages keep nothing.
  constructor({ user, work, read, restore }) {
    Object.assign(this, { user, work, read, restore });
  }

  // Only what the network refused lies in the browser; a refusal by the server itself (400) is no reason.
  follow(state) {
    if (!this.restore) return;
    if (state === "offline" || state === "failed") {
      this.mayDrop = true;
      keep(this.user, this.work.item_key, this.read());
    }
    if (state === "saved" && this.mayDrop) this.drop();
  }

  drop() { drop(this.user, this.work.item_key); }

  // A text of this browser that the server never got. Nothing is taken over without being asked for.
  offer({ find, changed }) {
    const found = this.restore && kept(this.user, this.work.item_key);
    if (!found) return;
    if (JSON.stringify(found.content) === JSON.stringify(this.read())) { this.drop(); return; }
    const saved = this.work.draft_saved_at ? Date.parse(this.work.draft_saved_at) : 0;
    const when = new Date(found.at).toLocaleString(document.documentElement.lang || undefined, { dateStyle: "medium", timeStyle: "short" });
    find("kept-text").textContent = t(found.at >= saved ? "kept_newer" : "kept_older", { when });
    find("kept").hidden = false;
    const settle = (act) => () => {
      find("kept").hidden = true;
      act();
    };
    find("kept-use").addEventListener("click", settle(() => {
      this.mayDrop = true;
      this.restore(found.content);
      changed();
    }));
    find("kept-discard").addEventListener("click", settle(() => this.drop()));
  }
}
