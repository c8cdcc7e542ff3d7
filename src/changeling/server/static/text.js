// All English text of the page. To translate it, translate this file and the title, `lang` and noscript of index.html.

const locale = "en";
const integers = new Intl.NumberFormat(locale);

export function percent(share) {
  if (share > 0 && share < 0.001) return "under 0.1 %";
  if (share < 1 && share > 0.999) return "over 99.9 %";
  return `${(100 * share).toFixed(1).replace(/\.0$/, "")} %`;
}

function count(number, one, many) {
  return `${integers.format(number)} ${number === 1 ? one : many}`;
}

function duration(seconds) {
  if (seconds < 10) return "a few seconds";
  if (seconds < 90) return `about ${Math.round(seconds / 10) * 10} seconds`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} minutes`;
  return `about ${Math.round(seconds / 3600)} hours`;
}

function rate(share) {
  if (share.value === null) return "none (no pictures)";
  return `${percent(share.value)} (${share.count} of ${share.images}; 95 % interval ${percent(share.low)} to ${percent(share.high)})`;
}

export const text = {
  tagline: "Is this picture generated? A second opinion on pixels, on your own machine.",
  addTitle: "Add pictures",
  addHint: "Drop pictures or a folder here, paste, or choose. The original files are judged, byte for byte.",
  chooseFiles: "Choose pictures",
  chooseFolder: "Choose a folder",
  stable: "Check re-saved copies, too",
  stableHint: "Shows how far the probability moves when a picture is saved again, scaled or cropped. Seven times slower.",
  keyLabel: "This service needs an API key",
  keySubmit: "Use this key",
  keyHint: "The key stays in the memory of this page and is forgotten when you close or reload it.",
  keyWrong: "The service does not accept this key.",
  cancel: "Cancel",
  resultsTitle: "Results",
  sortLabel: "Sort by",
  downloadJson: "Download JSON",
  downloadCsv: "Download CSV",
  clear: "Clear all",
  nothingMatches: "No picture matches this filter.",
  filtersLabel: "Show",
  filters: { all: "All", fake: "Generated", unsure: "Unsure", real: "Real", error: "Errors" },
  sorts: {
    added: "order added",
    highest: "most likely generated",
    lowest: "least likely generated",
    name: "file name",
  },

  verdicts: { fake: "Looks generated", real: "Looks real", unsure: "No clear answer", error: "Could not be judged" },
  probability: (share) => `Probability generated: ${percent(share)}`,
  range: (lowest, highest) => `${percent(lowest)} to ${percent(highest)} over re-saved copies`,
  scale: (probability, thresholds) =>
    `A scale from 0 to 100 %. The probability is ${percent(probability)}. Below ${percent(thresholds.real)} a picture ` +
    `is called real, above ${percent(thresholds.fake)} generated, and unsure in between.`,
  zones: { real: "real", unsure: "unsure", fake: "generated" },

  sentences: {
    fake: (model) =>
      model.false_positive_rate === null
        ? "The detector takes this picture for generated."
        : "The detector takes this picture for generated. The threshold is set so that on most sources at most " +
          `${percent(model.false_positive_rate)} of real pictures are called that.`,
    real: (model) =>
      model.false_negative_rate === null
        ? "The detector takes this picture for a real photograph."
        : "The detector takes this picture for a real photograph. Up to " +
          `${percent(model.false_negative_rate)} of the generated pictures of a source may be called that, too.`,
    error: (message) => `There is no verdict: ${message}`,
  },
  reasons: {
    between:
      "The probability lies between the two thresholds: the detector sees too little either way to decide. Look for the " +
      "original file, and for who published it first.",
    "too small": "The picture is too small to judge: its short side has fewer than 32 pixels.",
    flat: "The picture is nearly of one colour, so there is nothing to judge.",
    "not a photograph": "This looks like a drawing, a document or a screenshot. The detector only knows photographs.",
    unstable: "The verdict changes between real and generated when the picture is saved again, scaled or cropped.",
  },
  pasted:
    "Pasted pictures are copies that the browser made: the file's own data is gone, and the pixels may differ. " +
    "Judge the original file if you have it.",
  folderSays: { real: "Your folder says: real", fake: "Your folder says: generated" },
  mistake: "Contradicts your folder",
  fileSaysGenerated: "The file says: generated",

  provesTitle: "What this does not prove",
  proves: {
    fake: [
      "Some real photographs are called generated, more often from sources unlike those that the detector was trained on.",
      "It does not say who made the picture, how, or whether what it shows happened.",
      "Ask who published it first, and for the original file, before you act on it.",
    ],
    real: [
      "Pictures by new generators, and retouched or staged photographs, can be called real.",
      "A real photograph can be old, cropped, or from another place than is claimed.",
      "Look at who published it first, and at what the file says about itself.",
    ],
    unsure: [
      "It is not evidence in either direction, and it is a common answer.",
      "A larger or less often saved copy of the picture may give a clearer one.",
    ],
  },

  evidenceTitle: "What the file says about itself",
  evidenceNone: "The file says nothing about its origin. That proves nothing: most websites remove it.",
  evidenceAbsent: (kinds) => `Not found: ${kinds.join(", ")}. That proves nothing: most websites remove it.`,
  evidenceHint: "From the file's data, not from its pixels: it has no part in the verdict.",
  suggests: {
    generated: "says the picture is generated",
    "partly generated": "says the picture is partly generated",
    captured: "says a camera captured it",
  },
  worth: "Worth",
  forging: "To forge",

  explain: "Show where the score comes from",
  explainAgain: "Hide the map",
  explaining:
    "Working it out: this takes about 120 times as long as a verdict, a minute or two if the machine does nothing else.",
  explainRunning: "The map is being made",
  elapsed: (seconds) => `${Math.floor(seconds)} s so far`,
  explainCancelled: "Cancelled: no map was made.",
  explainTitle: "Where the score comes from",
  explainLegend: "Orange cells push the score toward generated, blue ones toward real; cells without colour are within noise.",
  explainSum: (explained) =>
    `The blurred picture scores ${explained.blurred_score.toFixed(2)}, all cells together add ` +
    `${(explained.score - explained.blurred_score).toFixed(2)}: a score of ${explained.score.toFixed(2)} (log-odds; above 0 ` +
    "is more likely generated). The map shows what the detector reacts to, not where a picture was altered.",
  mapLabel: "Grid of contributions over the picture",
  nearestTitle: "Most similar training pictures",
  nearestHint: "Weak evidence: what looks alike can be real or generated.",
  nearestHeads: ["distance", "label", "source", "generator"],

  copy: "Copy text",
  copied: "Copied",
  copyFailed: "The browser did not allow copying.",
  report: "Report this verdict",
  reportHint: "Downloads a file with the picture's hash, versions and scores, without the picture.",
  plain: ({ name, verdict, sentence, probability, range, sha256, model }) =>
    [
      `${name}: ${verdict}`,
      sentence,
      probability,
      range,
      `SHA-256 ${sha256}`,
      `Detector ${model.name}, changeling ${model.version}. A verdict is evidence, not proof.`,
    ]
      .filter(Boolean)
      .join("\n"),

  thumbnail: (name) => `The picture ${name}`,
  noThumbnail: "The browser cannot show this format.",

  progress: ({ done, total, seconds }) => {
    if (done >= total) return `${count(total, "picture", "pictures")} done`;
    const left = seconds === null ? "" : `, ${duration(seconds)} left`;
    return `${integers.format(done)} of ${count(total, "picture", "pictures")} done${left}`;
  },
  finished: (counts) =>
    `Done: ${counts.fake} generated, ${counts.unsure} unsure, ${counts.real} real, ${count(counts.error, "error", "errors")}.`,
  cancelled: (left) => `Cancelled: ${count(left, "picture was", "pictures were")} not judged.`,
  skipped: (number) => `${count(number, "file was", "files were")} left out: not pictures by their names.`,
  noPictures: "There are no pictures in what you added.",
  busy: (seconds) => `The service is busy. Trying again in ${Math.ceil(seconds)} s.`,
  unreachable: (seconds) => `The service does not answer. Trying again in ${Math.ceil(seconds)} s; nothing is lost.`,
  unreadable: "the browser cannot read the file; was it moved or changed?",
  brokenUpload: "the upload broke off three times.",
  httpError: (status) => `the service answered with error ${status}.`,

  evaluationTitle: "Your labelled pictures",
  evaluationHint: (pictures) =>
    `${count(pictures, "picture", "pictures")} came from folders called real or fake. This is how the detector does on them.`,
  evaluationWaiting: "The evaluation follows when all pictures are judged.",
  evaluationFailed: (message) => `The evaluation failed: ${message}`,
  matrixCaption: "What the detector called them",
  matrixHeads: ["Folder says", "called real", "called generated", "unsure", "not read"],
  truths: { real: "real", fake: "generated" },
  rates: {
    decided: (value) => ["Decided", rate(value)],
    accuracy: (value) => ["Correct, of those decided", rate(value)],
    false_positives: (value) => ["Real called generated", rate(value)],
    false_negatives: (value) => ["Generated called real", rate(value)],
    true_positives: (value) => ["Generated that were found", rate(value)],
  },
  auroc: (area) =>
    area.value === null
      ? ["AUROC", "needs both real and generated pictures"]
      : ["AUROC", `${percent(area.value)} (95 % interval ${percent(area.low)} to ${percent(area.high)})`],
  rocTitle: "ROC curve",
  rocLabel: (falsePositives, truePositives) =>
    `ROC curve: at the threshold of generated, ${percent(truePositives)} of the generated pictures are found and ` +
    `${percent(falsePositives)} of the real ones are called generated.`,
  rocX: "real pictures called generated",
  rocY: "generated pictures found",
  rocPoint: "verdicts",
  mistakesTitle: "Mistakes, the worst first",
  mistakesNone: "No picture was called the opposite of what its folder says.",
  mistakeCall: (label, share) => `called ${label === "fake" ? "generated" : "real"} (${percent(share)})`,

  readingTitle: "How to read a verdict",
  reading: [
    "A verdict is evidence, not proof. It comes from the pixels alone.",
    "“No clear answer” is common, and on purpose: the detector would rather abstain than accuse a real picture.",
    "Give it the original file. Screenshots, and pictures that were saved many times, have lost what it looks for.",
    "Find out whether to trust it on your pictures: put some of known origin into folders called real and fake, and drop " +
      "both here.",
  ],
  model: (model) =>
    `Detector ${model.name} on ${model.backbone}, changeling ${model.version}. Called real below ` +
    `${percent(model.thresholds.real)}, generated above ${percent(model.thresholds.fake)}.`,
  privacy: "Pictures go to this service only. It stores nothing, and this page loads nothing from elsewhere.",
};
