// Swagger UI turns dark by a class on <html>: set from the stored theme or the system's, and kept as it changes.
(function () {
  var root = document.documentElement;
  var system = matchMedia("(prefers-color-scheme: dark)");
  function show() {
    root.classList.toggle("dark-mode", root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  }
  system.addEventListener("change", show);
  show();
})();
