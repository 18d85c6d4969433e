package dev.mobileexport.core

/** A model in some runtime; it need not be safe for use by several threads. */
public interface TextModel : AutoCloseable {
    /**
     * Run one sequence.
     *
     * @param inputIds padded to one of the artifact's lengths.
     * @param attentionMask as long: 1 for text, 0 for padding.
     * @return one logit per label.
     * @throws BundleException the runtime cannot run the model.
     */
    public fun logits(inputIds: IntArray, attentionMask: IntArray): FloatArray
}

/** A label and how likely it is. */
public data class LabelProbability(val label: String, val probability: Float)

/**
 * The answer for one text.
 *
 * @property ids what the model read, special tokens included, without padding.
 * @property truncated the text had more.
 * @property logits as the model gave them, in the order of the task's labels.
 * @property probabilities likewise.
 * @property labels that the text gets, likeliest first; exactly one for a single-label task.
 */
public class Classification internal constructor(
    public val ids: IntArray,
    public val truncated: Boolean,
    public val logits: FloatArray,
    public val probabilities: FloatArray,
    public val labels: List<String>,
    private val ranked: List<LabelProbability>,
) {
    /** The [k] likeliest labels, likeliest first. */
    public fun top(k: Int): List<LabelProbability> = ranked.take(k)
}

/**
 * Text to labels, with one artifact of a bundle.
 *
 * @param tokenizer of the same bundle.
 * @param model the artifact in a runtime; closed with this.
 * @param manifest of the bundle.
 * @param artifact which one runs.
 */
public class TextClassifier(
    private val tokenizer: Tokenizer,
    private val model: TextModel,
    private val manifest: Manifest,
    private val artifact: Artifact,
) : AutoCloseable {
    /**
     * Classify any string, the empty one too; takes as long as the model does.
     *
     * @throws BundleException the model cannot be run, or does not give one number per label.
     */
    public fun classify(text: String): Classification = classify(tokenizer.encode(text))

    /** Classify ids; see the other function. */
    public fun classify(encoding: Encoding): Classification {
        val task = manifest.task
        val padded = Padding.pad(encoding.ids, artifact.lengths, manifest.tokenizer)
        val logits = model.logits(padded.inputIds, padded.attentionMask)
        if (logits.size != task.labels.size) {
            throw BundleException(
                "${artifact.path} gives ${logits.size} numbers for ${task.labels.size} labels; $EXPORT_AGAIN",
            )
        }
        val shares = Decisions.probabilities(logits, task)
        val chosen = Decisions.decide(logits, task)
        val order = shares.indices.sortedByDescending { shares[it] }
        return Classification(
            ids = encoding.ids,
            truncated = encoding.truncated,
            logits = logits,
            probabilities = FloatArray(shares.size) { shares[it].toFloat() },
            labels = order.filter { chosen[it] }.map { task.labels[it] },
            ranked = order.map { LabelProbability(task.labels[it], shares[it].toFloat()) },
        )
    }

    override fun close() {
        model.close()
    }
}
