package dev.mobileexport.core

import kotlin.math.abs
import kotlin.math.exp

/** Logits to probabilities to labels, in the arithmetic of runtime/decisions.py. */
public object Decisions {
    /**
     * Softmax for one label, sigmoid for many.
     *
     * @return one probability per label; logits that are not finite give numbers that are not.
     */
    public fun probabilities(logits: FloatArray, task: Task): DoubleArray {
        val z = DoubleArray(logits.size) { logits[it].toDouble() }
        return if (task.kind == TaskKind.SINGLE_LABEL) softmax(z) else DoubleArray(z.size) { sigmoid(z[it]) }
    }

    /**
     * One label: the largest logit, the first of equal ones. Many: every label whose probability
     * reaches its threshold.
     *
     * @return for each label whether the text gets it.
     */
    public fun decide(logits: FloatArray, task: Task): BooleanArray {
        val thresholds = task.thresholds
        if (thresholds == null) {
            val largest = indexOfLargest(logits)
            return BooleanArray(logits.size) { it == largest }
        }
        val shares = probabilities(logits, task)
        return BooleanArray(logits.size) { shares[it] >= thresholds[it] }
    }

    private fun softmax(z: DoubleArray): DoubleArray {
        // NaN if there is one, as numpy's.
        val largest = z.reduce { a, b -> maxOf(a, b) }
        val powers = DoubleArray(z.size) { exp(z[it] - largest) }
        val sum = powers.sum()
        return DoubleArray(z.size) { powers[it] / sum }
    }

    private fun sigmoid(z: Double): Double {
        // Two branches, so that no exponent is positive and nothing overflows.
        val small = exp(-abs(z))
        return if (z >= 0) 1 / (1 + small) else small / (1 + small)
    }

    private fun indexOfLargest(logits: FloatArray): Int {
        // The first NaN counts as the largest, as in numpy.
        val broken = logits.indexOfFirst { it.isNaN() }
        if (broken >= 0) return broken
        // By `>`: for Kotlin's own maximum 0 is larger than -0.
        var largest = 0
        for (i in logits.indices) if (logits[i] > logits[largest]) largest = i
        return largest
    }
}
