// The ROC curve, with the point at which the verdicts stand.

import { element, svg } from "./dom.js";
import { percent, text } from "./text.js";

const SIDE = 240;
const LEFT = 64;
const TOP = 10;
const TICKS = [0, 0.5, 1];

const x = (rate) => LEFT + SIDE * rate;
const y = (rate) => TOP + SIDE * (1 - rate);

export function drawRoc({ roc, false_positives: falsePositives, true_positives: truePositives }) {
  const points = roc.map((point) => `${x(point.false_positive_rate)},${y(point.true_positive_rate)}`).join(" ");
  const has = falsePositives.value !== null && truePositives.value !== null;
  const label = has ? text.rocLabel(falsePositives.value, truePositives.value) : text.rocTitle;
  return element(
    "figure",
    { class: "roc" },
    element("figcaption", {}, text.rocTitle),
    svg(
      "svg",
      { viewBox: `0 0 ${LEFT + SIDE + 14} ${TOP + SIDE + 44}`, role: "img", "aria-label": label },
      svg("rect", { class: "frame", x: LEFT, y: TOP, width: SIDE, height: SIDE }),
      svg("line", { class: "chance", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
      ...TICKS.flatMap(drawTicks),
      svg("polyline", { class: "curve", points }),
      has ? drawPoint(falsePositives.value, truePositives.value) : null,
      svg("text", { x: x(0.5), y: TOP + SIDE + 38, "text-anchor": "middle" }, text.rocX),
      svg("text", { transform: `translate(12 ${y(0.5)}) rotate(-90)`, "text-anchor": "middle" }, text.rocY),
    ),
  );
}

function drawTicks(rate) {
  return [
    svg("text", { x: x(rate), y: TOP + SIDE + 18, "text-anchor": rate === 1 ? "end" : "middle" }, percent(rate)),
    svg("text", { x: LEFT - 6, y: y(rate) + 4, "text-anchor": "end" }, percent(rate)),
  ];
}

function drawPoint(falsePositiveRate, truePositiveRate) {
  const isRight = falsePositiveRate > 0.6;
  const labelX = x(falsePositiveRate) + (isRight ? -12 : 12);
  return svg(
    "g",
    { class: "point" },
    svg("circle", { cx: x(falsePositiveRate), cy: y(truePositiveRate), r: 6 }),
    svg("text", { x: labelX, y: y(truePositiveRate) + (truePositiveRate < 0.1 ? -8 : 16), "text-anchor": isRight ? "end" : "start" }, text.rocPoint),
  );
}
