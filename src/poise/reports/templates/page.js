"use strict";
(() => {
  const options = {
    ast: true, // expressions are interpreted, so the page needs no eval
    actions: false, renderer: "svg", defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };
  const pending = new Set(document.querySelectorAll(".chart"));

  function draw(place) {
    if (!pending.delete(place)) return;
    const spec = JSON.parse(place.nextElementSibling.textContent);
    // Vega writes roles of its own onto the element that it draws into; the place keeps its label.
    const canvas = place.appendChild(document.createElement("div"));
    canvas.setAttribute("aria-hidden", "true");
    window.vegaEmbed(canvas, spec, options).then(
      (made) => {
        place.dataset.drawn = "yes";
        performance.mark("poise-drawn");
        made.view.addEventListener("click", (_, item) => {
          const at = item && item.datum && item.datum.anchor;
          if (at && document.getElementById(at)) location.hash = at;
        });
      },
      (error) => { place.dataset.drawn = "no"; place.textContent = "This chart could not be drawn: " + error.message; },
    );
  }

  // What is near the window first, the rest when there is time; a closed part when it opens.
  const visible = (place) => !place.closest("details:not([open])");
  const watch = new IntersectionObserver(
    (seen) => seen.forEach((entry) => entry.isIntersecting && visible(entry.target) && draw(entry.target)),
    { rootMargin: "600px" },
  );
  pending.forEach((place) => watch.observe(place));
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 50));
  const next = () => {
    const place = [...pending].find(visible);
    if (place) { draw(place); idle(next); }
  };
  window.addEventListener("load", () => idle(next));
  document.addEventListener("toggle", (event) => {
    if (event.target.open) [...event.target.querySelectorAll(".chart")].filter(visible).forEach(draw);
  }, true);

  // A link into a closed part opens it.
  const reveal = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    for (let part = target && target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    if (target) target.scrollIntoView({ block: "start", inline: "center" });
  };
  window.addEventListener("hashchange", reveal);
  if (location.hash) reveal();
})();
