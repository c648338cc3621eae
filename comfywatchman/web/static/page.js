"use strict";
/* Lets nothing look current that is not: the status turns grey when its time is over, also while the server is away. */
(function () {
  const CHECK_EVERY_MS = 5000;

  function markStale() {
    const status = document.querySelector(".status[data-valid-until]");
    if (status !== null && Date.parse(status.dataset.validUntil) < Date.now()) {
      status.classList.remove("ok", "need", "bad");
      status.classList.add("stale");
      document.getElementById("main").classList.add("stale-page");
    }
  }

  function showAway(isAway) {
    const old = document.getElementById("away");
    if (!isAway && old !== null) old.remove();
    if (!isAway || old !== null) return;
    const note = document.createElement("p");
    note.id = "away";
    note.className = "away small";
    note.setAttribute("role", "status");
    const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    note.textContent = "comfywatchman has not answered since " + time + ". What follows may be out of date.";
    const status = document.querySelector(".status");
    if (status !== null) status.after(note);
  }

  document.addEventListener("htmx:error", () => showAway(true));
  document.addEventListener("htmx:after:request", () => showAway(false));
  window.setInterval(markStale, CHECK_EVERY_MS);
  markStale();
})();
