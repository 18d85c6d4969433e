package dev.mobileexport.core

/**
 * A sequence as a model reads it.
 *
 * @property inputIds filled up with the padding id.
 * @property attentionMask 1 where there is text, 0 where there is padding.
 */
public class Padded(public val inputIds: IntArray, public val attentionMask: IntArray)

/** Fills sequences up to the lengths that a model has. */
public object Padding {
    /**
     * Pad to the smallest length that holds the ids.
     *
     * @param ids one sequence.
     * @param lengths the artifact's, ascending; null runs the ids as they are.
     * @param spec which id fills up, and on which side.
     * @throws BundleException no length holds the ids.
     */
    public fun pad(ids: IntArray, lengths: List<Int>?, spec: TokenizerSpec): Padded {
        val length = if (lengths == null) ids.size else lengths.firstOrNull { it >= ids.size }
        if (length == null) {
            throw BundleException(
                "a text of ${ids.size} ids does not fit the model, whose longest sequence has " +
                    "${lengths.orEmpty().maxOrNull()}; use the tokenizer of the same bundle",
            )
        }
        val inputIds = IntArray(length) { spec.padId }
        val attentionMask = IntArray(length)
        val start = if (spec.padSide == PadSide.RIGHT) 0 else length - ids.size
        ids.copyInto(inputIds, start)
        attentionMask.fill(1, start, start + ids.size)
        return Padded(inputIds, attentionMask)
    }
}
