// The launch form: a field that is out of bounds in a closed fold shows itself; a stage that is left out blocks nothing.
const form = document.getElementById("round-form");

// Before the browser checks the form: values out of bounds in stages that are not chosen go back to the defaults.
form.addEventListener("click", (event) => {
  if (!event.target.closest('[type="submit"]')) return;
  for (const section of form.querySelectorAll("[data-stage]")) {
    if (section.querySelector(".launch-switch input").checked) continue;
    for (const input of section.querySelectorAll("input, select")) {
      if (input.validity.valid) continue;
      input.value = input.defaultValue;
      // A default may be empty where one must choose, as corpora are on a site without any.
      input.required = false;
    }
  }
});

form.addEventListener("invalid", (event) => {
  const fold = event.target.closest("details");
  if (fold) fold.open = true;
}, true);

// The estimate in short, beside the button: on a phone the whole of it stands below the form.
const plan = document.getElementById("plan");
const brief = document.getElementById("plan-short");
const shorten = () => { brief.textContent = plan.dataset.short; };
new MutationObserver(shorten).observe(plan, { attributeFilter: ["data-short"] });
shorten();

document.getElementById("launch-errors")?.focus();
