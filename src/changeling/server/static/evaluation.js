// How the detector does on labelled folders: confusion matrix, error rates, ROC curve, and the worst mistakes.

import { evaluate, sendWithRetries } from "./api.js";
import { byId, element } from "./dom.js";
import { drawRoc } from "./roc.js";
import { text } from "./text.js";

const RATES = ["decided", "accuracy", "false_positives", "false_negatives", "true_positives"];
const MAX_MISTAKES = 20;

let latest = 0; // number of the last evaluation: the answers of earlier ones are not shown

// Evaluate the pictures whose folder says what they are, and show that, or hide the section if there are none.
export async function showEvaluation(pictures, { isBusy, retryHandlers, showPicture }) {
  const number = ++latest;
  const labelled = pictures.filter((picture) => picture.truth && (picture.result || picture.error));
  byId("evaluation").hidden = !pictures.some((picture) => picture.truth);
  const content = byId("evaluation-content");
  if (byId("evaluation").hidden) return;
  if (isBusy || !labelled.length) {
    content.replaceChildren(element("p", {}, text.evaluationWaiting));
    return;
  }
  try {
    const verdicts = labelled.map(({ truth, result }) => ({
      truth,
      label: result?.label ?? null,
      probability: result?.probability ?? null,
    }));
    const evaluation = await sendWithRetries(() => evaluate(verdicts), retryHandlers);
    if (number === latest) content.replaceChildren(...describe(evaluation, labelled, showPicture));
  } catch (error) {
    if (number === latest) content.replaceChildren(element("p", {}, text.evaluationFailed(error.message)));
  }
}

function describe(evaluation, labelled, showPicture) {
  return [
    element("p", {}, text.evaluationHint(labelled.length)),
    element(
      "div",
      { class: "columns" },
      element("div", {}, makeMatrix(evaluation.confusion), makeRates(evaluation)),
      evaluation.roc.length ? drawRoc(evaluation) : null,
    ),
    element("h3", {}, text.mistakesTitle),
    makeMistakes(evaluation.mistakes.slice(0, MAX_MISTAKES).map((position) => labelled[position]), showPicture),
    element("ul", { class: "caveat" }, ...evaluation.notes.map((note) => element("li", {}, note))),
  ];
}

function makeMatrix(confusion) {
  const head = element("tr", {}, ...text.matrixHeads.map((name) => element("th", { scope: "col" }, name)));
  const rows = confusion.map((row) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, text.truths[row.truth]),
      ...["real", "fake", "unsure", "unreadable"].map((called) =>
        element("td", { class: called === row.truth ? "right" : called in text.truths ? "wrong" : "" }, row[called]),
      ),
    ),
  );
  return element(
    "table",
    { class: "matrix" },
    element("caption", {}, text.matrixCaption),
    element("thead", {}, head),
    element("tbody", {}, ...rows),
  );
}

function makeRates(evaluation) {
  const pairs = RATES.map((name) => text.rates[name](evaluation[name]));
  pairs.push(text.auroc(evaluation.auroc));
  const items = pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  return element("dl", { class: "rates" }, ...items);
}

function makeMistakes(mistakes, showPicture) {
  if (!mistakes.length) return element("p", {}, text.mistakesNone);
  const items = mistakes.map((picture) => {
    const { label, probability } = picture.result;
    const name = element("button", { type: "button", class: "link", onclick: () => showPicture(picture) });
    name.append(element("bdi", {}, picture.path));
    return element("li", {}, name, ` ${text.mistakeCall(label, probability)}`);
  });
  return element("ol", { class: "mistakes" }, ...items);
}
