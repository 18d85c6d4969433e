package dev.mobileexport.core

/**
 * A token that is found in the text itself, such as a literal `[MASK]`, before it is cut into words.
 *
 * @property content the characters to find.
 * @property singleWord only where no letter, digit or underscore stands beside it.
 * @property strippedLeft it takes the spaces before it too; [strippedRight] those after it.
 * @property isNormalized it is looked for in the normalized text, else in the text as it came.
 */
internal data class AddedToken(
    val id: Int,
    val content: String,
    val singleWord: Boolean,
    val strippedLeft: Boolean,
    val strippedRight: Boolean,
    val isNormalized: Boolean,
    val isSpecial: Boolean,
)

/** A piece of a text: the id of an added token, or else text between them. */
internal class Piece(val id: Int?, val text: IntList)

/** Cuts texts at the added tokens of a tokenizer. */
internal class AddedTokens(tokens: List<AddedToken>, private val normalizer: Normalizer?) {
    private val raw: Matcher
    private val normalized: Matcher

    init {
        // Of equal ones the special one counts.
        val (late, early) = tokens.sortedBy { !it.isSpecial }.partition { it.isNormalized }
        raw = Matcher(early.map { it to codePoints(it.content).toIntArray() })
        normalized =
            Matcher(
                late.map { token ->
                    val content = codePoints(token.content)
                    token to (normalizer?.normalize(content) ?: content).toIntArray()
                },
            )
    }

    /** Added tokens, and between them what is left of the text, normalized; nothing is empty. */
    fun split(text: IntList): List<Piece> =
        raw.split(text).flatMap { piece ->
            if (piece.id != null) {
                listOf(piece)
            } else {
                normalized.split(normalizer?.normalize(piece.text) ?: piece.text)
            }
        }
}

/** Finds tokens, the leftmost first and of several at one place the longest. */
private class Matcher(tokens: List<Pair<AddedToken, IntArray>>) {
    private class Candidate(val token: AddedToken, val content: IntArray)

    private val byFirst: Map<Int, List<Candidate>>

    init {
        for ((token, content) in tokens) {
            if (content.isEmpty()) {
                throw BundleException(
                    "the tokenizer's added token ${quoted(token.content)} (${token.id}) is empty, or is so once it " +
                        "is normalized, and would be found everywhere; $EXPORT_AGAIN",
                )
            }
        }
        byFirst =
            tokens
                .map { (token, content) -> Candidate(token, content) }
                .sortedByDescending { it.content.size }
                .groupBy { it.content[0] }
    }

    fun split(text: IntList): List<Piece> {
        val pieces = ArrayList<Piece>()
        var done = 0
        var place = 0
        while (place < text.size) {
            val found = candidateAt(text, place)
            if (found == null) {
                place++
                continue
            }
            val token = found.token
            var start = place
            var end = place + found.content.size
            place = end
            if (token.singleWord && !standsAlone(text, start, end)) continue
            if (token.strippedLeft) {
                while (start > done && text[start - 1] in Unicode.whitespace) start--
            }
            if (token.strippedRight) {
                while (end < text.size && text[end] in Unicode.whitespace) end++
            }
            if (done < start) pieces.add(Piece(null, text.slice(done, start)))
            pieces.add(Piece(token.id, IntList(0)))
            done = end
        }
        if (done < text.size) pieces.add(Piece(null, text.slice(done, text.size)))
        return pieces
    }

    private fun candidateAt(text: IntList, place: Int): Candidate? =
        byFirst[text[place]]?.firstOrNull { candidate ->
            val content = candidate.content
            place + content.size <= text.size && content.indices.all { text[place + it] == content[it] }
        }

    private fun standsAlone(text: IntList, start: Int, end: Int): Boolean =
        (start == 0 || text[start - 1] !in Unicode.wordCharacters) &&
            (end == text.size || text[end] !in Unicode.wordCharacters)
}
