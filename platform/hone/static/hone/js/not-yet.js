// What the page shows is still being made: it asks for itself again, and shows itself anew once that is there.
const SECONDS = 5;

setInterval(async () => {
  if (document.hidden) return;
  const answer = await fetch(location.href).catch(() => null);
  if (answer?.ok && !(await answer.text()).includes("data-not-yet")) location.reload();
}, SECONDS * 1000);
