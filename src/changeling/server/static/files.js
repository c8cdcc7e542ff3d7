// The files that are dropped, pasted or chosen, and what their folders say of them.

const SUFFIXES = new Set([
  "jpg", "jpeg", "jpe", "jfif", "mpo", "tif", "tiff", "png", "webp", "avif", "gif", "bmp", "ppm", "pgm", "pnm", "jp2",
  "j2k", "heic", "heif",
]); // of pictures, in folders; a file that is chosen by itself may have any name

// names of folders, in lower case, of which every picture has one truth, as in changeling/detect/labelled.py
const FOLDER_TRUTHS = {
  real: "real",
  "0_real": "real",
  nature: "real",
  fake: "fake",
  "1_fake": "fake",
  ai: "fake",
};

export function isPicture(name) {
  const dot = name.lastIndexOf(".");
  return dot > 0 && !name.startsWith("._") && SUFFIXES.has(name.slice(dot + 1).toLowerCase());
}

// What the nearest folder above a file says of it by its name, or null.
export function findTruth(path) {
  const folders = path.split("/").slice(0, -1).reverse();
  const folder = folders.find((name) => Object.hasOwn(FOLDER_TRUTHS, name.toLowerCase()));
  return folder === undefined ? null : FOLDER_TRUTHS[folder.toLowerCase()];
}

// {files: [{file, path}], skipped}: what an input of files or of a folder holds.
export function readInput(input) {
  const entries = [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  const files = entries.filter(({ file, path }) => path === file.name || isPicture(file.name));
  files.sort(compareFolders);
  return { files, skipped: entries.length - files.length };
}

export function readPaste(clipboard) {
  return { files: [...clipboard.files].map((file) => ({ file, path: file.name, isPasted: true })), skipped: 0 };
}

// The same for what is dropped: files and folders, with all that is below them.
export async function readDrop(transfer) {
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() })); // at once: they expire
  const found = { files: [], skipped: 0 };
  for (const { entry, file } of entries) {
    if (entry?.isDirectory) await readFolder(entry, found);
    else if (file) found.files.push({ file, path: file.name });
  }
  return found;
}

async function readFolder(folder, found) {
  const entries = await listFolder(folder);
  entries.sort((one, other) => compareNames(one.name, other.name));
  for (const entry of entries) {
    if (entry.isDirectory) await readFolder(entry, found);
    else if (!isPicture(entry.name)) found.skipped += 1;
    else {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      if (file) found.files.push({ file, path: entry.fullPath.replace(/^\//, "") });
      else found.skipped += 1;
    }
  }
}

async function listFolder(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([]))); // a hundred at a time
    if (!some.length) return entries;
    entries.push(...some);
  }
}

function compareFolders(one, other) {
  return compareNames(one.path, other.path);
}

function compareNames(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}
