// The probability on a scale from 0 to 100 %, with both thresholds.

import { svg } from "./dom.js";
import { percent, text } from "./text.js";

const BAR = { y: 20, height: 10 };
const MIDDLE = BAR.y + BAR.height / 2;

const at = (share) => `${(100 * share).toFixed(2)}%`;

export function drawScale({ probability, lowest, highest }, thresholds) {
  const { real, fake } = thresholds;
  return svg(
    "svg",
    { class: "scale", height: 50, role: "img", "aria-label": text.scale(probability, thresholds) },
    drawZone("real", 0, real),
    drawZone("unsure", real, fake),
    drawZone("fake", fake, 1),
    drawThreshold(real),
    drawThreshold(fake),
    svg("text", { x: 0, y: 12, class: "zone-name" }, text.zones.real),
    svg("text", { x: at((real + fake) / 2), y: 12, class: "zone-name", "text-anchor": "middle" }, text.zones.unsure),
    svg("text", { x: "100%", y: 12, class: "zone-name", "text-anchor": "end" }, text.zones.fake),
    lowest === null ? null : drawRange(lowest, highest),
    svg("circle", { class: "marker", cx: at(probability), cy: MIDDLE, r: 8 }),
  );
}

function drawZone(name, from, to) {
  return svg("rect", { class: `zone-${name}`, x: at(from), width: at(to - from), y: BAR.y, height: BAR.height });
}

function drawThreshold(share) {
  const anchor = share < 0.1 ? "start" : share > 0.9 ? "end" : "middle";
  return svg(
    "g",
    { class: "threshold" },
    svg("line", { x1: at(share), x2: at(share), y1: BAR.y - 3, y2: BAR.y + BAR.height + 4 }),
    svg("text", { x: at(share), y: 47, "text-anchor": anchor }, percent(share)),
  );
}

function drawRange(lowest, highest) {
  return svg(
    "g",
    { class: "range" },
    svg("line", { x1: at(lowest), x2: at(highest), y1: MIDDLE, y2: MIDDLE }),
    ...[lowest, highest].map((end) => svg("line", { x1: at(end), x2: at(end), y1: MIDDLE - 6, y2: MIDDLE + 6 })),
  );
}
