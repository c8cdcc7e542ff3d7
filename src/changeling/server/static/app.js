// The page: what is added, judged, shown, filtered, sorted and downloaded.

import { describeModel, sendWithRetries, setKey } from "./api.js";
import { getOutcome, makeCard } from "./card.js";
import { byId, element } from "./dom.js";
import { showEvaluation } from "./evaluation.js";
import { downloadCsv, downloadJson } from "./export.js";
import { findTruth, readDrop, readInput, readPaste } from "./files.js";
import { DetectionQueue } from "./queue.js";
import { text } from "./text.js";

const ANNOUNCE_SECONDS = 5;

const pictures = []; // in the order in which they were added
let shown = "all";
let announced = 0;
let nextId = 0;
let status = ""; // what the page says while requests wait
let session = new AbortController(); // of the explanations, until everything is cleared
const waiting = new Set(); // requests that are to be sent again
let pendingKey = null; // {promise, resolve} while the page waits for a key

const retryHandlers = { notify: showStatus, askForKey };
const queue = new DetectionQueue({
  isStable: () => byId("stable").checked,
  onJudged: addCard,
  onProgress: showProgress,
  ...retryHandlers,
});

function addFiles({ files, skipped }) {
  showNotice([files.length ? "" : text.noPictures, skipped ? text.skipped(skipped) : ""].filter(Boolean).join(" "));
  if (!files.length) return;
  const added = files.map(({ file, path, isPasted = false }) => ({
    id: nextId++,
    file,
    path,
    isPasted,
    name: file.name,
    truth: findTruth(path),
    url: URL.createObjectURL(file),
  }));
  pictures.push(...added);
  document.body.classList.add("has-pictures");
  queue.add(added);
  updateEvaluation();
}

function addCard(picture) {
  picture.card = makeCard(picture, { ...retryHandlers, signal: session.signal });
  byId("results").hidden = false;
  byId("cards").append(picture.card);
  showCards();
  if (queue.isBusy) return;
  announce(text.finished(countOutcomes()));
  updateEvaluation();
}

function updateEvaluation() {
  return showEvaluation(pictures, { isBusy: queue.isBusy, retryHandlers, showPicture });
}

function showPicture(picture) {
  setFilter("all");
  picture.card.scrollIntoView({ block: "center" });
  picture.card.focus({ preventScroll: true });
}

function listJudged() {
  return pictures.filter((picture) => picture.card);
}

function countOutcomes() {
  const counts = { all: 0, fake: 0, unsure: 0, real: 0, error: 0 };
  for (const picture of listJudged()) {
    counts[getOutcome(picture)] += 1;
    counts.all += 1;
  }
  return counts;
}

const getProbability = (picture, missing) => picture.result?.probability ?? missing;
const ORDERS = {
  added: (one, other) => one.id - other.id,
  highest: (one, other) => getProbability(other, -1) - getProbability(one, -1) || one.id - other.id,
  lowest: (one, other) => getProbability(one, 2) - getProbability(other, 2) || one.id - other.id,
  name: (one, other) => one.path.localeCompare(other.path) || one.id - other.id,
};

// Put the cards in order, moving as few as possible, and hide those that the filter leaves out.
function showCards() {
  const judged = listJudged().sort(ORDERS[byId("sort").value]);
  let next = byId("cards").firstElementChild;
  let visible = 0;
  for (const { card, ...picture } of judged) {
    card.hidden = shown !== "all" && shown !== getOutcome(picture);
    visible += card.hidden ? 0 : 1;
    if (card === next) next = next.nextElementSibling;
    else byId("cards").insertBefore(card, next);
  }
  byId("nothing").hidden = visible > 0 || judged.length === 0;
  const counts = countOutcomes();
  for (const button of byId("filters").children) {
    button.lastElementChild.textContent = counts[button.value];
    button.setAttribute("aria-pressed", button.value === shown);
  }
}

function setFilter(name) {
  shown = name;
  showCards();
}

