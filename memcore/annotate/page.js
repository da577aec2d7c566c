// Keys become events; events are kept in the browser until the server has them on its disk, and are sent in order.

const KEYS = { y: "copy", n: "no", u: "unsure" };
const AHEAD = 4; // items whose pictures are loaded before they are asked for
const BEHIND = 2;
const PIXEL_ART = 64; // pictures up to this side are enlarged with hard edges, as the report does

const byId = (id) => document.getElementById(id);
const stage = byId("stage");

let items = [];
let prefix = "";
const labels = new Map(); // item -> label
let history = []; // items in the order in which they were answered
let current = 0;

// ---- saving -----------------------------------------------------------------------------------------------------

let unsaved = 0;
let trouble = "";
let chain = Promise.resolve();
let sequence = 0;

function showSaved() {
  const mark = byId("saved");
  mark.className = unsaved ? "saved waiting" : "saved";
  mark.textContent = unsaved ? `${unsaved} unsaved${trouble ? `: ${trouble}` : ""}` : "All saved";
}

function keep(event) {
  const name = `${prefix}${String(Date.now()).padStart(15, "0")}-${String(sequence++).padStart(6, "0")}-${event.key}`;
  try {
    localStorage.setItem(name, JSON.stringify(event));
  } catch {
    // no room or not allowed: the event waits in this page alone, and the mark says so
  }
  enqueue(name, event);
}

function enqueue(name, event) {
  unsaved += 1;
  showSaved();
  chain = chain.then(() => deliver(name, event));
}

async function deliver(name, event) {
  for (let wait = 100; ; wait = Math.min(2 * wait, 3000)) {
    const status = await post(event);
    if (status === 200 || status === 422) {
      trouble = "";
      unsaved -= 1;
      try {
        localStorage.removeItem(name);
      } catch {}
      showSaved();
      if (status === 422) byId("prompt").textContent = "The server refused an answer: reload this page.";
      return;
    }
    trouble = status === 403 ? "open your new link" : "the server does not answer";
    showSaved();
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function post(event) {
  try {
    const headers = { "Content-Type": "application/json" };
    return (await fetch("/event", { method: "POST", headers, body: JSON.stringify(event) })).status;
  } catch {
    return 0;
  }
}

function kept() {
  const found = [];
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const name = localStorage.key(i);
      if (name.startsWith(prefix)) found.push([name, JSON.parse(localStorage.getItem(name))]);
    }
  } catch {}
  return found.sort((a, b) => (a[0] < b[0] ? -1 : 1));
}

// ---- items ------------------------------------------------------------------------------------------------------

const views = new Map(); // item -> {node, ready}

function view(item) {
  if (!views.has(item)) views.set(item, build(items[item]));
  return views.get(item);
}

function build(item) {
  const node = document.createElement("div");
  node.className = item.given.length ? "item conditioned" : "item";
  const pending = [];
  const side = (name, title, numbers) => {
    const box = document.createElement("section");
    box.className = name;
    const heading = document.createElement("h2");
    heading.textContent = title;
    const room = document.createElement("div");
    room.className = "room";
    const grid = document.createElement("div");
    grid.className = "grid";
    for (const [place, number] of numbers.entries()) grid.append(picture(number, `${name} ${place + 1}`, pending));
    if (!numbers.length) grid.append(Object.assign(document.createElement("p"), { textContent: "No pictures are there." }));
    room.append(grid);
    box.append(heading, room);
    node.append(box);
  };
  if (item.given.length) {
    const mask = item.given.length > 1 ? "Given, and its mask: white was repainted" : "Given: all were made from it";
    side("given", mask, item.given);
  }
  side("training", "Nearest training images", item.training);
  const all = item.size > item.generations.length ? `${item.generations.length} of ` : "";
  side("generations", `${all}${item.size} generations of this prompt`, item.generations);
  return { node, ready: Promise.all(pending) };
}

