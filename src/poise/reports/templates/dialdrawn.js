"use strict";
// What is drawn: the rail under the thumb, a barcode of every change, curves.
(() => {
  const page = window.dial, { data, $, make, put, find, alike, inside, place, unplace, move } = page;
  for (const c of data.curves.flat()) c.cuts = c.x.map((v, i) => [v, c.after[i]]);

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const inked = (canvas) => { // as many pixels as the screen has
    const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, box.width * ratio);
    canvas.height = Math.max(1, box.height * ratio);
    return [canvas.getContext("2d"), canvas.width, canvas.height, Math.max(1, ratio)];
  };

  function rail() {
    const [ink, w, h, line] = inked($("rail")), x = (v) => place(v) * w;
    ink.fillStyle = color("--rule");
    ink.fillRect(0, h * 0.28, w, h * 0.44);
    for (const [low, high, name] of page.prompt.zones) {
      ink.fillStyle = color(`--${name.replaceAll(" ", "-")}`);
      ink.fillRect(x(low), h * 0.28, x(high) - x(low), h * 0.44);
    }
    ink.strokeStyle = color("--unknown");
    ink.lineWidth = line;
    page.prompt.draws.forEach((d) => d.cuts.forEach(([low], i) => { // hatched where a text is not known
      if (d.known[i]) return;
      const from = x(low), to = i + 1 < d.cuts.length ? x(d.cuts[i + 1][0]) : w;
      ink.beginPath();
      for (let s = from; s < to; s += 6 * line) { ink.moveTo(s, h * 0.72); ink.lineTo(Math.min(to, s + 5 * line), h * 0.28); }
      ink.stroke();
    }));
    ink.strokeStyle = color("--edge");
    ink.strokeRect(line / 2, h * 0.28, w - line, h * 0.44);
    ink.fillStyle = color("--soft");
    for (const cut of page.prompt.cuts.slice(1)) ink.fillRect(x(cut[0]), h * 0.78, line, h * 0.16);
    labels(w / line);
  }

  // Neighbours of one name have one label; where there is no room for two, the wider stretch has it.
  function labels(wide) {
    const runs = [];
    for (const z of page.prompt.zones) {
      if (runs.length && runs.at(-1)[0][2] === z[2]) runs.at(-1).push(z); else runs.push([z]);
    }
    const made = runs.map((zones) => {
      const from = place(zones[0][0]) * wide, to = place(zones.at(-1)[1]) * wide, size = 7 * zones[0][2].length + 8;
      return { zones, width: to - from, size, left: Math.min(wide - size, Math.max(0, (from + to - size) / 2)) };
    });
    const held = [];
    for (const label of made.sort((a, b) => b.width - a.width)) {
      if (held.every((l) => label.left >= l.left + l.size || l.left >= label.left + label.size)) held.push(label);
    }
    $("zones").replaceChildren(...held.map(({ zones, left, size }) => {
      const label = make("span", zones[0][2]);
      label.zones = zones;
      label.style.left = `${left}px`;
      label.style.width = `${size}px`;
      return label;
    }));
  }

  let followers = []; // what in the open folds moves along with the value
  function folds() {
    followers = [...barcode(), ...plots()];
    page.follow(page.said());
  }
  const scale = () => {
    const row = make("div", undefined, "scale");
    row.append(make("span", data.ends[0]), make("span", data.ends[1]));
    return row;
  };

  function barcode() {
    if (!$("every").open) return [];
    const all = [...page.prompt.draws.map((d) => d.cuts.slice(1)), ...page.prompt.others.map((lows) => lows.map((low) => [low, 0]))];
    const over = make("div", undefined, "over"), now = make("i");
    over.append(now);
    const lines = all.map((cuts, i) => {
      const row = make("div", undefined, "row"), canvas = make("canvas");
      row.append(make("span", `draw ${i + 1}`), canvas);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${cuts.length} change${cuts.length === 1 ? "" : "s"} of draw ${i + 1}`);
      canvas.addEventListener("click", (e) => {
        if (!cuts.length) return;
        const v = unplace(e.offsetX / canvas.clientWidth);
        const best = cuts.reduce((a, b) => Math.abs(b[0] - v) < Math.abs(a[0] - v) ? b : a);
        const index = page.prompt.cuts.findIndex((cut) => alike(cut, best));
        move(index < 0 ? best[0] : inside(index), "barcode"); // a draw that is not shown has cuts of its own
      });
      return { row, canvas, cuts };
    });
    $("barcode").classList.toggle("many", all.length > 8);
    $("barcode").replaceChildren(...lines.map(({ row }) => row), scale(), over);
    for (const { canvas, cuts } of lines) {
      const [ink, w, h, line] = inked(canvas);
      ink.fillStyle = color("--ink");
      for (const cut of cuts) ink.fillRect(place(cut[0]) * w, 0, line, h);
    }
    return [() => { now.style.left = `${100 * place(page.value)}%`; }];
  }

  const svg = (name, attributes) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, v] of Object.entries(attributes)) e.setAttribute(key, v);
    return e;
  };
  const PLAIN = {
    distinct_texts: "Distinct texts", loop_rate: "Texts that loop, share (loop_rate)", nll: "Surprise, nats/token (nll)",
    "nll - reference": "Surprise beyond that of the human text, nats/token (nll - reference)",
  };

  function plots() {
    if (!$("curves").open) return [];
    const which = data.prompts.indexOf(page.prompt), found = [];
    $("says").replaceChildren(...data.says[which].map((line) => make("li", line)));
    $("plots").replaceChildren(...data.curves[which].map((c) => {
      const figure = make("figure"), caption = make("figcaption"), now = make("span", "", "now"), plot = make("div", undefined, "plot");
      const share = c.unit === "share", human = c.name.endsWith("reference"); // a difference: 0 is the human text
      const short = (v) => share ? `${+(100 * v).toPrecision(3)}%` : String(+v.toPrecision(3));
      caption.append(make("b", PLAIN[c.name] || `${c.name}, ${c.unit}`), `; ${c.n} draw${c.n === 1 ? "" : "s"}. ${c.note ? `${c.note}. ` : ""}`, now);
      const seen = [...c.mean, ...c.low, ...c.high].filter((v) => v !== null);
      if (human) seen.push(0);
      let [low, high] = share || !seen.length ? [0, 1] : [Math.min(...seen), Math.max(...seen)];
      if (!(high > low)) high = low + 1;
      const y = (v) => 100 - 100 * (v - low) / (high - low), x = (i) => 1000 * place(i < c.x.length ? c.x[i] : data.high);
      const box = svg("svg", { viewBox: "0 -2 1000 104", preserveAspectRatio: "none", role: "img", "aria-label": PLAIN[c.name] || c.name });
      for (const v of [0, 50, 100]) box.append(svg("line", { class: "grid", x1: 0, x2: 1000, y1: v, y2: v }));
      let line = "", band = "", open = false;
      c.mean.forEach((m, i) => {
        if (m === null) { open = false; return; }
        line += `${open ? "L" : "M"}${x(i)} ${y(m)}L${x(i + 1)} ${y(m)}`;
        open = true;
        if (c.low[i] !== null) band += `M${x(i)} ${y(c.low[i])}H${x(i + 1)}V${y(c.high[i])}H${x(i)}Z`;
      });
      if (human) box.append(svg("line", { class: "human", x1: 0, x2: 1000, y1: y(0), y2: y(0) }));
      if (band) box.append(svg("path", { class: "band", d: band }));
      const rule = svg("line", { class: "now", y1: -2, y2: 102 });
      box.append(svg("path", { class: "line", d: line }), rule);
      plot.append(make("span", short(high), "top"), make("span", short(low), "bottom"), box);
      figure.append(caption, plot, scale());
      found.push((v) => {
        const i = find(c.cuts, page.value), m = c.mean[i];
        const ends = c.low[i] === null ? "" : `, ${short(c.low[i])} to ${short(c.high[i])}`;
        put(now, `At ${v}: ${m === null ? "not known" : `${short(m)}${share ? "" : ` ${c.unit}`}${ends}`}.`);
        rule.setAttribute("x1", 1000 * place(page.value));
        rule.setAttribute("x2", 1000 * place(page.value));
      });
      return figure;
    }));
    return found;
  }

  page.follow = (v) => { for (const follow of followers) follow(v); };
  page.redraw = () => { rail(); folds(); };
  for (const fold of [$("every"), $("curves")]) fold.addEventListener("toggle", folds);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", page.redraw);
  page.redraw();
})();
