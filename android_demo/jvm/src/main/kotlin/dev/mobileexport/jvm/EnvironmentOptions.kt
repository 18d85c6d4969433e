package dev.mobileexport.jvm

import java.lang.foreign.Arena
import java.lang.foreign.MemorySegment
import java.lang.foreign.ValueLayout.JAVA_INT
import java.lang.foreign.ValueLayout.JAVA_LONG

/** How LiteRT's environment is made: without a search for graphics drivers, and nearly silent. */
internal object EnvironmentOptions {
    // Tags and values of LiteRT's C headers.
    private const val TAG_ACCELERATORS = 24
    private const val TAG_LOG_SEVERITY = 25
    private const val CPU = 1L
    private const val ERRORS = 3L
    private val OPTIONS = listOf(TAG_ACCELERATORS to CPU, TAG_LOG_SEVERITY to ERRORS)

    // A C `LiteRtEnvOption`: the tag, then the type of the value, then the value.
    private const val BYTES = 24L
    private const val ALIGNMENT = 8L
    private const val TYPE_OFFSET = 8L
    private const val TYPE_INT = 2
    private const val VALUE_OFFSET = 16L

    /** How many there are in the array. */
    const val COUNT: Int = 2

    /** The C array. */
    fun allocate(arena: Arena): MemorySegment {
        val array = arena.allocate(BYTES * COUNT, ALIGNMENT)
        OPTIONS.forEachIndexed { place, (tag, value) ->
            val start = place * BYTES
            array.set(JAVA_INT, start, tag)
            array.set(JAVA_INT, start + TYPE_OFFSET, TYPE_INT)
            array.set(JAVA_LONG, start + VALUE_OFFSET, value)
        }
        return array
    }
}
