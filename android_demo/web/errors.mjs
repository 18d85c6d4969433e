/** Something that the user can put right; the message is one line that says so. */
export class BundleError extends Error {
  /**
   * @param {string} what what went wrong.
   * @param {{why?: string, todo?: string}} [more] its cause, and what to do next.
   */
  constructor(what, { why = "", todo = "" } = {}) {
    const parts = [what, why, todo].filter((part) => part);
    super(parts.map((part) => part.replace(/\.+$/, "")).join(". ") + ".");
    this.name = "BundleError";
  }
}