function showProgress() {
  const { done, total, isBusy, secondsLeft } = queue;
  byId("progress").hidden = !isBusy;
  if (!isBusy) return;
  const message = text.progress({ done, total, seconds: secondsLeft });
  byId("progress-text").textContent = message;
  byId("progress-bar").max = total;
  byId("progress-bar").value = done;
  if (performance.now() - announced > 1000 * ANNOUNCE_SECONDS) announce(message);
}

function announce(message) {
  announced = performance.now();
  byId("announcement").textContent = message;
}

// What requests wait for; when none of them waits any more, that is taken back, but no other notice.
function showStatus({ request, kind, seconds }) {
  if (kind !== null) {
    waiting.add(request);
    status = text[kind](seconds);
    showNotice(status);
  } else if (waiting.delete(request) && !waiting.size && byId("status").textContent === status) showNotice("");
}

function showNotice(message) {
  if (byId("status").textContent !== message) byId("status").textContent = message;
}

// Resolves when the key field was sent; all requests that wait for a key share one field.
function askForKey() {
  if (pendingKey === null) {
    const hadKey = byId("key").value !== "";
    pendingKey = Promise.withResolvers();
    byId("key-form").hidden = false;
    byId("key").value = "";
    showNotice(hadKey ? text.keyWrong : "");
    byId("key").focus();
  }
  return pendingKey.promise;
}

function useKey(event) {
  event.preventDefault();
  setKey(byId("key").value);
  byId("key-form").hidden = true;
  showNotice("");
  pendingKey?.resolve();
  pendingKey = null;
}

function cancel() {
  const left = queue.cancel();
  const dropped = pictures.filter((picture) => !picture.card);
  for (const picture of dropped) {
    URL.revokeObjectURL(picture.url);
    pictures.splice(pictures.indexOf(picture), 1);
  }
  showNotice(text.cancelled(left));
  updateEvaluation();
}

function clear() {
  if (queue.isBusy) queue.cancel();
  session.abort();
  session = new AbortController();
  for (const picture of pictures) URL.revokeObjectURL(picture.url);
  pictures.length = 0;
  byId("cards").replaceChildren();
  byId("results").hidden = true;
  document.body.classList.remove("has-pictures");
  showNotice("");
  updateEvaluation();
  byId("choose-files").focus();
}

function connectInputs() {
  for (const [button, input] of [["choose-files", "files"], ["choose-folder", "folder"]]) {
    byId(button).addEventListener("click", () => byId(input).click());
    byId(input).addEventListener("change", ({ target }) => {
      addFiles(readInput(target));
      target.value = ""; // so that the same files can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) addFiles(readPaste(event.clipboardData));
  });
  const setDragging = (isDragging) => byId("add").classList.toggle("dragging", isDragging);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    setDragging(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) setDragging(false);
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    setDragging(false);
    addFiles(await readDrop(event.dataTransfer));
  });
}

function connectToolbar() {
  byId("filters").setAttribute("aria-label", text.filtersLabel);
  for (const [value, name] of Object.entries(text.filters)) {
    const button = element("button", { type: "button", value, "aria-pressed": value === shown }, `${name} `);
    button.append(element("span", { class: "count" }, "0"));
    button.addEventListener("click", () => setFilter(value));
    byId("filters").append(button);
  }
  for (const [value, name] of Object.entries(text.sorts)) byId("sort").append(element("option", { value }, name));
  byId("sort").addEventListener("change", showCards);
  byId("cancel").addEventListener("click", cancel);
  byId("clear").addEventListener("click", clear);
  byId("download-json").addEventListener("click", () => downloadJson(listJudged()));
  byId("download-csv").addEventListener("click", () => downloadCsv(listJudged()));
  byId("key-form").addEventListener("submit", useKey);
}

async function start() {
  for (const part of document.querySelectorAll("[data-text]")) part.textContent = text[part.dataset.text];
  byId("reading").append(...text.reading.map((sentence) => element("li", {}, sentence)));
  connectInputs();
  connectToolbar();
  try {
    byId("model").textContent = text.model(await sendWithRetries(() => describeModel(), retryHandlers));
  } catch (error) {
    showNotice(error.message);
  }
}

start();
