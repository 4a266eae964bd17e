import { guideline } from "./guideline.js";

guideline();