function picture(number, name, pending) {
  const image = new Image();
  image.alt = name;
  image.src = `/image/${number}`;
  pending.push(
    image.decode().then(
      () => image.naturalWidth <= PIXEL_ART && image.classList.add("pixelated"),
      () => image.classList.add("absent"),
    ),
  );
  return image;
}

function next() {
  let item = 0;
  while (item < items.length && labels.has(item)) item += 1;
  return item;
}

function show(item, since) {
  current = item;
  byId("done").style.width = `${(100 * labels.size) / items.length}%`;
  if (item === items.length) {
    finish();
    return;
  }
  byId("rank").textContent = (item + 1).toLocaleString("en");
  byId("of").textContent = `of ${items.length.toLocaleString("en")}`;
  byId("prompt").textContent = items[item].prompt;
  const { node, ready } = view(item);
  stage.replaceChildren(node);
  stage.dataset.item = item;
  for (let near = item; near <= Math.min(item + AHEAD, items.length - 1); near++) view(near);
  for (const far of views.keys()) if (far < item - BEHIND || far > item + AHEAD) views.delete(far);
  ready.then(() => {
    if (current !== item) return;
    stage.dataset.shown = item;
    if (since !== undefined) {
      // The frame after next starts when this item has been painted.
      requestAnimationFrame(() =>
        requestAnimationFrame((now) => performance.measure("key to item", { start: since, end: now })),
      );
    }
  });
}

function finish() {
  const count = (label) => [...labels.values()].filter((l) => l === label).length;
  byId("rank").textContent = items.length.toLocaleString("en");
  byId("of").textContent = "done";
  byId("prompt").textContent = "";
  const end = document.createElement("div");
  end.className = "end";
  const title = Object.assign(document.createElement("h1"), { textContent: "That was all of them" });
  const text = document.createElement("p");
  const times = (label) => (count(label) === 1 ? "once" : `${count(label).toLocaleString("en")} times`);
  text.textContent = `You said copy ${times("copy")}, no copy ${times("no")} and unsure ${times("unsure")}. Z takes back the last answer.`;
  end.append(title, text);
  stage.replaceChildren(end);
  stage.dataset.item = items.length;
}

// ---- keys -------------------------------------------------------------------------------------------------------

function answer(label, since) {
  if (current >= items.length) return;
  labels.set(current, label);
  history = history.filter((item) => item !== current);
  history.push(current);
  keep({ key: crypto.randomUUID(), item: current, label });
  show(next(), since);
}

function undo(since) {
  const item = history.pop();
  if (item === undefined) return;
  labels.delete(item);
  keep({ key: crypto.randomUUID(), item, label: null });
  show(next(), since);
}

function pressed(event) {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key in KEYS) answer(KEYS[key], event.timeStamp);
  else if (key === "z" || key === "backspace") undo(event.timeStamp);
  else return;
  event.preventDefault();
}

function apply({ item, label }) {
  history = history.filter((other) => other !== item);
  if (label === null) labels.delete(item);
  else {
    labels.set(item, label);
    history.push(item);
  }
}

async function start() {
  const response = await fetch("/state");
  if (!response.ok) throw new Error(await response.text());
  const state = await response.json();
  items = state.items;
  prefix = `memcore:${state.run}:${state.annotator}:`;
  for (const [item, label] of state.given) apply({ item, label });
  for (const [name, event] of kept()) {
    apply(event); // pressed before a reload or while the server was away
    enqueue(name, event);
  }
  showSaved();
  show(next());
  document.addEventListener("keydown", pressed);
  for (const button of document.querySelectorAll("button")) {
    button.addEventListener("click", (event) => {
      if ("undo" in button.dataset) undo(event.timeStamp);
      else answer(button.dataset.label, event.timeStamp);
      button.blur(); // or a space bar would press it again
    });
  }
}

start().catch((error) => {
  byId("saved").className = "saved waiting";
  byId("saved").textContent = `Cannot start: ${error.message}`;
});
