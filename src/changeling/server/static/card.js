// The card of a picture: what it is called, how sure that is, what the file says, and what it does not prove.

import { element, svg } from "./dom.js";
import { describeEvidence } from "./evidence.js";
import { copyText, downloadReport } from "./export.js";
import { ExplanationControl } from "./explanation.js";
import { drawScale } from "./scale.js";
import { text } from "./text.js";

const ICONS = {
  fake: "M12 3 22 20 H2 Z M12 9 V14 M12 17 V17.5",
  real: "M4 12.5 10 18 20 6",
  unsure: "M5 12 H19",
  error: "M6 6 18 18 M18 6 6 18",
};

// fake, real, unsure or error.
export function getOutcome(picture) {
  return picture.result?.label ?? "error";
}

export function isMistake({ truth, result }) {
  return Boolean(truth && result && ["real", "fake"].includes(result.label) && result.label !== truth);
}

// Why the outcome is what it is, in a sentence.
export function describeOutcome(picture) {
  const outcome = getOutcome(picture);
  if (outcome === "error") return text.sentences.error(picture.error);
  if (outcome === "unsure") return text.reasons[picture.result.reason] ?? text.reasons.between;
  return text.sentences[outcome](picture.model);
}

export function makeCard(picture, retryHandlers) {
  const outcome = getOutcome(picture);
  const title = `verdict-${picture.id}`;
  const frame = element("div", { class: "picture" }, makeThumbnail(picture));
  const card = element("article", { class: `card ${outcome}`, id: `picture-${picture.id}`, tabindex: -1 });
  card.setAttribute("aria-labelledby", title);
  card.append(
    frame,
    element(
      "div",
      { class: "card-text" },
      element("h3", { id: title }, drawIcon(outcome), text.verdicts[outcome]),
      element("p", { class: "file-name" }, element("bdi", {}, picture.path)),
      makeTags(picture),
      outcome === "error" ? null : makeProbability(picture),
      element("p", {}, describeOutcome(picture)),
      picture.isPasted ? element("p", { class: "caveat" }, text.pasted) : null,
      ...(outcome === "error" ? [] : makeJudged(picture, frame, retryHandlers)),
    ),
  );
  return card;
}

function makeProbability({ result, model }) {
  const { probability, lowest, highest } = result;
  return element(
    "div",
    { class: "probability" },
    element("p", {}, element("strong", {}, text.probability(probability))),
    drawScale(result, model.thresholds),
    lowest === null ? null : element("p", {}, text.range(lowest, highest)),
  );
}

// What only a picture with a verdict has.
function makeJudged(picture, frame, retryHandlers) {
  const explanation = new ExplanationControl(picture, frame, retryHandlers);
  const copy = element("button", { type: "button" }, text.copy);
  copy.addEventListener("click", async () => {
    copy.textContent = (await copyText(formatPicture(picture))) ? text.copied : text.copyFailed;
  });
  const report = { type: "button", title: text.reportHint, onclick: () => downloadReport(picture) };
  return [
    describeEvidence(picture.result.evidence ?? []),
    element(
      "details",
      {},
      element("summary", {}, text.provesTitle),
      element("ul", {}, ...text.proves[picture.result.label].map((sentence) => element("li", {}, sentence))),
    ),
    explanation.panel,
    element("div", { class: "row actions" }, explanation.button, copy, element("button", report, text.report)),
  ];
}

function makeThumbnail(picture) {
  const image = element("img", { alt: text.thumbnail(picture.name), loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(element("p", {}, text.noThumbnail)));
  image.src = picture.url;
  return image;
}

// What a folder and the file itself say, where a verdict must be read beside it.
function makeTags(picture) {
  const tags = [];
  if (picture.truth) tags.push(element("span", { class: "tag" }, text.folderSays[picture.truth]));
  if (isMistake(picture)) tags.push(element("span", { class: "tag wrong" }, text.mistake));
  if (saysGenerated(picture)) tags.push(element("span", { class: "tag wrong" }, text.fileSaysGenerated));
  return tags.length ? element("p", { class: "tags" }, ...tags) : null;
}

function saysGenerated({ result }) {
  return (result?.evidence ?? []).some((item) => item.suggests?.endsWith("generated"));
}

function drawIcon(outcome) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": true }, svg("path", { d: ICONS[outcome] }));
}

function formatPicture(picture) {
  const { probability, lowest, highest, sha256, label } = picture.result;
  return text.plain({
    name: picture.path,
    verdict: text.verdicts[label],
    sentence: describeOutcome(picture),
    probability: text.probability(probability),
    range: lowest === null ? null : text.range(lowest, highest),
    sha256,
    model: picture.model,
  });
}
