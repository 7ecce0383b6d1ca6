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
  const put = (e, text) => { if (e.textContent !== text) e.textContent = text; }; // no layout where nothing changes
  const [LOW, AFTER, SAME, TAIL, NAME, KNOWN, LOOP, WORD, DOUBT, END, CHANGE] = Array(11).keys();
  const width = data.high - data.low;

  // Cuts compare in order: just before a value, or just after it.
  const below = (value, after, cut) => value < cut[0] || (value === cut[0] && after < cut[1]);
  const alike = (a, b) => a[0] === b[0] && a[1] === b[1];
  const find = (cuts, value) => { // the last cut that lies at or before a value
    let a = 0, b = cuts.length - 1;
    while (a < b) {
      const m = (a + b + 1) >> 1;
      if (below(value, 0, cuts[m])) b = m - 1; else a = m;
    }
    return a;
  };
  const up = (v) => { // the next number above: stretches may hold no other
    if (v === 0) return Number.MIN_VALUE;
    const bits = new DataView(new ArrayBuffer(8));
    bits.setFloat64(0, v);
    bits.setBigInt64(0, bits.getBigInt64(0) + (v > 0 ? 1n : -1n));
    return bits.getFloat64(0);
  };

  for (const p of data.prompts) {
    for (const d of p.draws) {
      let text = "";
      d.texts = d.pieces.map((piece) => (text = text.slice(0, piece[SAME]) + piece[TAIL]));
      d.cuts = d.pieces.map((piece) => [piece[LOW], piece[AFTER]]);
      d.known = d.pieces.map((piece) => piece[KNOWN]);
    }
    const all = p.draws.flatMap((d, i) => d.cuts.map((cut, j) => ({ cut, at: [i, j] })));
    all.sort((x, y) => x.cut[0] - y.cut[0] || x.cut[1] - y.cut[1]);
    p.cuts = [];
    p.changed = []; // at each cut: draw and piece of every text that changes there
    for (const { cut, at } of all) {
      if (!p.cuts.length || !alike(cut, p.cuts.at(-1))) { p.cuts.push(cut); p.changed.push([]); }
      p.changed.at(-1).push(at);
    }
    p.barCuts = p.bars.map((b) => [b[0], b[1]]);
  }

  let prompt = data.prompts[0], value = data.low, shown = 0, waiting = false, stepped = false, moved = false, settling = 0;
  const log = data.log;
  const place = (v) => log ? Math.log(v / data.low) / Math.log(data.high / data.low) : (v - data.low) / width;
  const unplace = (x) => log ? data.low * (data.high / data.low) ** x : data.low + x * width;

  // Enough digits to tell the value and the changes beside it apart.
  const digits = (at) => {
    const cuts = [prompt.cuts[at], prompt.cuts[at + 1]].filter((cut, k) => cut && (k || at > 0));
    const all = [...new Set([value, ...cuts.map((cut) => cut[0])])];
    let n = 2;
    while (n < 18 && new Set(all.map((v) => v.toFixed(n))).size < all.length) n++;
    return n;
  };
  const said = (v, n) => {
    if (v === data.low) return data.ends[0];
    if (v === data.high) return data.ends[1];
    return data.whole ? Math.round(v).toLocaleString("en") : n < 18 ? v.toFixed(n) : String(v);
  };

  const cards = [];
  const page = window.dial = { // what drawings and tests see of it; drawings put their own redraw and follow here
    data, $, make, put, find, alike, inside: (at) => inside(at), place, unplace, said: () => said(value, digits(find(prompt.cuts, value))),
    move: (to, from) => move(to, from), update: () => update(), redraw() {}, follow() {},
    texts: () => cards.map((c, i) => prompt.draws[i].texts[c.at]),
    get value() { return value; }, get prompt() { return prompt; },
  };
  function cardsOf() {
    cards.length = 0;
    $("draws").style.setProperty("--n", prompt.draws.length);
    $("draws").replaceChildren(...prompt.draws.map((d, i) => {
      const box = make("article", undefined, "draw"), head = make("h2"), text = make("p", undefined, "text");
      const name = make("span", "", "name"), loops = make("span"), doubt = make("span");
      head.append(name, loops, doubt);
      head.id = `draw-${i + 1}`;
      text.setAttribute("role", "group");
      text.setAttribute("aria-labelledby", head.id);
      box.append(head, text);
      cards.push({ box, text, name, loops, doubt, at: -1 });
      return box;
    }));
    $("turn").hidden = prompt.draws.length < 2;
    $("of").textContent = prompt.of > prompt.draws.length ? `· ${prompt.draws.length} of ${prompt.of} draws shown` : "";
    turn(0);
    fit();
  }

  // All cards are as high as the longest text asks for (up to a limit in the style sheet), wherever the slider is.
  function fit() {
    const lines = (text) => text.split("\n").reduce((n, line) => n + 1 + Math.floor(line.length / 38), 0);
    const card = cards[shown].text;
    let tall = 0;
    card.style.height = "auto";
    for (const d of prompt.draws) {
      const sizes = d.texts.map(lines);
      card.textContent = `${d.texts[sizes.indexOf(Math.max(...sizes))]} … not finished`;
      tall = Math.max(tall, card.clientHeight);
    }
    card.style.height = "";
    $("draws").style.setProperty("--tall", `${tall}px`);
    cards[shown].at = -1;
  }

  function write(card, i, at) {
    const d = prompt.draws[i], piece = d.pieces[at], text = d.texts[at];
    const flash = card.at >= 0 && Math.abs(at - card.at) <= 1 ? (at > card.at ? piece[SAME] : d.pieces[card.at][SAME]) : -1;
    const loop = piece[LOOP] < 0 ? text.length : piece[LOOP];
    card.text.replaceChildren();
    for (const [from, to, name] of [[0, loop, null], [loop, text.length, "mark"]]) {
      if (from >= to) continue;
      const middle = flash < 0 ? to : Math.min(Math.max(flash, from), to);
      const whole = name ? make(name) : document.createDocumentFragment();
      if (middle > from) whole.append(text.slice(from, middle));
      if (to > middle) whole.append(make("span", text.slice(middle, to), "fresh"));
      card.text.append(whole);
    }
    if (!piece[KNOWN]) card.text.append(make("span", text ? " … not finished here" : "not known here", "end"));
    else card.text.append(make("span", ["…", " ■", ""][piece[END]], "end"));
    const loops = piece[LOOP] >= 0;
    put(card.name, `draw ${i + 1}${loops ? " · " : ""}`);
    put(card.loops, loops ? `loops from word ${piece[WORD]}` : "");
    card.doubt.replaceChildren();
    card.doubt.title = "";
    if (piece[DOUBT]) {
      const why = `${piece[DOUBT]} of its tokens ${piece[DOUBT] === 1 ? "was" : "were"} chosen by less than this model's numerics can decide on another machine`;
      card.doubt.replaceChildren(make("span", " ≈"), make("span", ` (${why})`, "hidden"));
      card.doubt.firstChild.setAttribute("aria-hidden", "true");
      card.doubt.title = why;
    }
    card.at = at;
  }

  // After a step, what has changed is in sight: its draw, on a phone, and its place in the text.
  function reveal(written) {
    stepped = false;
    if ($("turn").offsetParent && written.length && !written.includes(cards[shown])) turn(cards.indexOf(written[0]) - shown);
    for (const { text } of written) {
      const fresh = text.querySelector(".fresh"), top = fresh ? fresh.getClientRects()[0] : null;
      if (top) text.scrollTop += top.top - text.getBoundingClientRect().top - text.clientHeight / 3;
    }
  }

  // How many words all texts begin with.
  function opening(texts) {
    let n = 0;
    while (n < texts[0].length && texts.every((t) => t[n] === texts[0][n])) n++;
    const cut = texts.some((t) => n < t.length && /\S/.test(t[n])); // in the middle of a word
    return (cut ? texts[0].slice(0, n).replace(/\S+$/, "") : texts[0].slice(0, n)).split(/\s+/).filter(Boolean).length;
  }

  function sentence(states, texts, n) {
    const v = said(value, n), many = states.length, known = states.filter((s) => s[KNOWN]);
    const at = v === "off" ? `With ${data.symbol} off` : `At ${v}`;
    if (known.length < many) return `${at}: ${many - known.length} of ${many} texts not known; the dial stopped early here.`;
    const distinct = new Set(states.map((s) => s[NAME])).size;
    const loops = states.filter((s) => s[LOOP] >= 0), words = loops.map((s) => s[WORD]);
    const first = Math.min(...words), last = Math.max(...words);
    if (many === 1) return `${at}: ${loops.length ? `it loops from word ${first}` : "it does not loop"}.`;
    let end = "none loops";
    if (loops.length) end = `${loops.length} of ${many} loop${loops.length === 1 ? "s" : ""}, from word ${first === last ? first : `${first} at the earliest`}`;
    const open = distinct > 1 ? opening(texts) : 0;
    const same = distinct === 1 ? "" : open ? `, alike for ${open} word${open === 1 ? "" : "s"}` : ", different from the first word on";
    return `${at}: ${distinct} distinct text${distinct > 1 ? "s" : ""} of ${many}${same}; ${end}.`;
  }

  const rows = [];
  function bars() {
    const [, , which, chosen] = prompt.bars[find(prompt.barCuts, value)];
    $("words").hidden = which < 0;
    if (which < 0) return;
    const fork = prompt.forks[which];
    if (bars.of !== fork) {
      bars.of = fork;
      $("context").textContent = fork.before ? `“${fork.before.trimStart()}”` : "the prompt";
      rows.length = 0;
      $("bars").replaceChildren(...fork.words.map((word) => {
        const item = make("li"), box = make("span", undefined, "bar"), bar = make("i"), share = make("span", "", "share");
        const name = make("span", word, "word"), who = make("span", "", "who"), aloud = make("span", "", "hidden");
        name.title = word;
        box.append(bar);
        who.setAttribute("aria-hidden", "true");
        item.append(name, box, share, who, aloud);
        rows.push({ item, bar, share, who, aloud });
        return item;
      }));
    }
    const vs = fork.values;
    let i = 0;
    while (i + 2 < vs.length && vs[i + 1] <= value) i++;
    const scaled = (v) => log ? Math.log(v) : v;
    const t = vs.length < 2 || vs[i + 1] === vs[i] ? 0
      : Math.min(1, Math.max(0, (scaled(value) - scaled(vs[i])) / (scaled(vs[i + 1]) - scaled(vs[i]))));
    rows.forEach(({ item, bar, share, who, aloud }, j) => {
      const right = fork.shares[Math.min(i + 1, vs.length - 1)][j], p = fork.shares[i][j] * (1 - t) + right * t;
      bar.style.transform = `scaleX(${p})`;
      put(share, p === 0 ? "0%" : p < 0.001 ? "<0.1%" : p < 0.00995 ? `${(100 * p).toFixed(1)}%`
        : p > 0.995 && p < 1 ? ">99%" : `${Math.round(100 * p)}%`);
      const by = chosen.flatMap((word, draw) => word === j ? [draw] : []);
      put(who, by.map((draw) => String.fromCodePoint(0x2460 + draw)).join(""));
      put(aloud, by.length ? `chosen by draw ${by.map((draw) => draw + 1).join(", ")}` : "");
      item.classList.toggle("chosen", by.length > 0);
    });
  }

  const inside = (at) => { // a value in the middle of a stretch; its first one where the middle is outside
    const [low, after] = prompt.cuts[at], end = prompt.cuts[at + 1] || [data.high, 1];
    if (data.whole) return after ? low + 1 : low;
    const first = after ? up(low) : low, mid = low + (end[0] - low) / 2;
    return mid >= first && below(mid, 0, end) ? mid : first;
  };

  // The changes on either side. Their buttons stay: a button that was made anew would have lost the focus.
  const beside = ["Previous", "Next"].map((name, k) => {
    const item = make("li"), text = make("span"), go = make("button", "go");
    go.type = "button";
    go.addEventListener("click", () => step(k ? 1 : -1));
    go.setAttribute("aria-label", `go to the ${name.toLowerCase()} change`);
    item.append(text, go);
    $("changes").append(item);
    return { text, go, name, turn: $(k ? "next" : "back") };
  });
  function changes(at, n) {
    beside.forEach(({ text, go, name, turn }, k) => {
      const to = at + k, none = to < 1 || to >= prompt.cuts.length;
      for (const button of [go, turn]) button.setAttribute("aria-disabled", none);
      if (none) { put(text, `This is the ${k ? "high" : "low"} end.`); return; }
      const [[i, j], ...others] = prompt.changed[to], words = prompt.draws[i].pieces[j][CHANGE];
      let [v, after] = prompt.cuts[to];
      if (data.whole) v += k ? after : after - 1; // the first value on the other side
      const where = v === value && !data.whole ? `just ${k ? "above" : "below"}` : "=";
      const [from, into] = k ? words : [words[1], words[0]];
      const more = others.length ? `, and ${others.length} other draw${others.length === 1 ? "" : "s"}` : "";
      put(text, `${name} change: ${data.symbol} ${where} ${said(v, n)}, “${from}” → “${into}”, draw ${i + 1}${more}`);
    });
  }

  function update() {
    waiting = false;
    const at = find(prompt.cuts, value), n = digits(at), written = [];
    const states = prompt.draws.map((d, i) => {
      const j = find(d.cuts, value);
      if (cards[i].at !== j) { write(cards[i], i, j); written.push(cards[i]); }
      return d.pieces[j];
    });
    changes(at, n);
    put($("sentence"), sentence(states, prompt.draws.map((d, i) => d.texts[cards[i].at]), n));
    const zoned = prompt.zones.find((z) => z[0] <= value && value <= z[1]), number = `${data.symbol} = ${said(value, n)}`;
    const text = zoned ? `${number} · ${zoned[2]}` : number;
    put($("value"), text);
    $("value").classList.toggle("tight", text.length > 24);
    for (const label of $("zones").children) label.classList.toggle("now", zoned !== undefined && label.zones.includes(zoned));
    $("slider").setAttribute("aria-valuetext", zoned ? `${number}, ${zoned[2]}` : number);
    bars();
    page.follow(said(value, n));
    if (stepped) reveal(written);
    clearTimeout(settling);
    settling = setTimeout(settle, 400);
  }

  // Once the hand rests: say it aloud, and let the keyboard into texts that scroll.
  function settle() {
    if (moved) put($("said"), `${$("value").textContent}. ${$("sentence").textContent}`);
    for (const { text } of cards) {
      if (text.scrollHeight > text.clientHeight + 1) text.tabIndex = 0;
      else if (text !== document.activeElement) text.removeAttribute("tabindex");
    }
  }

  let saved = 0;
  const hash = () => {
    const which = data.prompts.indexOf(prompt);
    return `#t=${value}${which ? `&p=${which + 1}` : ""}`;
  };
  const here = () => { $("here").href = hash(); $("here").textContent = $("here").href; };
  function keep() {
    clearTimeout(saved);
    saved = setTimeout(() => {
      try { history.replaceState(null, "", hash()); } catch { location.replace(hash()); }
      here();
    }, 120);
  }

  // `from` says what moved it: empty for the page itself, which leaves address and hint alone.
  function move(to, from) {
    value = Math.min(data.high, Math.max(data.low, data.whole ? Math.round(to) : to));
    if (from !== "slider") $("slider").value = place(value);
    if (from) $("hint").classList.add("gone");
    if (from && from !== "link") { moved = true; keep(); } else here();
    if (from && from !== "link" && from !== "slider") stepped = true;
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(update);
    }
  }

  function step(by) {
    const at = find(prompt.cuts, value), to = Math.min(prompt.cuts.length - 1, Math.max(0, at + by));
    if (to !== at) move(inside(to), "step");
  }

  function choose(index, from) {
    prompt = data.prompts[index];
    shown = 0;
    bars.of = null;
    document.title = `What does ${data.parameter} do? ${short(prompt.prompt, 60)}`;
    cardsOf();
    page.redraw();
    move(value, from);
  }
  const short = (text, n) => {
    const line = text.split(/\s+/).filter(Boolean).join(" ");
    return line.length > n ? `${line.slice(0, n - 1).trimEnd()}…` : line;
  };

  function turn(by) {
    shown = (shown + by + prompt.draws.length) % prompt.draws.length;
    cards.forEach((c, i) => c.box.classList.toggle("chosen", i === shown));
    $("which").textContent = `draw ${shown + 1} of ${prompt.draws.length}`;
    clearTimeout(settling);
    settling = setTimeout(settle, 400);
  }

  function read() {
    const t = /[#&]t=([-+0-9.eE]+)/.exec(location.hash), p = /[#&]p=(\d+)/.exec(location.hash);
    const v = t ? Number(t[1]) : NaN;
    const index = p ? Math.min(data.prompts.length, Math.max(1, Number(p[1]))) - 1 : 0;
    if (data.prompts[index] !== prompt || !cards.length) choose(index);
    if ($("prompt")) $("prompt").value = index;
    move(Number.isFinite(v) ? v : data.low, Number.isFinite(v) ? "link" : "");
  }

  $("low").textContent = data.ends[0];
  $("high").textContent = data.ends[1];
  $("main").classList.toggle("long", `${data.symbol} = ${data.whole ? data.ends[1] : data.high.toFixed(2)}`.length > 9);
  if ($("prompt")) {
    data.prompts.forEach((p, i) => {
      const option = make("option", short(p.prompt, 90));
      option.value = i;
      $("prompt").append(option);
    });
    $("prompt").addEventListener("change", (e) => choose(Number(e.target.value), "prompt"));
  }
  $("slider").addEventListener("input", (e) => move(unplace(Number(e.target.value)), "slider"));
  $("slider").addEventListener("keydown", (e) => {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[e.key];
    if (e.key === "Home") move(data.low, "key");
    else if (e.key === "End") move(data.high, "key");
    else if (by === undefined || e.ctrlKey || e.metaKey || e.altKey) return; // the browser's own
    else step(by);
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
  window.addEventListener("hashchange", () => { if (/[#&]t=/.test(location.hash)) read(); });
  let wide = innerWidth;
  window.addEventListener("resize", () => { // a phone's bars come and go while one scrolls: only another width counts
    if (wide === innerWidth) return;
    wide = innerWidth;
    fit();
    page.redraw();
    move(value);
  });
  read();
})();
