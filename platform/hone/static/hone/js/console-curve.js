// The run's curve: one metric over the steps, its held-out values beside it, colours from the tokens.
import { copyCsv } from "./console-csv.js";
import { fill } from "./strings.js";

const place = document.getElementById("run-curve");
const select = document.getElementById("curve-metric");
const copy = document.getElementById("curve-csv");
const canvas = document.getElementById("curve-canvas");
const words = document.getElementById("curve-strings").dataset;
const SECONDS = 3;
const SMOOTH_FROM = 60; // fewer points show their own shape
// What one wants to see first; a trainer that logs none of them shows its first metric.
const FIRST = ["loss", "reward", "train_loss", "accuracy", "rewards/accuracies", "tokens_per_s"];

let series = {};
let seen = null; // the run's step when its numbers were last asked for
let chart = null;
let tookMs = 0;

// Canvas knows no light-dark(): an element that is never seen resolves the token.
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);
function colour(token, share = 100) {
  probe.style.color = `color-mix(in srgb, var(--${token}) ${share}%, transparent)`;
  return getComputedStyle(probe).color;
}

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

// An exponential mean that starts unbiased; its memory grows with the run.
function smooth(points) {
  const keep = 1 - 2 / (Math.min(points.length / 15, 30) + 1);
  let sum = 0;
  let weight = 0;
  return points.map(([step, value]) => {
    sum = keep * sum + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return { x: step, y: sum / weight };
  });
}

function dataOf(name) {
  const points = series[name] ?? [];
  const raw = points.map(([x, y]) => ({ x, y }));
  const line = { borderWidth: 2, pointRadius: raw.length < 2 ? 3 : 0, pointHoverRadius: 4, tension: 0 };
  const found = [];
  if (points.length >= SMOOTH_FROM) {
    found.push({ ...line, label: `${label(name)} (${words.smooth})`, data: smooth(points), token: "accent" });
    found.push({ ...line, label: label(name), data: raw, token: "accent", share: 35, borderWidth: 1, pointHoverRadius: 0 });
  } else {
    found.push({ ...line, label: label(name), data: raw, token: "accent" });
  }
  const heldout = series[`heldout_${name}`];
  if (heldout) {
    const own = heldout.map(([x, y]) => ({ x, y }));
    found.push({ ...line, label: label(`heldout_${name}`), data: own, token: "waiting", borderDash: [6, 4], pointRadius: 4, pointStyle: "rectRot", clip: false });
  }
  return found;
}

// In the words of the table beside it; a name that has just appeared there gets its words with the next poll.
function label(name) {
  const row = document.querySelector(`#run-latest [data-metric="${CSS.escape(name)}"]`);
  return row ? row.textContent : name.replaceAll(/[_/]/g, " ");
}

function paint() {
  const scale = (title) => ({
    title: { display: Boolean(title), text: title, color: colour("ink-3") },
    ticks: { color: colour("ink-3"), maxTicksLimit: 7, maxRotation: 0, callback: (value) => short(value) },
    grid: { color: colour("line"), drawTicks: false },
    border: { color: colour("line") },
  });
  for (const set of chart.data.datasets) {
    set.borderColor = set.backgroundColor = set.pointBackgroundColor = colour(set.token, set.share);
  }
  chart.options.scales.x = { ...chart.options.scales.x, ...scale(words.step) };
  chart.options.scales.y = { ...chart.options.scales.y, ...scale("") };
  chart.options.plugins.legend.labels.color = colour("ink-2");
  Object.assign(chart.options.plugins.tooltip, {
    backgroundColor: colour("surface"), titleColor: colour("ink"), bodyColor: colour("ink-2"),
    borderColor: colour("line-strong"), borderWidth: 1,
  });
}

