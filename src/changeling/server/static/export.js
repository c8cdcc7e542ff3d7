// Verdicts as files and as text.

const COLUMNS = [
  "path", "label", "probability", "reason", "lowest", "highest", "truth", "status", "error", "sha256", "bytes", "model",
  "version",
];

export function downloadJson(pictures) {
  save("verdicts.json", "application/json", `${JSON.stringify(pictures.map(makeRow), null, 1)}\n`);
}

// Starts with a byte order mark: without it, Excel does not read umlauts and accents.
export function downloadCsv(pictures) {
  const lines = pictures.map(makeRow).map((row) => COLUMNS.map((name) => formatCell(row[name])).join(","));
  save("verdicts.csv", "text/csv", "\ufeff" + [COLUMNS.join(","), ...lines, ""].join("\r\n"));
}

// A file for whoever maintains the detector: the hash, versions and scores; neither the picture nor its name.
export function downloadReport({ result, model, truth }) {
  const { name, evidence, ...verdict } = result;
  const states = (evidence ?? []).map(({ kind, state, suggests }) => ({ kind, state, suggests }));
  const report = { report: "verdict", truth, model, verdict, evidence: states };
  save(`verdict-${result.sha256.slice(0, 12)}.json`, "application/json", `${JSON.stringify(report, null, 1)}\n`);
}

export async function copyText(copied) {
  try {
    await navigator.clipboard.writeText(copied);
    return true;
  } catch {
    return false;
  }
}

function makeRow({ path, result, model, truth, error }) {
  const { name, ...verdict } = result ?? { label: null, probability: null, status: "error", error };
  return { path, truth, ...verdict, model: model?.name ?? null, version: model?.version ?? null };
}

// A cell that no spreadsheet runs as a formula.
function formatCell(value) {
  if (value === null || value === undefined) return "";
  const plain = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function save(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
