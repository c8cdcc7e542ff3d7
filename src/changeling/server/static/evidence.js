// What a file says about its origin.

import { element } from "./dom.js";
import { text } from "./text.js";

export function describeEvidence(items) {
  const found = items.filter((item) => !["absent", "unavailable"].includes(item.state));
  if (!found.length) return element("p", { class: "caveat" }, text.evidenceNone);
  const absent = items.filter((item) => item.state === "absent").map((item) => item.kind);
  return element(
    "details",
    { open: true },
    element("summary", {}, text.evidenceTitle),
    element("p", { class: "caveat" }, text.evidenceHint),
    ...found.map(makeItem),
    absent.length ? element("p", { class: "caveat" }, text.evidenceAbsent(absent)) : null,
  );
}

function makeItem(item) {
  const says = item.suggests ? `: ${text.suggests[item.suggests]}` : "";
  const details = [[text.worth, item.worth], [text.forging, item.forging], ...Object.entries(item.details)];
  return element(
    "div",
    { class: "evidence" },
    element("h4", {}, `${item.kind} (${item.state})${says}`),
    element("p", {}, item.summary),
    element(
      "dl",
      {},
      ...details
        .filter(([, value]) => value)
        .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, element("bdi", {}, value)))),
    ),
  );
}
