// Judge pictures: one a request, two requests at a time, in the order in which they were added.

import { detect, sendWithRetries, ServiceError } from "./api.js";
import { text } from "./text.js";

const WORKERS = 2;
const MIN_DONE = 3; // pictures before the time that is left can be estimated

export class DetectionQueue {
  // `onJudged(picture)` is called for each picture that has an answer or an error, and then `onProgress()`.
  constructor({ isStable, onJudged, onProgress, notify, askForKey }) {
    Object.assign(this, { isStable, onJudged, onProgress, notify, askForKey });
    this.#startBatch();
  }

  get isBusy() {
    return this.done < this.total;
  }

  // Seconds until all is done, or null if that cannot be estimated yet.
  get secondsLeft() {
    if (this.done < MIN_DONE) return null;
    return ((performance.now() - this.started) / 1000 / this.done) * (this.total - this.done);
  }

  add(pictures) {
    if (!this.isBusy) this.#startBatch();
    this.waiting.push(...pictures);
    this.total += pictures.length;
    while (this.batch.workers < WORKERS && this.waiting.length) this.#work(this.batch);
    this.onProgress();
  }

  // Give up what is not done; returns how many pictures that are.
  cancel() {
    const left = this.total - this.done;
    this.batch.controller.abort();
    this.#startBatch();
    this.onProgress();
    return left;
  }

  #startBatch() {
    this.batch = { controller: new AbortController(), workers: 0 };
    Object.assign(this, { waiting: [], total: 0, done: 0, started: performance.now() });
  }

  async #work(batch) {
    const { signal } = batch.controller;
    batch.workers += 1;
    while (this.batch === batch && this.waiting.length) {
      const picture = this.waiting.shift();
      await this.#judge(picture, signal);
      if (signal.aborted) return;
      this.done += 1;
      this.onJudged(picture);
      this.onProgress();
    }
    batch.workers -= 1;
  }

  async #judge(picture, signal) {
    picture.isStable = this.isStable();
    try {
      const blob = new Blob([await readBytes(picture.file)]);
      const upload = { blob, name: picture.name };
      const request = () => detect(upload, { stable: picture.isStable, signal });
      const answer = await sendWithRetries(request, { signal, notify: this.notify, askForKey: this.askForKey });
      picture.model = answer.model;
      picture.result = answer.results[0];
      picture.error = picture.result.error;
    } catch (error) {
      if (!signal.aborted) picture.error = error.message;
    }
  }
}

// Read a file before it is sent: a failure is then the file's, and not that of the service.
export async function readBytes(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new ServiceError(0, text.unreadable, null);
  }
}
