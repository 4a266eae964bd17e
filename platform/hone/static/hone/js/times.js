// Moments in the reader's own time zone, all in one format: templates/hone/_time.html.
const root = document.documentElement;
const language = navigator.languages.find((name) => name.split("-")[0] === root.lang.split("-")[0]) || root.lang || undefined;
const day = { day: "numeric", month: "short", year: "numeric" };
const clock = { hour: "2-digit", minute: "2-digit" };
const formats = {
  date: new Intl.DateTimeFormat(language, day),
  time: new Intl.DateTimeFormat(language, clock),
  datetime: new Intl.DateTimeFormat(language, { ...day, ...clock }),
};

export function localTimes(part) {
  for (const time of part.querySelectorAll("time[data-at]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) time.textContent = formats[time.dataset.at].format(at);
  }
}
