import { Desk } from "./desk.js";
import { start } from "./write.js";

new Desk(document.querySelector("[data-work]"), start);
