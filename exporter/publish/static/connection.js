// What the exporter says, and whether it says anything. In: server-sent events; answers to questions where there is no
// stream. Out: `onState(state)` for every word of the exporter, `onSilence(why)` when it cannot be reached.
//
// A page in the background keeps no stream: browsers allow six connections to a host, and nobody is looking.

const ASK_MILLISECONDS = 10_000;
const PATIENCE_MILLISECONDS = 6_000;
const STREAM_AGAIN_MILLISECONDS = 60_000;

export class Connection {
  #onState;
  #onSilence;
  #stream = null;
  #streamAfter = 0;
  #heard = -Infinity;
  #asked = -Infinity;
  #asking = false;
  #heartbeat = 10_000;

  constructor(onState, onSilence) {
    this.#onState = onState;
    this.#onSilence = onSilence;
  }

  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#begin()));
    window.addEventListener("online", () => this.#begin());
    window.addEventListener("pagehide", () => this.#close());
    setInterval(() => this.#watch(), 1000);
    if (!document.hidden) this.#begin();
  }

  /** Asks at once, whatever the stream does. */
  async ask() {
    if (this.#asking) return;
    this.#asking = true;
    this.#asked = performance.now();
    try {
      const answer = await fetch("/api/live/state", {
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE_MILLISECONDS),
      });
      if (answer.ok) this.#hear(await answer.json());
      else this.#onSilence(answer.status === 401 || answer.status === 403 ? "refused" : "unreachable");
    } catch {
      this.#onSilence("unreachable");
    } finally {
      this.#asking = false;
    }
  }

  #begin() {
    this.#streamAfter = 0;
    this.ask();
    this.#open();
  }

  #open() {
    if (this.#stream || performance.now() < this.#streamAfter) return;
    const stream = new EventSource("/api/live/events");
    this.#stream = stream;
    stream.addEventListener("state", (event) => this.#hear(JSON.parse(event.data)));
    stream.addEventListener("error", () => {
      // The browser comes again by itself unless it was turned away: then answers to questions must do for a while.
      if (stream.readyState === EventSource.CLOSED) {
        this.#close();
        this.#streamAfter = performance.now() + STREAM_AGAIN_MILLISECONDS;
      }
      this.ask();
    });
  }

  #close() {
    this.#stream?.close();
    this.#stream = null;
  }

  #hear(state) {
    this.#heard = performance.now();
    this.#heartbeat = state.heartbeatSeconds * 1000;
    this.#onState(state);
  }

  /** A stream can die without a word: after two and a half heartbeats of silence, ask. */
  #watch() {
    if (document.hidden) return;
    this.#open();
    const streaming = this.#stream?.readyState === EventSource.OPEN;
    const patience = streaming ? 2.5 * this.#heartbeat : ASK_MILLISECONDS;
    const now = performance.now();
    if (now - this.#heard > patience && now - this.#asked > PATIENCE_MILLISECONDS) this.ask();
  }
}