function draw() {
  const name = select.value;
  const sets = dataOf(name);
  if (!chart) {
    const font = getComputedStyle(document.body);
    Chart.defaults.font.family = font.fontFamily;
    Chart.defaults.font.size = 12;
    chart = new Chart(canvas, {
      type: "line",
      data: { datasets: [] },
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        parsing: false,
        normalized: true,
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: { x: { type: "linear", beginAtZero: false }, y: { type: "linear", grace: "4%" } },
        plugins: {
          legend: { align: "start", labels: { boxWidth: 20, boxHeight: 2, usePointStyle: false } },
          decimation: { enabled: true, algorithm: "min-max", threshold: 800 },
          tooltip: {
            displayColors: false,
            padding: 10,
            cornerRadius: 6,
            callbacks: {
              title: (items) => (items.length ? `${words.step} ${items[0].parsed.x}` : ""),
              label: (item) => `${item.dataset.label}: ${short(item.parsed.y)}`,
            },
          },
        },
      },
    });
  }
  chart.data.datasets = sets;
  chart.options.plugins.legend.display = sets.length > 1;
  // The whole run, so that the empty part is what is left.
  const steps = Number(document.getElementById("run-live").dataset.steps);
  chart.options.scales.x.max = steps > 1 ? steps : undefined;
  paint();
  chart.update("none");
  describe(name);
}

// In words, for those who do not see the canvas, and under it for everybody.
function describe(name) {
  const points = series[name] ?? [];
  if (!points.length) return;
  const by = (better) => points.reduce((best, point) => (better(point[1], best[1]) ? point : best));
  const [step, last] = points.at(-1);
  const low = by((a, b) => a < b);
  const high = by((a, b) => a > b);
  const values = { name: label(name), last: short(last), step, low: short(low[1]), low_step: low[0], high: short(high[1]), high_step: high[0] };
  const text = fill(words.summary, values);
  canvas.setAttribute("aria-label", text);
  document.getElementById("curve-foot").textContent = text;
}

function offer() {
  const names = Object.keys(series).sort();
  const offered = [...select.options].map((option) => option.value + option.text).join();
  if (names.map((name) => name + label(name)).join() === offered) return;
  const wanted = new URLSearchParams(location.search).get("metric");
  const chosen = select.disabled ? null : select.value;
  const first = [chosen, wanted, ...FIRST, names[0]].find((name) => names.includes(name));
  select.replaceChildren(...names.map((name) => new Option(label(name), name)));
  select.value = first;
  select.disabled = copy.disabled = false;
}

// The points from the step on at which the run was at the last time. All of them at first, once the run has ended, and
// when it went back: a resumed run logs some steps again.
async function load() {
  const from = performance.now();
  const step = Number(document.getElementById("run-live").dataset.step);
  const isWhole = seen === null || !live() || step < seen;
  let found;
  try {
    const address = isWhole || seen < 1 ? place.dataset.curve : `${place.dataset.curve}?after=${seen - 1}`;
    const response = await fetch(address, { headers: { Accept: "application/json" } });
    if (!response.ok) return;
    found = await response.json();
  } catch {
    return; // the polled part says that the server is away
  }
  tookMs = performance.now() - from;
  seen = step;
  if (isWhole) series = {};
  for (const [name, points] of Object.entries(found)) {
    const before = (series[name] ?? []).filter((point) => point[0] < points[0][0]);
    series[name] = [...before, ...points];
  }
  const any = Object.keys(series).length > 0;
  place.classList.toggle("has-curve", any);
  if (!any) return;
  offer();
  draw();
}

select.addEventListener("change", () => {
  const address = new URL(location.href);
  address.searchParams.set("metric", select.value);
  history.replaceState(null, "", address);
  draw();
});
copy.addEventListener("click", () => copyCsv([["step", select.value], ...series[select.value]], words.copied));

const repaint = () => { if (chart) draw(); };
new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

// While the run is live, and once more when it has ended; a long run's many points are asked for less often.
const live = () => document.getElementById("run-live")?.hasAttribute("data-live");
async function follow() {
  const wasLive = live();
  if (!document.hidden) await load();
  if (wasLive) setTimeout(follow, Math.max(SECONDS * 1000, tookMs * 10));
}
follow();
