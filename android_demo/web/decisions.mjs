/** Logits → probabilities → labels, by the manifest's task: the twin of runtime/decisions.py. */

/** @typedef {import("./manifest.mjs").Task} Task */

/**
 * @param {ArrayLike<number>} logits one text's, float32.
 * @param {Task} task softmax for single-label, sigmoid for multi-label.
 * @returns {number[]} in double precision, in the order of the labels.
 */
export function probabilities(logits, task) {
  const z = Array.from(logits);
  if (task.activation === "softmax") {
    const largest = Math.max(...z); // NaN if one is
    const powers = z.map((value) => Math.exp(value - largest));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  }
  // Two branches, so that no exponent is positive and nothing overflows.
  return z.map((value) => {
    const small = Math.exp(-Math.abs(value));
    return value >= 0 ? 1 / (1 + small) : small / (1 + small);
  });
}

/**
 * Which labels a text gets.
 *
 * Single-label: the largest logit, the first one on a tie. Multi-label: every label whose
 * probability reaches its threshold.
 * @param {ArrayLike<number>} logits
 * @param {Task} task
 * @returns {boolean[]} in the order of the labels.
 */
export function decisions(logits, task) {
  const { thresholds } = task;
  if (thresholds !== null) {
    return probabilities(logits, task).map((share, i) => share >= thresholds[i]);
  }
  const best = argmax(logits);
  return Array.from(logits, (_, i) => i === best);
}

/** The first NaN, as numpy has it, else the first of the largest. */
function argmax(values) {
  let best = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) return i;
    if (values[i] > values[best]) best = i;
  }
  return best;
}

/**
 * Indices of the labels, likeliest first; equal ones in the order of the labels.
 * @param {number[]} shares
 * @returns {number[]}
 */
export function ranking(shares) {
  return shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a] || a - b);
}
