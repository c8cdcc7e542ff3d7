// The map of a picture: which cells push its score toward generated and which toward real. Made on demand.

import { explain, sendWithRetries } from "./api.js";
import { element, svg } from "./dom.js";
import { readBytes } from "./queue.js";
import { text } from "./text.js";

const MAX_OPACITY = 0.7;

export class ExplanationControl {
  // A button, a panel for what it shows, and a layer over the picture in `frame`.
  constructor(picture, frame, retryHandlers) {
    Object.assign(this, { picture, frame, retryHandlers });
    this.button = element("button", { type: "button", "aria-expanded": false }, text.explain);
    this.panel = element("div", { class: "explanation", role: "status" });
    this.button.addEventListener("click", () => this.#toggle());
  }

  #toggle() {
    if (this.controller) this.controller.abort();
    else if (this.layer) this.#hide();
    else this.#show();
  }

  #hide() {
    this.layer.remove();
    this.layer = null;
    this.panel.replaceChildren();
    this.button.textContent = text.explain;
    this.button.setAttribute("aria-expanded", "false");
  }

  async #show() {
    try {
      this.explained ??= await this.#fetchWithClock();
    } catch (error) {
      const message = error.name === "AbortError" ? text.explainCancelled : text.sentences.error(error.message);
      this.panel.replaceChildren(element("p", {}, message));
      this.button.textContent = text.explain;
      return;
    }
    this.layer = drawMap(this.explained);
    this.frame.append(this.layer);
    this.panel.replaceChildren(...describe(this.explained));
    this.button.textContent = text.explainAgain;
    this.button.setAttribute("aria-expanded", "true");
  }

  // Until the answer comes, the button cancels, and the panel says for how long the service has worked.
  async #fetchWithClock() {
    this.controller = new AbortController();
    const signal = AbortSignal.any([this.retryHandlers.signal, this.controller.signal]);
    const clock = element("p", { role: "timer", "aria-live": "off" }, text.elapsed(0));
    const started = performance.now();
    const timer = setInterval(() => (clock.textContent = text.elapsed((performance.now() - started) / 1000)), 1000);
    this.panel.replaceChildren(element("p", {}, text.explaining), element("progress", { "aria-label": text.explainRunning }), clock);
    this.frame.setAttribute("aria-busy", "true");
    this.button.textContent = text.cancel;
    try {
      return await Promise.race([this.#fetch(signal), rejectWhenAborted(signal)]);
    } finally {
      clearInterval(timer);
      this.frame.removeAttribute("aria-busy");
      this.controller = null;
    }
  }

  async #fetch(signal) {
    const upload = { blob: new Blob([await readBytes(this.picture.file)]), name: this.picture.name };
    return (await sendWithRetries(() => explain(upload, { signal }), { ...this.retryHandlers, signal })).result;
  }
}

// Some waits cannot be aborted, such as that for a key.
function rejectWhenAborted(signal) {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}

function drawMap(explained) {
  const { width, height, cells } = explained;
  const coloured = cells.filter((cell) => !isNoise(cell));
  const largest = Math.max(...coloured.map((cell) => Math.abs(cell.contribution)), 1e-9);
  const attributes = { class: "map", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text.mapLabel };
  return svg("svg", attributes, drawUnseen(explained), ...cells.map((cell) => drawCell(cell, largest)));
}

function isNoise({ contribution, margin }) {
  return Math.abs(contribution) <= margin;
}

function drawCell(cell, largest) {
  const [left, top, right, bottom] = cell.box;
  const share = isNoise(cell) ? 0 : Math.abs(cell.contribution) / largest;
  return svg("rect", {
    class: cell.contribution > 0 ? "toward-fake" : "toward-real",
    x: left,
    y: top,
    width: right - left,
    height: bottom - top,
    "fill-opacity": (MAX_OPACITY * share).toFixed(3),
  });
}

// A shade over what the detector does not see, outside its square from the middle.
function drawUnseen({ width, height, cells }) {
  const [left, top] = cells[0].box;
  const [, , right, bottom] = cells.at(-1).box;
  const d = `M0 0H${width}V${height}H0Z M${left} ${top}H${right}V${bottom}H${left}Z`;
  return svg("path", { class: "unseen", d, "fill-rule": "evenodd" });
}

function describe(explained) {
  return [
    element("h4", {}, text.explainTitle),
    element("p", {}, text.explainLegend),
    element("p", { class: "caveat" }, text.explainSum(explained)),
    ...(explained.nearest?.length ? [makeNeighbours(explained.nearest)] : []),
  ];
}

function makeNeighbours(nearest) {
  const head = element("tr", {}, ...text.nearestHeads.map((name) => element("th", { scope: "col" }, name)));
  const rows = nearest.map(({ distance, label, source, generator }) =>
    element("tr", {}, ...[distance.toFixed(3), label, source, generator ?? ""].map((cell) => element("td", {}, cell))),
  );
  return element(
    "details",
    {},
    element("summary", {}, text.nearestTitle),
    element("p", { class: "caveat" }, text.nearestHint),
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)),
  );
}
