// Search, ages, and comparing any two versions. All else works without this file.
"use strict";
(() => {
  const up = document.body.dataset.up;
  const make = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // Ages. A page stays as it was made; how long ago something was does not.
  const ago = (seconds) => {
    for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
      const count = Math.floor(seconds / length);
      if (count >= 1) return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
    }
    return "just now";
  };
  const since = (text) => (Date.now() - Date.parse(text)) / 1000;
  for (const time of document.querySelectorAll("time")) {
    const seconds = since(time.dateTime);
    if (seconds < 0) continue;
    time.title = ago(seconds);
    if (time.closest(".facts")) time.after(" ", make("span", `(${ago(seconds)})`, "quiet"));
  }
  for (const note of document.querySelectorAll("[data-limit]")) {
    note.hidden = since(note.dataset.since) < Number(note.dataset.limit);
  }
  for (const row of document.querySelectorAll("tr[data-alarm]")) {
    const state = row.querySelector(".state");
    const seconds = since(row.dataset.since);
    const now = seconds >= Number(row.dataset.alarm) ? "alarm"
      : seconds >= Number(row.dataset.warn) ? "warning" : "ok";
    const order = ["ok", "warning", "alarm"];
    if (order.indexOf(now) > order.indexOf(state.textContent)) {
      state.textContent = now;
      state.className = `state ${now}`;
    }
  }

  // Search. The index is a script, so that it also loads from a folder.
  const form = document.querySelector(".search");
  const input = document.getElementById("search");
  const results = document.getElementById("results");
  const list = results.querySelector("ul");
  let asked = false;
  const load = () => {
    if (asked) return;
    asked = true;
    const script = document.createElement("script");
    script.src = `${up}search.js`;
    script.onload = find;
    document.head.append(script);
  };
  const find = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    results.hidden = !words.length || !globalThis.imagectlIndex;
    if (results.hidden) return;
    const hits = [];
    for (const entry of globalThis.imagectlIndex) {
      const title = entry[0].toLowerCase();
      const text = `${title} ${entry[2].toLowerCase()}`;
      if (!words.every((word) => text.includes(word))) continue;
      hits.push([title.startsWith(words[0]) ? 0 : title.includes(words[0]) ? 1 : 2, entry]);
    }
    hits.sort((one, other) => one[0] - other[0]);
    document.getElementById("found").textContent =
      hits.length > 40 ? `${hits.length} found; the first 40:` : `${hits.length} found`;
    list.replaceChildren(...hits.slice(0, 40).map(([, [title, page, said]]) => {
      const item = make("li");
      const link = make("a", title);
      link.href = up + page;
      item.append(link, " ", make("span", said, "quiet"));
      return item;
    }));
  };
  form.hidden = false;
  input.addEventListener("focus", load);
  input.addEventListener("input", () => { load(); find(); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { input.value = ""; find(); }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const first = list.querySelector("a");
    if (first && !results.hidden) location.href = first.href;
  });

  // Any two versions: their pages have the packages, and what is said of the system.
  const compare = document.querySelector("form.compare");
  if (!compare) return;
  const out = document.getElementById("comparison");
  const packages = async (version) => {
    const answer = await fetch(`versions/${version}.html`);
    if (!answer.ok) throw new Error(`${version}: ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const table = page.querySelector("table.packages");
    if (!table) throw new Error(`what is in ${version} is not known`);
    const found = new Map();
    for (const fact of page.querySelectorAll("dl.system > div")) {
      const [name, value] = [...fact.children].map((each) => each.textContent);
      found.set(`  ${name}`, [name, value]);
    }
    for (const row of table.tBodies[0].rows) {
      const key = `${row.cells[0].textContent} (${row.cells[2].textContent})`;
      found.set(key, [row.cells[0].textContent, row.cells[1].textContent]);
    }
    return found;
  };
  compare.hidden = false;
  compare.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [before, after] = [compare.elements.before.value, compare.elements.after.value];
    try {
      const [old, now] = await Promise.all([packages(before), packages(after)]);
      const body = make("tbody");
      for (const key of [...new Set([...old.keys(), ...now.keys()])].sort()) {
        const [one, other] = [old.get(key), now.get(key)];
        if (one && other && one[1] === other[1]) continue;
        const row = make("tr");
        const head = make("th", (one || other)[0], "mono");
        head.scope = "row";
        row.append(head, make("td", one ? one[1] : "", "mono"), make("td", other ? other[1] : "", "mono"));
        body.append(row);
      }
      const heads = make("tr");
      for (const name of ["What", before, after]) {
        const head = make("th", name);
        head.scope = "col";
        heads.append(head);
      }
      const table = make("table");
      const top = make("thead");
      top.append(heads);
      table.append(top, body);
      const frame = make("div", undefined, "scroll");
      frame.tabIndex = 0;
      frame.setAttribute("role", "region");
      frame.setAttribute("aria-label", "What differs");
      frame.append(table);
      const count = body.rows.length;
      out.replaceChildren(make("p", count ? `${count} differ.` : "Nothing of it differs."));
      if (count) out.append(frame);
    } catch (error) {
      out.replaceChildren(make("p", `Cannot tell: ${error.message}. Pages that are opened from a folder cannot be compared; a web server is needed.`, "note"));
    }
  });
})();
