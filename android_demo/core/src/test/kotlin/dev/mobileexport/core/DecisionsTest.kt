package dev.mobileexport.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class DecisionsTest {
    private val one = Task(TaskKind.SINGLE_LABEL, listOf("a", "b", "c"), null)
    private val many = Task(TaskKind.MULTI_LABEL, listOf("a", "b", "c"), listOf(0.5, 0.25, 1.0))
    private val nan = Float.NaN
    private val infinity = Float.POSITIVE_INFINITY

    @Test
    fun softmaxAsNumpyComputesIt() {
        // numpy 2: exp(z - max) / sum, in float64.
        val wanted = doubleArrayOf(0.09003057317038046, 0.24472847105479764, 0.6652409557748218)
        assertArrayEquals(wanted, Decisions.probabilities(floatArrayOf(1f, 2f, 3f), one), 1e-16)
        assertArrayEquals(wanted, Decisions.probabilities(floatArrayOf(1001f, 1002f, 1003f), one), 1e-16)
    }

    @Test
    fun sigmoidDoesNotOverflow() {
        val shares = Decisions.probabilities(floatArrayOf(-1000f, 1000f, 0f), many)
        assertArrayEquals(doubleArrayOf(0.0, 1.0, 0.5), shares, 0.0)
        val wanted = doubleArrayOf(0.2689414213699951, 0.7310585786300049, 0.9525741268224334)
        assertArrayEquals(wanted, Decisions.probabilities(floatArrayOf(-1f, 1f, 3f), many), 1e-16)
    }

    @Test
    fun theFirstOfEqualLogitsWins() {
        assertChosen(one, floatArrayOf(2f, 2f, 1f), 0)
        assertChosen(one, floatArrayOf(1f, 2f, 2f), 1)
        assertChosen(one, floatArrayOf(-0f, 0f, -1f), 0)
        assertChosen(one, floatArrayOf(-infinity, -infinity, -infinity), 0)
    }

    @Test
    fun nanIsTheLargestAsInNumpy() {
        assertChosen(one, floatArrayOf(1f, nan, infinity), 1)
        assertTrue(Decisions.probabilities(floatArrayOf(1f, nan, 2f), one).all { it.isNaN() })
    }

    @Test
    fun thresholdsAreReachedAtEquality() {
        assertChosen(many, floatArrayOf(0f, -5f, 5f), 0)
        assertChosen(many, floatArrayOf(-1e-7f, -1f, 60f), 1, 2)
        assertChosen(many, floatArrayOf(nan, nan, nan))
    }

    @Test
    fun oneLabelIsAlwaysGiven() {
        assertChosen(Task(TaskKind.SINGLE_LABEL, listOf("a"), null), floatArrayOf(-3f), 0)
    }

    private fun assertChosen(task: Task, logits: FloatArray, vararg wanted: Int) {
        val chosen = Decisions.decide(logits, task)
        assertEquals(logits.contentToString(), wanted.toList(), chosen.indices.filter { chosen[it] })
    }
}
