package dev.mobileexport.core

import java.util.PriorityQueue

/**
 * ByteLevel of Hugging Face's tokenizers, GPT-2's pattern:
 * `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
 *
 * @param addPrefixSpace put a space before a piece that has none.
 * @param usePattern cut at all; else a piece is one word.
 */
internal class ByteLevelWords(
    private val addPrefixSpace: Boolean,
    private val usePattern: Boolean,
) : WordSplitter {
    private enum class Kind { SPACE, LETTER, NUMBER, OTHER }

    override fun words(piece: IntList): Sequence<IntList> {
        val text = if (addPrefixSpace && piece[0] != SPACE) afterSpace(piece) else piece
        if (!usePattern) return sequenceOf(text)
        return generateSequence(next(text, 0)) { next(text, it.last + 1) }.map { text.slice(it.first, it.last + 1) }
    }

    private fun afterSpace(piece: IntList): IntList {
        val text = IntList(piece.size + 1)
        text.add(SPACE)
        for (i in 0 until piece.size) text.add(piece[i])
        return text
    }

    private fun next(text: IntList, start: Int): IntRange? =
        if (start == text.size) null else start until end(text, start)

    private fun end(text: IntList, start: Int): Int {
        for (ending in ENDINGS) {
            if (startsWith(text, start, ending)) return start + ending.length
        }
        val hasSpace = text[start] == SPACE && start + 1 < text.size
        val body = if (hasSpace) start + 1 else start
        val kind = kind(text[body])
        if (kind != Kind.SPACE) return runEnd(text, body, kind)
        val end = runEnd(text, start, Kind.SPACE)
        // The last space of several belongs to what follows them.
        return if (end == text.size || end == start + 1) end else end - 1
    }

    private fun startsWith(text: IntList, start: Int, wanted: String): Boolean =
        start + wanted.length <= text.size && wanted.indices.all { text[start + it] == wanted[it].code }

    private fun runEnd(text: IntList, start: Int, kind: Kind): Int {
        var end = start
        while (end < text.size && kind(text[end]) == kind) end++
        return end
    }

    private fun kind(point: Int): Kind =
        when (point) {
            in Unicode.letters -> Kind.LETTER
            in Unicode.numbers -> Kind.NUMBER
            in Unicode.whitespace -> Kind.SPACE
            else -> Kind.OTHER
        }

    private companion object {
        const val SPACE = ' '.code
        val ENDINGS = listOf("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
    }
}

/** What two neighbours become, and how early: the lower the rank, the earlier. */
internal class MergeRule(val rank: Int, val id: Int)

/**
 * Byte-level BPE: starts with one token a byte and joins neighbours, the earliest rule first.
 *
 * @param vocab token to id; a token's characters stand for bytes.
 * @param merges (left id, right id) to what they become, by [key].
 * @param unkId for a byte that is no token; null leaves it out.
 * @param fusesUnknown unknown bytes in a row become one id.
 * @param wholeWordsFirst a word that is a token is not built from its bytes.
 */
internal class BytePairModel(
    private val vocab: Map<String, Int>,
    private val merges: Map<Long, MergeRule>,
    private val unkId: Int?,
    private val fusesUnknown: Boolean,
    private val wholeWordsFirst: Boolean,
) : WordModel {
    private val idOfByte = IntArray(BYTES) { byte -> vocab[ByteCharacters.of(byte).toString()] ?: NONE }

    private class Merge(val rule: MergeRule, val place: Int)

    override fun tokenize(word: IntList, ids: IntList) {
        val bytes = word.string().encodeToByteArray()
        if (wholeWordsFirst) {
            val whole = bytes.joinToString("") { ByteCharacters.of(it.toInt() and LOW_BYTE).toString() }
            vocab[whole]?.let {
                ids.add(it)
                return
            }
        }
        merge(symbols(bytes), ids)
    }

    private fun symbols(bytes: ByteArray): IntArray {
        val symbols = IntList(bytes.size)
        var isAfterUnknown = false
        for (byte in bytes) {
            val id = idOfByte[byte.toInt() and LOW_BYTE]
            if (id != NONE) {
                symbols.add(id)
            } else if (unkId != null && !(fusesUnknown && isAfterUnknown)) {
                symbols.add(unkId)
            }
            isAfterUnknown = id == NONE
        }
        return symbols.toIntArray()
    }

    private fun merge(symbols: IntArray, ids: IntList) {
        val next = IntArray(symbols.size) { it + 1 }
        val previous = IntArray(symbols.size) { it - 1 }
        val isGone = BooleanArray(symbols.size)
        // Android has the constructor without a capacity from API level 24 on.
        val queue = PriorityQueue(QUEUE_CAPACITY, compareBy<Merge> { it.rule.rank }.thenBy { it.place })

        fun offer(place: Int) {
            if (place < 0 || next[place] == symbols.size) return
            merges[key(symbols[place], symbols[next[place]])]?.let { queue.add(Merge(it, place)) }
        }
        for (place in symbols.indices) offer(place)
        while (true) {
            val merge = queue.poll() ?: break
            val place = merge.place
            if (isGone[place] || next[place] == symbols.size) continue
            val right = next[place]
            // A neighbour may have changed since.
            if (merges[key(symbols[place], symbols[right])]?.id != merge.rule.id) continue
            symbols[place] = merge.rule.id
            isGone[right] = true
            next[place] = next[right]
            if (next[right] < symbols.size) previous[next[right]] = place
            offer(previous[place])
            offer(place)
        }
        for (place in symbols.indices) {
            if (!isGone[place]) ids.add(symbols[place])
        }
    }

    internal companion object {
        private const val BYTES = 256
        private const val LOW_BYTE = 255
        private const val NONE = -1
        private const val QUEUE_CAPACITY = 64

        fun key(left: Int, right: Int): Long = (left.toLong() shl Int.SIZE_BITS) or right.toLong()
    }
}

/** The visible character that stands for a byte in the vocabulary, as GPT-2 chose them. */
internal object ByteCharacters {
    private const val BYTES = 256
    private val characters: CharArray

    init {
        val visible = ('!'..'~') + ('\u00A1'..'\u00AC') + ('\u00AE'..'\u00FF')
        val own = visible.map { it.code }.toSet()
        var hidden = 0
        characters = CharArray(BYTES) { byte -> if (byte in own) byte.toChar() else (BYTES + hidden++).toChar() }
    }

    fun of(byte: Int): Char = characters[byte]
}
