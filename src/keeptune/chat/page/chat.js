// One prompt, several columns: asks, shows what comes, keeps what is good. Everything is shown as text, never as HTML,
// but for the boxes of tokens, which the server has escaped.

const byId = (id) => document.getElementById(id);
const [prompt, send, stop, suggestions, status] = ["prompt", "send", "stop", "suggestions", "status"].map(byId);
const WAITING = { waiting: "waits …", loading: "reads its weights …" };
const columns = new Map(); // number -> Column
let reference = null; // {prompt, texts} of the suggestion in the prompt
let running = null; // {id} of what is asked

async function post(path, body) {
  const response = await fetch(path, { method: "POST", body: JSON.stringify(body) });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({ error: response.statusText }));
  throw new Error(error);
}

class Column {
  constructor(told) {
    this.number = told.number;
    this.label = told.label;
    this.asked = null; // the prompt of the answer that is shown
    this.ids = []; // its tokens
    this.lead = ""; // the white space that it begins with, which belongs to it and is not shown
    this.element = byId("column").content.cloneNode(true).firstElementChild;
    this.find(".name").textContent = told.label;
    this.find(".about").textContent = told.about;
    this.find(".score").textContent = told.score;
    this.find(".pick").hidden = !told.recommended;
    this.element.classList.toggle("recommended", told.recommended);
    this.answer = this.find(".answer");
    this.answer.setAttribute("aria-label", `Answer of ${told.label}`);
    this.show("", "idle");
    this.verdicts(told);
    this.box = this.find("input");
    this.box.addEventListener("change", () => this.element.classList.toggle("off", !this.box.checked));
    this.find(".keep").addEventListener("click", () => this.keep());
    this.seen = this.find(".seen");
    this.seen.addEventListener("toggle", () => this.look());
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  verdicts({ counts, suites }) {
    const details = this.find(".verdicts");
    details.hidden = suites.length === 0;
    const marked = (element, verdict, text) => {
      element.className = `word v-${verdict.toLowerCase().replace(" ", "-")}`;
      element.textContent = text;
    };
    for (const { verdict, n } of counts) {
      const count = document.createElement("span");
      marked(count, verdict, `${n} ${verdict}`);
      this.find(".verdicts summary").append(count);
    }
    for (const { suite, verdict, change, sentence } of suites) {
      const row = byId("suite").content.cloneNode(true);
      marked(row.querySelector(".word"), verdict, verdict);
      row.querySelector(".suite").textContent = suite;
      row.querySelector(".change").textContent = change;
      row.querySelector("p").textContent = sentence;
      this.find(".verdicts ul").append(row);
    }
  }

  // What stands in the answer's place: nothing yet, text that is written, a whole answer, or why there is none.
  show(text, state) {
    this.pending = state in WAITING || state === "writing";
    this.answer.textContent = text;
    this.answer.dataset.empty = state === "done" ? "(nothing)" : (WAITING[state] ?? "");
    this.answer.classList.toggle("writing", state === "writing");
    this.answer.classList.toggle("refused", state === "refused");
    const done = state === "done";
    if (done) this.answer.setAttribute("contenteditable", "plaintext-only");
    else this.answer.removeAttribute("contenteditable");
    this.answer.setAttribute("aria-readonly", String(!done));
    this.find(".keeping").hidden = !done;
    this.find(".keep").disabled = false;
    this.said("");
    if (!done) this.foot("");
  }

  foot(text) {
    this.find(".state").textContent = text;
  }

  said(text, wrong = false) {
    const kept = this.find(".kept");
    kept.textContent = text;
    kept.classList.toggle("wrong", wrong);
  }

  add(text) {
    this.answer.append(this.answer.textContent ? text : text.trimStart());
  }

  done({ text, ids, ended, seconds }) {
    this.ids = ids;
    this.lead = text.slice(0, text.length - text.trimStart().length);
    this.show(text.trimStart(), "done");
    const why = { end: "", limit: ", cut at the limit", stopped: ", stopped" }[ended];
    this.foot(`${ids.length} token${ids.length === 1 ? "" : "s"} in ${seconds.toFixed(1)} s${why}`);
    this.compare();
    this.look();
  }

  // Beside the number of tokens: whether the answer is the reference, or the first column's.
  compare() {
    const text = this.answer.textContent.trim();
    const first = columns.values().next().value;
    const mark = (word, class_) => {
      const span = document.createElement("span");
      span.className = class_;
      span.textContent = word;
      this.find(".state").append(" · ", span);
    };
    if (reference?.prompt === this.asked && reference.texts.some((each) => each.trim() === text)) mark("the reference", "right");
    if (first !== this && first.asked === this.asked && first.answer.textContent.trim() === text) mark(`as ${first.label}`, "same");
  }

  async keep() {
    const button = this.find(".keep");
    button.disabled = true;
    try {
      const row = { prompt: this.asked, completion: this.lead + this.answer.textContent, column: this.number };
      const { rows } = await (await post("keep", row)).json();
      this.said(`kept: ${rows} row${rows === 1 ? "" : "s"} in ${page.kept}`);
    } catch (error) {
      this.said(error.message, true);
    }
    button.disabled = false;
  }

  async look() {
    const place = this.seen.querySelector("div");
    if (!this.seen.open) return;
    const see = { prompt: this.asked ?? prompt.value, column: this.number, ids: this.asked === null ? [] : this.ids };
    try {
      place.innerHTML = await (await post("tokens", see)).text();
    } catch (error) {
      place.textContent = error.message;
    }
  }
}

// The events of a response: lines "data: {json}" between empty lines.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
  }
}

