// An invitation's link carries its code behind "#", which no server and no log sees. It goes into the body of a POST.
const opened = () => {
  const code = decodeURIComponent(location.hash.slice(1));
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  const form = document.querySelector("form[data-invitation]");
  // Another invitation is on show: the empty page takes the new code.
  if (!form) { location.assign(`${location.pathname}?again#${encodeURIComponent(code)}`); return; }
  form.querySelector("[name=code]").value = code;
  form.requestSubmit();
};
addEventListener("hashchange", opened);
opened();
