// The map of a picture: which cells push its score toward generated and which toward real. Made on demand.

import { explain, sendWithRetries } from "./api.js";
import { element, svg } from "./dom.js";
import { readBytes } from "./queue.js";
import { text } from "./text.js";

const MAX_OPACITY = 0.65;

export class ExplanationControl {
  // A button, a panel for what it shows, and a layer over the picture in `frame`.
  constructor(picture, frame, retryHandlers) {
    Object.assign(this, { picture, frame, retryHandlers });
    this.isRunning = false;
    this.button = element("button", { type: "button", "aria-expanded": false }, text.explain);
    this.panel = element("div", { class: "explanation", role: "status" });
    this.button.addEventListener("click", () => this.#toggle());
  }

  async #toggle() {
    if (this.isRunning) return;
    if (this.layer) this.#hide();
    else {
      this.isRunning = true;
      this.button.setAttribute("aria-disabled", "true");
      await this.#show();
      this.button.removeAttribute("aria-disabled");
      this.isRunning = false;
    }
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
      this.explained ??= await this.#fetch();
    } catch (error) {
      this.panel.replaceChildren(element("p", {}, text.sentences.error(error.message)));
      return;
    }
    this.layer = drawMap(this.explained);
    this.frame.append(this.layer);
    this.panel.replaceChildren(...describe(this.explained));
    this.button.textContent = text.explainAgain;
    this.button.setAttribute("aria-expanded", "true");
  }

  async #fetch() {
    this.panel.replaceChildren(element("p", {}, text.explaining));
    const upload = { blob: new Blob([await readBytes(this.picture.file)]), name: this.picture.name };
    const { signal } = this.retryHandlers;
    return (await sendWithRetries(() => explain(upload, { signal }), this.retryHandlers)).result;
  }
}

function drawMap(explained) {
  const { width, height, cells } = explained;
  const largest = Math.max(...cells.map((cell) => Math.abs(cell.contribution)), 1e-9);
  const attributes = { class: "map", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text.mapLabel };
  return svg("svg", attributes, drawUnseen(explained), ...cells.map((cell) => drawCell(cell, largest)));
}

function drawCell({ box, contribution, margin }, largest) {
  const [left, top, right, bottom] = box;
  const isNoise = Math.abs(contribution) <= margin;
  return svg("rect", {
    class: contribution > 0 ? "toward-fake" : "toward-real",
    x: left,
    y: top,
    width: right - left,
    height: bottom - top,
    "fill-opacity": isNoise ? 0 : ((MAX_OPACITY * Math.abs(contribution)) / largest).toFixed(3),
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
