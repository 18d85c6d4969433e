package dev.mobileexport.core

/** A set of code points from its table. */
internal class CodePointSet(table: String) {
    // Most texts stay within the first plane, where one look tells.
    private val firstPlane = LongArray(PLANE / Long.SIZE_BITS)
    private val starts: IntArray
    private val ends: IntArray

    init {
        val numbers = TableNumbers(table)
        val starts = IntList()
        val ends = IntList()
        var end = 0
        while (numbers.hasNext()) {
            val start = end + numbers.next()
            end = start + numbers.next() + 1
            for (point in start until minOf(end, PLANE)) {
                firstPlane[point shr 6] = firstPlane[point shr 6] or (1L shl point)
            }
            starts.add(start)
            ends.add(end)
        }
        this.starts = starts.toIntArray()
        this.ends = ends.toIntArray()
    }

    operator fun contains(point: Int): Boolean {
        if (point < PLANE) return firstPlane[point shr 6] ushr point and 1L != 0L
        val place = starts.binarySearch(point)
        // A missing value's answer is -(where it would stand) - 1.
        return place >= 0 || (place < -1 && point < ends[-place - 2])
    }

    private companion object {
        const val PLANE = 0x10000
    }
}

/** Code points with others in place of each, from a table. */
internal class CodePointMapping(table: String) {
    private val targets = HashMap<Int, IntArray>()

    init {
        val numbers = TableNumbers(table)
        val last = IntArray(MOST_TARGETS)
        var point = 0
        while (numbers.hasNext()) {
            point += numbers.next()
            targets[point] =
                IntArray(numbers.next()) { place ->
                    last[place] += numbers.nextSigned()
                    last[place]
                }
        }
    }

    operator fun get(point: Int): IntArray? = targets[point]

    private companion object {
        const val MOST_TARGETS = 4
    }
}

/** Ranks of code points, from a table; 0 for all others. */
internal class CodePointRanks(table: String) {
    private val ranks = HashMap<Int, Int>()
    private val lowest: Int

    init {
        val numbers = TableNumbers(table)
        var end = 0
        while (numbers.hasNext()) {
            val start = end + numbers.next()
            end = start + numbers.next() + 1
            val rank = numbers.next()
            for (point in start until end) ranks[point] = rank
        }
        lowest = ranks.keys.minOrNull() ?: Int.MAX_VALUE
    }

    operator fun get(point: Int): Int = if (point < lowest) 0 else ranks[point] ?: 0
}

/** The numbers of a table; android_demo/toolchain/unicode_tables.py explains how they are written. */
private class TableNumbers(private val table: String) {
    private var place = 0

    init {
        skipLineBreaks()
    }

    fun hasNext(): Boolean = place < table.length

    fun next(): Int {
        var value = 0
        var shift = 0
        while (true) {
            val group = ALPHABET.indexOf(table[place++])
            skipLineBreaks()
            value = value or ((group and LOW_BITS) shl shift)
            if (group <= LOW_BITS) return value
            shift += BITS
        }
    }

    fun nextSigned(): Int {
        val value = next()
        return (value ushr 1) xor -(value and 1)
    }

    private fun skipLineBreaks() {
        while (place < table.length && table[place] == '\n') place++
    }

    private companion object {
        const val ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        const val BITS = 5
        const val LOW_BITS = 31
    }
}

/**
 * What Hugging Face's tokenizers makes of characters.
 *
 * Android's own classes and cases follow the Unicode version of its release, so the same text would
 * become other ids on another phone.
 */
internal object Unicode {
    val cleanDropped by lazy { CodePointSet(UnicodeTables.CLEAN_DROPPED) }
    val cleanSpaces by lazy { CodePointSet(UnicodeTables.CLEAN_SPACES) }
    val chinese by lazy { CodePointSet(UnicodeTables.CHINESE) }
    val accents by lazy { CodePointSet(UnicodeTables.ACCENTS) }
    val whitespace by lazy { CodePointSet(UnicodeTables.WHITESPACE) }
    val punctuation by lazy { CodePointSet(UnicodeTables.PUNCTUATION) }
    val letters by lazy { CodePointSet(UnicodeTables.LETTERS) }
    val numbers by lazy { CodePointSet(UnicodeTables.NUMBERS) }
    val wordCharacters by lazy { CodePointSet(UnicodeTables.WORD_CHARACTERS) }
    val combiningRanks by lazy { CodePointRanks(UnicodeTables.COMBINING_RANKS) }
    val decompositions by lazy { CodePointMapping(UnicodeTables.DECOMPOSITIONS) }
    val lowercase by lazy { CodePointMapping(UnicodeTables.LOWERCASE) }
}
