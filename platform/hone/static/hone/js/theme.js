// Blocking, in <head>, before any paint: applies the stored theme so that the page never flashes.
(function () {
  try {
    var theme = localStorage.getItem("hone-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch (error) {
    // Storage is off: the system's scheme applies.
  }
})();
