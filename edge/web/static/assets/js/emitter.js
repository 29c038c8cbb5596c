/**
 * A typed event emitter: handlers of one event run in the order they were added.
 *
 * @template {Record<string, any>} Events
 */
export class Emitter {
  constructor() {
    /** @type {Map<keyof Events, Set<(value: any) => void>>} */
    this.handlers = new Map();
  }

  /**
   * @template {keyof Events} K
   * @param {K} type
   * @param {(value: Events[K]) => void} handler
   * @returns {() => void} removes the handler
   */
  on(type, handler) {
    const set = this.handlers.get(type) ?? new Set();
    this.handlers.set(type, set);
    set.add(handler);
    return () => set.delete(handler);
  }

  /**
   * @template {keyof Events} K
   * @param {K} type
   * @param {Events[K]} value
   */
  emit(type, value) {
    for (const handler of [...(this.handlers.get(type) ?? [])]) handler(value);
  }
}
