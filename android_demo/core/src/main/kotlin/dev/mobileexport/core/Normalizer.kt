package dev.mobileexport.core

/** Rewrites a piece of text before it is cut into words. */
internal fun interface Normalizer {
    fun normalize(piece: IntList): IntList
}

/**
 * BertNormalizer of Hugging Face's tokenizers.
 *
 * @param cleanText drop control characters, make every kind of space the usual one.
 * @param handleChineseChars put spaces around CJK ideographs.
 * @param stripAccents decompose characters and drop their accents.
 * @param lowercase character by character.
 */
internal class BertNormalizer(
    private val cleanText: Boolean,
    private val handleChineseChars: Boolean,
    private val stripAccents: Boolean,
    private val lowercase: Boolean,
) : Normalizer {
    // The order matters: a lower-cased İ has an accent that is no longer looked for.
    override fun normalize(piece: IntList): IntList {
        var points = piece
        if (cleanText) points = cleaned(points)
        if (handleChineseChars) points = spaced(points)
        if (stripAccents) points = withoutAccents(points)
        if (lowercase) points = lowered(points)
        return points
    }

    private fun cleaned(points: IntList): IntList {
        val result = IntList(points.size)
        for (i in 0 until points.size) {
            val point = points[i]
            when (point) {
                in Unicode.cleanDropped -> Unit
                in Unicode.cleanSpaces -> result.add(SPACE)
                else -> result.add(point)
            }
        }
        return result
    }

    private fun spaced(points: IntList): IntList {
        val result = IntList(points.size)
        for (i in 0 until points.size) {
            val point = points[i]
            val isChinese = point in Unicode.chinese
            if (isChinese) result.add(SPACE)
            result.add(point)
            if (isChinese) result.add(SPACE)
        }
        return result
    }

    private fun withoutAccents(points: IntList): IntList {
        val parts = Decomposition.of(points)
        val result = IntList(parts.size)
        for (i in 0 until parts.size) {
            if (parts[i] !in Unicode.accents) result.add(parts[i])
        }
        return result
    }

    private fun lowered(points: IntList): IntList {
        val result = IntList(points.size)
        for (i in 0 until points.size) {
            val lower = Unicode.lowercase[points[i]]
            if (lower == null) result.add(points[i]) else lower.forEach(result::add)
        }
        return result
    }

    private companion object {
        const val SPACE = ' '.code
    }
}

/** Canonical decomposition (NFD). */
internal object Decomposition {
    private const val HANGUL_FIRST = 0xAC00
    private const val HANGUL_COUNT = 11172
    private const val PER_LEAD = 588
    private const val PER_VOWEL = 28
    private const val LEAD_FIRST = 0x1100
    private const val VOWEL_FIRST = 0x1161
    private const val TRAIL_BEFORE_FIRST = 0x11A7
    private const val ASCII = 0x80

    /** Every character in its parts, with marks that follow one another in canonical order. */
    fun of(points: IntList): IntList {
        val result = IntList(points.size + points.size / 2)
        for (i in 0 until points.size) decompose(points[i], result)
        sortMarks(result)
        return result
    }

    private fun decompose(point: Int, result: IntList) {
        if (point < ASCII) {
            result.add(point)
            return
        }
        val syllable = point - HANGUL_FIRST
        if (syllable in 0 until HANGUL_COUNT) {
            result.add(LEAD_FIRST + syllable / PER_LEAD)
            result.add(VOWEL_FIRST + syllable % PER_LEAD / PER_VOWEL)
            if (syllable % PER_VOWEL != 0) result.add(TRAIL_BEFORE_FIRST + syllable % PER_VOWEL)
            return
        }
        val parts = Unicode.decompositions[point]
        if (parts == null) result.add(point) else parts.forEach(result::add)
    }

    private fun sortMarks(points: IntList) {
        var start = 0
        while (start < points.size) {
            if (Unicode.combiningRanks[points[start]] == 0) {
                start++
                continue
            }
            var end = start + 1
            while (end < points.size && Unicode.combiningRanks[points[end]] != 0) end++
            if (end > start + 1) {
                // A library's sort: a text may be one run of marks, ten thousand long.
                val sorted = points.slice(start, end).toIntArray().sortedBy { Unicode.combiningRanks[it] }
                sorted.forEachIndexed { i, point -> points.values[start + i] = point }
            }
            start = end
        }
    }
}
