"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const make = (name, text, kind) => {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (kind) e.className = kind;
    return e;
  };
  const [LOW, AFTER, SAME, TAIL, NAME, KNOWN, LOOP, WORD, DOUBT, END, CHANGE] = Array(11).keys();
  const width = data.high - data.low;

  // Cuts compare in order: just before a value, or just after it.
  const below = (value, after, cut) => value < cut[0] || (value === cut[0] && after < cut[1]);
  const find = (cuts, value) => { // the last cut that lies at or before a value
    let a = 0, b = cuts.length - 1;
    while (a < b) {
      const m = (a + b + 1) >> 1;
      if (below(value, 0, cuts[m])) b = m - 1; else a = m;
    }
    return a;
  };

  for (const p of data.prompts) {
    for (const d of p.draws) {
      let text = "";
      d.texts = d.pieces.map((piece) => (text = text.slice(0, piece[SAME]) + piece[TAIL]));
      d.cuts = d.pieces.map((piece) => [piece[LOW], piece[AFTER]]);
    }
    const all = p.draws.flatMap((d, i) => d.cuts.map((cut, j) => [cut[0], cut[1], i, j]));
    all.sort((x, y) => x[0] - y[0] || x[1] - y[1]);
    p.cuts = all.filter((c, i) => i === 0 || c[0] !== all[i - 1][0] || c[1] !== all[i - 1][1]);
    p.barCuts = p.bars.map((b) => [b[0], b[1]]);
  }

  let prompt = data.prompts[0], value = data.low, shown = 0, waiting = false, stepped = false;
  const log = data.log;
  const place = (v) => log ? Math.log(v / data.low) / Math.log(data.high / data.low) : (v - data.low) / width;
  const unplace = (x) => log ? data.low * (data.high / data.low) ** x : data.low + x * width;

  // Enough digits to tell the piece's ends apart.
  const digits = (at) => {
    if (data.whole) return 0;
    const next = at + 1 < prompt.cuts.length ? prompt.cuts[at + 1][0] : data.high;
    const size = next - prompt.cuts[at][0];
    return Math.min(9, Math.max(2, size > 0 ? Math.ceil(-Math.log10(size)) : 2));
  };
  const said = (v, n) => data.whole ? String(Math.round(v)) : v.toFixed(n);

  const cards = [];
  function cardsOf() {
    $("draws").replaceChildren();
    cards.length = 0;
    $("draws").style.setProperty("--n", prompt.draws.length);
    prompt.draws.forEach((d, i) => {
      const box = make("article", undefined, "draw" + (i === shown ? " chosen" : ""));
      const head = make("h2");
      const doubt = make("span", "", "doubt");
      head.append(make("span", `draw ${i + 1}`), doubt);
      const text = make("p");
      text.tabIndex = 0;
      text.setAttribute("aria-label", `Text of draw ${i + 1}`);
      box.append(head, text);
      $("draws").append(box);
      cards.push({ box, text, doubt, at: -1, looped: null });
    });
    $("turn").hidden = prompt.draws.length < 2;
  }

  function write(card, d, at) {
    const piece = d.pieces[at], text = d.texts[at];
    const flash = card.at >= 0 && Math.abs(at - card.at) <= 1 ? (at > card.at ? piece[SAME] : d.pieces[card.at][SAME]) : -1;
    const loop = piece[LOOP] < 0 ? text.length : piece[LOOP];
    const parts = [[0, loop, null], [loop, text.length, "mark"]];
    card.text.replaceChildren();
    for (const [from, to, name] of parts) {
      if (from >= to) continue;
      const middle = flash < 0 ? to : Math.min(Math.max(flash, from), to);
      const whole = name ? make(name) : document.createDocumentFragment();
      if (middle > from) whole.append(text.slice(from, middle));
      if (to > middle) whole.append(make("span", text.slice(middle, to), "fresh"));
      card.text.append(whole);
    }
    if (!piece[KNOWN]) card.text.append(make("span", text ? " … not finished here" : "not known here", "end"));
    else card.text.append(make("span", ["…", " ■", ""][piece[END]], "end"));
    card.doubt.textContent = piece[DOUBT] ? "≈" : "";
    card.doubt.title = piece[DOUBT]
      ? `${piece[DOUBT]} of its tokens were chosen by less than this model's numerics can decide on another machine.` : "";
    card.at = at;
  }

  function sentence(at, states) {
    const n = states.length, v = said(value, digits(at));
    const known = states.filter((s) => s[KNOWN]);
    if (known.length < n) return `At ${v}: ${n - known.length} of ${n} texts not known; the dial stopped early here.`;
    const distinct = new Set(states.map((s) => s[NAME])).size;
    const loops = states.filter((s) => s[LOOP] >= 0);
    const words = loops.map((s) => s[WORD]);
    const first = Math.min(...words), last = Math.max(...words);
    let end = "none loops.";
    if (n === 1) end = loops.length ? `it loops from word ${first}.` : "it does not loop.";
    else if (loops.length) end = `${loops.length} of ${n} loop${loops.length === 1 ? "s" : ""}, from word ${first === last ? first : `${first} at the earliest`}.`;
    return n === 1 ? `At ${v}: ${end}` : `At ${v}: ${distinct} distinct text${distinct > 1 ? "s" : ""} of ${n}; ${end}`;
  }

  const rows = [];
  function bars() {
    const which = prompt.bars.length ? prompt.bars[find(prompt.barCuts, value)][2] : -1;
    $("words").hidden = which < 0;
    if (which < 0) return;
    const fork = prompt.forks[which];
    if (bars.of !== fork) {
      bars.of = fork;
      $("context").textContent = fork.before ? `“${fork.before.trimStart()}”` : "the prompt";
      $("bars").replaceChildren();
      rows.length = 0;
      for (const word of fork.words) {
        const row = make("li"), box = make("span", undefined, "bar"), bar = make("i"), share = make("span", "", "share");
        const name = make("span", word, "word");
        name.title = word;
        box.append(bar);
        row.append(name, box, share);
        $("bars").append(row);
        rows.push([bar, share]);
      }
    }
    const vs = fork.values;
    let i = 0;
    while (i + 2 < vs.length && vs[i + 1] <= value) i++;
    const scaled = (v) => log ? Math.log(v) : v;
    const t = vs.length < 2 || vs[i + 1] === vs[i] ? 0
      : Math.min(1, Math.max(0, (scaled(value) - scaled(vs[i])) / (scaled(vs[i + 1]) - scaled(vs[i]))));
    rows.forEach(([bar, share], j) => {
      const right = fork.shares[Math.min(i + 1, vs.length - 1)][j];
      const p = fork.shares[i][j] * (1 - t) + right * t;
      bar.style.transform = `scaleX(${p})`;
      share.textContent = p === 0 ? "0%" : p < 0.001 ? "<0.1%" : p < 0.01 ? `${(100 * p).toFixed(1)}%` : `${Math.round(100 * p)}%`;
    });
  }

  const inside = (at) => { // a value in the middle of a stretch
    const [low, after] = prompt.cuts[at];
    const end = at + 1 < prompt.cuts.length ? prompt.cuts[at + 1] : [data.high, 1];
    if (data.whole) return after ? low + 1 : low;
    return low + (end[0] - low) / 2;
  };

  function changes(at) {
    const list = $("changes");
    list.replaceChildren();
    for (const [to, name] of [[at, "Change below"], [at + 1, "Next change"]]) {
      const item = make("li");
      if (to < 1 || to >= prompt.cuts.length) {
        item.textContent = to < 1 ? "This is the low end." : "This is the high end.";
      } else {
        const [v, , i, j] = prompt.cuts[to];
        const [was, becomes] = prompt.draws[i].pieces[j][CHANGE];
        const n = Math.max(digits(at), digits(to));
        const [from, into] = to === at ? [becomes, was] : [was, becomes];
        item.append(`${name}: ${data.symbol} = ${said(v, n)}, “${from}” → “${into}”, draw ${i + 1}`);
        const go = make("button", "go");
        go.type = "button";
        go.addEventListener("click", () => step(to === at ? -1 : 1));
        item.append(go);
      }
      list.append(item);
    }
    $("back").disabled = at === 0;
    $("next").disabled = at + 1 >= prompt.cuts.length;
  }

  function update() {
    waiting = false;
    const at = find(prompt.cuts, value);
    const states = prompt.draws.map((d, i) => {
      const j = find(d.cuts, value);
      if (cards[i].at !== j) write(cards[i], d, j);
      return d.pieces[j];
    });
    if (update.at !== at || update.prompt !== prompt) changes(at);
    update.at = at;
    update.prompt = prompt;
    $("sentence").textContent = sentence(at, states);
    const zoned = prompt.zones.findIndex((z) => z[0] <= value && value <= z[1]), zone = prompt.zones[zoned];
    $("value").textContent = `${data.symbol} = ${said(value, digits(at))}`;
    [...$("zones").children].forEach((z, i) => z.classList.toggle("now", i === zoned));
    $("slider").setAttribute("aria-valuetext", $("value").textContent + (zone ? `, ${zone[2]}` : ""));
    bars();
    for (const rule of document.querySelectorAll("svg .now")) {
      rule.setAttribute("x1", 1000 * place(value));
      rule.setAttribute("x2", 1000 * place(value));
    }
    $("which").textContent = `draw ${shown + 1} of ${prompt.draws.length}`;
  }

  let saved = 0;
  function keep() {
    clearTimeout(saved);
    saved = setTimeout(() => {
      const which = data.prompts.indexOf(prompt);
      const hash = `#t=${Number(value.toPrecision(12))}${which ? `&p=${which + 1}` : ""}`;
      try { history.replaceState(null, "", hash); } catch { location.replace(hash); }
      $("here").textContent = location.href;
      $("here").href = location.href;
    }, 120);
  }

  function move(to, from) {
    value = Math.min(data.high, Math.max(data.low, data.whole ? Math.round(to) : to));
    if (from !== "slider") $("slider").value = place(value);
    if (from) $("hint").classList.add("gone");
    keep();
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(update);
    }
  }

  function step(by) {
    const at = find(prompt.cuts, value) + by;
    if (at >= 0 && at < prompt.cuts.length) move(inside(at), "step");
  }

  function rail() {
    const canvas = $("rail"), box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, box.width * ratio);
    canvas.height = Math.max(1, box.height * ratio);
    const ink = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const x = (v) => place(v) * canvas.width, h = canvas.height;
    ink.fillStyle = color("--rule");
    ink.fillRect(0, h * 0.28, canvas.width, h * 0.44);
    for (const [low, high, name] of prompt.zones) {
      ink.fillStyle = color(`--${name.replaceAll(" ", "-")}`);
      ink.globalAlpha = 0.75;
      ink.fillRect(x(low), h * 0.28, x(high) - x(low), h * 0.44);
      ink.globalAlpha = 1;
    }
    prompt.draws.forEach((d) => d.pieces.forEach((piece, i) => {
      if (piece[KNOWN]) return;
      const from = x(piece[LOW]), to = i + 1 < d.pieces.length ? x(d.pieces[i + 1][LOW]) : canvas.width;
      ink.strokeStyle = color("--unknown");
      ink.beginPath();
      for (let s = from; s < to; s += 6 * ratio) { ink.moveTo(s, h * 0.72); ink.lineTo(Math.min(to, s + 5 * ratio), h * 0.28); }
      ink.stroke();
    }));
    ink.fillStyle = color("--soft");
    ink.globalAlpha = 0.5;
    for (const cut of prompt.cuts.slice(1)) ink.fillRect(x(cut[0]), h * 0.76, Math.max(1, ratio * 0.8), h * 0.16);
    ink.globalAlpha = 1;
    $("zones").replaceChildren(...prompt.zones.map(([low, high, name]) => {
      const fits = (place(high) - place(low)) * box.width > 62;
      const label = make("span", fits ? name : "");
      label.style.left = `${100 * place(low)}%`;
      label.style.width = `${100 * (place(high) - place(low))}%`;
      return label;
    }));
  }

  function barcode() {
    if (!$("every").open) return;
    const style = getComputedStyle(document.documentElement);
    $("barcode").replaceChildren(...prompt.draws.map((d, i) => {
      const row = make("div"), canvas = make("canvas");
      row.append(make("span", `draw ${i + 1}`), canvas);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${d.pieces.length - 1} changes of draw ${i + 1}`);
      requestAnimationFrame(() => {
        const ratio = window.devicePixelRatio || 1;
        canvas.width = canvas.clientWidth * ratio;
        canvas.height = canvas.clientHeight * ratio;
        const ink = canvas.getContext("2d");
        ink.fillStyle = style.getPropertyValue("--ink").trim();
        ink.globalAlpha = 0.7;
        for (const cut of d.cuts.slice(1)) ink.fillRect(place(cut[0]) * canvas.width, 0, Math.max(1, ratio), canvas.height);
      });
      canvas.addEventListener("click", (e) => {
        const v = unplace(e.offsetX / canvas.clientWidth);
        let best = 0;
        d.cuts.forEach((cut, j) => { if (j && Math.abs(cut[0] - v) < Math.abs((d.cuts[best] || [1e300])[0] - v)) best = j; });
        const high = best + 1 < d.cuts.length ? d.cuts[best + 1][0] : data.high;
        move(d.cuts[best][0] + (high - d.cuts[best][0]) / 2, "barcode");
      });
      return row;
    }));
  }

  const svg = (name, attributes) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, v] of Object.entries(attributes)) e.setAttribute(key, v);
    return e;
  };

  function plots() {
    if (!$("curves").open) return;
    const which = data.prompts.indexOf(prompt), curves = data.curves[which];
    $("says").replaceChildren(...data.says[which].map((said) => make("li", said)));
    $("plots").replaceChildren(...curves.map((c) => {
      const figure = make("figure"), caption = make("figcaption");
      caption.append(make("b", c.name.replaceAll("_", " ")), ` (${c.unit}), ${c.n} draws. ${c.note}`);
      const seen = [...c.mean, ...c.low, ...c.high].filter((v) => v !== null);
      let low = Math.min(...seen), high = Math.max(...seen);
      if (c.unit === "share") [low, high] = [0, 1];
      if (c.name.endsWith("reference")) [low, high] = [Math.min(low, 0), Math.max(high, 0)]; // 0: the human text
      if (!(high > low)) high = low + 1;
      const y = (v) => 100 - 100 * (v - low) / (high - low);
      const x = (i) => 1000 * place(i < c.x.length ? c.x[i] : data.high);
      const box = svg("svg", { viewBox: "0 -2 1000 104", preserveAspectRatio: "none", role: "img", "aria-label": c.name });
      for (const v of [0, 50, 100]) box.append(svg("line", { class: "grid", x1: 0, x2: 1000, y1: v, y2: v }));
      let line = "", band = "", open = false;
      c.mean.forEach((m, i) => {
        if (m === null) { open = false; return; }
        line += `${open ? "L" : "M"}${x(i)} ${y(m)}L${x(i + 1)} ${y(m)}`;
        open = true;
        if (c.low[i] !== null) band += `M${x(i)} ${y(c.low[i])}H${x(i + 1)}V${y(c.high[i])}H${x(i)}Z`;
      });
      if (c.name.endsWith("reference")) box.append(svg("line", { class: "human", x1: 0, x2: 1000, y1: y(0), y2: y(0) }));
      if (band) box.append(svg("path", { class: "band", d: band }));
      box.append(svg("path", { class: "line", d: line }));
      box.append(svg("line", { class: "now", x1: 1000 * place(value), x2: 1000 * place(value), y1: -2, y2: 102 }));
      const scale = make("div", undefined, "scale");
      scale.append(make("span", String(+data.low.toPrecision(4))), make("span", `from ${+low.toPrecision(3)} to ${+high.toPrecision(3)}`), make("span", String(+data.high.toPrecision(4))));
      figure.append(caption, box, scale);
      return figure;
    }));
  }

  function choose(index) {
    prompt = data.prompts[index];
    shown = 0;
    bars.of = null;
    cardsOf();
    rail();
    barcode();
    plots();
    move(value);
  }

  function turn(by) {
    shown = (shown + by + prompt.draws.length) % prompt.draws.length;
    cards.forEach((c, i) => c.box.classList.toggle("chosen", i === shown));
    $("which").textContent = `draw ${shown + 1} of ${prompt.draws.length}`;
  }

  function read() {
    const t = /[#&]t=([-+0-9.eE]+)/.exec(location.hash), p = /[#&]p=(\d+)/.exec(location.hash);
    const v = t ? Number(t[1]) : NaN;
    const index = p ? Math.min(data.prompts.length, Math.max(1, Number(p[1]))) - 1 : 0;
    if (data.prompts[index] !== prompt || !cards.length) choose(index);
    if ($("prompt")) $("prompt").value = index;
    move(Number.isFinite(v) ? v : data.low + (data.whole ? 0 : width * 0.02), Number.isFinite(v) ? "link" : "");
  }

  $("low").textContent = said(data.low, 0) === String(data.low) ? String(data.low) : String(+data.low.toPrecision(4));
  $("high").textContent = data.whole ? data.high.toLocaleString("en") : String(+data.high.toPrecision(4));
  if ($("prompt")) {
    data.prompts.forEach((p, i) => {
      const option = make("option", p.prompt.length > 90 ? `${p.prompt.slice(0, 90)}…` : p.prompt);
      option.value = i;
      $("prompt").append(option);
    });
    $("prompt").addEventListener("change", (e) => choose(Number(e.target.value)));
  }
  $("slider").addEventListener("input", (e) => move(unplace(Number(e.target.value)), "slider"));
  $("slider").addEventListener("keydown", (e) => {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[e.key];
    if (e.key === "Home") move(data.low, "key");
    else if (e.key === "End") move(data.high, "key");
    else if (by === undefined) return;
    else {
      const at = find(prompt.cuts, value), to = Math.min(prompt.cuts.length - 1, Math.max(0, at + by));
      if (to !== at) move(inside(to), "key");
    }
    e.preventDefault();
  });
  $("back").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("before").addEventListener("click", () => turn(-1));
  $("behind").addEventListener("click", () => turn(1));
  let touch = null;
  $("draws").addEventListener("touchstart", (e) => { touch = e.changedTouches[0]; }, { passive: true });
  $("draws").addEventListener("touchend", (e) => {
    const t = e.changedTouches[0], dx = touch ? t.clientX - touch.clientX : 0;
    if (touch && Math.abs(dx) > 48 && Math.abs(dx) > 2 * Math.abs(t.clientY - touch.clientY)) turn(dx < 0 ? 1 : -1);
  }, { passive: true });
  $("every").addEventListener("toggle", barcode);
  $("curves").addEventListener("toggle", plots);
  window.addEventListener("hashchange", read);
  window.addEventListener("resize", () => { rail(); barcode(); });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { rail(); barcode(); });
  read();
  window.dial = { move, update, get value() { return value; }, texts: () => cards.map((c, i) => prompt.draws[i].texts[c.at]) };
})();