const happened = {
  asked: (event) => { running.id = event.id; },
  loading: (event, column) => column.show("", "loading"),
  began: ({ prompt_tokens, shots, dropped }, column) => {
    column.show("", "writing");
    const examples = shots + dropped === 0 ? "" : `, ${shots} of ${shots + dropped} examples in front`;
    column.foot(`a prompt of ${prompt_tokens} tokens${examples}`);
    status.textContent = `${column.label} answers`;
  },
  said: ({ text }, column) => column.add(text),
  done: (event, column) => column.done(event),
  refused: ({ why }, column) => column.show(why, "refused"),
};

async function ask() {
  const chosen = [...columns.values()].filter((column) => column.box.checked);
  const text = prompt.value;
  if (running || !text.trim()) return;
  if (chosen.length === 0) {
    status.textContent = "tick a column that answers";
    return;
  }
  running = { id: null };
  working(true);
  for (const column of chosen) {
    column.asked = text;
    column.ids = [];
    column.show("", "waiting");
  }
  try {
    const response = await post("ask", { prompt: text, columns: chosen.map((column) => column.number) });
    for await (const event of events(response)) happened[event.kind](event, columns.get(event.column));
    status.textContent = "";
  } catch (error) {
    status.textContent = error.message;
  }
  for (const column of chosen) if (column.pending) column.show("", "idle");
  working(false);
  running = null;
}

function working(on) {
  send.disabled = on;
  stop.hidden = !on;
}

function suggest(told) {
  const groups = new Map();
  for (const item of told) groups.set(item.of, [...(groups.get(item.of) ?? []), item]);
  suggestions.hidden = told.length === 0;
  suggestions.append(new Option("A prompt from the run …", ""));
  for (const [of, items] of groups) {
    const group = document.createElement("optgroup");
    group.label = of;
    for (const item of items) {
      const option = new Option(item.prompt.replace(/\s+/g, " ").slice(-70), "taken");
      option.addEventListener("taken", () => take(item));
      group.append(option);
    }
    suggestions.append(group);
  }
  suggestions.addEventListener("change", () => {
    suggestions.selectedOptions[0].dispatchEvent(new Event("taken"));
    suggestions.selectedIndex = 0;
  });
}

function take(item) {
  prompt.value = item.prompt;
  reference = { prompt: item.prompt, texts: item.references };
  const place = byId("reference");
  place.hidden = item.references.length === 0;
  place.textContent = "Reference: ";
  place.append(Object.assign(document.createElement("b"), { textContent: item.references.join(" | ") }));
  prompt.focus();
}

prompt.addEventListener("input", () => { byId("reference").hidden = reference?.prompt !== prompt.value; });
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
});
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
addEventListener("click", ({ target }) => {
  for (const open of document.querySelectorAll(".verdicts[open]")) if (!open.contains(target)) open.open = false;
});
stop.addEventListener("click", () => running?.id && post("stop", { id: running.id }).catch(() => {}));

const page = await (await fetch("columns")).json();
document.title = `${page.title} · keeptune chat`;
byId("title").textContent = page.title;
byId("limits").textContent = `Greedy: always the likeliest token, at most ${page.max_new_tokens}. An answer can be corrected where it stands before it is kept in ${page.kept}. Ctrl + Enter asks.`;
for (const note of page.notes) byId("notes").append(Object.assign(document.createElement("li"), { textContent: note }));
for (const told of page.columns) {
  const column = new Column(told);
  columns.set(told.number, column);
  byId("columns").append(column.element);
}
suggest(page.suggestions);
document.body.dataset.ready = "";
