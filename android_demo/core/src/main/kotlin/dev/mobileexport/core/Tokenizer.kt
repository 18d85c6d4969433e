package dev.mobileexport.core

/**
 * What a model reads of a text.
 *
 * @property ids with the special tokens, not padded.
 * @property truncated the text had more ids than the model reads.
 */
public data class Encoding(val ids: IntArray, val truncated: Boolean) {
    override fun equals(other: Any?): Boolean =
        other is Encoding && ids.contentEquals(other.ids) && truncated == other.truncated

    override fun hashCode(): Int = 31 * ids.contentHashCode() + truncated.hashCode()
}

/** Text to ids. */
public fun interface Tokenizer {
    /** Any string is a text: the empty one, and one with halves of surrogate pairs. */
    public fun encode(text: String): Encoding
}

/** Cuts a normalized piece of text into words. */
internal fun interface WordSplitter {
    fun words(piece: IntList): Sequence<IntList>
}

/** Turns a word into ids. */
internal fun interface WordModel {
    /** Append the ids of a word. */
    fun tokenize(word: IntList, ids: IntList)
}

/** The steps of a tokenizer in Hugging Face's order; safe for use by several threads. */
internal class PipelineTokenizer(
    private val spec: TokenizerSpec,
    private val added: AddedTokens,
    private val splitter: WordSplitter,
    private val model: WordModel,
    private val clsId: Int,
    private val sepId: Int,
) : Tokenizer {
    private val room = spec.maxLength - 2

    override fun encode(text: String): Encoding {
        val ids = bareIds(codePoints(text, spec.loneSurrogates))
        val kept = minOf(ids.size, room)
        val framed = IntArray(kept + 2)
        framed[0] = clsId
        ids.values.copyInto(framed, 1, 0, kept)
        framed[kept + 1] = sepId
        return Encoding(framed, truncated = ids.size > room)
    }

    /** Ids without special tokens around them; ends soon after there are too many. */
    private fun bareIds(text: IntList): IntList {
        val ids = IntList()
        for (piece in added.split(text)) {
            if (piece.id != null) {
                ids.add(piece.id)
                continue
            }
            for (word in splitter.words(piece.text)) {
                model.tokenize(word, ids)
                if (ids.size > room) return ids
            }
        }
        return ids
    }
}
