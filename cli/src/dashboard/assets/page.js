// The page: which place the address names, what the server says of it, and the one into the other. Nothing is decided here that
// `kubectl cmdjob list`, `nodes`, `fleets` and `explain` do not decide in the same way: the server sends their words.
//
//   #/jobs ─┐
//   #/nodes ├──▶ a place ──▶ ask every two seconds ──▶ change only what is different, so that focus and selection stay
//   #/jobs/NAMESPACE/NAME ┘
//
// Of a table, a part is shown at a time, and only the rows that are others than before are sent and drawn.

const EVERY = 2000;
const MOST_LINES = 5000;

const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
const freshness = document.getElementById("freshness");

const filters = { text: "", which: "all", skip: 0 };
let place = null;

/** An element with attributes and children; text is always text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Writes a text only where it is another: what is written anew is read out anew. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Something of the server, as JSON; its own words where it refuses. */
async function ask(path, signal) {
  const answer = await fetch(path, { signal, headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(await answer.text() || `the dashboard answers ${answer.status}`);
  return answer.json();
}

// ---- tables ------------------------------------------------------------------------------------------------------------

/** A table that is filled again and again. `link` gives the address of a row by its key. */
function table(caption, link) {
  const head = make("tr");
  const body = make("tbody");
  const words = make("caption", {}, caption);
  const whole = make("div", { class: "wide", role: "region", "aria-label": caption, tabindex: "0" },
    make("table", {}, words, make("thead", {}, head), body));
  const rows = new Map();
  const fill = ({ headings, tone }, all, said) => {
    write(words, said);
    if (head.cells.length !== headings.length) {
      head.replaceChildren(...headings.map((heading) => make("th", { scope: "col" }, heading)));
    }
    // Those that are gone first: what stays is then where it belongs, and need not be moved.
    const kept = new Set(all.map((row) => row.key));
    for (const [key, line] of rows) {
      if (!kept.has(key)) {
        line.remove();
        rows.delete(key);
      }
    }
    let before = body.firstElementChild;
    for (const row of all) {
      let line = rows.get(row.key);
      if (line === undefined) {
        line = make("tr", {}, ...row.cells.map((_, column) => column === 0 ? make("th", { scope: "row" }) : make("td")));
        rows.set(row.key, line);
      }
      // A row that was not sent again is the very one that is shown.
      if (line.shown !== row) {
        fillLine(line, row, tone, link);
        line.shown = row;
      }
      if (line !== before) body.insertBefore(line, before);
      else before = line.nextElementSibling;
    }
  };
  return { whole, fill };
}

/** What leads to the other rows of a table that has more than are shown at a time. */
function pager(turn) {
  let seen = { first: 0, step: 0 };
  const button = (words, to) => {
    const element = make("button", { type: "button" }, words);
    element.addEventListener("click", () => turn(Math.max(0, to())));
    return element;
  };
  const previous = button("Previous", () => seen.first - seen.step);
  const next = button("Next", () => seen.first + seen.step);
  const whole = make("nav", { class: "pager", "aria-label": "Further rows", hidden: true }, previous, next);
  /** Tells which rows there are. */
  const show = (data) => {
    seen = data;
    whole.hidden = data.matched <= data.shown;
    previous.disabled = data.first === 0;
    next.disabled = data.first + data.shown >= data.matched;
    return whole.hidden ? `${data.matched}` : `${data.first + 1} to ${data.first + data.shown} of ${data.matched}`;
  };
  return { whole, show };
}

/** The rows of a table, of those that the place has and those that were sent. */
function assemble(here, data) {
  const has = data.since === null ? [] : here.rows;
  here.rows = data.pieces.flatMap((piece) => piece.key === undefined ? has.slice(piece.from, piece.from + piece.count) : [piece]);
  here.version = data.version;
}

function fillLine(line, row, toneColumn, link) {
  row.cells.forEach((text, column) => {
    const cell = line.cells[column];
    if (column === 0 && link) {
      const anchor = cell.firstElementChild ?? cell.appendChild(make("a"));
      anchor.href = link(row.key);
      write(anchor, text);
    } else if (column === toneColumn) {
      const word = cell.firstElementChild ?? cell.appendChild(make("span"));
      if (word.dataset.tone !== row.tone) word.dataset.tone = row.tone;
      write(word, text);
    } else {
      write(cell, text);
    }
  });
}

// ---- places ------------------------------------------------------------------------------------------------------------

/** Jobs: what is there, in words, and a table with a filter. */
function jobs() {
  const heading = make("h2", {}, "Jobs");
  const counts = make("p", { class: "reason" });
  const text = make("input", { type: "search", id: "filter", value: filters.text, autocomplete: "off", spellcheck: "false" });
  const which = make("select", {}, ...[["all", "All"], ["active", "Not ended"], ["ended", "Ended"]].map(
    ([value, words]) => make("option", { value, selected: filters.which === value }, words)));
  const rows = table("CmdJobs", (key) => `#/jobs/${key.split("/").map(encodeURIComponent).join("/")}`);
  const pages = pager((skip) => {
    filters.skip = skip;
    refresh();
  });
  const again = () => {
    filters.skip = 0;
    filters.text = text.value;
    filters.which = which.value;
    refresh();
  };
  text.addEventListener("input", again);
  which.addEventListener("change", again);
  const form = make("form", { class: "filters", role: "search" },
    make("label", {}, "Filter by name, state, node or reason", text), make("label", {}, "Which", which));
  form.addEventListener("submit", (event) => event.preventDefault());
  return {
    title: "Jobs",
    section: "jobs",
    parts: [heading, counts, form, rows.whole, pages.whole],
    rows: [],
    query: () => ({ text: filters.text, which: filters.which, skip: filters.skip }),
    show: (data, all) => {
      write(counts, data.summary);
      rows.fill(data.table, all, `CmdJobs: ${pages.show(data)}, the newest first`);
    },
  };
}

/** Nodes, or fleets. */
function list(section, title) {
  const rows = table(title, null);
  let skip = 0;
  const pages = pager((to) => {
    skip = to;
    refresh();
  });
  return {
    title,
    section,
    parts: [make("h2", {}, title), rows.whole, pages.whole],
    rows: [],
    query: () => ({ skip }),
    show: (data, all) => rows.fill(data.table, all, data.matched === 0 ? data.none : `${title}: ${pages.show(data)}`),
  };
}

/** One job: how it is, its timeline, its output. */
function job(namespace, name) {
  const state = make("span");
  const reason = make("p", { class: "reason" });
  const bar = make("div", { class: "bar", role: "img" });
  const timeline = make("ol", { class: "timeline" });
  const output = log(namespace);
  return {
    title: name,
    section: "jobs",
    parts: [
      make("p", {}, make("a", { href: "#/jobs" }, "All jobs")),
      make("h2", {}, name, " ", state), reason,
      make("h3", {}, "Timeline"), bar, timeline,
      make("h3", {}, "Output"), output.whole,
    ],
    address: () => `/api/jobs/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`,
    show: (data) => {
      if (state.dataset.tone !== data.tone) state.dataset.tone = data.tone;
      write(state, data.story.state);
      write(reason, data.story.reason);
      showBar(bar, data);
      showTimeline(timeline, data);
      output.pods(data.pods);
    },
    leave: output.stop,
  };
}

function showBar(bar, data) {
  const parts = data.parts.map((part) => `${part.what} ${part.length}`);
  const words = parts.join(", ");
  bar.hidden = parts.length === 0;
  if (bar.getAttribute("aria-label") === words) return;
  bar.setAttribute("aria-label", words);
  bar.replaceChildren(...data.parts.map((part) => {
    const span = make("span", { "data-part": part.what, title: `${part.what} ${part.length}` }, `${part.what} ${part.length}`);
    span.style.flexGrow = Math.max(part.seconds, 0.5);
    return span;
  }));
}

function showTimeline(timeline, data) {
  const lines = data.timeline;
  const text = JSON.stringify(lines);
  if (timeline.dataset.shown === text) return;
  timeline.dataset.shown = text;
  timeline.replaceChildren(...lines.map(([at, after, who, what]) => make("li", {},
    make("time", { datetime: at }, at.replace("T", " ").replace("Z", " UTC")),
    make("span", { class: "after" }, after), make("span", { class: "who" }, who), make("span", {}, what))));
}

/** The output of one of a job's pods, as it is written. */
function log(namespace) {
  const which = make("select", { id: "pod" });
  const text = make("pre", { tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Output" });
  const said = make("p", { role: "status" }, "There is no output yet.");
  const whole = make("div", {}, make("div", { class: "filters" }, make("label", {}, "Attempt", which)), said, text);
  let reading = null;
  let read = null;
  const stop = () => {
    reading?.abort();
    reading = null;
  };
  const begin = async (pod) => {
    stop();
    read = pod;
    text.textContent = "";
    const control = new AbortController();
    reading = control;
    write(said, "");
    try {
      const answer = await fetch(`/api/logs/${encodeURIComponent(namespace)}/${encodeURIComponent(pod)}`, { signal: control.signal });
      if (!answer.ok) throw new Error(await answer.text());
      const words = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await words.read();
        if (done) break;
        append(text, value);
      }
      write(said, text.textContent === "" ? "It has written nothing." : "");
    } catch (error) {
      if (control.signal.aborted) return;
      write(said, `The output cannot be read: ${error.message}`);
      // The next look tries again.
      read = null;
    }
  };
  which.addEventListener("change", () => begin(which.value));
  const pods = (all) => {
    const known = [...which.options].map((option) => option.value).join();
    if (known !== all.map((pod) => pod.name).join()) {
      const chosen = which.value;
      which.replaceChildren(...all.map((pod) => make("option", { value: pod.name, selected: pod.name === chosen }, pod.title)));
      if (!all.some((pod) => pod.name === chosen) && all.length > 0) which.value = all[all.length - 1].name;
    }
    const pod = all.find((one) => one.name === which.value);
    if (pod && pod.hasBegun && read !== pod.name) begin(pod.name);
  };
  return { whole, pods, stop };
}

/** Adds to a text, keeps its last lines, and stays at the end if that is where one was. */
function append(element, more) {
  const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
  element.append(more);
  if (element.childNodes.length > 200) element.normalize();
  const lines = element.textContent.split("\n");
  if (lines.length > MOST_LINES) element.textContent = lines.slice(-MOST_LINES).join("\n");
  if (isAtEnd) element.scrollTop = element.scrollHeight;
}

// ---- going from one to another -----------------------------------------------------------------------------------------

function placeOf(hash) {
  const [section, namespace, name] = hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  if (section === "jobs" && namespace && name) return job(namespace, name);
  if (section === "nodes") return list("nodes", "Nodes");
  if (section === "fleets") return list("fleets", "Fleets");
  return jobs();
}

function go() {
  place?.leave?.();
  place = placeOf(location.hash);
  document.title = `${place.title} – vk-cmd`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${place.section}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren(...place.parts);
  main.focus({ preventScroll: true });
  refresh();
}

/** What is asked for a place: of a table, what is new of it. */
function addressOf(here) {
  if (here.address) return here.address();
  const query = new URLSearchParams(here.query());
  if (here.version !== undefined) query.set("since", here.version);
  return `/api/${here.section}?${query}`;
}

let asking = null;
let timer = 0;

async function refresh() {
  asking?.abort();
  clearTimeout(timer);
  const control = new AbortController();
  asking = control;
  const here = place;
  if (here.version === undefined && !here.address) write(freshness, "Asking the cluster …");
  try {
    const data = await ask(addressOf(here), control.signal);
    if (here !== place || control.signal.aborted) return;
    if (data.pieces) assemble(here, data);
    here.show(data, here.rows);
    trouble.hidden = !data.trouble;
    write(trouble, data.trouble ?? "");
    write(document.getElementById("where"), data.where);
    // Told only when it changes: a screen reader is not to read a clock.
    write(freshness, "Up to date, changes are shown as they come.");
  } catch (error) {
    if (control.signal.aborted) return;
    trouble.hidden = false;
    write(trouble, error instanceof TypeError ? "The dashboard does not answer: has `kubectl cmdjob dashboard` ended?" : error.message);
    write(freshness, "What is shown may be old.");
  }
  timer = setTimeout(() => { if (!document.hidden) refresh(); }, EVERY);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const places = { j: "#/jobs", n: "#/nodes", f: "#/fleets" };
  if (places[event.key]) location.hash = places[event.key];
  else if (event.key === "/") {
    const filter = document.getElementById("filter");
    if (filter) {
      event.preventDefault();
      filter.focus();
    }
  }
});
// Its address would be taken for a place's.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", go);
go();
