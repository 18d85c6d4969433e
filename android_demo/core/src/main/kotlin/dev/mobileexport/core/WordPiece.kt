package dev.mobileexport.core

/** BertPreTokenizer: words end at spaces, and each punctuation mark is a word of its own. */
internal object BertWords : WordSplitter {
    override fun words(piece: IntList): Sequence<IntList> =
        generateSequence(next(piece, 0)) { next(piece, it.last + 1) }.map { piece.slice(it.first, it.last + 1) }

    private fun next(piece: IntList, from: Int): IntRange? {
        var start = from
        while (start < piece.size && piece[start] in Unicode.whitespace) start++
        if (start == piece.size) return null
        var end = start + 1
        if (piece[start] !in Unicode.punctuation) {
            while (end < piece.size && piece[end] !in Unicode.whitespace && piece[end] !in Unicode.punctuation) end++
        }
        return start until end
    }
}

/**
 * The longest token that a word starts with, then the longest that its rest starts with, and so on.
 *
 * @param vocab token to id.
 * @param unkId for a word that cannot be built so, or is too long.
 * @param continuation stands before every token that does not start a word, usually `##`.
 * @param maxChars of a word; a longer one is unknown.
 */
internal class WordPieceModel(
    private val vocab: Map<String, Int>,
    private val unkId: Int,
    private val continuation: String,
    private val maxChars: Int,
) : WordModel {
    // Nothing longer has to be looked up. Never less characters than UTF-16 units.
    private val longest = vocab.keys.maxOfOrNull { it.length } ?: 0

    override fun tokenize(word: IntList, ids: IntList) {
        val before = ids.size
        var start = 0
        if (word.size <= maxChars) {
            while (start < word.size) {
                val end = appendLongest(word, start, ids)
                if (end == start) break
                start = end
            }
        }
        if (start < word.size) {
            ids.cut(before)
            ids.add(unkId)
        }
    }

    /** Append the longest token at a place; returns where it ends, or the place if there is none. */
    private fun appendLongest(word: IntList, start: Int, ids: IntList): Int {
        val prefix = if (start > 0) continuation else ""
        for (end in minOf(word.size, start + longest) downTo start + 1) {
            val id = vocab[prefix + word.string(start, end)] ?: continue
            ids.add(id)
            return end
        }
        return start
    }
}
