import { Desk } from "./desk.js";
import { start } from "./rank.js";

new Desk(document.querySelector("[data-work]"), start);
