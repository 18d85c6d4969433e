package dev.mobileexport.core

/** Whole numbers without a box around each: the characters of a text, or ids. */
internal class IntList(capacity: Int = 16) {
    var values: IntArray = IntArray(capacity)
        private set
    var size: Int = 0
        private set

    operator fun get(index: Int): Int = values[index]

    fun add(value: Int) {
        if (size == values.size) values = values.copyOf(maxOf(16, 2 * size))
        values[size++] = value
    }

    /** Drop everything from an index on. */
    fun cut(newSize: Int) {
        size = minOf(size, newSize)
    }

    fun slice(start: Int, end: Int): IntList {
        val part = IntList(end - start)
        values.copyInto(part.values, 0, start, end)
        part.size = end - start
        return part
    }

    fun toIntArray(): IntArray = values.copyOf(size)
}

/**
 * The characters of a text, as Unicode scalar values.
 *
 * @param loneSurrogates stands in for each half of a surrogate pair, which is no character.
 */
internal fun codePoints(text: String, loneSurrogates: String = ""): IntList {
    val points = IntList(text.length)
    var i = 0
    while (i < text.length) {
        val unit = text[i++]
        if (unit.isHighSurrogate() && i < text.length && text[i].isLowSurrogate()) {
            points.add(pair(unit, text[i++]))
        } else if (unit.isSurrogate()) {
            val replacement = codePoints(loneSurrogates)
            for (k in 0 until replacement.size) points.add(replacement[k])
        } else {
            points.add(unit.code)
        }
    }
    return points
}

/** The characters from [start] to before [end] as a string. */
internal fun IntList.string(start: Int = 0, end: Int = size): String {
    val text = StringBuilder(end - start)
    for (i in start until end) text.appendCodePoint(this[i])
    return text.toString()
}

private fun pair(high: Char, low: Char): Int = 0x10000 + ((high.code - 0xD800) shl 10) + (low.code - 0xDC00)
